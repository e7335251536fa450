//! Scenes drawn from a seed: which objects lie where, what is asked, in which words.
//!
//! A protocol changes one thing only. The training protocol and the evaluation protocols draw from different random streams,
//! so they share no scene; `tests` compare hashes. Family and target kind are drawn first and the rest is redrawn until the
//! task can be done, so that rejection leaves the mix of families and targets alone.

use armilla_core::random::stream;
use armilla_core::{Error, Result};
use rand::RngExt as _;

use super::instruction::{FAMILIES, Family, Task};
use super::kinds::{Kind, UNSEEN_PAIRS};
use super::layout::Layout;

/// Layouts tried before a seed is given up; a few dozen are common, thousands never seen.
const LAYOUTS: usize = 20_000;

/// Which episodes a protocol draws.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// Training scenes.
    Record,
    /// As training, in scenes it never saw.
    NewScenes,
    /// New scenes, in phrasings that training never saw.
    NewTemplates,
    /// New scenes, the target a colour × shape pair that training never saw.
    UnseenPairs,
    /// New scenes, the target a kind that training never saw with this verb.
    UnseenVerbObject,
    /// New scenes, and a picture of where everything is to be in place of words.
    Ahead,
    /// The same, where an object is to move.
    Object,
}

impl Protocol {
    /// The protocol of a name.
    pub(super) fn parse(name: &str) -> Result<Self> {
        Ok(match name {
            "record" => Self::Record,
            "new-scenes" => Self::NewScenes,
            "new-templates" => Self::NewTemplates,
            "unseen-pairs" => Self::UnseenPairs,
            "unseen-verb-object" => Self::UnseenVerbObject,
            "ahead" => Self::Ahead,
            "object" => Self::Object,
            _ => {
                return Err(Error::invalid(
                    "protocol of tabletop",
                    format!("one of {:?}", super::PROTOCOLS),
                    name,
                ));
            }
        })
    }

    /// Whether the goal is a picture.
    pub(super) fn has_picture(self) -> bool {
        matches!(self, Self::Ahead | Self::Object)
    }

    /// Kinds that may be the target of a family.
    fn targets(self, family: Family) -> Vec<Kind> {
        match self {
            Self::UnseenPairs => UNSEEN_PAIRS.to_vec(),
            Self::UnseenVerbObject => family.unseen_targets().to_vec(),
            _ => trained_targets(family),
        }
    }

    /// Phrasings of a family, and the group they are labelled by.
    fn templates(self, family: Family) -> (&'static str, &'static [&'static str]) {
        match self {
            Self::NewTemplates => ("unseen", family.templates().unseen),
            _ => ("seen", family.templates().seen),
        }
    }
}

/// Kinds that training sees as the target of a family.
fn trained_targets(family: Family) -> Vec<Kind> {
    let unseen = family.unseen_targets();
    Kind::seen().filter(|kind| !unseen.contains(kind)).collect()
}

/// An episode's start and task.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Scene {
    /// Where things are.
    pub(super) layout: Layout,
    /// What is asked.
    pub(super) task: Task,
    /// What is asked, in words.
    pub(super) instruction: String,
    /// Which phrasing, such as `touch/seen/2`.
    pub(super) template: String,
    /// Another task that could be done in this scene, with another target, in words that training saw.
    pub(super) swapped: String,
}

impl Scene {
    /// The scene of a seed.
    ///
    /// # Errors
    ///
    /// When no layout can be found, which does not happen with the constants above.
    pub(super) fn draw(protocol: Protocol, seed: u64) -> Result<Self> {
        let name = match protocol {
            Protocol::Record => "tabletop-record",
            // Scenes of its own, so that its episodes may be counted together with those of new scenes.
            Protocol::NewTemplates => "tabletop-templates",
            _ => "tabletop-evaluation",
        };
        let mut rng = stream(seed, name, 0);
        let family = FAMILIES[rng.random_range(0..FAMILIES.len())];
        let target = pick(&mut rng, &protocol.targets(family));
        for _ in 0..LAYOUTS {
            let kinds = draw_kinds(&mut rng, target);
            let Some(layout) = Layout::draw(&mut rng, &kinds) else {
                continue;
            };
            let tasks = layout.tasks(family);
            let wanted: Vec<_> = tasks
                .iter()
                .copied()
                .filter(|task| kinds[task.target] == target)
                .collect();
            if wanted.is_empty() {
                continue;
            }
            let task = pick(&mut rng, &wanted);
            let Some(other) = swap(&mut rng, &layout, (task, &tasks)) else {
                continue;
            };
            let (group, templates) = protocol.templates(family);
            let number = rng.random_range(0..templates.len());
            let swapped = other.words(pick(&mut rng, family.templates().seen), &kinds);
            let instruction = task.words(templates[number], &kinds);
            let template = format!("{}/{group}/{number}", family.name());
            return Ok(Self {
                layout,
                task,
                instruction,
                template,
                swapped,
            });
        }
        Err(Error::invalid(
            "seed of tabletop",
            "a scene within its tries",
            seed,
        ))
    }
}

/// One of several.
fn pick<T: Copy>(rng: &mut impl rand::Rng, items: &[T]) -> T {
    items[rng.random_range(0..items.len())]
}

/// The target and two or three others, shuffled. Mostly another object has the target's colour and one its shape, so that
/// neither word alone tells which is meant.
fn draw_kinds(rng: &mut impl rand::Rng, target: Kind) -> Vec<Kind> {
    let count = rng.random_range(3..=4);
    let color_first = rng.random_bool(0.5);
    let mut kinds = vec![target];
    while kinds.len() < count {
        let wanted = |kind: &Kind| match kinds.len() {
            1 => kind.resembles(target) && (kind.color == target.color) == color_first,
            2 => kind.resembles(target) && (kind.color == target.color) != color_first,
            _ => true,
        };
        let choices: Vec<_> = Kind::seen()
            .filter(|kind| !kinds.contains(kind))
            .filter(wanted)
            .collect();
        kinds.push(pick(rng, &choices));
    }
    if rng.random_bool(0.3) {
        let others: Vec<_> = Kind::seen().filter(|kind| !kinds.contains(kind)).collect();
        kinds[1 + usize::from(rng.random_bool(0.5))] = pick(rng, &others);
    }
    for last in (1..kinds.len()).rev() {
        kinds.swap(last, rng.random_range(0..=last));
    }
    kinds
}

/// A task of another target whose kind training has as a target of the verb; not the object that the true task pushes to or
/// from, where there is a choice.
fn swap(rng: &mut impl rand::Rng, layout: &Layout, (task, tasks): (Task, &[Task])) -> Option<Task> {
    let trained = trained_targets(task.family());
    let mut choices = tasks.to_vec();
    choices.retain(|other| {
        other.target != task.target && trained.contains(&layout.kinds[other.target])
    });
    let apart: Vec<_> = choices
        .iter()
        .copied()
        .filter(|other| task.reference() != Some(other.target))
        .collect();
    if !apart.is_empty() {
        choices = apart;
    }
    (!choices.is_empty()).then(|| pick(rng, &choices))
}

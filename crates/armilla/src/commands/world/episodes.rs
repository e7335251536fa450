//! Episodes to look into a world model with: recorded in a dataset, or played in a simulator that tells its truth.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use armilla_core::features::ACTION;
use armilla_core::{Action, Observation, Reset};
use armilla_data::{Dataset, ImageTransform, Rows, apply_transforms};
use armilla_envs::{EnvironmentConfig, Script, Simulator, Truth, make};
use armilla_imagine::{Encoded, Footage};
use armilla_world::WorldModel;
use rayon::prelude::*;

use crate::commands::eval::SEEDS_APART;
use crate::progress::Progress;

/// Noise of the noisy expert.
const NOISE: f32 = 0.5;
/// Episodes played at once, which bounds memory.
const AT_ONCE: usize = 16;

/// A dataset whose pictures become what a training made of them.
pub(crate) struct TransformedDataset {
    pub(crate) dataset: Arc<Dataset>,
    /// Without chance.
    pub(crate) transforms: Vec<ImageTransform>,
}

/// So many of some episodes, evenly spread: as many of each group of recordings as it has of them all.
pub(crate) fn spread(episodes: &[usize], count: usize) -> impl Iterator<Item = usize> {
    (0..count).map(move |index| episodes[index * episodes.len() / count])
}

/// An episode of a dataset as a model sees it.
pub(crate) fn recorded(
    seen: &TransformedDataset,
    episode: usize,
    model: &WorldModel,
) -> Result<Footage> {
    let dataset = &seen.dataset;
    let list = |rows: Rows| {
        let rows = (0..rows.len()).map(|step| rows.row(step).to_vec());
        rows.collect::<Vec<_>>()
    };
    let pictures = |camera: &String| {
        let pictures = dataset.images(episode, camera)?.into_iter();
        let pictures = pictures.map(|picture| apply_transforms(&seen.transforms, picture));
        pictures.collect::<std::result::Result<Vec<_>, _>>()
    };
    let cameras = model.interface().cameras.iter().map(pictures);
    let cameras: Vec<_> = cameras.collect::<std::result::Result<_, _>>()?;
    let (first, others) = cameras.split_first().context("a model without a camera")?;
    let states = match model.shape().state {
        0 => Vec::new(),
        _ => list(dataset.states(episode)?),
    };
    let actions = list(dataset.actions(episode)?);
    let repeat = model.shape().action_repeat;
    Ok(Footage::of_episode(first, &states, &actions, repeat).with_others(others, repeat))
}

/// An episode of a simulator, frames a model step apart, with what was where at each.
#[derive(Clone, Debug)]
pub(super) struct Played {
    pub(super) footage: Footage,
    pub(super) truths: Vec<Truth>,
}

impl Played {
    /// Begins the episode of a seed.
    fn begin(simulator: &mut dyn Simulator, seed: u64) -> Result<Self> {
        let (observation, _) = simulator.reset(&Reset {
            seed,
            instruction: None,
        })?;
        let mut begun = Self {
            footage: Footage::default(),
            truths: Vec::new(),
        };
        begun.see(simulator, &observation)?;
        Ok(begun)
    }

    /// Keeps a frame and what is true at it.
    fn see(&mut self, simulator: &mut dyn Simulator, observation: &Observation) -> Result<()> {
        let image = observation.first_image();
        self.footage.images.extend(image.cloned());
        self.footage.states.push(observation.state.clone());
        self.truths.push(simulator.truth()?);
        Ok(())
    }
}

/// Which episodes are played in which simulator.
#[derive(Clone, Debug)]
pub(super) struct Stage {
    pub(super) environment: EnvironmentConfig,
    /// Control steps a model step.
    pub(super) repeat: usize,
    /// Model steps of an episode, at most.
    pub(super) steps: usize,
    /// Seed of the first episode.
    pub(super) first_seed: u64,
}

impl Stage {
    /// Episodes for a model: to learn from (`record`) or held out.
    pub(super) fn new(model: &WorldModel, env: &str, held_out: bool, seed: u64) -> Result<Self> {
        let shape = model.shape();
        let protocol = match (held_out, env) {
            (false, _) => "record",
            (true, "two-room") => "crossing",
            (true, "push-t" | "push-t-moves") => "push",
            (true, _) => "new-scenes",
        };
        let stage = Self {
            environment: EnvironmentConfig {
                name: env.to_owned(),
                protocol: protocol.to_owned(),
                image_size: shape.image_size,
            },
            repeat: shape.action_repeat,
            steps: usize::MAX,
            first_seed: seed.wrapping_mul(SEEDS_APART),
        };
        let (simulator, interface) = (make(&stage.environment)?, model.interface());
        let spec = simulator.spec();
        let found = interface.cameras.len();
        ensure!(
            found == 1,
            "{env}: expected a model of one camera, as this simulator has, found {found}"
        );
        spec.check_cameras(&interface.cameras, shape.image_size, "config.json")?;
        spec.check_units(&interface.actions.low, &interface.actions.high)?;
        spec.check_rate(interface.rate_hz, "config.json")?;
        Ok(stage)
    }

    /// Plays episodes and keeps what `of_episode` makes of each.
    pub(super) fn play<T: Send>(
        &self,
        count: usize,
        of_episode: impl Fn(&Self, u64) -> Result<T> + Sync,
    ) -> Result<Vec<T>> {
        let title = format!("{} {}", self.environment.name, self.environment.protocol);
        let mut progress = Progress::new(&title, "episodes", count as u64);
        let seeds: Vec<u64> = (0..count as u64)
            .map(|index| self.first_seed + index)
            .collect();
        let mut all = Vec::with_capacity(count);
        for group in seeds.chunks(AT_ONCE) {
            let played = group.par_iter().map(|&seed| of_episode(self, seed));
            all.extend(played.collect::<Result<Vec<_>>>()?);
            progress.set(all.len() as u64, "");
        }
        progress.finish();
        Ok(all)
    }

    /// The noisy expert's episode of a seed.
    pub(super) fn expert(&self, seed: u64) -> Result<Played> {
        self.scripted(seed, Script::NoisyExpert(NOISE))
    }

    /// The episode of a seed: the noisy expert's, or random actions in every second one.
    pub(super) fn mixed(&self, seed: u64) -> Result<Played> {
        match seed % 2 {
            0 => self.expert(seed),
            _ => self.scripted(seed, Script::Random),
        }
    }

    fn scripted(&self, seed: u64, script: Script) -> Result<Played> {
        let mut simulator = make(&self.environment)?;
        let mut played = Played::begin(simulator.as_mut(), seed)?;
        let (mut block, mut ended) = (Vec::new(), false);
        while !ended && played.footage.blocks.len() < self.steps {
            let action = simulator.scripted(script)?.executed;
            let step = simulator.step(&action)?;
            block.extend(action.0);
            ended = step.terminated || step.truncated;
            if block.len() == self.repeat * action_width(simulator.as_ref()) {
                played.footage.blocks.push(std::mem::take(&mut block));
                played.see(simulator.as_mut(), &step.observation)?;
            }
        }
        Ok(played)
    }

    /// The same actions in the episode of the same seed, but agent or block is elsewhere at once when it reaches a frame.
    pub(super) fn teleported(
        &self,
        seed: u64,
        blocks: &[Vec<f32>],
        frame: usize,
    ) -> Result<Played> {
        let mut simulator = make(&self.environment)?;
        let mut played = Played::begin(simulator.as_mut(), seed)?;
        let width = action_width(simulator.as_ref());
        for (index, block) in blocks.iter().enumerate() {
            let mut seen = None;
            for action in block.chunks(width) {
                seen = Some(simulator.step(&Action(action.to_vec()))?.observation);
            }
            if index + 1 == frame {
                seen = Some(simulator.teleport()?);
            }
            played.footage.blocks.push(block.clone());
            if let Some(seen) = seen {
                played.see(simulator.as_mut(), &seen)?;
            }
        }
        Ok(played)
    }
}

fn action_width(simulator: &dyn Simulator) -> usize {
    simulator.spec().features.width(ACTION)
}

/// Encodes played episodes; the truths stay beside them.
pub(super) fn encode(
    model: &WorldModel,
    played: Vec<Played>,
) -> Result<(Vec<Encoded>, Vec<Vec<Truth>>)> {
    let mut progress = Progress::new("encode", "episodes", played.len() as u64);
    let (mut encoded, mut truths) = (Vec::new(), Vec::new());
    for episode in played {
        encoded.push(episode.footage.encode(model)?);
        truths.push(episode.truths);
        progress.set(encoded.len() as u64, "");
    }
    progress.finish();
    Ok((encoded, truths))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage() -> Stage {
        Stage {
            environment: EnvironmentConfig {
                name: "two-room".to_owned(),
                protocol: "crossing".to_owned(),
                image_size: 64,
            },
            repeat: 3,
            steps: 5,
            first_seed: 4,
        }
    }

    #[test]
    fn a_teleported_episode_is_the_same_up_to_the_event() {
        let stage = stage();
        let clean = stage.expert(4).unwrap();
        assert_eq!(
            (clean.footage.images.len(), clean.footage.blocks.len()),
            (6, 5)
        );
        assert!(clean.footage.blocks.iter().all(|block| block.len() == 6));
        let other = stage.teleported(4, &clean.footage.blocks, 3).unwrap();
        assert_eq!(other.footage.images[..3], clean.footage.images[..3]);
        assert_eq!(other.truths[2], clean.truths[2]);
        assert_ne!(other.truths[3], clean.truths[3]);
        assert_eq!(other.footage.images.len(), 6);
        // The truth beside a picture is that of the picture.
        let at = |truth: &Truth| truth.values[0].1.unwrap();
        assert!((at(&other.truths[3]) - at(&clean.truths[3])).abs() > 1.0);
    }

    #[test]
    fn every_second_episode_is_random_and_seeds_count_up() {
        let played = stage()
            .play(3, |stage, seed| Ok((seed, stage.mixed(seed)?)))
            .unwrap();
        let seeds: Vec<_> = played.iter().map(|(seed, _)| *seed).collect();
        assert_eq!(seeds, [4, 5, 6]);
        assert_eq!(played[0].1.footage, stage().expert(4).unwrap().footage);
        assert_ne!(played[1].1.footage, stage().expert(5).unwrap().footage);
    }
}

//! Tasks and the words for them: four families, several phrasings each, some of which training never sees.

use super::kinds::{Kind, Shape};

/// What kind of thing is asked for: the verb.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    PushTo,
    PushEdge,
    Touch,
    PushAway,
}

/// Every family.
pub(super) const FAMILIES: [Family; 4] = [
    Family::PushTo,
    Family::PushEdge,
    Family::Touch,
    Family::PushAway,
];

/// An edge of the table as the camera shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Edge {
    Left,
    Right,
    Top,
    Bottom,
}

/// Every edge.
pub(super) const EDGES: [Edge; 4] = [Edge::Left, Edge::Right, Edge::Top, Edge::Bottom];

/// What is to become of the target; objects are indices into the scene.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Goal {
    /// Next to this object.
    To(usize),
    /// At this edge.
    Edge(Edge),
    /// Touched by the pusher before any other object.
    Touch,
    /// Farther from this object.
    Away(usize),
}

/// A target object and what is to become of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Task {
    /// The object that the pusher is to touch or push (A in the templates).
    pub(super) target: usize,
    /// What is to become of it.
    pub(super) goal: Goal,
}

/// How a task is put into words. `{a}` is the target, `{b}` the other object, `{e}` the edge.
pub(super) struct Templates {
    /// Phrasings that training sees.
    pub(super) seen: &'static [&'static str],
    /// Phrasings that it never sees, made of words that it does.
    pub(super) unseen: &'static [&'static str],
}

const PUSH_TO: Templates = Templates {
    seen: &[
        "push the {a} to the {b}",
        "move the {a} next to the {b}",
        "bring the {a} to the {b}",
        "slide the {a} over to the {b}",
        "put the {a} next to the {b}",
    ],
    unseen: &[
        "slide the {a} next to the {b}",
        "bring the {a} over to the {b}",
    ],
};
const PUSH_EDGE: Templates = Templates {
    seen: &[
        "move the {a} to the {e} edge",
        "push the {a} to the {e} edge",
        "slide the {a} over to the {e} side",
        "bring the {a} to the {e} side of the table",
    ],
    unseen: &[
        "push the {a} over to the {e} side",
        "slide the {a} to the {e} edge of the table",
    ],
};
const TOUCH: Templates = Templates {
    seen: &[
        "touch the {a}",
        "go to the {a}",
        "reach the {a}",
        "go over to the {a} and touch it",
        "make contact with the {a}",
    ],
    unseen: &[
        "go to the {a} and touch it",
        "reach the {a} and make contact with it",
    ],
};
const PUSH_AWAY: Templates = Templates {
    seen: &[
        "push the {a} away from the {b}",
        "move the {a} away from the {b}",
        "slide the {a} far from the {b}",
        "get the {a} away from the {b}",
    ],
    unseen: &[
        "slide the {a} away from the {b}",
        "get the {a} far from the {b}",
    ],
};

impl Family {
    /// The label that results are grouped by.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::PushTo => "push_to",
            Self::PushEdge => "push_edge",
            Self::Touch => "touch",
            Self::PushAway => "push_away",
        }
    }

    /// Its phrasings.
    pub(super) fn templates(self) -> &'static Templates {
        match self {
            Self::PushTo => &PUSH_TO,
            Self::PushEdge => &PUSH_EDGE,
            Self::Touch => &TOUCH,
            Self::PushAway => &PUSH_AWAY,
        }
    }

    /// Kinds that are never the target of this verb in training, though they are of the three others.
    pub(super) fn unseen_targets(self) -> [Kind; 3] {
        let kind = |color, shape| Kind { color, shape };
        match self {
            Self::PushTo => [
                kind(0, Shape::Circle),
                kind(4, Shape::Triangle),
                kind(1, Shape::Cross),
            ],
            Self::PushEdge => [
                kind(2, Shape::Square),
                kind(3, Shape::Triangle),
                kind(4, Shape::Circle),
            ],
            Self::Touch => [
                kind(3, Shape::Cross),
                kind(1, Shape::Square),
                kind(2, Shape::Circle),
            ],
            Self::PushAway => [
                kind(2, Shape::Triangle),
                kind(4, Shape::Square),
                kind(0, Shape::Cross),
            ],
        }
    }
}

impl Edge {
    /// The word an instruction uses.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Right => "right",
            Self::Top => "top",
            Self::Bottom => "bottom",
        }
    }
}

impl Task {
    /// The verb.
    pub(super) fn family(self) -> Family {
        match self.goal {
            Goal::To(_) => Family::PushTo,
            Goal::Edge(_) => Family::PushEdge,
            Goal::Touch => Family::Touch,
            Goal::Away(_) => Family::PushAway,
        }
    }

    /// The object that the target is pushed to or from.
    pub(super) fn reference(self) -> Option<usize> {
        match self.goal {
            Goal::To(other) | Goal::Away(other) => Some(other),
            Goal::Edge(_) | Goal::Touch => None,
        }
    }

    /// The task in words, by a template of its family.
    pub(super) fn words(self, template: &str, kinds: &[Kind]) -> String {
        let text = template.replace("{a}", &kinds[self.target].to_string());
        match self.goal {
            Goal::To(other) | Goal::Away(other) => text.replace("{b}", &kinds[other].to_string()),
            Goal::Edge(edge) => text.replace("{e}", edge.name()),
            Goal::Touch => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn unseen_templates_are_made_of_seen_words() {
        let seen: BTreeSet<_> = FAMILIES
            .iter()
            .flat_map(|f| f.templates().seen)
            .flat_map(|t| t.split(' '))
            .collect();
        for family in FAMILIES {
            let templates = family.templates();
            assert!(templates.seen.len() >= 4 && templates.unseen.len() >= 2);
            for template in templates.unseen {
                assert!(!templates.seen.contains(template), "{template} is seen");
                for word in template.split(' ') {
                    assert!(
                        seen.contains(word),
                        "{word:?} of {template:?} is in no seen template"
                    );
                }
            }
        }
    }

    #[test]
    fn unseen_targets_are_seen_kinds_and_differ_by_family() {
        let mut all = Vec::new();
        for family in FAMILIES {
            for kind in family.unseen_targets() {
                assert!(
                    kind.is_seen() && !all.contains(&kind),
                    "{kind} of {}",
                    family.name()
                );
                all.push(kind);
            }
        }
    }

    #[test]
    fn words_name_target_and_reference() {
        let kinds = [
            Kind {
                color: 0,
                shape: Shape::Circle,
            },
            Kind {
                color: 2,
                shape: Shape::Square,
            },
        ];
        let task = Task {
            target: 1,
            goal: Goal::To(0),
        };
        assert_eq!(
            task.words(PUSH_TO.seen[0], &kinds),
            "push the blue square to the red circle"
        );
        let task = Task {
            target: 0,
            goal: Goal::Edge(Edge::Top),
        };
        assert_eq!(
            task.words(PUSH_EDGE.seen[0], &kinds),
            "move the red circle to the top edge"
        );
    }
}

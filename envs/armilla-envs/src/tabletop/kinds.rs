//! Kinds of objects: colour × shape, and which of them training never sees.

use std::fmt;

/// Colours by name; the picture's colours are chosen far apart in hue.
pub(super) const COLORS: [(&str, [u8; 3]); 5] = [
    ("red", [214, 40, 40]),
    ("green", [44, 160, 60]),
    ("blue", [36, 84, 214]),
    ("yellow", [246, 200, 24]),
    ("purple", [172, 64, 200]),
];

/// What an object looks like from above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Circle,
    Square,
    Triangle,
    Cross,
}

/// Every shape.
pub(super) const SHAPES: [Shape; 4] = [Shape::Circle, Shape::Square, Shape::Triangle, Shape::Cross];

impl Shape {
    /// The word an instruction uses.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Circle => "circle",
            Self::Square => "square",
            Self::Triangle => "triangle",
            Self::Cross => "cross",
        }
    }
}

/// A colour and a shape: what an instruction can name. No scene holds two objects of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    /// Index into [`COLORS`].
    pub(super) color: usize,
    /// The shape.
    pub(super) shape: Shape,
}

/// Pairs of colour and shape that training never sees, though it sees each colour and each shape in others.
pub(super) const UNSEEN_PAIRS: [Kind; 4] = [
    Kind {
        color: 0,
        shape: Shape::Triangle,
    },
    Kind {
        color: 1,
        shape: Shape::Circle,
    },
    Kind {
        color: 2,
        shape: Shape::Cross,
    },
    Kind {
        color: 3,
        shape: Shape::Square,
    },
];

impl Kind {
    /// Every kind, 20 in all.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        (0..COLORS.len()).flat_map(|color| SHAPES.map(|shape| Self { color, shape }))
    }

    /// The 16 kinds that training sees.
    pub(super) fn seen() -> impl Iterator<Item = Self> {
        Self::all().filter(|kind| kind.is_seen())
    }

    /// Whether training sees it.
    pub(super) fn is_seen(self) -> bool {
        !UNSEEN_PAIRS.contains(&self)
    }

    /// Whether it has a colour or a shape in common with another kind.
    pub(super) fn resembles(self, other: Self) -> bool {
        self.color == other.color || self.shape == other.shape
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", COLORS[self.color].0, self.shape.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_colour_and_shape_is_seen_in_several_kinds() {
        assert_eq!((Kind::all().count(), Kind::seen().count()), (20, 16));
        for shape in SHAPES {
            assert!(Kind::seen().filter(|kind| kind.shape == shape).count() >= 3);
        }
        for color in 0..COLORS.len() {
            assert!(Kind::seen().filter(|kind| kind.color == color).count() >= 3);
        }
    }

    #[test]
    fn names_read_as_english() {
        assert_eq!(
            UNSEEN_PAIRS.map(|kind| kind.to_string()),
            [
                "red triangle",
                "green circle",
                "blue cross",
                "yellow square"
            ]
        );
    }
}

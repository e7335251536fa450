//! Factors of variation: scenes that look or are built as no recording's.
//!
//! A protocol's name takes one after a colon, `crossing:colors`, so that it goes wherever a protocol is named. Recordings
//! take none.

use armilla_core::{Error, Result};

/// What differs from all that is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variation {
    /// Colours away from those of recordings.
    Colors,
    /// Sizes beyond those of recordings, in the picture and in the physics.
    Sizes,
    /// The agent drawn in another shape; what it can do is unchanged.
    Shapes,
}

impl Variation {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::Colors, Self::Sizes, Self::Shapes];

    /// Its name in a protocol's.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Colors => "colors",
            Self::Sizes => "sizes",
            Self::Shapes => "shapes",
        }
    }
}

/// Takes a protocol's name apart.
///
/// # Errors
///
/// [`Error::Invalid`] for an unknown variation, and for any of `record`.
pub(crate) fn split(protocol: &str) -> Result<(&str, Option<Variation>)> {
    let Some((base, name)) = protocol.split_once(':') else {
        return Ok((protocol, None));
    };
    if base == "record" {
        let expected = "none with protocol record: what is recorded is never varied";
        return Err(Error::invalid("variation", expected, name));
    }
    let found = Variation::ALL.into_iter().find(|v| v.name() == name);
    let variation = found.ok_or_else(|| {
        let known = format!("one of {:?}", Variation::ALL.map(Variation::name));
        Error::invalid("variation", known, name)
    })?;
    Ok((base, Some(variation)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_apart() {
        assert_eq!(split("crossing").unwrap(), ("crossing", None));
        for variation in Variation::ALL {
            let name = format!("ahead:{}", variation.name());
            assert_eq!(split(&name).unwrap(), ("ahead", Some(variation)));
        }
        assert!(split("ahead:smells").is_err_and(|e| e.to_string().contains("colors")));
        assert!(split("record:colors").is_err_and(|e| e.to_string().contains("never")));
    }
}

//! The error that environments and policies return.

/// What can go wrong between a policy and an environment.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A value of the wrong size, kind or range.
    #[error("{what}: expected {expected}, found {found}")]
    Invalid {
        /// What was looked at, with its key or field.
        what: String,
        /// What would have been right.
        expected: String,
        /// What was there.
        found: String,
    },
    /// A number that is not finite, where it would reach a robot or a model.
    #[error("{what}: value {index} is not a finite number ({value})")]
    NotFinite {
        /// What was looked at.
        what: String,
        /// Position of the first such value.
        index: usize,
        /// The value.
        value: f32,
    },
    /// A call out of order, such as a step before the first reset.
    #[error("{0}")]
    OutOfOrder(String),
    /// A failure of what stands behind the trait: a bus, a model, a device.
    #[error("{context}: {source}")]
    Behind {
        /// What was being done.
        context: String,
        /// The underlying error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An [`Error::Invalid`] from anything printable.
    pub fn invalid(what: impl Into<String>, expected: impl ToString, found: impl ToString) -> Self {
        Self::Invalid {
            what: what.into(),
            expected: expected.to_string(),
            found: found.to_string(),
        }
    }

    /// An [`Error::Behind`]: what was being done, and the error that stopped it.
    pub fn behind(
        context: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Behind {
            context: context.into(),
            source: source.into(),
        }
    }
}

/// Checks that every value is finite.
///
/// # Errors
///
/// [`Error::NotFinite`] for the first value that is not.
pub fn check_finite(what: &str, values: &[f32]) -> Result<()> {
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(()),
        Some(index) => Err(Error::NotFinite {
            what: what.to_owned(),
            index,
            value: values[index],
        }),
    }
}

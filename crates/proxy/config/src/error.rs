//! What is wrong with a configuration: every problem with the path of the field at fault.

use std::fmt;

/// One problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The field at fault, such as `static_resources.listeners[0].address`; empty for the whole.
    pub path: String,
    /// What is wrong with it.
    pub problem: String,
}

impl ConfigError {
    /// A problem of the whole document.
    pub fn whole(problem: impl Into<String>) -> Self {
        Self {
            path: String::new(),
            problem: problem.into(),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            f.write_str(&self.problem)
        } else {
            write!(f, "{}: {}", self.path, self.problem)
        }
    }
}

impl std::error::Error for ConfigError {}

/// Why a resource or bootstrap was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors {
    /// At least one, at most [`ConfigErrors::LIMIT`].
    pub errors: Vec<ConfigError>,
    /// How many more there were.
    pub more: usize,
}

impl ConfigErrors {
    /// No more problems than this are kept.
    pub const LIMIT: usize = 20;
}

impl From<ConfigError> for ConfigErrors {
    fn from(error: ConfigError) -> Self {
        Self {
            errors: vec![error],
            more: 0,
        }
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.errors.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            error.fmt(f)?;
        }
        if self.more > 0 {
            write!(f, "; and {} more", self.more)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

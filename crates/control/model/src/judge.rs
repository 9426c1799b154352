//! Who judges what this crate does not know.
//!
//! In: a valid resource. Out: what is wrong with it all the same, by field. The control plane and the
//! tools put in who knows Envoy's messages, which stand in EnvoyFilters.

use std::fmt;

use meltemi_api::FieldPath;

use crate::Config;

/// Judges resources beyond this crate's rules.
#[derive(Clone, Copy)]
pub struct Judge(fn(&Config) -> Vec<(FieldPath, String)>);

impl Judge {
    /// Judges by this function.
    pub const fn new(by: fn(&Config) -> Vec<(FieldPath, String)>) -> Self {
        Self(by)
    }

    /// What is wrong with the resource.
    pub fn judge(&self, config: &Config) -> Vec<(FieldPath, String)> {
        (self.0)(config)
    }
}

impl Default for Judge {
    /// Finds nothing.
    fn default() -> Self {
        Self(|_| Vec::new())
    }
}

impl fmt::Debug for Judge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Judge")
    }
}

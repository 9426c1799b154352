//! Validated resources: the only definition of valid.

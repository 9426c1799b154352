//! One protobuf message merged into another, whatever messages they are.
//!
//! EnvoyFilters are applied by it: by the control plane to what it serves, by an agent to the bootstrap
//! that it makes. A message is merged by its descriptor; nothing here knows what one means.

mod merge;

pub use merge::{Lists, merge, merge_any, merged};

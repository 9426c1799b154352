//! Immutable, indexed state of the whole mesh.

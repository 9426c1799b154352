//! The control plane, assembled.

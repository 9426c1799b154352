//! The proxy's validated configuration, as plain values.

//! A whole mesh on this machine: what the up command runs.

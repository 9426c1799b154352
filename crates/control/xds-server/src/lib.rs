//! xDS sessions and the push queue.

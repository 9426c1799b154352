//! Where resources come from, as a stream of events.

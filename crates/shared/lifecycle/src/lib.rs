//! Clock, randomness, shutdown and drain handles.

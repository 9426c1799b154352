//! The xDS client: a session state machine and its transport.

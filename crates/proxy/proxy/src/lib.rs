//! The data plane, assembled: workers, configuration and administration.

//! Test support: scripted upstreams, reporting clients, process harnesses.

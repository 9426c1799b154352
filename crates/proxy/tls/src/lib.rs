//! TLS contexts by secret name, and SPIFFE peer verification.

//! Pure translation from a snapshot and a proxy to Envoy resources.

//! Envoy bootstrap and xDS resources to the proxy's own configuration.

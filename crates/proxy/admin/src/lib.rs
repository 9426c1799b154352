//! The proxy's administration endpoint, in Envoy's formats.

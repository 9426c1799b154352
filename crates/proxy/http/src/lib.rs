//! The HTTP connection manager: codec, routing, retries, responses.

//! Envoy xDS and Istio protobuf types, generated from a committed descriptor set.

pub mod pb;

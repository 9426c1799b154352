//! Istio and Kubernetes resources as people write them.

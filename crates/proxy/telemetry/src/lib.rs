//! Statistics, access logs and Istio's standard metrics.

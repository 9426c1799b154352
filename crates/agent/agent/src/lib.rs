//! What runs beside a workload: identity, bootstrap and the proxy.

//! A sample workload: echoes, calls upstreams, injects latency and errors.

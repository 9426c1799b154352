//! What a platform adds to resources before they count.

use meltemi_model::{Config, ResourceId};

/// A platform that gives resources what their author leaves to it: addresses of workloads, cluster
/// IPs of services. Kubernetes does this before we see a resource; `meltemi up` does it here.
pub trait Overlay: Send + Sync + 'static {
    /// The resource as it is to count. The same resource must be adjusted in the same way each time.
    fn adjust(&self, config: Config) -> Config;

    /// The resource is gone: what was given to it can be given to others.
    fn removed(&self, id: &ResourceId) {
        let _ = id;
    }
}

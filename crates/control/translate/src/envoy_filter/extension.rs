//! Configuration of extensions by name (ECDS, FEATURES X6).
//!
//! In: the EXTENSION_CONFIG patches. Out: the configuration of a name, which filters ask for that are
//! written with `config_discovery`. As in Istio, such a patch holds in every context.

use meltemi_model::{ApplyTo, PatchOperation};
use meltemi_xds::pb::envoy::config::core::v3::TypedExtensionConfig;

use super::{Patches, message};

impl Patches<'_> {
    /// The configurations, in the order of the patches; the first of a name counts.
    pub(crate) fn extensions(&self) -> impl Iterator<Item = TypedExtensionConfig> {
        let patches = self.by_kind.get(&ApplyTo::ExtensionConfig);
        let patches = patches.into_iter().flatten();
        let added = patches.filter(|it| it.operation == PatchOperation::Add);
        added.filter_map(|it| message::of(it))
    }
}

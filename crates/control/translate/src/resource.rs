//! What comes out: resources in their encoded form.
//!
//! In: messages. Out: [`EncodedResource`] values by name, which the xDS server keeps by hash and
//! shares between the proxies that see the same.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hasher};
use std::net::IpAddr;
use std::sync::Arc;

use prost::{Message, Name};
use prost_types::Any;

/// An encoded resource.
#[derive(Debug, Clone, PartialEq)]
pub struct EncodedResource {
    /// Its name.
    pub name: Arc<str>,
    /// The message with its type URL.
    pub any: Arc<Any>,
    /// A hash of the encoded message: equal for equal content, in every process of the same build.
    pub hash: u64,
    /// Whether it is a cluster that serves only once its endpoints have arrived over EDS.
    pub needs_endpoints: bool,
    /// It is a listener at the address of this workload and for nothing else, which the workload's own
    /// proxy is not sent.
    pub of_workload: Option<IpAddr>,
}

/// Resources of one type by name.
pub type ResourceMap = BTreeMap<Arc<str>, EncodedResource>;

/// Everything that a proxy needs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Resources {
    /// CDS.
    pub clusters: ResourceMap,
    /// EDS: the endpoints of those clusters that ask for them.
    pub endpoints: ResourceMap,
    /// LDS.
    pub listeners: ResourceMap,
    /// RDS: the route tables that the listeners name.
    pub routes: ResourceMap,
    /// SDS: the gateway credentials that the listeners name, as far as they exist.
    pub secrets: ResourceMap,
    /// ECDS: the configurations by name that there are, asked for or not.
    pub extensions: ResourceMap,
}

impl EncodedResource {
    /// Encodes a message.
    pub(crate) fn new<M: Message + Name>(name: &str, message: &M) -> Self {
        let any = meltemi_xds::any::pack(message);
        let mut hasher = DefaultHasher::new();
        hasher.write(any.type_url.as_bytes());
        hasher.write(&any.value);
        Self {
            name: name.into(),
            hash: hasher.finish(),
            any: Arc::new(any),
            needs_endpoints: false,
            of_workload: None,
        }
    }

    /// The same, of which is known for which workload alone it is.
    pub(crate) fn of_workload(self, of_workload: Option<IpAddr>) -> Self {
        Self {
            of_workload,
            ..self
        }
    }

    /// The same, of which is known whether it needs endpoints.
    pub(crate) fn needing_endpoints(self, needs_endpoints: bool) -> Self {
        Self {
            needs_endpoints,
            ..self
        }
    }
}

/// Encoded resources by name; the first of a name stays.
pub(crate) fn collect(resources: impl IntoIterator<Item = EncodedResource>) -> ResourceMap {
    let mut map = ResourceMap::new();
    for resource in resources {
        map.entry(resource.name.clone()).or_insert(resource);
    }
    map
}

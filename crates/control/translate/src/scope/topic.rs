//! What reads are about, as sets that are compared at once.
//!
//! In: reads, and the kinds of resources that changed. Out: whether such a change can give any of the
//! reads another answer. Thousands of proxies are asked that at each push, most of which it does not
//! concern; those that it may concern compare what they read ([`Read::is_same`]).

use meltemi_model::Kind;

use super::Read;

/// A set of what reads can be about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Topics(u32);

impl Topics {
    const OWN: Self = Self(1);
    const MESH: Self = Self(1 << 1);
    const PATCHES: Self = Self(1 << 2);
    /// Which services there are and who sees them.
    const SERVICES: Self = Self(1 << 3);
    const AUTO_ADDRESSES: Self = Self(1 << 4);
    const VIRTUAL_SERVICES: Self = Self(1 << 5);
    const GATEWAYS: Self = Self(1 << 6);
    const RULES: Self = Self(1 << 7);
    const ENDPOINTS: Self = Self(1 << 8);
    const CALLERS: Self = Self(1 << 9);
    const RIGHTS: Self = Self(1 << 10);
    const TOKENS: Self = Self(1 << 11);
    const TELEMETRIES: Self = Self(1 << 12);
    const TARGETS: Self = Self(1 << 13);
    const SECRETS: Self = Self(1 << 14);
    const EVERYTHING: Self = Self(u32::MAX);

    /// What every part reads.
    pub const ALWAYS: Self = Self::OWN;

    /// What a read is about.
    pub fn of(read: &Read) -> Self {
        match read {
            Read::Own => Self::OWN,
            Read::Mesh => Self::MESH,
            Read::Patches => Self::PATCHES,
            Read::Services
            | Read::Service(_)
            | Read::Host(_)
            | Read::NamespacesOf(_)
            | Read::Aliases(_) => Self::SERVICES,
            Read::AutoAddresses(_) => Self::AUTO_ADDRESSES,
            Read::Imports | Read::VirtualServices(_) => Self::VIRTUAL_SERVICES,
            Read::Gateways => Self::GATEWAYS,
            Read::Rule(_) => Self::RULES,
            Read::Endpoints(_) | Read::Accounts(_) => Self::ENDPOINTS,
            Read::PeerAuthentications(_) => Self::CALLERS,
            Read::AuthorizationPolicies => Self::RIGHTS,
            Read::RequestAuthentications | Read::Keys(_) => Self::TOKENS,
            Read::Telemetries => Self::TELEMETRIES,
            Read::Targets => Self::TARGETS,
            Read::Secret(_) => Self::SECRETS,
        }
    }

    /// What a change of a resource of this kind can be about. Of workloads this is what it is for those
    /// whose workload is another one; and whose endpoints differ is for commits to say.
    pub fn of_change(kind: Kind) -> Self {
        match kind {
            Kind::MeshConfig => Self::EVERYTHING,
            // Of a namespace only its endpoints depend.
            Kind::Namespace | Kind::Node | Kind::Pod | Kind::Deployment | Kind::WorkloadEntry => {
                Self(0)
            }
            Kind::Service | Kind::ServiceEntry => {
                Self::SERVICES.and(Self::AUTO_ADDRESSES).and(Self::TARGETS)
            }
            Kind::EndpointSlice => Self::TARGETS,
            Kind::Secret => Self::SECRETS,
            Kind::Gateway => Self::GATEWAYS,
            // They lead to services that a Sidecar leaves out.
            Kind::VirtualService => Self::VIRTUAL_SERVICES.and(Self::SERVICES),
            Kind::DestinationRule => Self::RULES,
            Kind::Sidecar => Self::OWN.and(Self::SERVICES).and(Self::VIRTUAL_SERVICES),
            Kind::PeerAuthentication => Self::CALLERS,
            Kind::EnvoyFilter => Self::PATCHES,
            Kind::Telemetry => Self::TELEMETRIES,
            Kind::RequestAuthentication => Self::TOKENS,
            Kind::AuthorizationPolicy => Self::RIGHTS,
            // Nothing that a proxy is sent is made of these.
            Kind::ServiceAccount | Kind::ConfigMap | Kind::WorkloadGroup | Kind::ProxyConfig => {
                Self(0)
            }
        }
    }

    /// What is in either of two.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether something is in both of two.
    pub fn meet(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

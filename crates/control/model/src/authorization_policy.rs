//! Who may do what to a workload.
//!
//! In: Istio AuthorizationPolicy (`security.istio.io`). Out: [`AuthorizationPolicy`], whose rules are
//! lists of conditions in Istio's order (FEATURES S8).

mod convert;
mod glob;
mod template;

use crate::{AddressRange, Metadata, PolicyTarget};

pub(crate) use convert::{SUPPORT, convert, refuse_everything};
pub use glob::Glob;

/// A valid Istio AuthorizationPolicy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorizationPolicy {
    /// Its metadata.
    pub meta: Metadata,
    /// What it is attached to.
    pub target: PolicyTarget,
    /// What becomes of requests that match.
    pub action: AuthorizationAction,
    /// The annotation `istio.io/dry-run`: it is evaluated and not enforced.
    pub dry_run: bool,
    /// A request matches if it matches one of these; without any it never does.
    pub rules: Vec<AuthorizationRule>,
}

/// What becomes of requests that match a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthorizationAction {
    /// `ALLOW`: they pass, and those that match no such policy do not.
    Allow,
    /// `DENY`.
    Deny,
    /// `AUDIT`: they are marked for the log.
    Audit,
    /// `CUSTOM`: the extension provider of this name decides.
    Custom(String),
}

/// Conditions on where a request is from, what it does and what else is known of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuthorizationRule {
    /// `from`: one of these sources, each with all of its conditions; any if there are none.
    pub from: Vec<Vec<Condition>>,
    /// `to`: one of these operations, each with all of its conditions; any if there are none.
    pub to: Vec<Vec<Condition>>,
    /// `when`: all of these.
    pub when: Vec<Condition>,
}

/// One attribute and what it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// A text.
    Text(TextAttribute, Wanted<Glob>),
    /// An address.
    Address(AddressAttribute, Wanted<AddressRange>),
    /// The port that the connection is for (`destination.port`).
    Port(Wanted<u16>),
}

/// One of some values, and none of others; at least one of the lists has entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted<T> {
    /// `values`: one of these, if there are any.
    pub any_of: Vec<T>,
    /// `notValues`: none of these.
    pub none_of: Vec<T>,
}

/// A text that is known of a request or a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TextAttribute {
    /// The authority (`hosts`).
    Host,
    /// The method.
    Method,
    /// The path, without its query.
    Path,
    /// `request.headers[NAME]`.
    Header(String),
    /// `source.principal`: the peer's identity without `spiffe://`.
    Principal,
    /// `source.namespace`.
    Namespace,
    /// `serviceAccounts`: `NAMESPACE/NAME`, or a name in the policy's namespace.
    ServiceAccount,
    /// `trustDomains`.
    TrustDomain,
    /// `request.auth.principal`: issuer and subject of the token.
    RequestPrincipal,
    /// `request.auth.audiences`.
    Audiences,
    /// `request.auth.presenter`.
    Presenter,
    /// `request.auth.claims[NAME]...`.
    Claim(Vec<String>),
    /// `connection.sni`.
    ServerName,
    /// `experimental.envoy.filters.FILTER[KEY]`: what a filter said of the request.
    FilterMetadata {
        /// `envoy.filters.` and so on.
        filter: String,
        /// The key.
        key: String,
    },
}

/// An address that is known of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressAttribute {
    /// `source.ip`: the peer of the connection.
    Source,
    /// `remote.ip`: the client, as trusted proxies say.
    Remote,
    /// `destination.ip`.
    Destination,
}

impl TextAttribute {
    /// Whether only an HTTP request has it.
    pub fn is_http(&self) -> bool {
        match self {
            Self::Host
            | Self::Method
            | Self::Path
            | Self::Header(_)
            | Self::RequestPrincipal
            | Self::Audiences
            | Self::Presenter
            | Self::Claim(_) => true,
            Self::Principal
            | Self::Namespace
            | Self::ServiceAccount
            | Self::TrustDomain
            | Self::ServerName
            | Self::FilterMetadata { .. } => false,
        }
    }

    /// Whether it is about what is done, rather than who does it.
    fn is_permission(&self) -> bool {
        match self {
            Self::Host
            | Self::Method
            | Self::Path
            | Self::ServerName
            | Self::FilterMetadata { .. } => true,
            Self::Header(_)
            | Self::RequestPrincipal
            | Self::Audiences
            | Self::Presenter
            | Self::Claim(_)
            | Self::Principal
            | Self::Namespace
            | Self::ServiceAccount
            | Self::TrustDomain => false,
        }
    }
}

impl Condition {
    /// Whether it is about what is done (Envoy's permissions), rather than who does it (principals).
    pub fn is_permission(&self) -> bool {
        match self {
            Self::Text(attribute, _) => attribute.is_permission(),
            Self::Address(attribute, _) => *attribute == AddressAttribute::Destination,
            Self::Port(_) => true,
        }
    }
}

//! Role-based access control (`envoy.config.rbac.v3`): who may do what.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::{HeaderMatch, MetadataMatch, Prefix, RegexMatch, SanMatch, StringMatch};

/// `envoy.extensions.filters.http.rbac.v3.RBAC`, for a filter or for a route.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HttpRbac {
    /// What is enforced; nothing where it is absent.
    pub rules: Option<Arc<Rbac>>,
    /// What statistics and metadata of it begin with.
    pub rules_stat_prefix: String,
    /// What is tried out.
    pub shadow_rules: Option<Arc<Rbac>>,
    /// What statistics and metadata of it begin with.
    pub shadow_rules_stat_prefix: String,
    /// Each policy has statistics of its own.
    pub track_per_rule_stats: bool,
}

/// `envoy.extensions.filters.network.rbac.v3.RBAC`.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkRbac {
    /// What is enforced; nothing where it is absent.
    pub rules: Option<Arc<Rbac>>,
    /// What is tried out.
    pub shadow_rules: Option<Arc<Rbac>>,
    /// What statistics and metadata of it begin with.
    pub shadow_rules_stat_prefix: String,
    /// What the statistics' names begin with.
    pub stat_prefix: String,
    /// A refused connection is closed only after this time.
    pub delay_deny: Duration,
}

/// Policies, and what becomes of whom one of them matches.
#[derive(Clone, Debug, PartialEq)]
pub struct Rbac {
    /// What becomes of a match.
    pub action: RbacAction,
    /// The policies by name. The first that matches, in the order of their names, decides.
    pub policies: BTreeMap<String, RbacPolicy>,
}

/// What becomes of a match.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RbacAction {
    /// Only what matches is let in.
    #[default]
    Allow,
    /// What matches is refused.
    Deny,
    /// Everything is let in; what matches is marked for the access log.
    Log,
}

/// A policy: it matches where one of its permissions and one of its principals do.
#[derive(Clone, Debug, PartialEq)]
pub struct RbacPolicy {
    /// What is done.
    pub permissions: Vec<RbacRule>,
    /// Who does it.
    pub principals: Vec<RbacRule>,
}

/// A permission or a principal; they ask the same kinds of questions.
#[derive(Clone, Debug, PartialEq)]
pub enum RbacRule {
    /// Everything and everybody.
    Any,
    /// All of these.
    All(Vec<RbacRule>),
    /// One of these.
    OneOf(Vec<RbacRule>),
    /// Not this.
    Not(Box<RbacRule>),
    /// A header of the request.
    Header(HeaderMatch),
    /// The request's path without its query.
    Path(StringMatch),
    /// The same by a template.
    UriTemplate(UriTemplate),
    /// The address that the connection goes to.
    DestinationIp(Prefix),
    /// The port that the connection goes to: in `start..end`.
    DestinationPort {
        /// The first that matches.
        start: u32,
        /// The first after those that match.
        end: u32,
    },
    /// Metadata.
    Metadata {
        /// Whose.
        source: RbacMetadata,
        /// What is asked of it.
        matcher: MetadataMatch,
    },
    /// The server name that the client asks for; empty where it asks for none.
    ServerName(StringMatch),
    /// A name of the client's certificate: a URI, a DNS name, or the subject. Anybody who speaks
    /// TLS where nothing is asked of it.
    Authenticated(Option<StringMatch>),
    /// A verified certificate of the client, perhaps with a name of this kind.
    VerifiedCertificate(Option<SanMatch>),
    /// Where the client is.
    Client {
        /// Which of its addresses.
        address: ClientAddress,
        /// Where it must be.
        range: Prefix,
    },
    /// Filter state, as text.
    FilterState {
        /// The key.
        key: String,
        /// What is asked of the value.
        value: StringMatch,
    },
}

/// Whose metadata is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RbacMetadata {
    /// What filters left with the request.
    #[default]
    Dynamic,
    /// The route's.
    Route,
}

/// One of a client's addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClientAddress {
    /// The connection's, as listener filters tell (`source_ip`).
    Connection,
    /// The socket's (`direct_remote_ip`).
    Direct,
    /// The one that is taken for the client's, by headers too (`remote_ip`).
    Trusted,
}

/// `envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UriTemplate {
    /// As it is written.
    pub text: String,
    /// The same as an expression that the whole path must match.
    pub regex: RegexMatch,
}

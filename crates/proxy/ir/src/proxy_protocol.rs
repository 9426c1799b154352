//! The PROXY protocol: what listeners read of it, and what upstreams are sent.

/// `envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProxyProtocol {
    /// A connection may do without a header.
    pub optional: bool,
    /// Which entries of a header become metadata.
    pub rules: Vec<ProxyEntryRule>,
    /// Version 1 is refused.
    pub refuse_v1: bool,
    /// Version 2 is refused.
    pub refuse_v2: bool,
    /// The prefix of its statistics, perhaps empty.
    pub stat_prefix: String,
    /// Which entries are kept for upstreams that are sent a header.
    pub kept: PassedEntries,
}

/// An entry of a PROXY protocol header that becomes metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyEntryRule {
    /// The entry's type.
    pub kind: u8,
    /// The namespace of the metadata.
    pub namespace: String,
    /// The key.
    pub key: String,
}

/// A type and a value (`TlvEntry`).
pub type ProxyEntry = (u8, Vec<u8>);

/// Which entries of a header go on (`ProxyProtocolPassThroughTLVs`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PassedEntries {
    /// None.
    #[default]
    None,
    /// All.
    All,
    /// Those of these types.
    Of(Vec<u8>),
}

impl PassedEntries {
    /// Whether entries of this type do.
    pub fn has(&self, kind: u8) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::Of(kinds) => kinds.contains(&kind),
        }
    }
}

/// What becomes of a client's entries where there are others (`ProxyProtocolTlvMergePolicy`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProxyEntryMerge {
    /// A client that sent a header keeps its own, and gets no others.
    #[default]
    AddIfAbsent,
    /// The others take the place of the client's of the same type.
    Overwrite,
    /// The others follow the client's.
    Append,
}

/// The header that a connection to an upstream begins with (`ProxyProtocolConfig`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyHeader {
    /// In the binary form of version 2, and not in the text of version 1.
    pub is_v2: bool,
    /// Which of the downstream connection's entries go on.
    pub passed: PassedEntries,
    /// Further entries.
    pub added: Vec<ProxyEntry>,
}

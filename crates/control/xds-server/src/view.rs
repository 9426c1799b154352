//! What a session serves from: the state of the mesh at one moment, as one proxy sees it.
//!
//! A session has a [`Viewer`], which gives it the mesh as it is now and tells it when that may be
//! something else for just this proxy. Who is told nothing has nothing to do.

use std::fmt;
use std::sync::Arc;

use meltemi_xds::pb::envoy::config::core::v3::Node;
use prost_types::Any;
use tokio::sync::watch;

use crate::Kind;

/// A resource, encoded once and shared by every proxy that sees the same.
#[derive(Clone, Debug, PartialEq)]
pub struct Resource {
    /// Its name.
    pub name: Arc<str>,
    /// Changes exactly when its content does.
    pub version: Version,
    /// The message.
    pub body: Arc<Any>,
    /// A cluster of this kind serves only once these endpoints have arrived.
    pub needs_endpoints: bool,
}

/// The version of a resource: of its content, not of the mesh.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(u64);

/// Which resources of a kind are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted<'a> {
    /// All that the proxy should have.
    All,
    /// Those of these names that exist; the names are in order.
    Names(Vec<&'a str>),
}

/// A moment at which a session compared what it had sent with what there was. Two moments can only be
/// compared by whoever made them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Which shared state, and its version.
    pub shared: (u64, u64),
    /// Which state of the proxy's own, and its version.
    pub own: (u64, u64),
}

/// The mesh, as it is served.
pub trait View: Send + Sync {
    /// The place of a proxy among those that are served. What is made for the proxy is kept for as long
    /// as somebody holds this.
    fn viewer(self: Arc<Self>, node: &Arc<Node>) -> Arc<dyn Viewer>;
}

/// The mesh, as it is served to one proxy.
pub trait Viewer: Send + Sync {
    /// What there is now.
    fn look(&self) -> Arc<dyn ProxyView>;

    /// Changes whenever the next look may give something else than the one before. A receiver that was
    /// made before a look misses nothing that comes after it.
    fn changes(&self) -> watch::Receiver<u64>;
}

/// The state of the mesh at one moment, as one proxy sees it. The same question gives the same answer.
pub trait ProxyView: Send + Sync {
    /// The version of the state.
    fn version(&self) -> u64;

    /// The resources of a kind, sorted by name.
    fn resources(&self, kind: Kind, wanted: &Wanted<'_>) -> Vec<Resource>;

    /// The names of all resources of a kind that may differ from what they were at an earlier moment;
    /// `None` if that is not known.
    fn changed_since(&self, kind: Kind, mark: Mark) -> Option<Vec<Arc<str>>>;

    /// This moment, if a later one can be compared with it.
    fn mark(&self) -> Option<Mark>;

    /// Whether a later moment has come that does not know of everything that was asked for here: nobody
    /// will tell of changes to it, and the session has to look again.
    fn is_outdated(&self) -> bool;
}

impl Version {
    /// The version of content with this hash.
    pub fn of_hash(hash: u64) -> Self {
        // One bit is kept free, and zero is no version: see `session/known.rs`.
        Self((hash >> 1).max(1))
    }

    /// Reads what a proxy says that it has. What this server cannot have sent is a version too: of
    /// something else than there is.
    pub fn parse(text: &str) -> Self {
        let number = u64::from_str_radix(text, 16).ok();
        let sent = number.filter(|it| *it != 0 && *it < 1 << 63);
        Self(sent.unwrap_or((1 << 63) - 1))
    }

    pub(crate) fn from_bits(bits: u64) -> Option<Self> {
        (bits != 0).then_some(Self(bits))
    }

    pub(crate) fn bits(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

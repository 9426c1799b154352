//! How inbound connections may begin (FEATURES S5).
//!
//! In: what a port speaks and which callers it takes. Out: a [`Beginning`] for each way in which a
//! connection may begin, and what is done with it.

use meltemi_model::{MutualTlsMode, Protocol};

use super::chain;
use crate::scope::Scope;

/// ALPN of HTTP in the mesh's mutual TLS.
const MESH_HTTP: [&str; 3] = ["istio-http/1.0", "istio-http/1.1", "istio-h2"];
/// ALPN of anything else in it.
const MESH_TCP: [&str; 2] = ["istio-peer-exchange", "istio"];

/// Every ALPN of the mesh's mutual TLS.
pub(crate) fn mesh_protocols() -> Vec<String> {
    let all = MESH_TCP.into_iter().chain(MESH_HTTP);
    all.map(str::to_owned).collect()
}

/// A way in which a connection to a port may begin.
pub(super) struct Beginning {
    /// ALPN, or what the HTTP inspector found.
    pub protocols: Vec<String>,
    /// In TLS.
    pub tls: bool,
    /// Which TLS the proxy opens.
    pub opened: Opened,
    /// It is read as HTTP.
    pub http: bool,
}

/// Which TLS the proxy opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opened {
    /// None.
    No,
    /// The mesh's own.
    Mesh,
    /// That of the port.
    Own,
}

impl Beginning {
    /// TLS of the port's own.
    pub fn own_tls(http: bool) -> Self {
        Self {
            opened: Opened::Own,
            ..Self::mesh(&[], http)
        }
    }

    fn mesh(protocols: &[&str], http: bool) -> Self {
        Self {
            protocols: protocols.iter().map(|&it| it.to_owned()).collect(),
            tls: true,
            opened: Opened::Mesh,
            http,
        }
    }

    fn plain(protocols: Vec<String>, http: bool) -> Self {
        Self {
            protocols,
            tls: false,
            opened: Opened::No,
            http,
        }
    }

    /// TLS that is the application's affair.
    fn foreign_tls() -> Self {
        Self {
            opened: Opened::No,
            ..Self::mesh(&[], false)
        }
    }
}

/// The ways in which a connection may begin on a port with this protocol.
pub(super) fn beginnings(
    scope: &Scope<'_>,
    protocol: Protocol,
    mode: MutualTlsMode,
) -> Vec<Beginning> {
    let plain_http = || Beginning::plain(chain::plain_http_protocols(scope), true);
    let plain = |http| Beginning::plain(Vec::new(), http);
    let any_mesh: Vec<_> = MESH_TCP.into_iter().chain(MESH_HTTP).collect();
    let (http, detects) = (protocol.is_http(), protocol == Protocol::Auto);
    match mode {
        MutualTlsMode::Strict if detects => vec![
            Beginning::mesh(&MESH_HTTP, true),
            Beginning::mesh(&[], false),
        ],
        MutualTlsMode::Strict => vec![Beginning::mesh(&[], http)],
        MutualTlsMode::Disable if detects => {
            vec![plain_http(), plain(false), Beginning::foreign_tls()]
        }
        // Whether it is TLS is not looked at.
        MutualTlsMode::Disable => vec![plain(http)],
        MutualTlsMode::Permissive if http => vec![Beginning::mesh(&any_mesh, true), plain(true)],
        MutualTlsMode::Permissive if detects => vec![
            Beginning::mesh(&MESH_HTTP, true),
            plain_http(),
            Beginning::mesh(&MESH_TCP, false),
            plain(false),
            Beginning::foreign_tls(),
        ],
        MutualTlsMode::Permissive => vec![
            Beginning::mesh(&any_mesh, false),
            plain(false),
            Beginning::foreign_tls(),
        ],
    }
}

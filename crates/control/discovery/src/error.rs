//! Why a control plane does not start, or ends.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use meltemi_ca::{IssuerError, SignError, StoreError};
use meltemi_model::Problem;
use meltemi_source::SourceError;

/// Why a control plane does not start, or ends.
#[derive(Debug, thiserror::Error)]
pub enum DiscoveryError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address} for {purpose}: {error}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What for.
        purpose: &'static str,
        /// What the system says.
        #[source]
        error: io::Error,
    },
    /// The address for plain-text xDS is not a loopback address.
    #[error(
        "{0}: xDS in plain text is for this machine only; use a loopback address, or allow others explicitly"
    )]
    Exposed(SocketAddr),
    /// The authority does not work.
    #[error("the certificate authority: {0}")]
    Authority(#[from] StoreError),
    /// The tokens of an issuer cannot be judged.
    #[error("the tokens of {issuer}: {error}")]
    Issuer {
        /// The issuer.
        issuer: String,
        /// Why.
        #[source]
        error: IssuerError,
    },
    /// The server's own certificate could not be made.
    #[error("the server's certificate: {0}")]
    Certificate(#[from] SignError),
    /// The TLS library refuses what it is given.
    #[error("TLS: {0}")]
    Tls(String),
    /// The resources cannot be read at all.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The mesh configuration file cannot be read.
    #[error("{path}: {error}")]
    MeshFile {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        error: io::Error,
    },
    /// The mesh configuration file is not valid.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    MeshConfig(Vec<Problem>),
    /// A server has ended by itself.
    #[error("{server} has ended: {reason}")]
    Ended {
        /// Which.
        server: &'static str,
        /// Why.
        reason: String,
    },
    /// The end was asked for before everything had started.
    #[error("stopped before the first configuration was complete")]
    Stopped,
}

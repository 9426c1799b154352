//! `envoy.filters.network.ext_authz`: asks somebody else whether a connection may go on.
//!
//! In: what is known of a connection whose TLS handshake is done. Out: a [`ConnectionVerdict`]. The
//! listener asks, before anything of the connection is served; the question is the one that the HTTP
//! filter asks, without a request.

use std::collections::BTreeMap;

use http::HeaderMap;
use meltemi_ir as ir;
use meltemi_telemetry::{ConnectionInfo, StreamRecord};

use super::grpc_service;
use super::inquiry::{Party, certificate, choose, local_principal, peer_principal};
use super::verdict::Verdict;
use super::wire;
use crate::mutation::{Mutation, MutationError, NoPseudo};
use crate::worker::WorkerContext;

/// Who is asked about connections.
pub struct ConnectionAuthorizer {
    service: ir::GrpcTarget,
    /// Headers of the calls.
    headers: Mutation,
    include_peer_certificate: bool,
    include_tls_session: bool,
    metadata_namespaces: Vec<String>,
}

/// What was answered.
#[derive(Clone, Debug, PartialEq)]
pub enum ConnectionVerdict {
    /// It goes on; this is left with it, under the filter's name.
    Allowed(BTreeMap<String, ir::Value>),
    /// It ends.
    Denied(BTreeMap<String, ir::Value>),
    /// Nobody answered.
    Error,
}

impl ConnectionAuthorizer {
    /// The authorizer of a filter's settings.
    ///
    /// # Errors
    /// A header of the calls whose value is no format.
    pub fn new(config: &ir::ConnectionAuthz) -> Result<Self, MutationError> {
        let metadata = ir::HeaderMutation {
            remove: Vec::new(),
            add: config.service.metadata.clone(),
        };
        Ok(Self {
            headers: Mutation::new(&metadata)?,
            service: config.service.clone(),
            include_peer_certificate: config.include_peer_certificate,
            include_tls_session: config.include_tls_session,
            metadata_namespaces: config.metadata_namespaces.clone(),
        })
    }

    /// Asks.
    pub async fn ask(&self, info: &ConnectionInfo, worker: &WorkerContext) -> ConnectionVerdict {
        let question = wire::connection(&self.inquiry(info));
        let headers = self.headers(info, worker);
        match grpc_service::check(&self.service, headers, &question, worker).await {
            Verdict::Allowed(allowed) => ConnectionVerdict::Allowed(allowed.metadata),
            Verdict::Denied(denied) => ConnectionVerdict::Denied(denied.metadata),
            Verdict::Error => ConnectionVerdict::Error,
        }
    }

    fn inquiry(&self, info: &ConnectionInfo) -> ConnectionInquiry {
        let tls = info.tls.as_ref();
        ConnectionInquiry {
            source: Party {
                address: info.remote,
                service: String::new(),
                principal: tls.map(peer_principal).unwrap_or_default(),
                certificate: match tls {
                    Some(tls) if self.include_peer_certificate => certificate(tls),
                    _ => String::new(),
                },
            },
            destination: Party {
                address: info.local,
                // Where there is no request, the server name is all that says who was meant.
                service: info.requested_server_name.clone().unwrap_or_default(),
                principal: tls.map(local_principal).unwrap_or_default(),
                certificate: String::new(),
            },
            metadata: choose(Some(&info.metadata), &self.metadata_namespaces),
            sni: self
                .include_tls_session
                .then(|| info.requested_server_name.clone().unwrap_or_default())
                .filter(|_| tls.is_some()),
        }
    }

    fn headers(&self, info: &ConnectionInfo, worker: &WorkerContext) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if self.headers.is_empty() {
            return headers;
        }
        let record = StreamRecord::new(info, worker.clock.since_epoch());
        let values = self.headers.values(&record);
        self.headers.apply(&mut headers, &mut NoPseudo, values);
        headers
    }
}

/// What a service is told of a connection.
pub(super) struct ConnectionInquiry {
    pub(super) source: Party,
    pub(super) destination: Party,
    pub(super) metadata: ir::Metadata,
    /// The server name of the TLS session, where it is to be told.
    pub(super) sni: Option<String>,
}

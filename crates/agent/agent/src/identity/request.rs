//! A key, a request for it, and the authority's answer.
//!
//! In: who the workload is, its token, a way to the control plane. Out: a certified key with the trust
//! bundle, or why there is none.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hyper_util::rt::TokioIo;
use meltemi_ir::TlsCertificate;
use meltemi_spiffe::{CertificateNames, SpiffeId, SvidError};
use meltemi_xds::pb::istio::v1::auth::IstioCertificateRequest;
use meltemi_xds::pb::istio::v1::auth::istio_certificate_service_client::IstioCertificateServiceClient;
use meltemi_xds_client::Connector;
use rcgen::{CertificateParams, KeyPair, SanType};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tonic::transport::{Channel, Endpoint};

use super::WorkloadKey;

/// How long the control plane may take to answer.
const LIMIT: Duration = Duration::from_secs(10);

/// The header that says which process asks: its next certificate replaces its last.
const HOLDER: &str = "x-meltemi-holder";

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The key or the request could not be made.
    #[error("cannot make a key and a signing request: {0}")]
    Request(#[from] rcgen::Error),
    /// Making the key ended early.
    #[error("no key was made: {0}")]
    Stopped(String),
    /// The token cannot be read.
    #[error("cannot read the token {path}: {source}")]
    Token {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The control plane cannot be reached.
    #[error("cannot reach the certificate authority: {0}")]
    Connect(String),
    /// The certificate authority refused.
    #[error("the certificate authority refused: {0}")]
    Refused(String),
    /// The answer is no chain of ours.
    #[error("the certificate authority's answer is not usable: {0}")]
    Answer(String),
    /// The certificate is no SVID.
    #[error(transparent)]
    Svid(#[from] SvidError),
}

/// Gets certificates from the control plane.
pub struct CertificateClient {
    /// Whose certificates they are.
    pub id: SpiffeId,
    /// Of which sort the keys are.
    pub key: WorkloadKey,
    /// Which process asks.
    pub holder: String,
    /// The file with the token, which is read at each use.
    pub token: PathBuf,
    /// The way to the control plane.
    pub connector: Connector,
}

/// A certified key.
pub(crate) struct Certified {
    pub certificate: TlsCertificate,
    pub roots_pem: String,
    pub not_before: SystemTime,
    pub not_after: SystemTime,
}

impl CertificateClient {
    pub(crate) async fn obtain(&self, lifetime: Duration) -> Result<Certified, IdentityError> {
        let sort = self.key;
        // RSA takes its time, and requests of the proxy's do not wait for it.
        let made = tokio::task::spawn_blocking(move || sort.make()).await;
        let key = made.map_err(|error| IdentityError::Stopped(error.to_string()))??;
        let csr = signing_request(&self.id, &key)?;
        let chain = self.sign(csr, lifetime).await?;
        self.check(chain, &key)
    }

    async fn sign(&self, csr: String, lifetime: Duration) -> Result<Vec<String>, IdentityError> {
        let token =
            std::fs::read_to_string(&self.token).map_err(|source| IdentityError::Token {
                path: self.token.clone(),
                source,
            })?;
        let channel = channel(&self.connector)
            .await
            .map_err(|error| IdentityError::Connect(innermost(&error)))?;
        let mut request = tonic::Request::new(IstioCertificateRequest {
            csr,
            validity_duration: i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX),
            metadata: None,
        });
        request.set_timeout(LIMIT);
        let metadata = request.metadata_mut();
        let value = format!("Bearer {}", token.trim())
            .parse()
            .map_err(|_| IdentityError::Refused("the token is not a header value".to_owned()))?;
        metadata.insert("authorization", value);
        if let Ok(holder) = self.holder.parse() {
            metadata.insert(HOLDER, holder);
        }
        let mut client = IstioCertificateServiceClient::new(channel);
        let answered = tokio::time::timeout(LIMIT, client.create_certificate(request)).await;
        match answered {
            Ok(Ok(response)) => Ok(response.into_inner().cert_chain),
            Ok(Err(status)) => Err(IdentityError::Refused(format!(
                "{}: {}",
                status.code(),
                status.message()
            ))),
            Err(_) => Err(IdentityError::Connect(format!(
                "no answer within {LIMIT:?}"
            ))),
        }
    }

    /// The chain has the leaf first and the roots last.
    fn check(&self, mut chain: Vec<String>, key: &KeyPair) -> Result<Certified, IdentityError> {
        let unusable = |what: &str| IdentityError::Answer(what.to_owned());
        if chain.len() < 2 {
            return Err(unusable("the chain has fewer than two certificates"));
        }
        let roots_pem = chain.pop().unwrap_or_default();
        let leaf = chain
            .first()
            .ok_or_else(|| unusable("the chain is empty"))?;
        let leaf = CertificateDer::from_pem_slice(leaf.as_bytes())
            .map_err(|error| IdentityError::Answer(format!("the leaf is not PEM: {error}")))?;
        let names = CertificateNames::read(&leaf)?;
        let id = names.spiffe_id()?;
        if id != self.id {
            return Err(IdentityError::Answer(format!(
                "it certifies {id} and not {}",
                self.id
            )));
        }
        let time = |seconds: i64| {
            let seconds = u64::try_from(seconds).unwrap_or_default();
            SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
        };
        Ok(Certified {
            certificate: TlsCertificate {
                chain_pem: chain.concat().into_bytes(),
                key_pem: key.serialize_pem().into_bytes(),
            },
            roots_pem,
            not_before: time(names.not_before),
            not_after: time(names.not_after),
        })
    }
}

/// A connection to the control plane that shows its own death.
pub(crate) async fn channel(connector: &Connector) -> Result<Channel, tonic::transport::Error> {
    let connector = Arc::clone(connector);
    let service = tower::service_fn(move |_| {
        let connection = connector();
        async move { connection.await.map(TokioIo::new) }
    });
    Endpoint::from_static("http://istiod.istio-system.svc")
        .connect_timeout(LIMIT)
        .http2_keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(LIMIT)
        .keep_alive_while_idle(true)
        .connect_with_connector(service)
        .await
}

fn signing_request(id: &SpiffeId, key: &KeyPair) -> Result<String, IdentityError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.subject_alt_names = vec![SanType::URI(id.to_string().try_into()?)];
    Ok(params.serialize_request(key)?.pem()?)
}

/// What is at the bottom of an error.
pub(crate) fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

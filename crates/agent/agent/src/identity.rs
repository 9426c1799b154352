//! The workload's key and certificate: made here, certified by the control plane's CA,
//! renewed in time.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hyper_util::rt::TokioIo;
use meltemi_ir::{Secret, TlsCertificate, ValidationContext};
use meltemi_lifecycle::{Clock, Random};
use meltemi_spiffe::{CertificateNames, SpiffeId, SvidError};
use meltemi_tls::SecretStore;
use meltemi_xds::pb::istio::v1::auth::IstioCertificateRequest;
use meltemi_xds::pb::istio::v1::auth::istio_certificate_service_client::IstioCertificateServiceClient;
use meltemi_xds_client::Connector;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, SanType};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tonic::transport::Endpoint;
use tracing::{info, warn};

/// What is asked for; the CA may give less.
const LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// The longest wait between attempts while none has succeeded.
const RETRY_MAX: Duration = Duration::from_secs(30);

/// The secret that holds the workload's certificate.
const CERTIFICATE: &str = "default";

/// The secret that holds the mesh's roots.
const ROOTS: &str = "ROOTCA";

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The key or the request could not be made.
    #[error("cannot make a key and a signing request: {0}")]
    Request(#[from] rcgen::Error),
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

/// The workload's identity, kept fresh in a secret store.
pub struct Identity {
    /// Who the workload is.
    pub id: SpiffeId,
    /// The file with the bearer token.
    pub token: PathBuf,
    /// Reaches the control plane.
    pub connector: Connector,
    /// Where the secrets go.
    pub secrets: Arc<SecretStore>,
    /// The clock.
    pub clock: Clock,
}

/// A certified key.
struct Certified {
    certificate: TlsCertificate,
    roots_pem: Vec<u8>,
    not_after: SystemTime,
}

impl Identity {
    /// Keeps the secrets fresh for ever: the first time as soon as possible, then again
    /// after about half of the lifetime, spread by `random`. A failure keeps the last good
    /// certificate.
    pub async fn keep_fresh(self, random: Random) {
        let mut failures = 0u32;
        loop {
            let wait = match self.obtain().await {
                Ok(certified) => {
                    failures = 0;
                    let wait = self.renewal_in(certified.not_after, &random);
                    info!(identity = %self.id, renewal_in = ?wait, "certificate obtained");
                    self.store(certified);
                    wait
                }
                Err(error) => {
                    failures = failures.saturating_add(1);
                    let ceiling = Duration::from_millis(250)
                        .saturating_mul(1 << failures.min(8))
                        .min(RETRY_MAX);
                    let wait = ceiling.mul_f64(0.5 + random.unit() / 2.0);
                    warn!(identity = %self.id, retry_in = ?wait, "no certificate: {error}");
                    wait
                }
            };
            tokio::time::sleep(wait).await;
        }
    }

    fn renewal_in(&self, not_after: SystemTime, random: &Random) -> Duration {
        let left = not_after
            .duration_since(self.clock.wall())
            .unwrap_or_default();
        left.mul_f64(0.5 + (random.unit() - 0.5) / 10.0)
            .max(Duration::from_secs(1))
    }

    fn store(&self, certified: Certified) {
        let roots = ValidationContext {
            trusted_ca_pem: certified.roots_pem,
            ..ValidationContext::default()
        };
        // Roots first: what is about to be presented must be trusted by then.
        self.secrets.set(ROOTS, Secret::Validation(roots));
        self.secrets
            .set(CERTIFICATE, Secret::Certificate(certified.certificate));
    }

    async fn obtain(&self) -> Result<Certified, IdentityError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let csr = signing_request(&self.id, &key)?;
        let token =
            std::fs::read_to_string(&self.token).map_err(|source| IdentityError::Token {
                path: self.token.clone(),
                source,
            })?;
        let chain = self.sign(csr, token.trim()).await?;
        self.check(chain, &key)
    }

    async fn sign(&self, csr: String, token: &str) -> Result<Vec<String>, IdentityError> {
        let connector = Arc::clone(&self.connector);
        let service = tower::service_fn(move |_| {
            let connection = connector();
            async move { connection.await.map(TokioIo::new) }
        });
        let channel = Endpoint::from_static("http://istiod.istio-system.svc")
            .connect_timeout(Duration::from_secs(10))
            .timeout(Duration::from_secs(10))
            .connect_with_connector(service)
            .await
            .map_err(|error| IdentityError::Connect(innermost(&error)))?;
        let mut request = tonic::Request::new(IstioCertificateRequest {
            csr,
            validity_duration: i64::try_from(LIFETIME.as_secs()).unwrap_or(i64::MAX),
            metadata: None,
        });
        let value = format!("Bearer {token}")
            .parse()
            .map_err(|_| IdentityError::Refused("the token is not a header value".to_owned()))?;
        request.metadata_mut().insert("authorization", value);
        let response = IstioCertificateServiceClient::new(channel)
            .create_certificate(request)
            .await;
        match response {
            Ok(response) => Ok(response.into_inner().cert_chain),
            Err(status) => Err(IdentityError::Refused(format!(
                "{}: {}",
                status.code(),
                status.message()
            ))),
        }
    }

    /// The chain has the leaf first and the roots last.
    fn check(&self, mut chain: Vec<String>, key: &KeyPair) -> Result<Certified, IdentityError> {
        let unusable = |what: &str| IdentityError::Answer(what.to_owned());
        if chain.len() < 2 {
            return Err(unusable("the chain has fewer than two certificates"));
        }
        let roots_pem = chain.pop().unwrap_or_default().into_bytes();
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
        let not_after = Duration::from_secs(u64::try_from(names.not_after).unwrap_or_default());
        Ok(Certified {
            certificate: TlsCertificate {
                chain_pem: chain.concat().into_bytes(),
                key_pem: key.serialize_pem().into_bytes(),
            },
            roots_pem,
            not_after: SystemTime::UNIX_EPOCH + not_after,
        })
    }
}

fn signing_request(id: &SpiffeId, key: &KeyPair) -> Result<String, IdentityError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.subject_alt_names = vec![SanType::URI(id.to_string().try_into()?)];
    Ok(params.serialize_request(key)?.pem()?)
}

fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

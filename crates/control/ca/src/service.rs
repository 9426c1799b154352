//! The CSR service, `istio.v1.auth.IstioCertificateService`.
//!
//! In: requests with their callers' credentials. Out: chains in PEM, the caller's certificate first
//! and the trust bundle last. Served on 15012 beside xDS.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use meltemi_spiffe::SpiffeId;
use meltemi_xds::pb::istio::v1::auth::istio_certificate_service_server::IstioCertificateService;
use meltemi_xds::pb::istio::v1::auth::{IstioCertificateRequest, IstioCertificateResponse};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};
use tracing::{info, warn};

use crate::limits::{Buckets, Limits};
use crate::{
    AuthError, Authenticator, Authorities, CaMetrics, Credentials, PeerIdentities, SignError,
};

/// The header in which an agent says which process it is, so that its next certificate is known to
/// replace its last.
pub const HOLDER_HEADER: &str = "x-meltemi-holder";
/// How long such a name may be.
const HOLDER_BYTES: usize = 512;

/// Metadata by which a node agent asks for somebody else's certificate.
const IMPERSONATED: &str = "ImpersonatedIdentity";
/// Metadata by which another signer than the mesh's own is asked for.
const SIGNER: &str = "CertSigner";

/// Decides whether a caller may ask for the certificates of others: a node's agent for the workloads
/// of its node.
#[tonic::async_trait]
pub trait NodeAuthorizer: Send + Sync + 'static {
    /// Whether `caller` may have a certificate for `workload`.
    ///
    /// # Errors
    /// When it may not; the text says why.
    async fn authorize(&self, caller: &SpiffeId, workload: &SpiffeId) -> Result<(), String>;
}

/// The service.
#[derive(Clone)]
pub struct CsrService {
    authorities: Arc<Authorities>,
    authenticator: Arc<dyn Authenticator>,
    nodes: Option<Arc<dyn NodeAuthorizer>>,
    limits: Limits,
    buckets: Arc<Mutex<Buckets>>,
    places: Arc<Semaphore>,
    metrics: CaMetrics,
}

impl CsrService {
    /// A service that signs for whom `authenticator` believes, and for nobody in another's name.
    pub fn new(
        authorities: Arc<Authorities>,
        authenticator: Arc<dyn Authenticator>,
        limits: Limits,
        metrics: CaMetrics,
    ) -> Self {
        Self {
            authorities,
            authenticator,
            nodes: None,
            limits,
            buckets: Arc::default(),
            places: Arc::new(Semaphore::new(limits.concurrent)),
            metrics,
        }
    }

    /// The same, but whom `nodes` allows it may ask for others.
    #[must_use]
    pub fn with_nodes(mut self, nodes: Arc<dyn NodeAuthorizer>) -> Self {
        self.nodes = Some(nodes);
        self
    }

    async fn caller(
        &self,
        headers: &MetadataMap,
        identities: &[String],
    ) -> Result<SpiffeId, Status> {
        let token = headers
            .get("authorization")
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Bearer "));
        let credentials = Credentials { token, identities };
        let error = match self.authenticator.authenticate(&credentials).await {
            Ok(id) => return Ok(id),
            Err(error) => error,
        };
        self.metrics.unauthenticated();
        warn!("certificate request refused: {error}");
        let text = error.to_string();
        Err(match error {
            AuthError::Unavailable(_) => Status::unavailable(text),
            _ => Status::unauthenticated(text),
        })
    }

    /// Whose certificate is asked for, by a caller who is `caller`.
    async fn subject(
        &self,
        caller: SpiffeId,
        mut fields: prost_types::Struct,
    ) -> Result<SpiffeId, Status> {
        let refuse = |status: Status| {
            self.metrics.unauthenticated();
            warn!(%caller, "certificate request refused: {}", status.message());
            Err(status)
        };
        if fields.fields.contains_key(SIGNER) {
            let text = format!("metadata.{SIGNER}: not supported; leave it out");
            return refuse(Status::unimplemented(text));
        }
        let Some(other) = fields.fields.remove(IMPERSONATED) else {
            return Ok(caller);
        };
        let at = |text: String| format!("metadata.{IMPERSONATED}: {text}");
        let Some(prost_types::value::Kind::StringValue(other)) = other.kind else {
            return refuse(Status::invalid_argument(at("not a string".to_owned())));
        };
        let other: SpiffeId = match other.parse() {
            Ok(other) => other,
            Err(error) => return refuse(Status::invalid_argument(at(format!("{error}")))),
        };
        let allowed = match &self.nodes {
            Some(nodes) => nodes.authorize(&caller, &other).await,
            None => Err(format!("{caller} may have no certificate but its own")),
        };
        match allowed {
            Ok(()) => Ok(other),
            Err(reason) => refuse(Status::permission_denied(at(reason))),
        }
    }

    fn ration(&self, id: &SpiffeId) -> Result<(), Status> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = buckets.take(id, &self.limits, Instant::now());
        taken.map_err(|wait| {
            self.metrics.limited();
            let text = format!("{id} asks too often; try again in {} ms", wait.as_millis());
            Status::resource_exhausted(text)
        })
    }
}

#[tonic::async_trait]
impl IstioCertificateService for CsrService {
    async fn create_certificate(
        &self,
        request: Request<IstioCertificateRequest>,
    ) -> Result<Response<IstioCertificateResponse>, Status> {
        self.metrics.received();
        let Ok(_place) = self.places.try_acquire() else {
            self.metrics.limited();
            return Err(Status::resource_exhausted(
                "too many certificate requests at once; try again",
            ));
        };
        let (headers, extensions, message) = request.into_parts();
        let identities = extensions
            .get::<PeerIdentities>()
            .map_or(&[][..], |peer| peer.0.as_slice());
        let caller = self.caller(&headers, identities).await?;
        self.ration(&caller)?;
        let IstioCertificateRequest {
            csr,
            validity_duration,
            metadata,
        } = message;
        let own = caller.clone();
        let id = self.subject(caller, metadata.unwrap_or_default()).await?;
        if csr.len() > self.limits.request_bytes {
            self.metrics.limited();
            let text = format!(
                "csr: {} bytes are more than the {} that a request may have",
                csr.len(),
                self.limits.request_bytes
            );
            return Err(Status::invalid_argument(text));
        }
        let requested = u64::try_from(validity_duration)
            .ok()
            .map(Duration::from_secs);
        let holder = headers
            .get(HOLDER_HEADER)
            .and_then(|value| value.to_str().ok());
        let holder = holder.filter(|it| it.len() <= HOLDER_BYTES && own == id);
        match self.authorities.sign(&csr, &id, holder, requested) {
            Ok(issued) => {
                self.metrics.issued();
                info!(%id, serial = issued.serial, "certificate issued");
                Ok(Response::new(IstioCertificateResponse {
                    cert_chain: issued.chain,
                }))
            }
            Err(error) => {
                self.metrics.refused(&error);
                warn!(%id, "certificate request refused: {error}");
                Err(status(&error))
            }
        }
    }
}

fn status(error: &SignError) -> Status {
    let text = error.to_string();
    match error {
        SignError::Request(_) | SignError::Lifetime { .. } => Status::invalid_argument(text),
        SignError::TrustDomain(..) => Status::permission_denied(text),
        SignError::Expired => Status::failed_precondition(text),
        SignError::Name(_) | SignError::Library(_) => Status::internal(text),
        SignError::Record(_) => Status::unavailable(text),
    }
}

#[cfg(test)]
mod tests;

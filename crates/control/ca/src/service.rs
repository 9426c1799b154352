//! The CSR service, `istio.v1.auth.IstioCertificateService`.
//!
//! In: requests with their callers' credentials. Out: chains in PEM, the caller's certificate first
//! and the root last. Served on 15012 beside xDS.

use std::sync::Arc;
use std::time::Duration;

use meltemi_xds::pb::istio::v1::auth::istio_certificate_service_server::IstioCertificateService;
use meltemi_xds::pb::istio::v1::auth::{IstioCertificateRequest, IstioCertificateResponse};
use tonic::{Request, Response, Status};
use tracing::{info, warn};

use crate::{
    Authenticator, CaMetrics, CertificateAuthority, Credentials, PeerIdentities, SignError,
};

/// Metadata by which a node agent asks for somebody else's certificate.
const IMPERSONATED: &str = "ImpersonatedIdentity";
/// Metadata by which another signer than the mesh's own is asked for.
const SIGNER: &str = "CertSigner";

/// The service.
#[derive(Clone)]
pub struct CsrService {
    authority: Arc<CertificateAuthority>,
    authenticator: Arc<dyn Authenticator>,
    metrics: CaMetrics,
}

impl CsrService {
    /// A service that signs for whom `authenticator` believes.
    pub fn new(
        authority: Arc<CertificateAuthority>,
        authenticator: Arc<dyn Authenticator>,
        metrics: CaMetrics,
    ) -> Self {
        Self {
            authority,
            authenticator,
            metrics,
        }
    }
}

#[tonic::async_trait]
impl IstioCertificateService for CsrService {
    async fn create_certificate(
        &self,
        request: Request<IstioCertificateRequest>,
    ) -> Result<Response<IstioCertificateResponse>, Status> {
        self.metrics.received();
        let (headers, extensions, message) = request.into_parts();
        let token = headers
            .get("authorization")
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Bearer "));
        let identities = extensions
            .get::<PeerIdentities>()
            .map_or(&[][..], |peer| peer.0.as_slice());
        let credentials = Credentials { token, identities };
        let id = match self.authenticator.authenticate(&credentials).await {
            Ok(id) => id,
            Err(error) => {
                self.metrics.unauthenticated();
                warn!("certificate request refused: {error}");
                return Err(Status::unauthenticated(error.to_string()));
            }
        };
        let IstioCertificateRequest {
            csr,
            validity_duration,
            metadata,
        } = message;
        let fields = metadata.map(|it| it.fields).unwrap_or_default();
        for key in [IMPERSONATED, SIGNER] {
            if fields.contains_key(key) {
                self.metrics.unauthenticated();
                let text = format!("metadata.{key}: not supported, {id} gets its own certificate");
                return Err(Status::unimplemented(text));
            }
        }
        let requested = u64::try_from(validity_duration)
            .ok()
            .map(Duration::from_secs);
        match self.authority.sign(&csr, &id, requested) {
            Ok(issued) => {
                self.metrics.issued();
                info!(%id, "certificate issued");
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
        SignError::Request(_) => Status::invalid_argument(text),
        SignError::TrustDomain(..) => Status::permission_denied(text),
        SignError::Expired => Status::failed_precondition(text),
        SignError::Name(_) | SignError::Library(_) => Status::internal(text),
    }
}

#[cfg(test)]
mod tests;

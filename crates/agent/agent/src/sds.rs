//! Secret discovery on a Unix socket, for a stock Envoy in the proxy's place.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

use futures_util::Stream;
use meltemi_ir as ir;
use meltemi_tls::{SecretStore, system_bundle};
use meltemi_xds::any;
use meltemi_xds::pb::envoy::config::core::v3::{DataSource, data_source::Specifier};
use meltemi_xds::pb::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, Secret, TlsCertificate, TlsSessionTicketKeys, secret::Type,
};
use meltemi_xds::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use meltemi_xds::pb::envoy::service::secret::v3::secret_discovery_service_server::{
    SecretDiscoveryService, SecretDiscoveryServiceServer,
};
use prost_types::Any;
use tokio::net::UnixListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tonic::{Request, Response, Status, Streaming};
use tracing::{info, warn};

/// The secret with the authorities that the system trusts, as Istio names it: a stock Envoy has no
/// setting for them that it honours.
const SYSTEM_ROOTS: &str = "file-root:system";

/// The secret discovery service over one store.
#[derive(Clone)]
pub struct SdsServer {
    secrets: Arc<SecretStore>,
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl SdsServer {
    /// Serves the store's secrets.
    pub fn new(secrets: Arc<SecretStore>) -> Self {
        Self { secrets }
    }

    /// Serves on a Unix socket until dropped; only this user may connect.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub async fn serve(self, path: PathBuf) -> io::Result<()> {
        let listener = bind(&path)?;
        info!(path = %path.display(), "serving secrets");
        tonic::transport::Server::builder()
            .add_service(SecretDiscoveryServiceServer::new(self))
            .serve_with_incoming(UnixListenerStream::new(listener))
            .await
            .map_err(io::Error::other)
    }

    /// The wanted secrets that exist.
    fn answer(&self, names: &BTreeSet<String>) -> Vec<Any> {
        let one = |name: &String| {
            if name == SYSTEM_ROOTS {
                return system_bundle().map(|bundle| any::pack(&roots(name, &bundle)));
            }
            self.secrets
                .get(name)
                .map(|secret| any::pack(&to_message(name, &secret)))
        };
        names.iter().filter_map(one).collect()
    }
}

fn bind(path: &Path) -> io::Result<UnixListener> {
    use std::os::unix::fs::PermissionsExt as _;
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

fn to_message(name: &str, secret: &ir::Secret) -> Secret {
    let kind = match secret {
        ir::Secret::Certificate(certificate) => Type::TlsCertificate(TlsCertificate {
            certificate_chain: inline(&certificate.chain_pem),
            private_key: inline(&certificate.key_pem),
            ..TlsCertificate::default()
        }),
        ir::Secret::Validation(context) => return roots(name, &context.trusted_ca_pem),
        ir::Secret::TicketKeys(keys) => Type::SessionTicketKeys(TlsSessionTicketKeys {
            keys: keys.0.iter().filter_map(|key| inline(key)).collect(),
        }),
    };
    Secret {
        name: name.to_owned(),
        r#type: Some(kind),
    }
}

/// Authorities to verify others by.
fn roots(name: &str, bundle: &[u8]) -> Secret {
    Secret {
        name: name.to_owned(),
        r#type: Some(Type::ValidationContext(CertificateValidationContext {
            trusted_ca: inline(bundle),
            ..CertificateValidationContext::default()
        })),
    }
}

fn inline(bytes: &[u8]) -> Option<DataSource> {
    Some(DataSource {
        specifier: Some(Specifier::InlineBytes(bytes.to_vec())),
        ..DataSource::default()
    })
}

/// What one stream wants and was sent.
#[derive(Default)]
struct Conversation {
    names: BTreeSet<String>,
    sent: Vec<Any>,
    count: u64,
}

impl Conversation {
    /// A request has come; true when an answer is due though nothing has changed.
    fn receive(&mut self, request: DiscoveryRequest) -> bool {
        if let Some(error) = request.error_detail {
            warn!("a secret was refused: {}", error.message);
        }
        let names: BTreeSet<String> = request.resource_names.into_iter().collect();
        let due = request.response_nonce.is_empty() || names != self.names;
        self.names = names;
        due
    }

    /// The answer that is due, if there is something to say.
    fn answer(&mut self, server: &SdsServer, due: bool) -> Option<DiscoveryResponse> {
        let secrets = server.answer(&self.names);
        if secrets.is_empty() || (!due && secrets == self.sent) {
            return None;
        }
        self.sent.clone_from(&secrets);
        self.count += 1;
        Some(DiscoveryResponse {
            version_info: self.count.to_string(),
            nonce: self.count.to_string(),
            type_url: meltemi_xds::type_url::<Secret>(),
            resources: secrets,
            ..DiscoveryResponse::default()
        })
    }
}

#[tonic::async_trait]
impl SecretDiscoveryService for SdsServer {
    type DeltaSecretsStream = Answers<DeltaDiscoveryResponse>;
    type StreamSecretsStream = Answers<DiscoveryResponse>;

    async fn delta_secrets(
        &self,
        _request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaSecretsStream>, Status> {
        Err(Status::unimplemented(
            "secrets are served in state-of-the-world form (api_type: GRPC)",
        ))
    }

    async fn stream_secrets(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamSecretsStream>, Status> {
        let mut requests = request.into_inner();
        let (sender, receiver) = mpsc::channel(4);
        let server = self.clone();
        tokio::spawn(async move {
            let mut changes = server.secrets.watch();
            let mut conversation = Conversation::default();
            loop {
                let due = tokio::select! {
                    request = requests.message() => match request {
                        Ok(Some(request)) => conversation.receive(request),
                        Ok(None) | Err(_) => return,
                    },
                    changed = changes.changed() => match changed {
                        Ok(()) => false,
                        Err(_) => return,
                    },
                };
                if let Some(answer) = conversation.answer(&server, due)
                    && sender.send(Ok(answer)).await.is_err()
                {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn fetch_secrets(
        &self,
        _request: Request<DiscoveryRequest>,
    ) -> Result<Response<DiscoveryResponse>, Status> {
        Err(Status::unimplemented("secrets are streamed"))
    }
}

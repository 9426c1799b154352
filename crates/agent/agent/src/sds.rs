//! Secret discovery on a Unix socket, for a stock Envoy in the proxy's place.
//!
//! In: a secret store. Out: secrets by name, in both forms of the protocol, again whenever they change;
//! and word of how far those who take them have come.

mod conversation;
mod deliveries;

use std::collections::{BTreeMap, BTreeSet};
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

use conversation::{Conversation, Form, Incoming, Outgoing};
pub(crate) use deliveries::Deliveries;

/// The secret with the authorities that the system trusts, as Istio names it: a stock Envoy has no
/// setting for them that it honours.
const SYSTEM_ROOTS: &str = "file-root:system";

/// The secret discovery service over one store.
#[derive(Clone)]
pub struct SdsServer {
    secrets: Arc<SecretStore>,
    deliveries: Deliveries,
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl SdsServer {
    /// Serves the store's secrets.
    pub fn new(secrets: Arc<SecretStore>) -> Self {
        Self {
            deliveries: Deliveries::new(secrets.watch()),
            secrets,
        }
    }

    /// How far those who take the secrets have come.
    pub(crate) fn deliveries(&self) -> Deliveries {
        self.deliveries.clone()
    }

    /// Waits until everybody who takes secrets has confirmed those that are in the store now.
    pub async fn settled(&self) {
        self.deliveries.settled().await;
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
    fn answer(&self, names: &BTreeSet<String>) -> BTreeMap<String, Any> {
        let one = |name: &String| {
            let message = match name.as_str() {
                SYSTEM_ROOTS => roots(name, &system_bundle()?),
                _ => to_message(name, &*self.secrets.get(name)?),
            };
            Some((name.clone(), any::pack(&message)))
        };
        names.iter().filter_map(one).collect()
    }

    /// Serves one stream: answers what is due, and again whenever a secret changes.
    fn converse<Q, A>(
        &self,
        mut requests: Streaming<Q>,
        form: Form,
        read: fn(Q) -> Incoming,
        write: fn(Outgoing) -> Option<A>,
    ) -> Answers<A>
    where
        Q: Send + 'static,
        A: Send + 'static,
    {
        let (sender, receiver) = mpsc::channel(4);
        let server = self.clone();
        tokio::spawn(async move {
            let mut changes = server.secrets.watch();
            let delivery = server.deliveries.begin();
            let mut conversation = Conversation::new(form);
            loop {
                tokio::select! {
                    request = requests.message() => match request {
                        Ok(Some(request)) => {
                            if let Some(words) = conversation.receive(read(request)) {
                                warn!("a secret was refused: {words}");
                            }
                        }
                        Ok(None) | Err(_) => return,
                    },
                    changed = changes.changed() => if changed.is_err() {
                        return;
                    },
                    () = sender.closed() => return,
                }
                let generation = *changes.borrow_and_update();
                let secrets = server.answer(conversation.names());
                if let Some(answer) = conversation.answer(secrets)
                    && let Some(answer) = write(answer)
                    && sender.send(Ok(answer)).await.is_err()
                {
                    return;
                }
                if conversation.is_settled() {
                    delivery.settled(generation);
                }
            }
        });
        Box::pin(ReceiverStream::new(receiver))
    }
}

fn bind(path: &Path) -> io::Result<UnixListener> {
    use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    // Made where nobody else comes in, so that it is nobody else's for no moment.
    // Its name is short, for the paths of sockets are.
    let place = path.with_file_name(format!(".{}", std::process::id()));
    std::fs::DirBuilder::new().mode(0o700).create(&place)?;
    let inside = place.join("s");
    let listen = || {
        let listener = UnixListener::bind(&inside)?;
        std::fs::set_permissions(&inside, std::fs::Permissions::from_mode(0o600))?;
        std::fs::rename(&inside, path)?;
        Ok(listener)
    };
    let listener = listen();
    // ignored: what is left of a failure is empty but for a socket that nobody reaches
    let _ = std::fs::remove_file(&inside);
    let _ = std::fs::remove_dir(&place);
    listener
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

#[tonic::async_trait]
impl SecretDiscoveryService for SdsServer {
    type DeltaSecretsStream = Answers<DeltaDiscoveryResponse>;
    type StreamSecretsStream = Answers<DiscoveryResponse>;

    async fn delta_secrets(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaSecretsStream>, Status> {
        let write = |outgoing| match outgoing {
            Outgoing::Delta(answer) => Some(answer),
            Outgoing::Sotw(_) => None,
        };
        let requests = request.into_inner();
        Ok(Response::new(self.converse(
            requests,
            Form::Delta,
            Incoming::Delta,
            write,
        )))
    }

    async fn stream_secrets(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamSecretsStream>, Status> {
        let write = |outgoing| match outgoing {
            Outgoing::Sotw(answer) => Some(answer),
            Outgoing::Delta(_) => None,
        };
        let requests = request.into_inner();
        Ok(Response::new(self.converse(
            requests,
            Form::Sotw,
            Incoming::Sotw,
            write,
        )))
    }

    async fn fetch_secrets(
        &self,
        _request: Request<DiscoveryRequest>,
    ) -> Result<Response<DiscoveryResponse>, Status> {
        Err(Status::unimplemented("secrets are streamed"))
    }
}

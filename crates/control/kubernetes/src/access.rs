//! How an API server is reached, and who asks.
//!
//! In: a kubeconfig file, or what a Pod is given. Out: [`Access`], with which a client is made.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::Uri;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};

use crate::kubeconfig;
use crate::plugin::Plugin;

/// Where a Pod finds its token and the server's certificate authority.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// How an API server is reached, and who asks.
#[derive(Clone)]
pub struct Access {
    pub(crate) server: Uri,
    /// `None` for a server in plain text.
    pub(crate) tls: Option<Tls>,
    pub(crate) token: Option<Token>,
}

/// How the server is believed, and what it is shown.
#[derive(Clone)]
pub(crate) struct Tls {
    pub config: Arc<ClientConfig>,
    /// The name in its certificate.
    pub name: ServerName<'static>,
}

/// A bearer token.
#[derive(Clone)]
pub(crate) enum Token {
    /// This one.
    Text(String),
    /// What the file holds at the moment: a Pod's is replaced from time to time.
    File(PathBuf),
    /// What a program makes.
    Plugin(Arc<Plugin>),
}

/// Why there is no way to an API server.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// A file cannot be read.
    #[error("{}: {error}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        error: std::io::Error,
    },
    /// The kubeconfig is not one.
    #[error("{}: not a kubeconfig: {reason}", .path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A field of the kubeconfig cannot be used.
    #[error("{}: {field}: {reason}", .path.display())]
    Field {
        /// The file.
        path: PathBuf,
        /// The field.
        field: String,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// The environment is not that of a Pod.
    #[error(
        "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set, as they are in a Pod; give a kubeconfig"
    )]
    NotInCluster,
    /// The address is none.
    #[error("`{0}` is not the http:// or https:// address of an API server")]
    Server(String),
    /// Certificates or keys cannot be used.
    #[error("{what}: {reason}")]
    Certificate {
        /// Which.
        what: String,
        /// Why.
        reason: String,
    },
}

/// Certificates in PEM and what they are for.
pub(crate) struct Material {
    /// The authority of the server's certificate.
    pub authority: Vec<u8>,
    /// What we show.
    pub client: Option<ClientMaterial>,
    /// The name in the server's certificate, where it is not its address.
    pub server_name: Option<String>,
}

/// A client certificate and its key in PEM.
pub(crate) struct ClientMaterial {
    pub certificate: Vec<u8>,
    pub key: Vec<u8>,
}

impl Access {
    /// As a kubeconfig says, in one of its contexts, or in its current one.
    ///
    /// # Errors
    /// When a file cannot be read, or a field is missing, wrong or not supported.
    pub fn from_kubeconfig(path: &Path, context: Option<&str>) -> Result<Self, AccessError> {
        kubeconfig::read(path, context)
    }

    /// As a Pod is told: the values of `KUBERNETES_SERVICE_HOST` and `KUBERNETES_SERVICE_PORT`, and the files
    /// of its service account.
    ///
    /// # Errors
    /// When a value is missing or a file cannot be read.
    pub fn in_cluster(host: Option<&str>, port: Option<&str>) -> Result<Self, AccessError> {
        Self::of_pod(host, port, Path::new(SERVICE_ACCOUNT))
    }

    pub(crate) fn of_pod(
        host: Option<&str>,
        port: Option<&str>,
        files: &Path,
    ) -> Result<Self, AccessError> {
        let (Some(host), Some(port)) = (host, port) else {
            return Err(AccessError::NotInCluster);
        };
        let host = match host.contains(':') {
            true => format!("[{host}]"),
            false => host.to_owned(),
        };
        let token = files.join("token");
        read_file(&token)?;
        let material = Material {
            authority: read_file(&files.join("ca.crt"))?,
            client: None,
            server_name: None,
        };
        let server = format!("https://{host}:{port}");
        Self::new(&server, Some(material), Some(Token::File(token)))
    }

    pub(crate) fn new(
        server: &str,
        material: Option<Material>,
        token: Option<Token>,
    ) -> Result<Self, AccessError> {
        let wrong = || AccessError::Server(server.to_owned());
        let uri: Uri = server.trim_end_matches('/').parse().map_err(|_| wrong())?;
        let host = uri.host().ok_or_else(wrong)?;
        let tls = match (uri.scheme_str(), material) {
            (Some("http"), _) => None,
            (Some("https"), Some(material)) => {
                let name = material.server_name.clone();
                let name = name.unwrap_or_else(|| host.trim_matches(['[', ']']).to_owned());
                Some(Tls {
                    config: client_tls(material)?,
                    name: ServerName::try_from(name).map_err(|_| wrong())?,
                })
            }
            _ => return Err(wrong()),
        };
        Ok(Self {
            server: uri,
            tls,
            token,
        })
    }

    /// The server's address.
    pub fn server(&self) -> String {
        self.server.to_string().trim_end_matches('/').to_owned()
    }
}

pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>, AccessError> {
    std::fs::read(path).map_err(|error| AccessError::File {
        path: path.to_owned(),
        error,
    })
}

fn client_tls(material: Material) -> Result<Arc<ClientConfig>, AccessError> {
    let Material {
        authority,
        client,
        server_name: _, // ignored: it is for each connection
    } = material;
    let wrong = |what: &str, reason: &dyn ToString| AccessError::Certificate {
        what: what.to_owned(),
        reason: reason.to_string(),
    };
    let what = "the certificate authority of the API server";
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(&authority) {
        let root = root.map_err(|it| wrong(what, &it))?;
        roots.add(root).map_err(|it| wrong(what, &it))?;
    }
    if roots.is_empty() {
        return Err(wrong(what, &"there is no certificate in PEM"));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|it| wrong("TLS", &it))?
        .with_root_certificates(roots);
    let mut config = match client {
        None => builder.with_no_client_auth(),
        Some(ClientMaterial { certificate, key }) => {
            let what = "the client certificate";
            let chain = CertificateDer::pem_slice_iter(&certificate).collect::<Result<_, _>>();
            let chain = chain.map_err(|it| wrong(what, &it))?;
            let key = PrivateKeyDer::from_pem_slice(&key);
            let key = key.map_err(|it| wrong("the client key", &it))?;
            let config = builder.with_client_auth_cert(chain, key);
            config.map_err(|it| wrong(what, &it))?
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

//! Connections over TLS, with and without a certificate of the caller's own.

use std::net::SocketAddr;
use std::sync::Arc;

use hyper_util::rt::TokioIo;
use rcgen::{CertificateParams, KeyPair};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};

use crate::harness::Plane;

/// A key, and the chain that a control plane gave for it.
pub struct Certified {
    pub key: KeyPair,
    pub chain: Vec<String>,
}

/// A key and a request to sign for it.
pub fn request() -> (KeyPair, String) {
    let key = KeyPair::generate().unwrap();
    let request = CertificateParams::default()
        .serialize_request(&key)
        .unwrap();
    (key, request.pem().unwrap())
}

pub fn certificate(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

/// To the secure port, verifying the server by the name that agents use.
pub async fn secure(plane: &Plane, own: Option<&Certified>) -> Channel {
    let mut roots = RootCertStore::empty();
    let bundle = plane.control.roots_pem();
    for root in CertificateDer::pem_slice_iter(bundle.as_bytes()) {
        roots.add(root.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match own {
        None => config.with_no_client_auth(),
        Some(own) => {
            let (_, chain) = own.chain.split_last().unwrap();
            let chain = chain.iter().map(|it| certificate(it)).collect();
            let key = PrivatePkcs8KeyDer::from(own.key.serialize_der()).into();
            config.with_client_auth_cert(chain, key).unwrap()
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    let connector = TlsConnector::from(Arc::new(config));
    let address: SocketAddr = plane.addresses.secure_xds;
    let connect = tower::service_fn(move |_| {
        let connector = connector.clone();
        async move {
            let stream = TcpStream::connect(address).await?;
            let name = ServerName::try_from("istiod.istio-system.svc").unwrap();
            let stream = connector.connect(name, stream).await?;
            Ok::<_, std::io::Error>(TokioIo::new(stream))
        }
    });
    Endpoint::from_static("http://istiod.istio-system.svc")
        .connect_with_connector(connect)
        .await
        .unwrap()
}

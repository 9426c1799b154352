//! Secrets and config maps.
//!
//! In: Kubernetes Secret and ConfigMap. Out: their data, and certificates as gateways use them.

mod convert;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::Metadata;

pub(crate) use convert::{convert_config_map, convert_secret};

/// A Kubernetes ConfigMap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigMap {
    /// Its metadata.
    pub meta: Metadata,
    /// `data`; `binaryData` is not kept.
    pub data: BTreeMap<String, String>,
}

/// A Kubernetes Secret. Its values never appear in [`fmt::Debug`] output.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    /// Its metadata.
    pub meta: Metadata,
    /// `data` decoded from base64, and `stringData`, which wins.
    pub data: BTreeMap<String, Arc<[u8]>>,
    /// The certificate that the secret holds under the keys `tls.crt`, `tls.key`, `ca.crt` or
    /// `cert`, `key`, `cacert`; `None` if it holds none (or only a CA, see [`Secret::ca_pem`]).
    pub certificate: Option<ServerCertificate>,
}

/// A certificate chain and its key, PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct ServerCertificate {
    /// The chain, leaf first.
    pub chain_pem: Arc<[u8]>,
    /// The private key.
    pub key_pem: Arc<[u8]>,
    /// The CA that clients' certificates are checked against, where the secret has one.
    pub ca_pem: Option<Arc<[u8]>>,
}

impl Secret {
    /// The CA certificate under `ca.crt` or `cacert`.
    pub fn ca_pem(&self) -> Option<&Arc<[u8]>> {
        self.data.get("ca.crt").or_else(|| self.data.get("cacert"))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret")
            .field("meta", &self.meta)
            .field("keys", &self.data.keys().collect::<Vec<_>>())
            .field("certificate", &self.certificate)
            .finish()
    }
}

impl fmt::Debug for ServerCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerCertificate")
            .field("has_ca", &self.ca_pem.is_some())
            .finish_non_exhaustive()
    }
}

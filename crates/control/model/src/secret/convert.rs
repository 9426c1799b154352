//! Secrets and config maps: from written to valid.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use meltemi_api::FieldPath;
use meltemi_api::kubernetes;

use super::{ConfigMap, Secret, ServerCertificate};
use crate::Metadata;
use crate::check::Check;

/// A ConfigMap is taken as it is.
pub(crate) fn convert_config_map(meta: Metadata, written: kubernetes::ConfigMap) -> ConfigMap {
    let kubernetes::ConfigMap { data } = written;
    ConfigMap { meta, data }
}

/// Decodes a Secret and looks for a certificate in it.
pub(crate) fn convert_secret(
    meta: Metadata,
    written: kubernetes::Secret,
    check: &mut Check<'_>,
) -> Secret {
    let kubernetes::Secret {
        r#type,
        data: encoded,
        string_data,
    } = written;
    let mut data: BTreeMap<String, Arc<[u8]>> = BTreeMap::new();
    for (key, text) in encoded {
        let compact: String = text.split_whitespace().collect();
        match STANDARD.decode(compact) {
            Ok(bytes) => {
                data.insert(key, bytes.into());
            }
            Err(error) => {
                let at = FieldPath::root().field("data").key(&key);
                let what = "put plain text under stringData";
                check.invalid(&at, format!("not base64 ({error}); {what}"));
            }
        }
    }
    for (key, text) in string_data {
        data.insert(key, text.into_bytes().into());
    }
    let certificate = certificate(&data, r#type.as_deref() == Some("kubernetes.io/tls"), check);
    Secret {
        meta,
        data,
        certificate,
    }
}

fn certificate(
    data: &BTreeMap<String, Arc<[u8]>>,
    is_tls: bool,
    check: &mut Check<'_>,
) -> Option<ServerCertificate> {
    let (chain, key) = if is_tls || data.contains_key("tls.crt") {
        ("tls.crt", "tls.key")
    } else {
        ("cert", "key")
    };
    let at = FieldPath::root().field("data");
    match (data.get(chain), data.get(key)) {
        (Some(chain_pem), Some(key_pem)) => {
            let mut fine = true;
            for (name, pem, what) in [
                (chain, chain_pem, "CERTIFICATE"),
                (key, key_pem, "PRIVATE KEY"),
            ] {
                if !holds_pem(pem, what) {
                    fine = false;
                    check.invalid(&at.key(name), format!("holds no PEM block of a {what}"));
                }
            }
            let ca_pem = data.get("ca.crt").or_else(|| data.get("cacert")).cloned();
            let (chain_pem, key_pem) = (chain_pem.clone(), key_pem.clone());
            fine.then_some(ServerCertificate {
                chain_pem,
                key_pem,
                ca_pem,
            })
        }
        _ if is_tls => {
            for name in [chain, key] {
                if !data.contains_key(name) {
                    let what = "a Secret of type kubernetes.io/tls needs the key";
                    check.invalid(&at, format!("{what} `{name}`"));
                }
            }
            None
        }
        _ => None,
    }
}

fn holds_pem(pem: &[u8], what: &str) -> bool {
    let text = String::from_utf8_lossy(pem);
    text.lines().any(|line| {
        let line = line.trim();
        line.starts_with("-----BEGIN ") && line.ends_with(&format!("{what}-----"))
    })
}

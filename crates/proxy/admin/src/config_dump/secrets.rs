//! The secrets of a dump: those of the bootstrap, those that were delivered, and those that an agent in
//! this process has put into the store. Private keys are redacted.

use meltemi_ir as ir;
use meltemi_xds::any;
use meltemi_xds::pb::envoy::admin::v3::{SecretsConfigDump, secrets_config_dump};
use meltemi_xds::pb::envoy::config::core::v3::{DataSource, data_source::Specifier};
use meltemi_xds::pb::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, Secret, TlsCertificate, secret,
};
use prost_types::Timestamp;

use super::{Parts, Wanted};
use crate::{AdminState, ConfigKind};

/// The dump of secrets.
pub(super) fn dump(
    state: &AdminState,
    wanted: &Wanted,
    fixed: &[Secret],
    read: Option<Timestamp>,
) -> SecretsConfigDump {
    let mut dump = SecretsConfigDump {
        static_secrets: fixed
            .iter()
            .filter(|secret| wanted.has(&secret.name))
            .map(|secret| secrets_config_dump::StaticSecret {
                name: secret.name.clone(),
                last_updated: read,
                secret: Some(any::pack(secret)),
            })
            .collect(),
        ..SecretsConfigDump::default()
    };
    for (name, entry) in state.config.entries(ConfigKind::Secret) {
        if !wanted.has(&name) {
            continue;
        }
        let ready = entry.active.is_some();
        let Parts {
            version,
            resource,
            updated,
            failure,
        } = Parts::of(entry);
        let secret = secrets_config_dump::DynamicSecret {
            name,
            version_info: version,
            last_updated: updated,
            secret: resource,
            error_state: failure,
            ..secrets_config_dump::DynamicSecret::default()
        };
        if ready {
            dump.dynamic_active_secrets.push(secret);
        } else {
            dump.dynamic_warming_secrets.push(secret);
        }
    }
    let known = |dump: &SecretsConfigDump, name: &str| {
        let fixed = dump.static_secrets.iter().any(|it| it.name == name);
        fixed || dump.dynamic_active_secrets.iter().any(|it| it.name == name)
    };
    // Those that an agent in this process put there.
    for name in state.secrets.names() {
        if wanted.has(&name)
            && !known(&dump, &name)
            && let Some(secret) = state.secrets.get(&name).and_then(|it| public(&name, &it))
        {
            dump.dynamic_active_secrets
                .push(secrets_config_dump::DynamicSecret {
                    secret: Some(any::pack(&secret)),
                    name,
                    ..secrets_config_dump::DynamicSecret::default()
                });
        }
    }
    dump
}

/// What of a secret everybody may see; the rest is not even here to be left out.
fn public(name: &str, secret: &ir::Secret) -> Option<Secret> {
    let pem = |bytes: &[u8]| DataSource {
        specifier: Some(Specifier::InlineBytes(bytes.to_vec())),
        ..DataSource::default()
    };
    let kind = match secret {
        ir::Secret::Certificate(it) => secret::Type::TlsCertificate(TlsCertificate {
            certificate_chain: Some(pem(&it.chain_pem)),
            private_key: Some(pem(b"[redacted]")),
            ..TlsCertificate::default()
        }),
        ir::Secret::Validation(it) => {
            secret::Type::ValidationContext(CertificateValidationContext {
                trusted_ca: (!it.trusted_ca_pem.is_empty()).then(|| pem(&it.trusted_ca_pem)),
                ..CertificateValidationContext::default()
            })
        }
        _ => return None,
    };
    Some(Secret {
        name: name.to_owned(),
        r#type: Some(kind),
    })
}

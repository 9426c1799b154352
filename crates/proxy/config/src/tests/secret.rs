//! Secrets whose certificates and keys are real, by value and from files.

use meltemi_ir::Secret;
use meltemi_xds::any;
use meltemi_xds::pb::envoy::config::core::v3::DataSource;
use meltemi_xds::pb::envoy::config::core::v3::data_source::Specifier;
use meltemi_xds::pb::envoy::extensions::transport_sockets::tls::v3 as tls_v3;

use crate::{Resource, secret};

#[test]
fn a_certificate_is_taken_by_value_and_from_a_file() {
    let pair = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
    let (chain, key) = (pair.cert.pem(), pair.signing_key.serialize_pem());
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("key.pem");
    std::fs::write(&file, &key).unwrap();
    let source = |specifier| DataSource {
        specifier: Some(specifier),
        ..Default::default()
    };
    let message = tls_v3::Secret {
        name: "default".to_owned(),
        r#type: Some(tls_v3::secret::Type::TlsCertificate(
            tls_v3::TlsCertificate {
                certificate_chain: Some(source(Specifier::InlineBytes(chain.clone().into()))),
                private_key: Some(source(Specifier::Filename(file.display().to_string()))),
                ..Default::default()
            },
        )),
    };
    let converted = secret(&message).unwrap();
    assert_eq!(
        Resource::from_any(&any::pack(&message)),
        Ok(Resource::Secret(converted.clone()))
    );
    let Secret::Certificate(certificate) = converted.secret else {
        panic!("it is a certificate");
    };
    assert_eq!(certificate.chain_pem, chain.as_bytes());
    assert_eq!(certificate.key_pem, key.as_bytes());
}

#[test]
fn a_resource_of_another_type_is_refused() {
    let message = any::pack(&DataSource::default());
    assert_eq!(
        Resource::from_any(&message).unwrap_err().to_string(),
        "type envoy.config.core.v3.DataSource is not supported"
    );
}

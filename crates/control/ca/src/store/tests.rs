#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use super::*;
use crate::{Authenticator as _, Credentials, FileTokens, TokenIssuer};

fn domain() -> TrustDomain {
    "cluster.local".parse().unwrap()
}

#[test]
fn the_first_start_makes_files_and_the_second_reads_them() {
    let place = tempfile::tempdir().unwrap();
    let directory = CaDirectory::new(place.path().join("ca"));
    let open = || {
        directory
            .load_or_create(&domain(), Validity::default(), Clock::system())
            .unwrap()
    };
    let first = open();
    assert_eq!(first.roots_pem(), open().roots_pem());
    directory.token_key().unwrap();
    let mut names: Vec<_> = fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| {
            let mode = entry.metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{:?}", entry.path());
            entry.file_name().into_string().unwrap()
        })
        .collect();
    names.sort();
    assert_eq!(names, [CA_CERT, CA_KEY, CERT_CHAIN, ROOT_CERT, TOKEN_KEY]);
    let text = first.roots_pem();
    let (_, pem) = x509_parser::pem::parse_x509_pem(text.as_bytes()).unwrap();
    let root = pem.parse_x509().unwrap();
    assert_eq!(root.subject().to_string(), "O=cluster.local");
    assert!(root.is_ca());
    assert_eq!(root.verify_signature(None), Ok(()));
}

#[test]
fn what_is_missing_or_broken_is_named() {
    let place = tempfile::tempdir().unwrap();
    let directory = CaDirectory::new(place.path());
    let load = || {
        directory
            .load_or_create(&domain(), Validity::default(), Clock::system())
            .err()
            .map(|error| error.to_string())
    };
    assert_eq!(load(), None);
    let root = place.path().join(ROOT_CERT);
    fs::remove_file(&root).unwrap();
    let message = load().unwrap();
    assert!(message.contains("root-cert.pem: missing"), "{message}");
    fs::write(&root, "").unwrap();
    let message = load().unwrap();
    assert!(
        message.contains("root-cert.pem: holds no certificate"),
        "{message}"
    );
    fs::write(place.path().join(TOKEN_KEY), "short").unwrap();
    let message = directory.token_key().err().unwrap().to_string();
    assert!(message.contains("32 bytes in base64"), "{message}");
}

#[tokio::test]
async fn tokens_of_the_directory_are_believed() {
    let place = tempfile::tempdir().unwrap();
    let directory = CaDirectory::new(place.path());
    let key = directory.token_key().unwrap();
    let issuer = TokenIssuer::new(key, domain(), Clock::system());
    let token = issuer
        .issue("shop", "web", Duration::from_secs(60))
        .unwrap();
    let tokens = FileTokens::new(directory.token_key().unwrap(), domain(), Clock::system());
    let credentials = Credentials {
        token: Some(&token),
        identities: &[],
    };
    let id = tokens.authenticate(&credentials).await.unwrap();
    assert_eq!(id.to_string(), "spiffe://cluster.local/ns/shop/sa/web");
}

#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use rustls_pki_types::CertificateDer;

use super::*;
use crate::{Authenticator as _, Credentials, FileTokens, TokenIssuer};

fn domain() -> TrustDomain {
    "cluster.local".parse().unwrap()
}

fn purpose() -> Purpose {
    Purpose {
        trust_domain: domain(),
        validity: Validity::default(),
        clock: Clock::system(),
    }
}

#[test]
fn the_first_start_makes_files_and_the_second_reads_them() {
    let place = tempfile::tempdir().unwrap();
    let directory = CaDirectory::new(place.path().join("ca"));
    let open = || directory.standing(&purpose()).unwrap();
    let first = open();
    assert_eq!(first.bundle(), open().bundle());
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
    let text = first.bundle_pem().concat();
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
            .standing(&purpose())
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

#[test]
fn a_rotation_is_kept_over_restarts() {
    let place = tempfile::tempdir().unwrap();
    let directory = CaDirectory::new(place.path());
    let stands = || {
        let standing = directory.standing(&purpose()).unwrap();
        let roots = standing.bundle();
        let signs = standing.signer.roots()[0].clone();
        let own = standing.server_signer().roots()[0].clone();
        (standing.phase, signs, own, roots)
    };
    let (_, old, ..) = stands();
    let begun = directory.begin(&purpose()).unwrap();
    let new = begun.other.unwrap().roots()[0].clone();
    assert_ne!(old, new);
    type Root = CertificateDer<'static>;
    let both = |first: &Root, second: &Root| vec![first.clone(), second.clone()];
    assert_eq!(
        stands(),
        (
            Phase::Distributing,
            old.clone(),
            old.clone(),
            both(&old, &new)
        )
    );
    let now = SystemTime::UNIX_EPOCH;
    directory.advance(Phase::Replacing, now).unwrap();
    assert_eq!(
        stands(),
        (Phase::Replacing, new.clone(), old.clone(), both(&new, &old))
    );
    directory.advance(Phase::Steady, now).unwrap();
    assert_eq!(
        stands(),
        (Phase::Steady, new.clone(), new.clone(), vec![new.clone()])
    );
    assert!(!place.path().join(CA_KEY).exists(), "the old key is gone");
    assert!(place.path().join("root-2").join(CA_KEY).exists());
    // And once more, from there.
    directory.begin(&purpose()).unwrap();
    directory.advance(Phase::Replacing, now).unwrap();
    directory.advance(Phase::Steady, now).unwrap();
    let (phase, third, ..) = stands();
    assert_eq!(phase, Phase::Steady);
    assert!(third != new && third != old);
    assert!(!place.path().join("root-2").exists());

    fs::write(
        place.path().join(PLAN),
        "{\"phase\":\"steady\",\"since\":0,\"signing\":\"../../etc\",\"other\":null}",
    )
    .unwrap();
    let message = directory.standing(&purpose()).err().unwrap().to_string();
    assert!(message.contains("contradict"), "{message}");
}

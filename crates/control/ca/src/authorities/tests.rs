#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use meltemi_lifecycle::Clock;
use rcgen::{CertificateParams, KeyPair};

use super::*;
use crate::{Confirmation, Validity};

const WEB: &str = "spiffe://cluster.local/ns/shop/sa/web";

fn purpose() -> Purpose {
    Purpose {
        trust_domain: "cluster.local".parse().unwrap(),
        validity: Validity::default(),
        clock: Clock::starting_at(SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)),
    }
}

/// The trust bundle that comes with a new certificate of this holder.
fn ask(authorities: &Authorities, holder: &str) -> String {
    let key = KeyPair::generate().unwrap();
    let request = CertificateParams::default().serialize_request(&key);
    let csr = request.unwrap().pem().unwrap();
    let id = WEB.parse().unwrap();
    let issued = authorities.sign(&csr, &id, Some(holder), None);
    issued.unwrap().chain.pop().unwrap()
}

fn says(confirmation: Confirmation) -> Vec<ProxyTrust> {
    vec![ProxyTrust {
        proxy: "web-1.shop".to_owned(),
        confirmation,
    }]
}

#[tokio::test(start_paused = true)]
async fn a_root_is_replaced_when_everybody_has_followed() {
    use Confirmation::{Confirmed, Waiting};
    let place = tempfile::tempdir().unwrap();
    let purpose = purpose();
    let open = || Authorities::open(CaDirectory::new(place.path()), None, purpose.clone()).unwrap();
    let authorities = open();
    let mut changes = authorities.watch();
    let old = ask(&authorities, "web-1");
    ask(&authorities, "web-2");
    assert!(authorities.advance(&[], true).is_err(), "there is none");

    authorities.begin().unwrap();
    assert!(changes.has_changed().unwrap());
    changes.mark_unchanged();
    assert!(matches!(
        authorities.begin(),
        Err(RotationError::UnderWay(_))
    ));
    let [first, second] = &authorities.standing().bundle_pem()[..] else {
        panic!("two roots");
    };
    assert_eq!(*first, old, "the old one still signs");
    assert_eq!(ask(&authorities, "web-1"), format!("{first}{second}"));
    let refused = authorities.advance(&says(Waiting), false).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "not yet: web-1.shop has not confirmed the trust bundle"
    );

    // A restart changes nothing.
    drop(authorities);
    let authorities = open();
    let phase = authorities.advance(&says(Confirmed), false).unwrap();
    assert_eq!(phase, Phase::Replacing);
    assert_eq!(authorities.outstanding().count, 2);
    assert_eq!(ask(&authorities, "web-1"), format!("{second}{first}"));
    let refused = authorities.advance(&says(Confirmed), false).unwrap_err();
    assert!(
        refused.to_string().contains("neither replaced"),
        "{refused}"
    );
    drop(authorities);
    let authorities = open();
    assert_eq!(authorities.outstanding().count, 1, "the journal knows");
    // What the other has expires.
    tokio::time::advance(Duration::from_secs(24 * 3600)).await;
    assert_eq!(
        authorities.advance(&says(Confirmed), false).unwrap(),
        Phase::Steady
    );
    assert_eq!(authorities.standing().bundle_pem().concat(), *second);
    assert_eq!(ask(&authorities, "web-1"), *second);
}

#[tokio::test(start_paused = true)]
async fn force_goes_on_without_proof() {
    let place = tempfile::tempdir().unwrap();
    let authorities = Authorities::open(CaDirectory::new(place.path()), None, purpose()).unwrap();
    ask(&authorities, "web-1");
    authorities.begin().unwrap();
    let silent = says(Confirmation::Silent);
    assert!(authorities.advance(&silent, false).is_err());
    assert_eq!(
        authorities.advance(&silent, true).unwrap(),
        Phase::Replacing
    );
    assert_eq!(authorities.advance(&silent, true).unwrap(), Phase::Steady);
}

/// The files of another authority.
fn plug(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    CaDirectory::new(from).standing(&purpose()).unwrap();
    for name in [
        "ca-key.pem",
        "cert-chain.pem",
        "root-cert.pem",
        "ca-cert.pem",
    ] {
        fs::copy(from.join(name), to.join(name)).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_plugged_in_is_followed() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    let plugged = at("cacerts");
    plug(&at("first"), &plugged);
    let own = CaDirectory::new(at("own"));
    let directory = CaDirectory::new(&plugged);
    let authorities = Authorities::open(own, Some(directory), purpose()).unwrap();
    let first = ask(&authorities, "web-1");
    assert!(matches!(
        authorities.begin(),
        Err(RotationError::Plugged(_))
    ));
    authorities.look();
    assert_eq!(authorities.standing().phase, Phase::Steady);

    // Half of the files: nothing happens.
    plug(&at("second"), &at("staged"));
    fs::copy(at("staged").join("ca-key.pem"), plugged.join("ca-key.pem")).unwrap();
    authorities.look();
    assert_eq!(authorities.standing().phase, Phase::Steady);
    assert_eq!(ask(&authorities, "web-1"), first);

    // All of them: the new root is distributed before it signs.
    plug(&at("second"), &plugged);
    authorities.look();
    assert_eq!(authorities.standing().phase, Phase::Distributing);
    let both = ask(&authorities, "web-1");
    assert!(both.starts_with(&first) && both.len() > first.len());
    // Taken back: as before.
    plug(&at("first"), &plugged);
    authorities.look();
    assert_eq!(authorities.standing().phase, Phase::Steady);
    assert_eq!(ask(&authorities, "web-1"), first);

    plug(&at("second"), &plugged);
    authorities.look();
    let confirmed = says(Confirmation::Confirmed);
    authorities.advance(&confirmed, false).unwrap();
    ask(&authorities, "web-1");
    assert_eq!(
        authorities.advance(&confirmed, false).unwrap(),
        Phase::Steady
    );
    let second = ask(&authorities, "web-1");
    assert_eq!(format!("{first}{second}"), both);
    assert!(!at("own").join("ca-key.pem").exists(), "no key is copied");
}

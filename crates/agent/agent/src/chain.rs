//! Whether a certificate chain ends under a certain root.
//!
//! In: certificates in PEM. Out: yes or no. Called by `identity`, which renews a certificate when
//! another root signs.

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// Whether the last certificate of a chain is signed by the first certificate of `root`.
pub(crate) fn is_under(chain_pem: &[u8], root: &str) -> bool {
    let last = CertificateDer::pem_slice_iter(chain_pem).flatten().last();
    let root = CertificateDer::from_pem_slice(root.as_bytes());
    let (Some(last), Ok(root)) = (last, root) else {
        return false;
    };
    let (Ok((_, last)), Ok((_, root))) = (
        X509Certificate::from_der(&last),
        X509Certificate::from_der(&root),
    ) else {
        return false;
    };
    last.issuer() == root.subject() && last.verify_signature(Some(root.public_key())).is_ok()
}

/// The certificates of a bundle that are there, each in PEM as it came; an error names what is none.
pub(crate) fn check_bundle(bundle: &[String]) -> Result<(), String> {
    if bundle.is_empty() {
        return Err("ca_certificates_pem: the bundle is empty".to_owned());
    }
    for (index, pem) in bundle.iter().enumerate() {
        let found: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
        let fine = !found.is_empty()
            && found.iter().all(|it| {
                let Ok(der) = it else { return false };
                X509Certificate::from_der(der).is_ok()
            });
        if !fine {
            return Err(format!(
                "ca_certificates_pem[{index}]: not a certificate in PEM"
            ));
        }
    }
    Ok(())
}

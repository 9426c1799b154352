//! One key of a key set (RFC 7517, RFC 7518 section 6, RFC 8037), or of a certificate.

use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature::{self, ParsedPublicKey, VerificationAlgorithm};
use aws_lc_rs::{constant_time, hmac};
use serde_json::Value;

use crate::json::{Object, base64};
use crate::{Algorithm, Failure, Token};

/// Ed25519's object identifier (RFC 8410).
const ED25519: &str = "1.3.101.112";

/// A key.
#[derive(Debug)]
pub(crate) struct Key {
    /// `kid`; empty for none.
    pub(crate) id: String,
    /// `alg`, the only algorithm it may be used with.
    pub(crate) algorithm: Option<Algorithm>,
    material: Material,
}

enum Material {
    /// The same key for each algorithm that it may be used with.
    Rsa(Vec<(Algorithm, ParsedPublicKey)>),
    Ec(Curve, ParsedPublicKey),
    Ed25519(ParsedPublicKey),
    Secret(Vec<u8>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Curve {
    P256,
    P384,
    P521,
}

impl Curve {
    /// Bytes of a coordinate.
    fn size(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }

    fn algorithm(self) -> Algorithm {
        match self {
            Self::P256 => Algorithm::Es256,
            Self::P384 => Algorithm::Es384,
            Self::P521 => Algorithm::Es512,
        }
    }

    fn verification(self) -> &'static signature::EcdsaVerificationAlgorithm {
        match self {
            Self::P256 => &signature::ECDSA_P256_SHA256_FIXED,
            Self::P384 => &signature::ECDSA_P384_SHA384_FIXED,
            Self::P521 => &signature::ECDSA_P521_SHA512_FIXED,
        }
    }
}

impl Key {
    /// Reads a JSON Web Key; none where it is unusable.
    pub(crate) fn parse(jwk: &Object) -> Option<Self> {
        let text = |name: &str| jwk.get(name).and_then(Value::as_str);
        let algorithm = match text("alg") {
            Some(name) => Some(Algorithm::from_name(name)?),
            None => None,
        };
        let material = match text("kty")? {
            "RSA" => rsa(base64(text("n")?)?, base64(text("e")?)?, algorithm),
            "EC" => ec(algorithm, jwk),
            "OKP" => okp(jwk),
            "oct" => base64(text("k")?)
                .filter(|secret| !secret.is_empty())
                .map(Material::Secret),
            _ => None,
        }?;
        let key = Self {
            id: text("kid").unwrap_or_default().to_owned(),
            algorithm,
            material,
        };
        algorithm
            .is_none_or(|algorithm| key.is_for(algorithm))
            .then_some(key)
    }

    /// Takes the key out of a certificate in PEM.
    pub(crate) fn from_certificate(id: &str, pem: &str) -> Option<Self> {
        let (_, pem) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).ok()?;
        let certificate = pem.parse_x509().ok()?;
        let x509_parser::public_key::PublicKey::RSA(key) =
            certificate.public_key().parsed().ok()?
        else {
            return None;
        };
        Some(Self {
            id: id.to_owned(),
            algorithm: None,
            material: rsa(key.modulus.to_vec(), key.exponent.to_vec(), None)?,
        })
    }

    /// Takes the key out of a public key or certificate in PEM, whatever it is for.
    pub(crate) fn from_pem(block: &x509_parser::pem::Pem) -> Option<Self> {
        use x509_parser::prelude::FromDer as _;
        use x509_parser::public_key::PublicKey;
        use x509_parser::x509::SubjectPublicKeyInfo;

        let (certificate, key);
        let info = match block.label.as_str() {
            "CERTIFICATE" => {
                certificate = block.parse_x509().ok()?;
                certificate.public_key()
            }
            "PUBLIC KEY" => {
                (_, key) = SubjectPublicKeyInfo::from_der(&block.contents).ok()?;
                &key
            }
            _ => return None,
        };
        let material = match info.parsed().ok()? {
            PublicKey::RSA(key) => rsa(key.modulus.to_vec(), key.exponent.to_vec(), None)?,
            PublicKey::EC(point) => {
                let curves = [Curve::P256, Curve::P384, Curve::P521];
                let bytes = point.data();
                let curve = curves
                    .into_iter()
                    .find(|it| bytes.len() == 2 * it.size() + 1)?;
                Material::Ec(curve, parsed(curve.verification(), bytes)?)
            }
            PublicKey::Unknown(bytes) if info.algorithm.algorithm.to_id_string() == ED25519 => {
                Material::Ed25519(parsed(&signature::ED25519, bytes)?)
            }
            _ => return None,
        };
        Some(Self {
            id: String::new(),
            algorithm: None,
            material,
        })
    }

    /// Whether the key is of the kind that the algorithm needs.
    fn is_for(&self, algorithm: Algorithm) -> bool {
        match &self.material {
            Material::Rsa(keys) => keys.iter().any(|(known, _)| *known == algorithm),
            Material::Ec(curve, _) => curve.algorithm() == algorithm,
            Material::Ed25519(_) => algorithm == Algorithm::EdDsa,
            Material::Secret(_) => algorithm.hmac().is_some(),
        }
    }

    /// Whether the key signed the token. A token for another kind of key was not signed by it.
    pub(crate) fn verify(&self, token: &Token) -> Result<bool, Failure> {
        let (signed, signature) = (token.signed.as_bytes(), token.signature.as_slice());
        Ok(match &self.material {
            Material::Rsa(keys) => keys
                .iter()
                .find(|(algorithm, _)| *algorithm == token.algorithm)
                .is_some_and(|(_, key)| key.verify_sig(signed, signature).is_ok()),
            Material::Ec(curve, key) => {
                curve.algorithm() == token.algorithm && key.verify_sig(signed, signature).is_ok()
            }
            Material::Ed25519(_) if token.algorithm != Algorithm::EdDsa => false,
            Material::Ed25519(_) if signature.len() != 64 => return Err(Failure::Ed25519Length),
            Material::Ed25519(key) => key.verify_sig(signed, signature).is_ok(),
            Material::Secret(secret) => token.algorithm.hmac().is_some_and(|algorithm| {
                let key = hmac::Key::new(algorithm, secret);
                let made = hmac::sign(&key, signed);
                constant_time::verify_slices_are_equal(made.as_ref(), signature).is_ok()
            }),
        })
    }
}

/// An RSA key, ready for one algorithm or for all; its exponent must be one of the two in use.
fn rsa(modulus: Vec<u8>, exponent: Vec<u8>, only: Option<Algorithm>) -> Option<Material> {
    let trim = |mut bytes: Vec<u8>| {
        let zeroes = bytes.iter().take_while(|byte| **byte == 0).count();
        bytes.drain(..zeroes);
        bytes
    };
    let (n, e) = (trim(modulus), trim(exponent));
    let usual = matches!(e.as_slice(), [3] | [1, 0, 1]);
    if !usual || !(256..=1024).contains(&n.len()) {
        return None;
    }
    let key = PublicKeyComponents { n, e };
    let ready =
        |algorithm: Algorithm| Some((algorithm, key.to_parsed_public_key(algorithm.rsa()?).ok()?));
    let algorithms = match only {
        Some(only) => vec![only],
        None => Algorithm::RSA.to_vec(),
    };
    Some(Material::Rsa(
        algorithms.into_iter().map(ready).collect::<Option<_>>()?,
    ))
}

fn ec(algorithm: Option<Algorithm>, jwk: &Object) -> Option<Material> {
    let named = match jwk.get("crv") {
        None => None,
        Some(Value::String(name)) => Some(match name.as_str() {
            "P-256" => Curve::P256,
            "P-384" => Curve::P384,
            "P-521" => Curve::P521,
            _ => return None,
        }),
        Some(_) => return None,
    };
    let meant = match algorithm {
        None => None,
        Some(Algorithm::Es256) => Some(Curve::P256),
        Some(Algorithm::Es384) => Some(Curve::P384),
        Some(Algorithm::Es512) => Some(Curve::P521),
        Some(_) => return None,
    };
    let curve = match (named, meant) {
        (Some(named), Some(meant)) if named != meant => return None,
        (named, meant) => named.or(meant).unwrap_or(Curve::P256),
    };
    let mut point = vec![4];
    for name in ["x", "y"] {
        let coordinate = base64(jwk.get(name)?.as_str()?)?;
        let missing = curve.size().checked_sub(coordinate.len())?;
        point.resize(point.len() + missing, 0);
        point.extend_from_slice(&coordinate);
    }
    let key = parsed(curve.verification(), &point)?;
    Some(Material::Ec(curve, key))
}

fn okp(jwk: &Object) -> Option<Material> {
    if jwk.get("crv")?.as_str()? != "Ed25519" {
        return None;
    }
    let key = base64(jwk.get("x")?.as_str()?)?;
    if key.len() != 32 {
        return None;
    }
    Some(Material::Ed25519(parsed(&signature::ED25519, &key)?))
}

/// Refuses what is no point on the curve.
fn parsed(algorithm: &'static dyn VerificationAlgorithm, bytes: &[u8]) -> Option<ParsedPublicKey> {
    ParsedPublicKey::new(algorithm, bytes).ok()
}

impl std::fmt::Debug for Material {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Rsa(_) => "RSA",
            Self::Ec(..) => "EC",
            Self::Ed25519(_) => "Ed25519",
            Self::Secret(_) => "secret",
        })
    }
}

//! Signs JSON Web Tokens with keys of its own, one for each kind of key.
//!
//! In: headers and claims. Out: tokens, and the key set that verifies them. Called by tests of what
//! reads tokens.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    self, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair, RsaEncoding, RsaKeyPair,
};
use aws_lc_rs::{hmac, rsa};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

const MADE: &str = "keys that were just made sign";

/// Keys of every kind.
pub struct TokenSigner {
    rsa: RsaKeyPair,
    p256: EcdsaKeyPair,
    p384: EcdsaKeyPair,
    p521: EcdsaKeyPair,
    ed25519: Ed25519KeyPair,
    secret: Vec<u8>,
    random: SystemRandom,
}

impl TokenSigner {
    /// New keys.
    #[must_use]
    pub fn new() -> Self {
        let ec = |algorithm: &'static EcdsaSigningAlgorithm| {
            EcdsaKeyPair::generate(algorithm).expect(MADE)
        };
        let random = SystemRandom::new();
        Self {
            rsa: RsaKeyPair::generate(rsa::KeySize::Rsa2048).expect(MADE),
            p256: ec(&signature::ECDSA_P256_SHA256_FIXED_SIGNING),
            p384: ec(&signature::ECDSA_P384_SHA384_FIXED_SIGNING),
            p521: ec(&signature::ECDSA_P521_SHA512_FIXED_SIGNING),
            ed25519: Ed25519KeyPair::generate().expect(MADE),
            secret: b"a secret of thirty-two bytes or more".to_vec(),
            random,
        }
    }

    /// A token with `alg` in its header as given, and claims.
    #[must_use]
    pub fn token(&self, header: &Value, claims: &Value) -> String {
        let algorithm = header["alg"].as_str().unwrap_or_default();
        self.token_of(&header.to_string(), &claims.to_string(), algorithm)
    }

    /// A token of this text, signed as the algorithm wants whatever its header says.
    #[must_use]
    pub fn token_of(&self, header: &str, claims: &str, algorithm: &str) -> String {
        let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let signed = format!("{}.{}", encode(header), encode(claims));
        let signature = URL_SAFE_NO_PAD.encode(self.sign(algorithm, signed.as_bytes()));
        format!("{signed}.{signature}")
    }

    /// The signature of an algorithm by its name; a few bytes for an algorithm that is none.
    #[must_use]
    pub fn sign(&self, algorithm: &str, text: &[u8]) -> Vec<u8> {
        let rsa = |encoding: &'static dyn RsaEncoding| {
            let mut signature = vec![0; self.rsa.public_modulus_len()];
            self.rsa
                .sign(encoding, &self.random, text, &mut signature)
                .expect(MADE);
            signature
        };
        let ec = |key: &EcdsaKeyPair| key.sign(&self.random, text).expect(MADE).as_ref().to_vec();
        let mac = |hash| {
            let key = hmac::Key::new(hash, &self.secret);
            hmac::sign(&key, text).as_ref().to_vec()
        };
        match algorithm {
            "RS256" => rsa(&signature::RSA_PKCS1_SHA256),
            "RS384" => rsa(&signature::RSA_PKCS1_SHA384),
            "RS512" => rsa(&signature::RSA_PKCS1_SHA512),
            "PS256" => rsa(&signature::RSA_PSS_SHA256),
            "PS384" => rsa(&signature::RSA_PSS_SHA384),
            "PS512" => rsa(&signature::RSA_PSS_SHA512),
            "ES256" => ec(&self.p256),
            "ES384" => ec(&self.p384),
            "ES512" => ec(&self.p521),
            "EdDSA" => self.ed25519.sign(text).as_ref().to_vec(),
            "HS256" => mac(hmac::HMAC_SHA256),
            "HS256 by the RSA key" => Self::hmac(self.rsa_public_der(), text),
            "HS384" => mac(hmac::HMAC_SHA384),
            "HS512" => mac(hmac::HMAC_SHA512),
            _ => b"none".to_vec(),
        }
    }

    /// The public RSA key in DER (PKCS #1), for those who would pass it off as a secret.
    #[must_use]
    pub fn rsa_public_der(&self) -> &[u8] {
        self.rsa.public_key().as_ref()
    }

    /// The HMAC of a text under any secret.
    #[must_use]
    pub fn hmac(secret: &[u8], text: &[u8]) -> Vec<u8> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        hmac::sign(&key, text).as_ref().to_vec()
    }

    /// The key set with all keys: `rsa`, `p256`, `p384`, `p521`, `ed25519` and `secret`, without
    /// `alg`.
    #[must_use]
    pub fn key_set(&self) -> Value {
        json!({ "keys": [
            self.key("rsa"), self.key("p256"), self.key("p384"), self.key("p521"),
            self.key("ed25519"), self.key("secret"),
        ] })
    }

    /// One key by its id.
    #[must_use]
    pub fn key(&self, id: &str) -> Value {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let ec = |key: &EcdsaKeyPair, curve: &str| {
            let point = &key.public_key().as_ref()[1..];
            let (x, y) = point.split_at(point.len() / 2);
            json!({ "kty": "EC", "kid": id, "crv": curve, "x": encode(x), "y": encode(y) })
        };
        match id {
            "rsa" => {
                let (n, e) = rsa_parts(self.rsa_public_der());
                json!({ "kty": "RSA", "kid": id, "n": encode(n), "e": encode(e) })
            }
            "p256" => ec(&self.p256, "P-256"),
            "p384" => ec(&self.p384, "P-384"),
            "p521" => ec(&self.p521, "P-521"),
            "ed25519" => {
                let x = encode(self.ed25519.public_key().as_ref());
                json!({ "kty": "OKP", "kid": id, "crv": "Ed25519", "x": x })
            }
            "secret" => json!({ "kty": "oct", "kid": id, "k": encode(&self.secret) }),
            _ => panic!("there is no key {id:?}"),
        }
    }
}

impl Default for TokenSigner {
    fn default() -> Self {
        Self::new()
    }
}

/// Modulus and exponent of a key in DER (PKCS #1), without leading zeroes.
fn rsa_parts(der: &[u8]) -> (&[u8], &[u8]) {
    let (sequence, _) = element(der);
    let (modulus, rest) = element(sequence);
    let (exponent, _) = element(rest);
    (without_zero(modulus), without_zero(exponent))
}

fn without_zero(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(&[0]).unwrap_or(bytes)
}

/// The content of the first element of DER, and what follows it.
fn element(der: &[u8]) -> (&[u8], &[u8]) {
    let (length, start) = match der[1] {
        short if short < 0x80 => (usize::from(short), 2),
        long => {
            let count = usize::from(long & 0x7f);
            let digits = &der[2..2 + count];
            let length = digits
                .iter()
                .fold(0, |sum, byte| sum << 8 | usize::from(*byte));
            (length, 2 + count)
        }
    };
    der[start..].split_at(length)
}

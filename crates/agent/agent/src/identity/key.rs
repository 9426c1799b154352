//! Workload keys: of which sort, and made.
//!
//! In: what Istio's agent reads in its environment. Out: a new key. Called by `request` for each
//! certificate, since a key is never used again.

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA256, RsaKeySize};

/// The fewest bits of an RSA key; Istio's figure too.
const RSA_LEAST: usize = 2048;

/// Of which sort a workload's key is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WorkloadKey {
    /// ECDSA on P-256.
    #[default]
    P256,
    /// ECDSA on P-384.
    P384,
    /// RSA of 2048 bits.
    Rsa2048,
    /// RSA of 3072 bits.
    Rsa3072,
    /// RSA of 4096 bits.
    Rsa4096,
}

/// Why a sort of key is refused; begins with the variable that asks for it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WorkloadKeyError {
    /// Another signature algorithm than Istio has.
    #[error("ECC_SIGNATURE_ALGORITHM: {0:?} is not ECDSA; leave it out for RSA")]
    Algorithm(String),
    /// Another curve than Istio has.
    #[error("ECC_CURVE: {0:?} is not P256 or P384")]
    Curve(String),
    /// Not a number.
    #[error("WORKLOAD_RSA_KEY_SIZE: {0:?} is no number of bits")]
    Number(String),
    /// Too short to be safe.
    #[error(
        "WORKLOAD_RSA_KEY_SIZE: requested key size does not meet the minimum required size of \
         {RSA_LEAST} (requested: {0})"
    )]
    Short(usize),
    /// Of a size that is not made.
    #[error("WORKLOAD_RSA_KEY_SIZE: {0} is not 2048, 3072 or 4096")]
    Size(usize),
}

impl WorkloadKey {
    /// What Istio's variables choose: `ECC_SIGNATURE_ALGORITHM` goes before everything, `ECC_CURVE` says
    /// more about it, and `WORKLOAD_RSA_KEY_SIZE` is for RSA. Without any of them it is P-256, where
    /// Istio takes RSA.
    ///
    /// # Errors
    /// When a value is none of Istio's.
    pub fn chosen(
        algorithm: Option<&str>,
        curve: Option<&str>,
        rsa_bits: Option<&str>,
    ) -> Result<Self, WorkloadKeyError> {
        match (algorithm, rsa_bits) {
            (Some("ECDSA"), _) => match curve {
                None | Some("P256") => Ok(Self::P256),
                Some("P384") => Ok(Self::P384),
                Some(other) => Err(WorkloadKeyError::Curve(other.to_owned())),
            },
            (Some(other), _) => Err(WorkloadKeyError::Algorithm(other.to_owned())),
            (None, None) => Ok(Self::default()),
            (None, Some(bits)) => {
                let number = bits.parse();
                match number.map_err(|_| WorkloadKeyError::Number(bits.to_owned()))? {
                    2048 => Ok(Self::Rsa2048),
                    3072 => Ok(Self::Rsa3072),
                    4096 => Ok(Self::Rsa4096),
                    short if short < RSA_LEAST => Err(WorkloadKeyError::Short(short)),
                    other => Err(WorkloadKeyError::Size(other)),
                }
            }
        }
    }

    /// Makes a key; one of RSA takes as long as it takes to find primes.
    pub(crate) fn make(self) -> Result<KeyPair, rcgen::Error> {
        match self {
            Self::P256 => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256),
            Self::P384 => KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384),
            Self::Rsa2048 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048),
            Self::Rsa3072 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_3072),
            Self::Rsa4096 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_4096),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variables_of_istio_choose_a_key() {
        for (algorithm, curve, bits, expected) in [
            (None, None, None, Ok(WorkloadKey::P256)),
            (Some("ECDSA"), None, None, Ok(WorkloadKey::P256)),
            (Some("ECDSA"), Some("P256"), None, Ok(WorkloadKey::P256)),
            (
                Some("ECDSA"),
                Some("P384"),
                Some("4096"),
                Ok(WorkloadKey::P384),
            ),
            // Without the algorithm the curve has nothing to say.
            (None, Some("P384"), None, Ok(WorkloadKey::P256)),
            (None, None, Some("2048"), Ok(WorkloadKey::Rsa2048)),
            (None, None, Some("3072"), Ok(WorkloadKey::Rsa3072)),
            (None, None, Some("4096"), Ok(WorkloadKey::Rsa4096)),
            (
                Some("ECDSA"),
                Some("P521"),
                None,
                Err("ECC_CURVE: \"P521\" is not P256 or P384"),
            ),
            (
                Some("ED25519"),
                None,
                None,
                Err("ECC_SIGNATURE_ALGORITHM: \"ED25519\" is not ECDSA; leave it out for RSA"),
            ),
            (
                None,
                None,
                Some("1024"),
                Err(
                    "WORKLOAD_RSA_KEY_SIZE: requested key size does not meet the minimum required \
                     size of 2048 (requested: 1024)",
                ),
            ),
            (
                None,
                None,
                Some("2049"),
                Err("WORKLOAD_RSA_KEY_SIZE: 2049 is not 2048, 3072 or 4096"),
            ),
            (
                None,
                None,
                Some("big"),
                Err("WORKLOAD_RSA_KEY_SIZE: \"big\" is no number of bits"),
            ),
        ] {
            let chosen = WorkloadKey::chosen(algorithm, curve, bits);
            let chosen = chosen.map_err(|it| it.to_string());
            assert_eq!(chosen, expected.map_err(str::to_owned));
        }
    }
}

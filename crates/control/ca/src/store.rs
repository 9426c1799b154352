//! Where an authority's key lies: a directory of Istio's four files.
//!
//! In: a directory. Out: the authority that its files make, or that a new key makes whose files are
//! then there. Called at the start of the control plane, and by `meltemi up`.

use std::path::{Path, PathBuf};

use meltemi_lifecycle::Clock;
use meltemi_spiffe::TrustDomain;

use crate::authority::Material;
use crate::file::{self, FileError};
use crate::{CertificateAuthority, ChainError, SignError, TokenKey, Validity};

const CA_CERT: &str = "ca-cert.pem";
const CA_KEY: &str = "ca-key.pem";
const CERT_CHAIN: &str = "cert-chain.pem";
const ROOT_CERT: &str = "root-cert.pem";
const TOKEN_KEY: &str = "token-key";

/// A directory that holds an authority: `ca-cert.pem`, `ca-key.pem`, `cert-chain.pem`,
/// `root-cert.pem`, and the key that workload tokens are made with, `token-key`.
#[derive(Debug, Clone)]
pub struct CaDirectory {
    path: PathBuf,
}

/// Why a directory holds no authority.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// Some of the files are there and others are not.
    #[error("{}: missing; the directory must hold {CA_CERT}, {CA_KEY}, {ROOT_CERT} and {CERT_CHAIN}", .0.display())]
    Missing(PathBuf),
    /// The files do not make an authority.
    #[error("{}: {error}", path.display())]
    Chain {
        /// The directory.
        path: PathBuf,
        /// What is wrong.
        #[source]
        error: ChainError,
    },
    /// A root could not be made.
    #[error("a new root: {0}")]
    Sign(#[from] SignError),
    /// The key of the tokens is not one.
    #[error("{}: not a token key: 32 bytes in base64 are needed", .0.display())]
    TokenKey(PathBuf),
}

impl CaDirectory {
    /// This directory, which need not exist yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The authority whose files are there: one that somebody has plugged in, with intermediate
    /// certificates if it has any, or one made earlier.
    ///
    /// # Errors
    /// When a file is missing or the files do not fit together.
    pub fn load(
        &self,
        trust_domain: &TrustDomain,
        validity: Validity,
        clock: Clock,
    ) -> Result<CertificateAuthority, StoreError> {
        let material = Material {
            ca_cert: self.needed(CA_CERT)?,
            ca_key: self.needed(CA_KEY)?,
            cert_chain: self.needed(CERT_CHAIN)?,
            root_cert: self.needed(ROOT_CERT)?,
        };
        CertificateAuthority::new(&material, trust_domain.clone(), validity, clock).map_err(
            |error| StoreError::Chain {
                path: self.path.clone(),
                error,
            },
        )
    }

    /// The same; where none of the files exists, a self-signed root is made and kept first.
    ///
    /// # Errors
    /// As [`CaDirectory::load`], or when the files cannot be written.
    pub fn load_or_create(
        &self,
        trust_domain: &TrustDomain,
        validity: Validity,
        clock: Clock,
    ) -> Result<CertificateAuthority, StoreError> {
        file::make_directory(&self.path)?;
        // Of two that start at once, the second finds what the first has made.
        let _held = file::lock(&self.path)?;
        let files = [CA_CERT, CA_KEY, CERT_CHAIN, ROOT_CERT];
        if !files.iter().any(|name| self.path.join(name).exists()) {
            let material = Material::self_signed(trust_domain, clock.wall())?;
            file::create(&self.path.join(CA_KEY), &material.ca_key)?;
            file::create(&self.path.join(CERT_CHAIN), &material.cert_chain)?;
            file::create(&self.path.join(ROOT_CERT), &material.root_cert)?;
            file::create(&self.path.join(CA_CERT), &material.ca_cert)?;
        }
        self.load(trust_domain, validity, clock)
    }

    /// The key that workload tokens are made and checked with; made on first use.
    ///
    /// # Errors
    /// When the file cannot be read or written, or holds something else.
    pub fn token_key(&self) -> Result<TokenKey, StoreError> {
        let path = self.path.join(TOKEN_KEY);
        if !path.exists() {
            file::make_directory(&self.path)?;
            file::create(&path, &TokenKey::random_text())?;
        }
        let text = self.needed(TOKEN_KEY)?;
        TokenKey::from_text(&text).ok_or(StoreError::TokenKey(path))
    }

    fn needed(&self, name: &str) -> Result<String, StoreError> {
        let path = self.path.join(name);
        file::read(&path)?.ok_or(StoreError::Missing(path))
    }
}

#[cfg(test)]
mod tests;

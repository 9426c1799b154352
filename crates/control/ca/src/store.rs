//! Where an authority's key lies: a directory of Istio's four files.
//!
//! In: a directory. Out: the authority that its files make, or that a new key makes whose files are
//! then there. While the root is replaced, the other authority's files are in a directory inside, and
//! a plan says which is which; the plan is replaced whole, so that every crash leaves the one state or
//! the other. Called by `authorities`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use meltemi_lifecycle::Clock;
use meltemi_spiffe::TrustDomain;
use serde::{Deserialize, Serialize};

use crate::authority::Material;
use crate::file::{self, FileError};
use crate::ledger::seconds;
use crate::rotation::{Phase, Standing};
use crate::{CertificateAuthority, ChainError, SignError, TokenKey, Validity};

const CA_CERT: &str = "ca-cert.pem";
const CA_KEY: &str = "ca-key.pem";
const CERT_CHAIN: &str = "cert-chain.pem";
const ROOT_CERT: &str = "root-cert.pem";
const TOKEN_KEY: &str = "token-key";
const PLAN: &str = "rotation.json";
const JOURNAL: &str = "issued";
const USED: &str = "used-tokens";
/// How an authority's directory is called whose files are in the directory itself.
const HERE: &str = ".";

/// A directory that holds an authority: `ca-cert.pem`, `ca-key.pem`, `cert-chain.pem`,
/// `root-cert.pem`, and the key that workload tokens are made with, `token-key`.
#[derive(Debug, Clone)]
pub struct CaDirectory {
    path: PathBuf,
}

/// What an authority is made for.
#[derive(Debug, Clone)]
pub struct Purpose {
    /// Whose identities it signs.
    pub trust_domain: TrustDomain,
    /// How long its certificates are valid.
    pub validity: Validity,
    /// The clock.
    pub clock: Clock,
}

/// Which directories hold the authorities of a rotation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Plan {
    pub phase: Phase,
    /// Seconds since the Unix epoch.
    pub since: u64,
    pub signing: String,
    pub other: Option<String>,
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
    /// The plan of a rotation is not one.
    #[error("{}: not the plan of a rotation: {reason}", path.display())]
    Plan {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
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

    /// The files, as they are.
    pub(crate) fn material(&self) -> Result<Material, StoreError> {
        Ok(Material {
            ca_cert: self.needed(CA_CERT)?,
            ca_key: self.needed(CA_KEY)?,
            cert_chain: self.needed(CERT_CHAIN)?,
            root_cert: self.needed(ROOT_CERT)?,
        })
    }

    /// The authority that files of this directory make.
    pub(crate) fn authority(
        &self,
        material: &Material,
        purpose: &Purpose,
    ) -> Result<CertificateAuthority, StoreError> {
        let domain = purpose.trust_domain.clone();
        CertificateAuthority::new(material, domain, purpose.validity, purpose.clock).map_err(
            |error| StoreError::Chain {
                path: self.path.clone(),
                error,
            },
        )
    }

    /// The authority whose files are there: one that somebody has plugged in, with intermediate
    /// certificates if it has any, or one made earlier.
    ///
    /// # Errors
    /// When a file is missing or the files do not fit together.
    pub fn load(&self, purpose: &Purpose) -> Result<CertificateAuthority, StoreError> {
        self.authority(&self.material()?, purpose)
    }

    /// Who signs and who is trusted, by the files that are there; where there are none, a self-signed
    /// root is made and kept first.
    ///
    /// # Errors
    /// When files are missing, do not fit together, or cannot be written.
    pub(crate) fn standing(&self, purpose: &Purpose) -> Result<Standing, StoreError> {
        file::make_directory(&self.path)?;
        // Of two that start at once, the second finds what the first has made.
        let _held = file::lock(&self.path)?;
        let Some(plan) = self.plan()? else {
            let files = [CA_CERT, CA_KEY, CERT_CHAIN, ROOT_CERT];
            if !files.iter().any(|name| self.path.join(name).exists()) {
                self.keep(&Material::self_signed(
                    &purpose.trust_domain,
                    purpose.clock.wall(),
                )?)?;
            }
            let signer = Arc::new(self.load(purpose)?);
            let since = signer.root().not_before;
            return Ok(Standing::steady(signer, since));
        };
        let load = |name: &str| self.inside(name).load(purpose).map(Arc::new);
        Ok(Standing {
            phase: plan.phase,
            since: SystemTime::UNIX_EPOCH + Duration::from_secs(plan.since),
            signer: load(&plan.signing)?,
            other: plan.other.as_deref().map(load).transpose()?,
        })
    }

    /// Makes another root, which is neither used nor trusted yet.
    pub(crate) fn begin(&self, purpose: &Purpose) -> Result<Standing, StoreError> {
        let _held = file::lock(&self.path)?;
        let now = purpose.clock.wall();
        let signing = match self.plan()? {
            Some(plan) => plan.signing,
            None => HERE.to_owned(),
        };
        let free = (2_u32..).map(|it| format!("root-{it}"));
        let name = free
            .into_iter()
            .find(|it| !self.path.join(it).exists())
            .expect("there are more numbers than directories");
        let next = self.inside(&name);
        file::make_directory(&next.path)?;
        next.keep(&Material::self_signed(&purpose.trust_domain, now)?)?;
        let standing = Standing {
            phase: Phase::Distributing,
            since: now,
            signer: Arc::new(self.inside(&signing).load(purpose)?),
            other: Some(Arc::new(next.load(purpose)?)),
        };
        self.write_plan(&Plan {
            phase: Phase::Distributing,
            since: seconds(now),
            signing,
            other: Some(name),
        })?;
        Ok(standing)
    }

    /// Takes the step that leads to this phase, and forgets an authority that has no part in it.
    pub(crate) fn advance(&self, to: Phase, now: SystemTime) -> Result<(), StoreError> {
        let _held = file::lock(&self.path)?;
        let plan = self.plan()?.ok_or_else(|| StoreError::Plan {
            path: self.path.join(PLAN),
            reason: "it is gone".to_owned(),
        })?;
        let Plan { signing, other, .. } = plan;
        let (signing, other, gone) = match (to, other) {
            (Phase::Replacing, Some(next)) => (next, Some(signing), None),
            (_, other) => (signing, None, other),
        };
        self.write_plan(&Plan {
            phase: to,
            since: seconds(now),
            signing,
            other,
        })?;
        match gone.as_deref() {
            None => {}
            Some(HERE) => {
                for name in [CA_KEY, CA_CERT, CERT_CHAIN, ROOT_CERT] {
                    file::remove(&self.path.join(name))?;
                }
            }
            Some(name) => file::remove(&self.path.join(name))?,
        }
        Ok(())
    }

    fn plan(&self) -> Result<Option<Plan>, StoreError> {
        let path = self.path.join(PLAN);
        let Some(text) = file::read(&path)? else {
            return Ok(None);
        };
        let plan: Plan = serde_json::from_str(&text).map_err(|error| StoreError::Plan {
            path: path.clone(),
            reason: error.to_string(),
        })?;
        let well_formed = |name: &str| {
            name == HERE
                || name
                    .strip_prefix("root-")
                    .is_some_and(|it| it.parse::<u32>().is_ok())
        };
        let steady = plan.phase == Phase::Steady;
        let named = std::iter::once(&plan.signing).chain(&plan.other);
        if steady != plan.other.is_none() || !named.into_iter().all(|it| well_formed(it)) {
            return Err(StoreError::Plan {
                path,
                reason: "its parts contradict one another".to_owned(),
            });
        }
        Ok(Some(plan))
    }

    fn write_plan(&self, plan: &Plan) -> Result<(), StoreError> {
        let text = serde_json::to_string(plan).expect("text and numbers are JSON");
        Ok(file::replace(&self.path.join(PLAN), &text)?)
    }

    fn keep(&self, material: &Material) -> Result<(), StoreError> {
        file::create(&self.path.join(CA_KEY), &material.ca_key)?;
        file::create(&self.path.join(CERT_CHAIN), &material.cert_chain)?;
        file::create(&self.path.join(ROOT_CERT), &material.root_cert)?;
        Ok(file::create(&self.path.join(CA_CERT), &material.ca_cert)?)
    }

    fn inside(&self, name: &str) -> Self {
        Self::new(match name {
            HERE => self.path.clone(),
            name => self.path.join(name),
        })
    }

    /// Where it is written which certificates were issued.
    pub(crate) fn journal(&self) -> Result<PathBuf, StoreError> {
        file::make_directory(&self.path)?;
        Ok(self.path.join(JOURNAL))
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

    /// Where it is kept how new the tokens were that workloads have used.
    pub fn used_tokens(&self) -> PathBuf {
        self.path.join(USED)
    }

    fn needed(&self, name: &str) -> Result<String, StoreError> {
        let path = self.path.join(name);
        file::read(&path)?.ok_or(StoreError::Missing(path))
    }
}

#[cfg(test)]
mod tests;

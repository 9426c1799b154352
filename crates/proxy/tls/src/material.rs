//! Secrets of a context, resolved: references and a store enter, PEM leaves.
//!
//! [`Slot`] keeps what a context last built from them, so that a handshake costs one
//! comparison while nothing changes.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;
use meltemi_ir::{Secret, SecretRef, TlsCertificate, ValidationContext};

use crate::store::{SecretStore, WantedSecret};
use crate::{TlsError, key};

/// The secrets that a context refers to. Registers them as wanted while it lives.
pub(crate) struct Material {
    store: Arc<SecretStore>,
    certificates: Vec<SecretRef<TlsCertificate>>,
    validation: Option<SecretRef<ValidationContext>>,
    wanted: Vec<WantedSecret>,
}

/// The secrets of one moment.
pub(crate) struct Resolved {
    pub(crate) certificates: Vec<Arc<key::Certificate>>,
    pub(crate) validation: Option<ValidationContext>,
}

/// What was built from the secrets of the store's generation.
pub(crate) struct Slot<T> {
    built: ArcSwapOption<Built<T>>,
    building: Mutex<()>,
}

struct Built<T> {
    generation: u64,
    seen: Vec<Option<Arc<Secret>>>,
    value: Result<T, TlsError>,
}

impl Material {
    pub(crate) fn new(
        store: Arc<SecretStore>,
        certificates: &[SecretRef<TlsCertificate>],
        validation: Option<&SecretRef<ValidationContext>>,
    ) -> Self {
        let mut wanted = Vec::new();
        for certificate in certificates {
            want(certificate, &mut wanted);
        }
        if let Some(validation) = validation {
            want(validation, &mut wanted);
        }
        for secret in &wanted {
            store.want(secret);
        }
        Self {
            store,
            certificates: certificates.to_vec(),
            validation: validation.cloned(),
            wanted,
        }
    }

    /// Reads every secret.
    ///
    /// # Errors
    /// When one is missing or cannot be read.
    pub(crate) fn resolve(&self) -> Result<Resolved, TlsError> {
        let mut certificates = Vec::with_capacity(self.certificates.len());
        for (index, reference) in self.certificates.iter().enumerate() {
            let certificate = match reference {
                SecretRef::Inline(certificate) => {
                    let path = format!("common_tls_context.tls_certificates[{index}]");
                    key::Certificate::read(certificate, &path)?
                }
                SecretRef::Sds { name, source: _ } => match self.delivered(name)?.as_ref() {
                    Secret::Certificate(certificate) => {
                        key::Certificate::read(certificate, &format!("secret {name:?}"))?
                    }
                    Secret::Validation(_) => return Err(wrong_kind(name, "certificate")),
                },
            };
            certificates.push(Arc::new(certificate));
        }
        let validation = match &self.validation {
            None => None,
            Some(SecretRef::Inline(validation)) => Some(validation.clone()),
            Some(SecretRef::Sds { name, source: _ }) => match self.delivered(name)?.as_ref() {
                Secret::Validation(validation) => Some(validation.clone()),
                Secret::Certificate(_) => return Err(wrong_kind(name, "validation context")),
            },
        };
        Ok(Resolved {
            certificates,
            validation,
        })
    }

    /// Whether any secret is referred to by name.
    pub(crate) fn is_by_name(&self) -> bool {
        !self.wanted.is_empty()
    }

    fn delivered(&self, name: &str) -> Result<Arc<Secret>, TlsError> {
        self.store
            .get(name)
            .ok_or_else(|| TlsError::Missing(name.to_owned()))
    }

    /// The secrets by name that this context uses, as they are now.
    fn seen(&self) -> Vec<Option<Arc<Secret>>> {
        self.wanted
            .iter()
            .map(|secret| self.store.get(&secret.name))
            .collect()
    }
}

impl Drop for Material {
    fn drop(&mut self) {
        for secret in &self.wanted {
            self.store.unwant(secret);
        }
    }
}

impl<T: Clone> Slot<T> {
    pub(crate) fn new() -> Self {
        Self {
            built: ArcSwapOption::empty(),
            building: Mutex::new(()),
        }
    }

    /// What `build` made of the secrets as they are now; built again only where one changed.
    pub(crate) fn get(
        &self,
        material: &Material,
        build: impl FnOnce(Resolved) -> Result<T, TlsError>,
    ) -> Result<T, TlsError> {
        let generation = material.store.generation();
        if let Some(built) = &*self.built.load()
            && built.generation == generation
        {
            return built.value.clone();
        }
        let _one_at_a_time = self.building.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = material.seen();
        let value = match &*self.built.load() {
            Some(built) if same(&built.seen, &seen) => built.value.clone(),
            _ => material.resolve().and_then(build),
        };
        self.built.store(Some(Arc::new(Built {
            generation,
            seen,
            value: value.clone(),
        })));
        value
    }
}

fn same(left: &[Option<Arc<Secret>>], right: &[Option<Arc<Secret>>]) -> bool {
    left.len() == right.len()
        && left.iter().zip(right).all(|pair| match pair {
            (Some(left), Some(right)) => Arc::ptr_eq(left, right) || left == right,
            (None, None) => true,
            _ => false,
        })
}

fn want<T>(reference: &SecretRef<T>, wanted: &mut Vec<WantedSecret>) {
    if let SecretRef::Sds { name, source } = reference {
        wanted.push(WantedSecret {
            name: name.clone(),
            source: source.clone(),
        });
    }
}

fn wrong_kind(name: &str, kind: &str) -> TlsError {
    TlsError::Material {
        path: format!("secret {name:?}"),
        reason: format!("it is no {kind}"),
    }
}

//! Secrets of a context, resolved: references and a store enter, PEM leaves.
//!
//! [`Slot`] keeps what a context last built from them, so that a handshake costs one
//! comparison while nothing changes.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;
use meltemi_ir::{Secret, SecretRef, TicketKeys, TlsCertificate, ValidationContext};
use rustls::SignatureScheme;

use crate::anchors::{self, Anchors};
use crate::store::{SecretStore, WantedSecret};
use crate::{TlsError, key};

/// Whether a secret can be served by itself; what is not is to be refused, so that what was there
/// before stays.
///
/// # Errors
/// When it cannot be read, or its parts do not belong together.
pub fn check(secret: &Secret) -> Result<(), TlsError> {
    match secret {
        Secret::Certificate(certificate) => {
            key::Certificate::read(certificate, "tls_certificate", &[]).map(drop)
        }
        Secret::Validation(context) => {
            if !context.trusted_ca_pem.is_empty() {
                Anchors::read(&context.trusted_ca_pem)?;
            }
            anchors::revocations(context).map(drop)
        }
        Secret::TicketKeys(keys) if keys.0.is_empty() => Err(TlsError::Material {
            path: "session_ticket_keys.keys".to_owned(),
            reason: "needs at least one key".to_owned(),
        }),
        Secret::TicketKeys(_) => Ok(()),
    }
}

/// The secrets that a context refers to. Registers them as wanted while it lives.
pub(crate) struct Material {
    store: Arc<SecretStore>,
    uses: Arc<Uses>,
    ticket_keys: Option<SecretRef<TicketKeys>>,
    schemes: Vec<SignatureScheme>,
    wanted: Vec<WantedSecret>,
}

/// What a context shows and trusts.
pub(crate) struct Uses {
    pub(crate) certificates: Vec<SecretRef<TlsCertificate>>,
    pub(crate) validation: Option<SecretRef<ValidationContext>>,
    /// The default part of a combined validation context.
    pub(crate) defaults: ValidationContext,
}

/// What a context's settings refer to.
pub(crate) struct References<'a> {
    pub(crate) certificates: &'a [SecretRef<TlsCertificate>],
    pub(crate) validation: Option<&'a SecretRef<ValidationContext>>,
    pub(crate) defaults: &'a ValidationContext,
    pub(crate) ticket_keys: Option<&'a SecretRef<TicketKeys>>,
    pub(crate) schemes: &'a [SignatureScheme],
}

/// The secrets of one moment.
pub(crate) struct Resolved {
    pub(crate) certificates: Vec<Arc<key::Certificate>>,
    pub(crate) validation: Option<ValidationContext>,
    pub(crate) ticket_keys: Option<TicketKeys>,
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
    pub(crate) fn new(store: Arc<SecretStore>, references: &References<'_>) -> Self {
        let References {
            certificates,
            validation,
            defaults,
            ticket_keys,
            schemes,
        } = *references;
        let mut wanted = Vec::new();
        for certificate in certificates {
            want(certificate, &mut wanted);
        }
        if let Some(validation) = validation {
            want(validation, &mut wanted);
        }
        if let Some(keys) = ticket_keys {
            want(keys, &mut wanted);
        }
        for secret in &wanted {
            store.want(secret);
        }
        let uses = Arc::new(Uses {
            certificates: certificates.to_vec(),
            validation: validation.cloned(),
            defaults: defaults.clone(),
        });
        store.register(&uses);
        Self {
            store,
            uses,
            ticket_keys: ticket_keys.cloned(),
            schemes: schemes.to_vec(),
            wanted,
        }
    }

    /// Reads every secret.
    ///
    /// # Errors
    /// When one is missing or cannot be read.
    pub(crate) fn resolve(&self) -> Result<Resolved, TlsError> {
        let Uses {
            certificates,
            validation,
            defaults,
        } = &*self.uses;
        let references = certificates.iter().enumerate();
        let mut certificates = Vec::with_capacity(certificates.len());
        for (index, reference) in references {
            let certificate = match reference {
                SecretRef::Inline(certificate) => {
                    let path = format!("common_tls_context.tls_certificates[{index}]");
                    key::Certificate::read(certificate, &path, &self.schemes)?
                }
                SecretRef::Sds { name, source: _ } => match self.delivered(name)?.as_ref() {
                    Secret::Certificate(certificate) => {
                        let path = format!("secret {name:?}");
                        key::Certificate::read(certificate, &path, &self.schemes)?
                    }
                    _ => return Err(wrong_kind(name, "certificate")),
                },
            };
            certificates.push(Arc::new(certificate));
        }
        let validation = match validation {
            None => defaults.names_peers().then(|| defaults.clone()),
            Some(SecretRef::Inline(validation)) => Some(validation.clone()),
            Some(SecretRef::Sds { name, source: _ }) => match self.delivered(name)?.as_ref() {
                Secret::Validation(validation) => Some(defaults.merged(validation)),
                _ => return Err(wrong_kind(name, "validation context")),
            },
        };
        let ticket_keys = match &self.ticket_keys {
            None => None,
            Some(SecretRef::Inline(keys)) => Some(keys.clone()),
            Some(SecretRef::Sds { name, source: _ }) => match self.delivered(name)?.as_ref() {
                Secret::TicketKeys(keys) => Some(keys.clone()),
                _ => return Err(wrong_kind(name, "list of session ticket keys")),
            },
        };
        Ok(Resolved {
            certificates,
            validation,
            ticket_keys,
        })
    }

    /// Where secrets are.
    pub(crate) fn store(&self) -> &SecretStore {
        &self.store
    }

    /// Whether a secret that is referred to by name has not come yet.
    pub(crate) fn is_waiting(&self) -> bool {
        self.wanted
            .iter()
            .any(|secret| self.store.awaits(&secret.name))
    }

    /// The secrets that have not come.
    pub(crate) fn awaited(&self) -> impl Iterator<Item = &str> {
        let missing = |name: &&str| self.store.get(name).is_none();
        self.wanted
            .iter()
            .map(|secret| &*secret.name)
            .filter(missing)
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
            before => match (material.resolve().and_then(build), before.as_ref()) {
                // What is there but of no use leaves what served before; what is gone does not.
                (Err(error), Some(before))
                    if before.value.is_ok() && !matches!(error, TlsError::Missing(_)) =>
                {
                    before.value.clone()
                }
                (value, _) => value,
            },
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

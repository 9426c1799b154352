//! Session tickets that several proxies can open: keys enter, a ticketer of `rustls` leaves.
//!
//! A ticket bears the name of its key. It is sealed together with what the listener demands of
//! clients, so that one that was given where less was demanded opens nothing.

use std::time::Duration;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use meltemi_ir::TicketKeys;
use rustls::server::ProducesTickets;
use rustls_pki_types::UnixTime;

use crate::TlsError;

const NAME: usize = 16;
const NONCE: usize = 12;
/// How long a session may be resumed unless the settings say.
const LIFETIME: Duration = Duration::from_secs(7200);

/// Seals and opens tickets with keys that were given.
pub(crate) struct SharedKeys {
    /// By name; the first seals.
    keys: Vec<([u8; NAME], LessSafeKey)>,
    demands: [u8; 32],
    lifetime: Option<Duration>,
}

impl std::fmt::Debug for SharedKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedKeys").finish_non_exhaustive()
    }
}

impl SharedKeys {
    /// Takes keys of 80 bytes: 16 of a name and twice 32 of a secret. `demands` stands for what
    /// clients must fulfil.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn new(
        keys: &TicketKeys,
        demands: [u8; 32],
        lifetime: Option<Duration>,
    ) -> Result<Self, TlsError> {
        let fault = || TlsError::Material {
            path: "session_ticket_keys.keys".to_owned(),
            reason: "needs at least one key".to_owned(),
        };
        let keys = keys.0.iter().map(|bytes| {
            let mut name = [0; NAME];
            name.copy_from_slice(&bytes[..NAME]);
            let key = UnboundKey::new(&AES_256_GCM, &crate::anchors::sha256(&bytes[NAME..]));
            key.map(|key| (name, LessSafeKey::new(key)))
        });
        let keys = keys.collect::<Result<Vec<_>, _>>().map_err(|_| fault())?;
        if keys.is_empty() {
            return Err(fault());
        }
        Ok(Self {
            keys,
            demands,
            lifetime,
        })
    }
}

impl ProducesTickets for SharedKeys {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        seconds(self.lifetime)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let (name, key) = self.keys.first()?;
        let mut nonce = [0; NONCE];
        aws_lc_rs::rand::fill(&mut nonce).ok()?;
        let mut sealed = stamped(plain);
        key.seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(self.demands),
            &mut sealed,
        )
        .ok()?;
        let mut ticket = Vec::with_capacity(NAME + NONCE + sealed.len());
        ticket.extend_from_slice(name);
        ticket.extend_from_slice(&nonce);
        ticket.extend_from_slice(&sealed);
        Some(ticket)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (wanted, rest) = ticket.split_at_checked(NAME)?;
        let (nonce, sealed) = rest.split_at_checked(NONCE)?;
        let (_, key) = self.keys.iter().find(|(name, _)| name == wanted)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut plain = sealed.to_vec();
        let opened = key.open_in_place(nonce, Aad::from(self.demands), &mut plain);
        let length = opened.ok()?.len();
        plain.truncate(length);
        fresh(plain, self.lifetime())
    }
}

/// A ticketer of the library's own with another lifetime.
#[derive(Debug)]
pub(crate) struct Limited {
    pub(crate) inner: std::sync::Arc<dyn ProducesTickets>,
    pub(crate) lifetime: Duration,
}

impl ProducesTickets for Limited {
    fn enabled(&self) -> bool {
        self.inner.enabled()
    }

    fn lifetime(&self) -> u32 {
        seconds(Some(self.lifetime)).min(self.inner.lifetime())
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.inner.encrypt(&stamped(plain))
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        fresh(self.inner.decrypt(ticket)?, self.lifetime())
    }
}

/// What goes into a ticket, with the time at which it was made.
fn stamped(plain: &[u8]) -> Vec<u8> {
    let now = UnixTime::now().as_secs().to_be_bytes();
    [&now, plain].concat()
}

/// What was in a ticket, if that is not too old.
fn fresh(mut plain: Vec<u8>, lifetime: u32) -> Option<Vec<u8>> {
    let made = u64::from_be_bytes(*plain.first_chunk()?);
    let age = UnixTime::now().as_secs().checked_sub(made)?;
    plain.drain(..8);
    (age <= u64::from(lifetime)).then_some(plain)
}

fn seconds(lifetime: Option<Duration>) -> u32 {
    let lifetime = lifetime.unwrap_or(LIFETIME);
    // A week is the most that TLS 1.3 allows.
    u32::try_from(lifetime.as_secs())
        .unwrap_or(u32::MAX)
        .min(604_800)
}

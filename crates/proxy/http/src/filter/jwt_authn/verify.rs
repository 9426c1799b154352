//! Whether a request has what it needs. Decides at once, with the keys at hand.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use meltemi_ir as ir;
use meltemi_jwt::{Failure, KeySet, Token};
use meltemi_lifecycle::WorkerId;
use meltemi_telemetry::JwtAuthnStats;
use tokio::time::Instant;

use super::location::{Found, extract};
use super::provider::{Provider, fields};
use crate::head::RequestHead;

/// What fetching keys came to for this request, by provider.
pub(super) type Fetched = BTreeMap<usize, Result<Arc<KeySet>, Failure>>;

/// One request's verification.
pub(super) struct Verification<'a> {
    pub(super) providers: &'a [Provider],
    pub(super) worker: WorkerId,
    pub(super) now: Instant,
    /// Seconds since the Unix epoch.
    pub(super) seconds: u64,
    pub(super) fetched: &'a Fetched,
    pub(super) stats: &'a JwtAuthnStats,
    pub(super) head: &'a mut RequestHead,
    /// Keys and values of the metadata that comes of it.
    pub(super) metadata: Vec<(String, ir::Value)>,

    /// The route is to be looked for again.
    pub(super) reroute: bool,
}

/// Which tokens a request may go without.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Leniency {
    None,
    Missing,
    MissingOrFailed,
}

/// Whose token it must be.
#[derive(Clone, Copy)]
enum Who<'a> {
    /// This provider's, perhaps for other audiences than the provider's.
    Named(usize, Option<&'a [String]>),
    /// One of these providers', by its issuer.
    OneOf(&'a [usize]),
}

/// The providers that a requirement speaks of.
pub(super) fn providers(requirement: &ir::JwtRequirement, into: &mut Vec<usize>) {
    use ir::JwtRequirement as Requirement;
    match requirement {
        Requirement::Nothing | Requirement::ExtractOnly(..) => {}
        Requirement::Provider { provider, .. } => into.push(*provider),
        Requirement::Any(all) | Requirement::All(all) => {
            for one in all {
                providers(one, into);
            }
        }
        Requirement::AllowMissing(all) | Requirement::AllowMissingOrFailed(all) => {
            into.extend(all);
        }
    }
    into.sort_unstable();
    into.dedup();
}

/// The providers whose keys may be asked for a token of the request: those of the tokens' issuers
/// whose claims are in order.
pub(super) fn may_need_keys(
    requirement: &ir::JwtRequirement,
    all: &[Provider],
    head: &RequestHead,
    seconds: u64,
) -> BTreeSet<usize> {
    let mut wanted = Vec::new();
    providers(requirement, &mut wanted);
    let looks = wanted.iter().filter_map(|index| all.get(*index));
    let mut need = BTreeSet::new();
    for found in extract(looks, head) {
        let Ok(token) = Token::parse(&found.text) else {
            continue;
        };
        need.extend(wanted.iter().copied().filter(|index| {
            let config = &all[*index].config;
            (config.issuer.is_empty() || config.issuer == token.issuer)
                && token.check_time(seconds, config.clock_skew).is_ok()
        }));
    }
    need
}

impl Verification<'_> {
    /// Decides, changes headers and gathers metadata.
    pub(super) fn verify(&mut self, requirement: &ir::JwtRequirement) -> Result<(), Failure> {
        use ir::JwtRequirement as Requirement;
        match requirement {
            Requirement::Nothing => Ok(()),
            Requirement::Provider {
                provider,
                audiences,
            } => {
                let index = *provider;
                self.providers[index].sanitize(self.head);
                let tokens = extract(std::iter::once(&self.providers[index]), self.head);
                let who = Who::Named(index, audiences.as_deref());
                self.authenticate(tokens, who, Leniency::None)
            }
            Requirement::AllowMissing(all) => self.leniently(all, Leniency::Missing),
            Requirement::AllowMissingOrFailed(all) => {
                self.leniently(all, Leniency::MissingOrFailed)
            }
            Requirement::Any(all) => self.any(all),
            Requirement::All(all) => all.iter().try_for_each(|one| self.verify(one)),
            Requirement::ExtractOnly(all, header) => {
                self.extract_only(all, header.as_ref());
                Ok(())
            }
        }
    }

    /// The first that holds. If none does, the reason is the one that says most.
    fn any(&mut self, all: &[ir::JwtRequirement]) -> Result<(), Failure> {
        let mut reason = Failure::Missing;
        for one in all {
            match self.verify(one) {
                Ok(()) => return Ok(()),
                Err(Failure::Missing) => {}
                Err(Failure::UnknownIssuer) => {
                    if reason == Failure::Missing {
                        reason = Failure::UnknownIssuer;
                    }
                }
                Err(failure) => reason = failure,
            }
        }
        Err(reason)
    }

    fn leniently(&mut self, all: &[usize], leniency: Leniency) -> Result<(), Failure> {
        let providers = self.providers;
        let looks = all.iter().filter_map(|index| providers.get(*index));
        for provider in looks.clone() {
            provider.sanitize(self.head);
        }
        let tokens = extract(looks, self.head);
        self.authenticate(tokens, Who::OneOf(all), leniency)
    }

    /// All tokens must be good, the last first: one that is not could be the one that the upstream
    /// believes.
    fn authenticate(
        &mut self,
        mut tokens: Vec<Found>,
        who: Who<'_>,
        leniency: Leniency,
    ) -> Result<(), Failure> {
        let mut result = Err(Failure::Missing);
        let mut worst = None;
        while let Some(found) = tokens.pop() {
            let mut about = match who {
                Who::Named(index, _) => Some(index),
                Who::OneOf(_) => None,
            };
            result = self.one(&found, who, &mut about);
            if let Err(failure) = result {
                self.note_failure(about, failure);
                if leniency == Leniency::None {
                    return result;
                }
                worst = Some(failure);
            }
        }
        match (leniency, worst, result) {
            (Leniency::MissingOrFailed, ..) | (Leniency::Missing, None, _) => Ok(()),
            (Leniency::Missing, Some(failure), _) => Err(failure),
            (Leniency::None, _, result) => result,
        }
    }

    /// Says in the metadata of the provider, if it is known, what was wrong.
    fn note_failure(&mut self, about: Option<usize>, failure: Failure) {
        let Some(config) = about.map(|index| &self.providers[index].config) else {
            return;
        };
        if config.failed_status_in_metadata.is_empty() {
            return;
        }
        let status = BTreeMap::from([
            (
                "code".to_owned(),
                ir::Value::Number(f64::from(failure.code())),
            ),
            ("message".to_owned(), ir::Value::String(failure.to_string())),
        ]);
        let key = config.failed_status_in_metadata.clone();
        self.metadata.push((key, ir::Value::Struct(status)));
    }

    /// One token. `about` becomes the provider whose it would be.
    fn one(
        &mut self,
        found: &Found,
        who: Who<'_>,
        about: &mut Option<usize>,
    ) -> Result<(), Failure> {
        let providers = self.providers;
        let (named, audiences) = match who {
            Who::Named(index, audiences) => (Some(index), audiences),
            Who::OneOf(_) => (None, None),
        };
        if let Some(provider) = named.map(|index| &providers[index]) {
            let keys = provider.keys.current(self.now);
            let known = provider.known(&found.text, keys.as_ref(), self.worker, self.seconds);
            if let Some(good) = known {
                self.stats.jwt_cache_hit.inc();
                if !found.allows(&good.token.issuer) {
                    return Err(Failure::UnknownIssuer);
                }
                provider.check(&good.token, audiences, self.seconds)?;
                self.accept(provider, found, &good.token, &good.payload);
                return Ok(());
            }
            self.stats.jwt_cache_miss.inc();
        }
        let token = Token::parse(&found.text)?;
        if !found.allows(&token.issuer) {
            return Err(Failure::UnknownIssuer);
        }
        let index = match who {
            Who::Named(index, _) => index,
            Who::OneOf(all) => self
                .of_issuer(all, &token.issuer)
                .ok_or(Failure::UnknownIssuer)?,
        };
        *about = Some(index);
        let provider = &providers[index];
        provider.check(&token, audiences, self.seconds)?;
        let keys = match self.fetched.get(&index) {
            Some(fetched) => fetched.clone()?,
            None => provider
                .keys
                .current(self.now)
                .ok_or(Failure::NoValidKeys)?,
        };
        keys.verify(&token)?;
        let token = Arc::new(token);
        let payload = Arc::new(provider.payload(&token.payload));
        self.accept(provider, found, &token, &payload);
        if named.is_some() {
            provider.remember(&found.text, &token, &payload, &keys, self.worker);
        }
        Ok(())
    }

    /// The first of these providers that has this issuer, or else takes every issuer.
    fn of_issuer(&self, all: &[usize], issuer: &str) -> Option<usize> {
        let with = |wanted: &str| {
            let mut all = all.iter().copied();
            all.find(|index| self.providers[*index].config.issuer == wanted)
        };
        with(issuer).or_else(|| with(""))
    }

    /// Makes of a good token what its provider wants.
    fn accept(&mut self, provider: &Provider, found: &Found, token: &Token, payload: &ir::Value) {
        let config = &provider.config;
        provider.forward(token, self.head);
        if !config.forward {
            found.remove(self.head);
        }
        if !config.header_in_metadata.is_empty() {
            let header = ir::Value::Struct(fields(&token.header));
            self.metadata
                .push((config.header_in_metadata.clone(), header));
        }
        if !config.payload_in_metadata.is_empty() {
            self.metadata
                .push((config.payload_in_metadata.clone(), payload.clone()));
        }
        self.reroute |= config.clear_route_cache
            && !(config.payload_in_metadata.is_empty() && config.claim_to_headers.is_empty());
    }

    /// Takes claims from tokens without verifying anything, and says so.
    fn extract_only(&mut self, all: &[usize], header: Option<&HeaderName>) {
        let providers = self.providers;
        let looks = all.iter().filter_map(|index| providers.get(*index));
        for provider in looks.clone() {
            provider.sanitize(self.head);
        }
        if let Some(name) = header {
            self.head.headers.remove(name);
        }
        let mut any = false;
        for found in extract(looks, self.head).into_iter().rev() {
            any = true;
            let Ok(token) = Token::parse(&found.text) else {
                continue;
            };
            let Some(index) = self.of_issuer(all, &token.issuer) else {
                continue;
            };
            let provider = &providers[index];
            let payload = provider.payload(&token.payload);
            self.accept(provider, &found, &token, &payload);
        }
        if let Some(name) = header.filter(|_| any) {
            let value = HeaderValue::from_static("false");
            self.head.headers.insert(name.clone(), value);
        }
    }
}

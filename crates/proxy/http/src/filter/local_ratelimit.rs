//! `envoy.filters.http.local_ratelimit`: limits on requests that this proxy keeps alone, for all
//! of its workers together.

mod bucket;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use http::{HeaderMap, HeaderName, header};
use meltemi_ir as ir;
use meltemi_telemetry::{LocalRateLimitStats, ResponseFlags, Sharded, StatsRegistry};

use self::bucket::Bucket;
use super::rate_limit_rule::{self, Descriptor, HostRules};
use super::{Decision, FilterParts, HttpFilter, RequestContext, ResponseContext, RouteConfig};
use crate::headers::number;
use crate::mutation::{Mutation, MutationError};
use crate::router::reply::LocalReply;

/// gRPC's `RESOURCE_EXHAUSTED`.
const RESOURCE_EXHAUSTED: u32 = 8;

/// The filter with its settings.
pub(crate) struct LocalRateLimitFilter {
    limiter: Limiter,
    registry: Arc<StatsRegistry>,
}

/// A limit: the filter's, or a route's.
pub(crate) struct Limiter {
    config: Arc<ir::LocalRateLimit>,
    request_headers: Mutation,
    response_headers: Mutation,
    buckets: Arc<Buckets>,
    stats: OnceLock<Arc<Sharded<LocalRateLimitStats>>>,
}

/// The buckets of a limit.
pub(crate) struct Buckets {
    default: Option<Arc<Bucket>>,
    descriptors: Vec<Described>,
    always_default: bool,
}

/// The bucket, or buckets, of a description.
struct Described {
    entries: Vec<(String, String)>,
    shadow: bool,
    kind: Kind,
}

enum Kind {
    One(Arc<Bucket>),
    /// One for each value of what the description leaves open, the oldest forgotten first.
    Each {
        config: ir::TokenBucket,
        most: usize,
        known: Mutex<Known>,
    },
}

/// Buckets by description, and the descriptions from the oldest on.
type Known = (HashMap<Descriptor, Arc<Bucket>>, Vec<Descriptor>);

/// What the response's headers say.
struct Told {
    bucket: Arc<Bucket>,
    limits: bool,
    retry_after: bool,
}

impl Limiter {
    /// Compiles a limit; its buckets are full.
    ///
    /// # Errors
    /// When a header's value is no valid format.
    pub(crate) fn new(config: &Arc<ir::LocalRateLimit>) -> Result<Self, MutationError> {
        Ok(Self {
            request_headers: Mutation::new(&config.request_headers)?,
            response_headers: Mutation::new(&config.response_headers)?,
            buckets: Arc::new(Buckets::new(config)),
            stats: OnceLock::new(),
            config: config.clone(),
        })
    }

    fn stats(&self, registry: &Arc<StatsRegistry>) -> &Arc<Sharded<LocalRateLimitStats>> {
        let prefix = &self.config.stat_prefix;
        self.stats.get_or_init(|| registry.local_rate_limit(prefix))
    }

    fn buckets(&self, request: &RequestContext<'_>) -> Arc<Buckets> {
        if !self.config.per_connection {
            return self.buckets.clone();
        }
        let key = Arc::as_ptr(&self.buckets) as usize;
        let connection = &request.stream.connection;
        let kept = connection.kept(key, || Arc::new(Buckets::new(&self.config)));
        Arc::clone(&kept)
    }

    fn descriptors(&self, request: &RequestContext<'_>) -> Vec<Descriptor> {
        let config = &self.config;
        if config.descriptors.is_empty() {
            return Vec::new();
        }
        if !config.rules.is_empty() {
            let rules = config.rules.iter();
            return rules
                .filter_map(|rule| rate_limit_rule::describe(rule, request))
                .collect();
        }
        let host = if config.ignore_virtual_host {
            HostRules::Ignore
        } else if config.include_virtual_host {
            HostRules::Include
        } else {
            HostRules::Fallback
        };
        rate_limit_rule::of_route(request, config.stage, host)
    }
}

impl Buckets {
    fn new(config: &ir::LocalRateLimit) -> Self {
        let described = |descriptor: &ir::LocalDescriptor| {
            let open = descriptor.entries.iter().any(|(_, value)| value.is_empty());
            Described {
                entries: descriptor.entries.clone(),
                shadow: descriptor.shadow,
                kind: if open {
                    Kind::Each {
                        config: descriptor.bucket,
                        most: config.max_dynamic as usize,
                        known: Mutex::default(),
                    }
                } else {
                    Kind::One(Arc::new(Bucket::new(&descriptor.bucket)))
                },
            }
        };
        Self {
            default: config.bucket.as_ref().map(Bucket::new).map(Arc::new),
            descriptors: config.descriptors.iter().map(described).collect(),
            always_default: config.always_consume_default,
        }
    }

    /// Whether a request so described is within the limits, and which bucket says so.
    fn take(&self, descriptors: &[Descriptor]) -> (bool, Option<Arc<Bucket>>) {
        let mut matched: Vec<(Arc<Bucket>, bool)> = descriptors
            .iter()
            .filter_map(|descriptor| {
                let known = self
                    .descriptors
                    .iter()
                    .find(|known| known.fits(descriptor))?;
                Some((known.bucket(descriptor), known.shadow))
            })
            .collect();
        matched.sort_by(|(left, _), (right, _)| left.rate().total_cmp(&right.rate()));
        for (bucket, shadow) in &matched {
            if !bucket.take() && !shadow {
                return (false, Some(bucket.clone()));
            }
        }
        let first = matched.into_iter().next().map(|(bucket, _)| bucket);
        match (&self.default, first) {
            (Some(default), first) if first.is_none() || self.always_default => {
                if default.take() {
                    (true, Some(first.unwrap_or_else(|| default.clone())))
                } else {
                    (false, Some(default.clone()))
                }
            }
            (_, first) => (true, first),
        }
    }
}

impl Described {
    fn fits(&self, descriptor: &Descriptor) -> bool {
        let equal =
            |((key, value), (wanted_key, wanted)): (&(String, String), &(String, String))| {
                key == wanted_key && (wanted.is_empty() || value == wanted)
            };
        self.entries.len() == descriptor.len() && descriptor.iter().zip(&self.entries).all(equal)
    }

    fn bucket(&self, descriptor: &Descriptor) -> Arc<Bucket> {
        match &self.kind {
            Kind::One(bucket) => bucket.clone(),
            Kind::Each {
                config,
                most,
                known,
            } => {
                let (known, order) = &mut *known.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(bucket) = known.get(descriptor) {
                    if let Some(at) = order.iter().position(|one| one == descriptor) {
                        let used = order.remove(at);
                        order.push(used);
                    }
                    return bucket.clone();
                }
                if known.len() >= (*most).max(1) {
                    known.remove(&order.remove(0));
                }
                let bucket = Arc::new(Bucket::new(config));
                known.insert(descriptor.clone(), bucket.clone());
                order.push(descriptor.clone());
                bucket
            }
        }
    }
}

impl LocalRateLimitFilter {
    pub(crate) fn new(
        config: &Arc<ir::LocalRateLimit>,
        parts: &FilterParts<'_>,
    ) -> Result<Self, MutationError> {
        Ok(Self {
            limiter: Limiter::new(config)?,
            registry: parts.stats.clone(),
        })
    }
}

impl HttpFilter for LocalRateLimitFilter {
    fn on_request(&self, request: &mut RequestContext<'_>) -> Decision {
        let limiter = match request.place.config() {
            Some(RouteConfig::LocalRateLimit(limiter)) => limiter,
            _ => &self.limiter,
        };
        let config = &limiter.config;
        if !request.chance(config.enabled_per_million) {
            return Decision::Continue;
        }
        let stats = limiter.stats(&self.registry).shard(request.worker().worker);
        stats.enabled.inc();
        let descriptors = limiter.descriptors(request);
        let (allowed, bucket) = limiter.buckets(request).take(&descriptors);
        let enforced = !allowed && request.chance(config.enforced_per_million);
        if let Some(bucket) = bucket
            && (config.ratelimit_headers || (enforced && config.retry_after))
        {
            request.remember(Told {
                bucket,
                limits: config.ratelimit_headers,
                retry_after: enforced && config.retry_after,
            });
        }
        if allowed {
            stats.ok.inc();
            return Decision::Continue;
        }
        stats.rate_limited.inc();
        if !enforced {
            request
                .stream
                .mutate(&limiter.request_headers, request.head);
            return Decision::Continue;
        }
        stats.enforced.inc();
        const TEXT: &str = "local_rate_limited";
        let mut reply = LocalReply::new(config.status, TEXT, TEXT, ResponseFlags::RATE_LIMITED);
        reply.grpc_status = config.resource_exhausted.then_some(RESOURCE_EXHAUSTED);
        let mut headers = HeaderMap::new();
        let status = config.status.as_u16();
        request
            .stream
            .mutate_response(&limiter.response_headers, status, &mut headers);
        reply.headers = headers;
        Decision::Reply(reply)
    }

    fn on_response(&self, response: &mut ResponseContext<'_>) {
        const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
        const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
        const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");
        let Some(told) = response.recall::<Told>() else {
            return;
        };
        if told.limits {
            response.headers.append(LIMIT, number(told.bucket.max()));
            response
                .headers
                .append(REMAINING, number(told.bucket.left()));
            response.headers.append(RESET, number(told.bucket.reset()));
        }
        if told.retry_after {
            let seconds = number(told.bucket.reset());
            response.headers.insert(header::RETRY_AFTER, seconds);
        }
    }
}

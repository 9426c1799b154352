//! The health of the application, as the agent finds it and the control plane is told.
//!
//! In: a [`Probe`], Istio's `readinessProbe`. Out: requests of the type
//! `istio.v1.HealthInformation` on a stream of their own, one at each change and one at the beginning of
//! each stream. Called by `run`. The proxy is asked first whether it is ready: an application that
//! nobody can reach through it is not healthy.

mod course;
mod probe;

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use meltemi_lifecycle::Random;
use meltemi_xds::pb::envoy::service::discovery::v3::DiscoveryRequest;
use meltemi_xds::pb::google::rpc;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tracing::{debug, info};

use crate::Options;
use crate::stream::{Attempts, StreamSource};
use course::Course;

/// The type of the requests that tell of health. There is no such message.
const TYPE_URL: &str = "type.googleapis.com/istio.v1.HealthInformation";
/// What Istio's agent says with a failure: an HTTP status, and not a code of gRPC.
const FAILED: i32 = 500;
/// How often the proxy is asked whether it is ready for the first time.
const READY_INTERVAL: Duration = Duration::from_millis(250);
/// A stream that lasted this long was of use.
const USEFUL: Duration = Duration::from_secs(1);

/// Istio's `readinessProbe`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// `initialDelaySeconds`: how long the application is left alone at first.
    pub initial_delay: Duration,
    /// `timeoutSeconds`.
    pub timeout: Duration,
    /// `periodSeconds`.
    pub period: Duration,
    /// `successThreshold`: after how many successes in a row it is healthy.
    pub success_threshold: u32,
    /// `failureThreshold`: after how many failures in a row it is not.
    pub failure_threshold: u32,
    /// What is done.
    pub method: ProbeMethod,
}

/// How a probe is made. A host that is not given is where the application listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeMethod {
    /// `httpGet`: a status from 200 to 399 is a success.
    Http {
        /// `path`.
        path: String,
        /// `port`.
        port: u16,
        /// `host`.
        host: Option<String>,
        /// `scheme: HTTPS`; the certificate is not verified.
        tls: bool,
        /// `httpHeaders`.
        headers: Vec<(String, String)>,
    },
    /// `tcpSocket`: a connection is a success.
    Tcp {
        /// `host`.
        host: Option<String>,
        /// `port`.
        port: u16,
    },
    /// `exec`: a command and its arguments, and its end with 0 is a success.
    Exec(Vec<String>),
    /// `grpc`: `grpc.health.v1.Health/Check`, and `SERVING` is a success.
    Grpc {
        /// `port`.
        port: u16,
        /// `service`.
        service: Option<String>,
    },
}

/// What was found out; not healthy it is for a reason.
type Health = Result<(), String>;

/// Starts probing and reporting, if there is a probe.
pub(crate) fn start(options: &Options, source: StreamSource, tasks: &mut JoinSet<()>) {
    let Some(probe) = options.probe.clone() else {
        return;
    };
    let (found, states) = watch::channel(None);
    let (admin, application) = (options.admin, options.app_address);
    tasks.spawn(async move {
        let limit = probe.timeout;
        while let Err(reason) = is_ready(admin, limit).await {
            debug!("the application is not probed yet: {reason}");
            tokio::time::sleep(READY_INTERVAL).await;
        }
        let method = Arc::new(probe.method.clone());
        let both = move || {
            let method = Arc::clone(&method);
            async move {
                is_ready(admin, limit).await?;
                check(&method, application, limit).await
            }
        };
        watch_application(probe, found, both).await;
    });
    tasks.spawn(report(source, states, Random::from_entropy()));
}

/// Probes for ever.
async fn watch_application<F: Future<Output = Health>>(
    probe: Probe,
    found: watch::Sender<Option<Health>>,
    mut check: impl FnMut() -> F,
) {
    tokio::time::sleep(probe.initial_delay).await;
    let mut course = Course::new(probe.success_threshold, probe.failure_threshold);
    let mut ticks = tokio::time::interval(probe.period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let health = check().await;
        if course.note(health.is_ok()) {
            match &health {
                Ok(()) => info!("the application is healthy"),
                Err(reason) => info!("the application is not healthy: {reason}"),
            }
            found.send_replace(Some(health));
        }
    }
}

/// Whether the proxy is ready, by its administration endpoint.
async fn is_ready(admin: SocketAddr, limit: Duration) -> Health {
    let ready = ProbeMethod::Http {
        path: "/ready".to_owned(),
        port: admin.port(),
        host: Some(admin.ip().to_string()),
        tls: false,
        headers: Vec::new(),
    };
    let ready = check(&ready, None, limit).await;
    ready.map_err(|reason| format!("the proxy is not ready: {reason}"))
}

async fn check(method: &ProbeMethod, application: Option<IpAddr>, limit: Duration) -> Health {
    let checked = tokio::time::timeout(limit, probe::check(method, application)).await;
    checked.unwrap_or_else(|_| Err(format!("no answer within {limit:?}")))
}

/// Tells the control plane for ever.
async fn report(source: StreamSource, mut states: watch::Receiver<Option<Health>>, random: Random) {
    let mut attempts = Attempts::new("reports of health", random);
    loop {
        // Without a sender this task is about to end too.
        if states.wait_for(Option::is_some).await.is_err() {
            return;
        }
        let begun = Instant::now();
        let reason = converse(&source, &mut states).await;
        attempts.pause(begun.elapsed() >= USEFUL, &reason).await;
    }
}

/// One stream, until it ends; why it did.
async fn converse(source: &StreamSource, states: &mut watch::Receiver<Option<Health>>) -> String {
    let (requests, receiver) = mpsc::channel(4);
    // An answer is not to be expected, not even that of the beginning.
    let mut ended = pin!(async {
        let mut answers = source.call(receiver).await?;
        while answers
            .message()
            .await
            .map_err(|status| status.message().to_owned())?
            .is_some()
        {}
        Err::<Infallible, _>("the stream has ended".to_owned())
    });
    let mut node = Some(source.node.clone());
    loop {
        let health = states.borrow_and_update().clone();
        if let Some(health) = health {
            let request = DiscoveryRequest {
                node: node.take(),
                ..request(health)
            };
            if requests.send(request).await.is_err() {
                return "the stream has ended".to_owned();
            }
        }
        tokio::select! {
            Err(reason) = &mut ended => return reason,
            changed = states.changed() => if changed.is_err() {
                return "the agent is about to end".to_owned();
            },
        }
    }
}

fn request(health: Health) -> DiscoveryRequest {
    DiscoveryRequest {
        type_url: TYPE_URL.to_owned(),
        error_detail: health.err().map(|message| rpc::Status {
            code: FAILED,
            message,
            ..rpc::Status::default()
        }),
        ..DiscoveryRequest::default()
    }
}

#[cfg(test)]
mod tests;

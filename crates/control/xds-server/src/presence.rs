//! Proxies that come, report their health, and go.
//!
//! In: the streams that were let in. Out: to a [`Presence`], what its proxy reports, and by its end that
//! the stream has ended. Who makes something of that is whoever let the stream in
//! ([`crate::Admission`]).

use tonic::{Code, Status};

use crate::Incoming;

/// The type of the requests by which Istio's agents report the health of a workload. There is no such
/// message: what they say is whether there is an `error_detail`.
pub const HEALTH_TYPE_URL: &str = "type.googleapis.com/istio.v1.HealthInformation";

/// What an agent found out about its workload; unhealthy it is with the reason.
pub type Health = Result<(), String>;

/// A stream of a proxy that is served. The stream has ended when this is dropped.
pub trait Presence: Send {
    /// The proxy's workload is healthy now, or is not.
    fn report(&self, health: Health);
}

/// A proxy of which nobody wants to know.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unnoted;

/// Why a stream is not served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The caller may not be this proxy.
    Denied(String),
    /// Something has to be there first; it may come back then.
    NotYet(String),
}

impl Presence for Unnoted {
    fn report(&self, _health: Health) {}
}

impl Refusal {
    pub(crate) fn status(self) -> Status {
        let (code, reason) = match self {
            Self::Denied(reason) => (Code::PermissionDenied, reason),
            Self::NotYet(reason) => (Code::FailedPrecondition, reason),
        };
        Status::new(code, reason)
    }

    pub(crate) fn reason(&self) -> &str {
        match self {
            Self::Denied(reason) | Self::NotYet(reason) => reason,
        }
    }
}

impl From<String> for Refusal {
    fn from(reason: String) -> Self {
        Self::Denied(reason)
    }
}

impl Incoming {
    /// The report that this request is, if it is one.
    pub fn health(&self) -> Option<Health> {
        let (type_url, error) = match self {
            Self::Delta(it) => (&it.type_url, &it.error_detail),
            Self::Sotw(it) => (&it.type_url, &it.error_detail),
        };
        (type_url == HEALTH_TYPE_URL).then(|| match error {
            None => Ok(()),
            Some(status) => Err(status.message.clone()),
        })
    }
}

#[cfg(test)]
mod tests {
    use meltemi_xds::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
    use meltemi_xds::pb::google::rpc;

    use super::*;

    #[test]
    fn a_report_is_told_by_its_type_in_both_forms() {
        let error = |message: &str| rpc::Status {
            code: 500,
            message: message.to_owned(),
            ..rpc::Status::default()
        };
        let type_url = HEALTH_TYPE_URL.to_owned();
        let healthy = DiscoveryRequest {
            type_url: type_url.clone(),
            ..DiscoveryRequest::default()
        };
        assert_eq!(Incoming::Sotw(healthy).health(), Some(Ok(())));
        let unhealthy = DeltaDiscoveryRequest {
            type_url,
            error_detail: Some(error("it is down")),
            ..DeltaDiscoveryRequest::default()
        };
        let found = Incoming::Delta(unhealthy).health();
        assert_eq!(found, Some(Err("it is down".to_owned())));
        let refusal = DiscoveryRequest {
            type_url: crate::Kind::Cluster.type_url(),
            error_detail: Some(error("no such field")),
            ..DiscoveryRequest::default()
        };
        assert_eq!(Incoming::Sotw(refusal).health(), None);
    }
}

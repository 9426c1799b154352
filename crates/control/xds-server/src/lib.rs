//! Serving xDS: sessions as state machines, pushes in make-before-break order.
//!
//! [`Session`] is one proxy's conversation without I/O, in delta and in
//! state-of-the-world form. [`AdsService`] runs sessions over gRPC, of all kinds or of one: each has a
//! [`Viewer`], by which it is told of changes that concern its proxy and looks at what there is then, so
//! that a slow proxy merges what it missed and delays nobody. What a resource means is the view's
//! business; nothing here translates.

mod debounce;
mod grpc;
mod kind;
mod metrics;
mod presence;
mod rate;
mod registry;
mod service;
mod session;
mod unproven;
mod view;

pub use debounce::Debounce;
pub use kind::Kind;
pub use metrics::XdsMetrics;
pub use presence::{HEALTH_TYPE_URL, Health, Presence, Refusal, Unnoted};
pub use registry::{KindStatus, ProxyRegistry, ProxyStatus, SyncState};
pub use service::{Admission, AdsService, Caller, ServiceConfig};
pub use session::{Form, Incoming, Nack, Outgoing, Session};
pub use view::{Mark, ProxyView, Resource, Version, View, Viewer, Wanted};

//! Envoy xDS and Istio protobuf types, generated from a committed descriptor set, with packing into
//! `Any` and protobuf JSON both ways.
//!
//! The control plane makes these messages, the proxy reads them; nothing here knows what they mean.
//! The crate is slow to compile, so that nothing else belongs in it.
//!
//! ```
//! use meltemi_xds::{any, json, pb::envoy::config::route::v3::RouteConfiguration, type_url};
//!
//! let routes = RouteConfiguration { name: "http.8080".into(), ..Default::default() };
//! assert_eq!(type_url::<RouteConfiguration>(), "type.googleapis.com/envoy.config.route.v3.RouteConfiguration");
//! assert_eq!(any::unpack::<RouteConfiguration>(&any::pack(&routes))?, routes);
//! assert_eq!(json::from_json::<RouteConfiguration>(json::to_json(&routes)).as_ref(), Ok(&routes));
//! # Ok::<(), any::UnpackError>(())
//! ```

pub mod any;
pub mod json;
pub mod pb;
mod pool;

pub use any::type_url;
pub use pool::{pool, release_pool};

//! What a worker sees of clusters, over loopback sockets.
#![allow(clippy::unwrap_used)]

mod balancing;
mod clusters;
mod fixture;
mod health;
mod http1;
mod http1_codec;
mod http2;
mod outlier;
mod subsets;
mod transport;

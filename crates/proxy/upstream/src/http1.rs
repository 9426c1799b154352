//! The HTTP/1.1 codec towards upstreams, driven by the task of the request it carries.
//!
//! A request goes in ([`Wire::start`]); its bytes go out and a response's head comes in as the wire
//! is polled, then the pieces of its body. There is no task and no channel between a request and
//! its connection. Pools give wires out and take them back.

mod case;
mod decode;
mod head;
mod outgoing;
mod request;
mod wire;

pub(crate) use wire::{Manner, Wire};

use std::sync::Arc;

use crate::ResetReason;

/// Most bytes of a response's headers, as Envoy's default. Trailers have the same limit.
const MAX_HEADER_BYTES: usize = 60 << 10;
/// Most headers of a response, and most trailers.
const MAX_HEADERS: usize = 100;

/// The upstream did not speak HTTP/1.1.
fn malformed(what: &str) -> ResetReason {
    ResetReason::ProtocolError(Arc::from(what))
}

#[cfg(test)]
mod tests;

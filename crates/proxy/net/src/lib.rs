//! Sockets and the bytes on them, before anybody knows what they mean.
//!
//! The listener binds and sniffs with this; the HTTP connection manager relays upgraded
//! streams with it. Knows no configuration and no protocol above TLS's first message.

mod handover;
mod inspect;
mod prefixed;
mod proxy_protocol;
mod relay;
mod socket;

pub use handover::{Handover, MOST_SOCKETS, listen_for_successor};
pub use inspect::{ClientHello, HttpVersion, Inspection, inspect_http, inspect_tls};
pub use prefixed::Prefixed;
pub use proxy_protocol::{MalformedHeader, ProxyHeader, ProxyVersion, inspect_proxy};
pub use relay::{RelayEnd, RelayOutcome, relay};
pub use socket::{
    BindOptions, Keepalive, bind, bind_more, original_destination, reset_when_dropped,
};

//! Sockets and the bytes on them, before anybody knows what they mean.
//!
//! The listener binds, sniffs and relays with this. Knows no configuration and no protocol above
//! TLS's first message.

mod handover;
mod inspect;
mod joined;
mod options;
mod prefixed;
mod proxy_protocol;
mod relay;
mod socket;
mod tcp_info;

pub use handover::{Handover, MOST_SOCKETS, listen_for_successor};
pub use inspect::{ClientHello, HttpVersion, Inspection, inspect_http, inspect_tls};
pub use joined::poll_write_joined;
pub use options::{Family, SocketOption, SocketState, SocketValue, set_options};
pub use prefixed::Prefixed;
pub use proxy_protocol::{
    MalformedHeader, ProxyHeader, ProxyVersion, inspect_proxy, proxy_block, proxy_line,
};
pub use relay::{Beneath, RelayEnd, RelayOutcome, relay};
pub use socket::{
    BindOptions, Keepalive, bind, bind_more, original_destination, reset_when_dropped,
};
pub use tcp_info::{outstanding, round_trip};

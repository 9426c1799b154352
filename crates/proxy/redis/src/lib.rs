//! Redis proxying: a client's commands go to the hosts that have their keys, and the answers come
//! back in order.
//!
//! [`serve`] takes a connection of a listener to its end. [`Decoder`] reads the protocol (RESP2,
//! <https://redis.io/docs/latest/develop/reference/protocol-spec/>), [`Command`] says what a
//! command is, and a worker's [`Connections`] are shared by all of its clients: one to each host
//! for each proxy, on which commands follow each other without waiting.

mod call;
mod client;
mod codec;
mod command;
mod hello;
mod route;
mod serve;
mod session;

pub use client::Connections;
pub use codec::{Decoder, Malformed, Value};
pub use command::{Command, Kind, Step};
pub use serve::{Context, RedisProxy, serve};

//! Who may do what: policies of role-based access control, compiled and asked.
//!
//! Validated policies ([`meltemi_ir::Rbac`]) and what is known of a request or a connection
//! ([`Facts`]) enter; a [`Decision`] leaves that says which policy made it, and, for people, an
//! [`Explanation`]. The HTTP and the network filter ask for each request and each connection, and
//! the tools ask the same engine about requests that nobody has sent: it knows no sockets, no
//! clock and no statistics.
//!
//! A policy that matches only where some text is exactly this or that (a path, a principal, a
//! header's value, a namespace) is found by that text, so that a thousand such policies cost a
//! request no more than a few.

mod engine;
mod explain;
mod facts;
mod index;
mod matcher;
mod namespace;

pub use engine::{Decision, Engine, denial_details};
pub use explain::{Explanation, PolicyExplanation, describe};
pub use facts::{Certificate, Facts};

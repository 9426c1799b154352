//! A DNS proxy beside a workload: answers for the names of the mesh, and passes the rest on to the
//! system's servers, as Istio's agent does.
//!
//! In: [`Names`], whenever they change. Out: answers over UDP and TCP. What a name means and where the
//! table comes from is not known here.

mod message;
mod resolver;
mod server;
mod table;

pub use message::{Query, QueryError};
pub use resolver::Resolver;
pub use server::DnsProxy;
pub use table::{Answer, Home, Name, Names, Table};

//! Where resources come from, as a stream of events.
//!
//! In: directories of YAML. Out: [`Event`]s over a channel ([`watch()`]), or everything at once
//! ([`load()`]). The control plane and `meltemi up` watch; the command line loads.
//!
//! Bad input loses nothing: a file that is not YAML keeps the resources that it gave before, and so
//! does a resource that became invalid, while the good ones beside it take effect.
//!
//! [`FileState`] decides and knows no file system; [`watch()`] does.

mod event;
mod files;
mod load;
mod notices;
mod scan;
mod state;
mod watch;

#[cfg(test)]
mod tests;

pub use event::{Event, FileProblems};
pub use load::{load, load_in_effect};
pub use scan::SourceError;
pub use state::{FileState, Read};
pub use watch::watch;

//! Conversions as data: a resource in YAML beside what becomes of it.
#![allow(clippy::unwrap_used)]

mod book;
mod cases;
mod coverage;
mod path;
mod secret;

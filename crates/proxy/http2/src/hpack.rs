//! Header compression (RFC 7541).
//!
//! In: whole header blocks, as they came off the wire, and fields that are to be sent. Out: the
//! fields of a block as values of the `http` crate, and the bytes of a block. The frames around a
//! block are the connection's business, and whether fields make a request is that of `message`.

mod decode;
mod encode;
mod huffman;
mod tables;
#[cfg(test)]
mod tests;

pub(crate) use decode::{Block, DecodeError, Decoder, Pseudo};
pub(crate) use encode::Encoder;
pub(crate) use tables::is_connection_specific;

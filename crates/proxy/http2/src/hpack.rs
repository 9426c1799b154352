//! stub
use bytes::Bytes;
#[derive(Debug)]
pub(crate) struct Decoder;
#[derive(Debug)]
pub(crate) struct Encoder;
pub(crate) enum DecodeError {
    Compression(&'static str),
    Field(&'static str),
}
pub(crate) struct Block {
    pub(crate) pseudo: Pseudo,
    pub(crate) headers: http::HeaderMap,
    pub(crate) over_size: bool,
    pub(crate) malformed: Option<&'static str>,
}
pub(crate) struct Pseudo {
    pub(crate) path: Option<Bytes>,
}
impl Decoder {
    pub(crate) fn new(_n: usize) -> Self {
        Self
    }
    pub(crate) fn decode(&mut self, _b: &[u8], _l: usize) -> Result<Block, DecodeError> {
        todo!()
    }
}
impl Encoder {
    pub(crate) fn new() -> Self {
        Self
    }
    pub(crate) fn set_max_table_size(&mut self, _n: usize) {}
}

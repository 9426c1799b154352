//! stub
use crate::hpack::*;
use bytes::BytesMut;
use http::*;
/// What an extended CONNECT asks for (RFC 8441), in the extensions of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protocol(pub http::HeaderValue);
type R<T> = std::result::Result<T, &'static str>;
pub(crate) fn request(_b: Block, _e: bool) -> R<Request<()>> {
    todo!()
}
pub(crate) fn response(_b: Block) -> R<Response<()>> {
    todo!()
}
pub(crate) fn trailers(_b: Block) -> R<HeaderMap> {
    todo!()
}
pub(crate) fn content_length(_b: &HeaderMap) -> std::result::Result<Option<u64>, ()> {
    todo!()
}
pub(crate) fn write_request(_b: &mut Encoder, _r: &Request<()>, _o: &mut BytesMut) -> R<()> {
    todo!()
}
pub(crate) fn write_response(
    _b: &mut Encoder,
    _s: StatusCode,
    _r: &HeaderMap,
    _o: &mut BytesMut,
) -> R<()> {
    todo!()
}
pub(crate) fn write_trailers(_b: &mut Encoder, _r: &HeaderMap, _o: &mut BytesMut) -> R<()> {
    todo!()
}

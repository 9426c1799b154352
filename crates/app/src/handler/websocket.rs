//! The upgrade at `/ws` (RFC 6455, section 4.2.2): after the handshake every byte comes back.
//!
//! Frames are not taken apart: what a test sends is what it gets.

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Body, text};

/// The constant that RFC 6455 appends to the client's key.
const KEY_SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// 101 to a handshake, 426 to anything else.
pub(super) fn upgrade(mut request: Request<Incoming>) -> Response<Body> {
    let headers = request.headers();
    let asks = headers
        .get(header::UPGRADE)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
    let key = headers.get(header::SEC_WEBSOCKET_KEY).cloned();
    let websocket = HeaderValue::from_static("websocket");
    let (true, Some(key)) = (asks, key) else {
        let mut response = text(StatusCode::UPGRADE_REQUIRED, "this path speaks WebSocket\n");
        response.headers_mut().insert(header::UPGRADE, websocket);
        return response;
    };
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        match upgraded.await {
            Ok(stream) => echo(TokioIo::new(stream)).await,
            Err(error) => tracing::debug!(%error, "an upgrade did not happen"),
        }
    });
    let mut response = Response::new(Body::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::UPGRADE, websocket);
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    let accept =
        HeaderValue::from_str(&accept_key(key.as_bytes())).expect("base64 is visible ASCII");
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    response
}

fn accept_key(key: &[u8]) -> String {
    let mut context = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    context.update(key);
    context.update(KEY_SUFFIX);
    STANDARD.encode(context.finish())
}

async fn echo(mut stream: TokioIo<hyper::upgrade::Upgraded>) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(length) = stream.read(&mut buffer).await {
        if length == 0 || stream.write_all(&buffer[..length]).await.is_err() {
            break;
        }
    }
    // ignored: a peer that is gone needs no farewell
    let _ = stream.shutdown().await;
}

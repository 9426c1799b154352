//! A server at every address: it says who was called, and with what.
//!
//! In: connections to a port, at all addresses of 127.0.0.0/8. Out: over HTTP the request as it came;
//! for other bytes the address that was called. Called by the mesh of many services.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Headers that are not the same from run to run: of each request; of which addresses the proxy's machine
/// has; and of Istio's own Envoy, which a stock one does not send.
const NOT_TOLD: [&str; 4] = [
    "x-request-id",
    "x-forwarded-for",
    "x-envoy-peer-metadata",
    "x-envoy-peer-metadata-id",
];

/// Starts to serve, until the test's runtime ends; the port.
pub async fn serve() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream));
        }
    });
    port
}

async fn answer(mut stream: TcpStream) {
    let called = stream.local_addr().unwrap().ip();
    let mut first = [0; 1];
    match stream.peek(&mut first).await {
        // A method, or the preface of HTTP/2.
        Ok(1) if first[0].is_ascii_uppercase() => {
            let service = service_fn(move |request| echo(called, request));
            let server = Builder::new(TokioExecutor::new());
            let _ = server.serve_connection(TokioIo::new(stream), service).await;
        }
        Ok(1) => {
            let mut bytes = vec![0; 4096];
            let _ = stream.read(&mut bytes).await;
            let _ = stream.write_all(called.to_string().as_bytes()).await;
        }
        _ => {}
    }
}

async fn echo(
    called: IpAddr,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(|it| it.to_bytes());
    let body = body.unwrap_or_default();
    let mut headers = BTreeMap::<_, Vec<_>>::new();
    for (name, value) in &head.headers {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        headers.entry(name.as_str()).or_default().push(value);
    }
    for name in NOT_TOLD {
        headers.remove(name);
    }
    let text = json!({
        "called": called,
        "method": head.method.as_str(),
        "target": head.uri.to_string(),
        "headers": headers,
        "body": String::from_utf8_lossy(&body),
    });
    let mut response = Response::new(Full::from(text.to_string()));
    let echo = hyper::header::HeaderValue::from_static("here");
    response.headers_mut().insert("x-echo", echo);
    Ok(response)
}

//! One probe: the I/O. Whoever calls sets the time limit.

use std::io;
use std::net::IpAddr;
use std::process::Stdio;

use http::header::{CONNECTION, HOST, HeaderName, HeaderValue, USER_AGENT};
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use meltemi_ir::UpstreamTls;
use meltemi_tls::{Alpn, ClientContext, SecretStore, Wishes};
use meltemi_xds_client::Io;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::process::Command;
use tonic::client::Grpc;
use tonic::transport::Endpoint;
use tonic_prost::ProstCodec;

use super::ProbeMethod;
use crate::identity::innermost;

/// Who asks.
const AGENT: HeaderValue = HeaderValue::from_static("meltemi-probe/1");
/// `HealthCheckResponse.ServingStatus.SERVING`.
const SERVING: i32 = 1;

/// Makes a probe; `application` is where the application listens, if that is known.
pub(super) async fn check(method: &ProbeMethod, application: Option<IpAddr>) -> Result<(), String> {
    let host = |host: &Option<String>| match (host, application) {
        (Some(host), _) => host.clone(),
        (None, Some(ip)) => ip.to_string(),
        (None, None) => "localhost".to_owned(),
    };
    match method {
        ProbeMethod::Http {
            path,
            port,
            host: written,
            tls,
            headers,
        } => {
            let host = host(written);
            let stream = connect(&host, *port).await?;
            let request = request(path, (&host, *port), headers)?;
            match tls {
                false => get(stream, request).await,
                true => get(secure(stream, &host).await?, request).await,
            }
        }
        ProbeMethod::Tcp {
            host: written,
            port,
        } => connect(&host(written), *port).await.map(drop),
        ProbeMethod::Exec(command) => exec(command).await,
        ProbeMethod::Grpc { port, service } => {
            let service = service.clone().unwrap_or_default();
            grpc(&host(&None), *port, service).await
        }
    }
}

async fn connect(host: &str, port: u16) -> Result<TcpStream, String> {
    let connected = TcpStream::connect((host, port)).await;
    connected.map_err(|error| format!("{host}:{port}: {error}"))
}

/// TLS with whatever certificate the server has.
async fn secure(stream: TcpStream, host: &str) -> Result<Box<dyn Io>, String> {
    let name = host.parse::<IpAddr>().is_err().then(|| host.to_owned());
    let settings = UpstreamTls {
        sni: name.unwrap_or_default(),
        ..UpstreamTls::default()
    };
    let context = ClientContext::new(&settings, SecretStore::new());
    let context = context.map_err(|error| error.to_string())?;
    let wishes = Wishes::of_alpn(Alpn::Otherwise(&[b"http/1.1"]));
    let connected = context.connect(stream, wishes).await;
    let (stream, _) = connected.map_err(|error| error.to_string())?;
    Ok(Box::new(stream))
}

fn request(
    path: &str,
    (host, port): (&str, u16),
    headers: &[(String, String)],
) -> Result<http::Request<Empty<Bytes>>, String> {
    let path = match path.starts_with('/') {
        true => path.to_owned(),
        false => format!("/{path}"),
    };
    let request = http::Request::get(path).body(Empty::new());
    let mut request = request.map_err(|error| error.to_string())?;
    let target = request.headers_mut();
    for (name, value) in headers {
        let name: HeaderName = name.parse().map_err(|_| format!("{name}: no header"))?;
        let value: HeaderValue = value.parse().map_err(|_| format!("{name}: no value"))?;
        target.append(name, value);
    }
    let bracketed = match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    };
    let authority: HeaderValue = bracketed.parse().map_err(|_| format!("{host}: no host"))?;
    target.entry(HOST).or_insert(authority);
    target.entry(USER_AGENT).or_insert(AGENT);
    target.insert(CONNECTION, HeaderValue::from_static("close"));
    Ok(request)
}

async fn get<IO>(stream: IO, request: http::Request<Empty<Bytes>>) -> Result<(), String>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let failed = |error: hyper::Error| innermost(&error);
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(failed)?;
    // It ends with the sender.
    tokio::spawn(connection);
    let response = sender.send_request(request).await;
    let status = response.map_err(failed)?.status();
    match status.as_u16() {
        200..=399 => Ok(()),
        other => Err(format!("status {other}")),
    }
}

async fn exec(command: &[String]) -> Result<(), String> {
    let (program, arguments) = command.split_first().ok_or("no command")?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    let ended = command.status().await;
    let ended = ended.map_err(|error| format!("{program}: {error}"))?;
    match ended.success() {
        true => Ok(()),
        false => Err(format!("{program}: {ended}")),
    }
}

/// `HealthCheckRequest` and `HealthCheckResponse` of `grpc.health.v1` have one field each, a text and a
/// number, and so have the wrappers of a text and of a number.
async fn grpc(host: &str, port: u16, service: String) -> Result<(), String> {
    let host = host.to_owned();
    let connector = tower::service_fn(move |_| {
        let host = host.clone();
        async move {
            let stream = TcpStream::connect((host, port)).await?;
            Ok::<_, io::Error>(TokioIo::new(stream))
        }
    });
    let channel = Endpoint::from_static("http://localhost")
        .connect_with_connector(connector)
        .await
        .map_err(|error| innermost(&error))?;
    let mut client = Grpc::new(channel);
    let ready = client.ready().await;
    ready.map_err(|error| innermost(&error))?;
    let path = http::uri::PathAndQuery::from_static("/grpc.health.v1.Health/Check");
    let codec = ProstCodec::<String, i32>::default();
    let asked = client.unary(tonic::Request::new(service), path, codec);
    let answer = asked.await.map_err(|status| status.message().to_owned())?;
    match answer.into_inner() {
        SERVING => Ok(()),
        other => Err(format!("serving status {other}")),
    }
}

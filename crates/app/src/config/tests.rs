#![allow(clippy::unwrap_used)]

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use super::{Config, ConfigError, RequestBody};

fn read(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let value = |name: &str| {
        variables
            .iter()
            .find(|(variable, _)| *variable == name)
            .map(|(_, value)| value)
    };
    Config::from_lookup(|name| value(name).map(|value| (*value).to_owned()))
}

#[test]
fn defaults_are_the_images() {
    let config = read(&[("UNRELATED", "x"), ("NAME", "")]).unwrap();
    assert_eq!(config.listen(), ["0.0.0.0:9090".parse().unwrap()]);
    assert_eq!(config.name(), "Service");
    assert_eq!(config.message, json!("Hello World"));
    assert_eq!(
        (config.workers.get(), config.request_body),
        (1, RequestBody::Empty)
    );
    assert_eq!(config.request_timeout, Duration::from_secs(30));
    assert!(config.append_request && config.upstreams.is_empty() && config.routes.is_empty());
}

#[test]
fn a_sample_manifest_is_read() {
    let config = read(&[
        ("LISTEN_ADDR", "0.0.0.0:8080, 127.0.0.1:8081"),
        ("SERVER_TYPE", "http"),
        ("UPSTREAM_URIS", "http://simple-backend:80/, http://other"),
        ("TIMING_50_PERCENTILE", "150ms"),
        ("TIMING_VARIANCE", "40ms"),
        ("UPSTREAM_REQUEST_BODY", "hi"),
        ("UPSTREAM_ROUTES", "/a=http://x/,/a/b=http://y/"),
        ("FORWARD_HEADERS", "X-Dark-Launch, end-user"),
        ("POD_IP", "127.1.0.3"),
    ]);
    let config = config.unwrap();
    assert_eq!(config.listen().len(), 2);
    assert_eq!(config.upstreams[0].written, "http://simple-backend:80/");
    assert_eq!(
        config.request_body,
        RequestBody::Fixed(Bytes::from_static(b"hi"))
    );
    assert_eq!(
        config
            .routes
            .iter()
            .map(|route| route.prefix.as_str())
            .collect::<Vec<_>>(),
        ["/a/b", "/a"]
    );
    assert_eq!(config.forward_headers, ["x-dark-launch", "end-user"]);
    assert_eq!(config.address, Some("127.1.0.3".parse().unwrap()));
}

#[test]
fn messages_are_text_or_json() {
    let cases: [(&str, Value); 5] = [
        ("hello", json!("hello")),
        (r#"say "hi""#, json!(r#"say "hi""#)),
        (r#"{"a": 1}"#, json!({"a": 1})),
        (r#" [{"id": 1}]"#, json!([{"id": 1}])),
        ("{broken", json!("{broken")),
    ];
    for (text, value) in cases {
        assert_eq!(read(&[("MESSAGE", text)]).unwrap().message, value);
    }
}

#[test]
fn what_cannot_be_honoured_is_an_error_naming_the_variable() {
    let cases = [
        ("LISTEN_ADDR", "9090"),
        ("SERVER_TYPE", "grpc"),
        ("SERVER_TYPE", "udp"),
        ("TLS_CERT_LOCATION", "/cert.pem"),
        ("UPSTREAM_URIS", "grpc://api:9090"),
        ("UPSTREAM_ROUTES", "/a"),
        ("UPSTREAM_WORKERS", "0"),
        ("TIMING_90_PERCENTILE", "fast"),
        ("TIMING_VARIANCE", "some"),
        ("ERROR_RATE", "1.5"),
        ("ERROR_RATE", "NaN"),
        ("ERROR_TYPE", "panic"),
        ("ERROR_CODE", "100"),
        ("ERROR_CODE", "0"),
        ("RATE_LIMIT", "-1"),
        ("HTTP_CLIENT_APPEND_REQUEST", "yes"),
        ("FORWARD_HEADERS", "a b"),
        ("INSTANCE_IP", "here"),
        ("HTTP_PROXY", "socks5://x:1"),
    ];
    for (variable, value) in cases {
        let error = read(&[(variable, value)]).unwrap_err();
        assert_eq!((error.variable, error.value.as_str()), (variable, value));
    }
}

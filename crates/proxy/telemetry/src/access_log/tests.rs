#![allow(clippy::unwrap_used)]
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use meltemi_ir::{
    AccessLogFilter, Address, LogFormat, LogOutput, LogSink, Metadata, TrafficDirection, Value,
};

use super::time::{Civil, TimeFormat};
use super::*;
use crate::{ConnectionInfo, Protocol, RequestRecord, ResponseFlags, TlsInfo, UpstreamRecord};

/// Istio's default format.
const ISTIO: &str = "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% \"%UPSTREAM_TRANSPORT_FAILURE_REASON%\" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" \"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\" %UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n";

/// 2026-11-23T16:07:55.105970Z.
const START: Duration = Duration::new(1_795_450_075, 105_970_000);

struct Stream {
    connection: ConnectionInfo,
    request: HeaderMap,
    response: HeaderMap,
    trailers: HeaderMap,
    address: Address,
    metadata: Metadata,
}

impl Stream {
    fn new() -> Self {
        let socket = |text: &str| text.parse::<SocketAddr>().unwrap();
        let headers = |pairs: &[(&'static str, &'static str)]| {
            let pairs = pairs.iter();
            pairs
                .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)))
                .collect::<HeaderMap>()
        };
        let service = [("host", "x.ns.svc"), ("name", "x")];
        let service = service.map(|(key, value)| (key.to_owned(), Value::String(value.to_owned())));
        let services = Value::List(vec![Value::Struct(service.into())]);
        let istio = BTreeMap::from([
            ("services".to_owned(), services),
            ("weight".to_owned(), Value::Number(3.0)),
        ]);
        Self {
            connection: ConnectionInfo {
                id: 7,
                accepted: Duration::ZERO,
                round_trip: None,
                handshake: None,
                listener_settings: None,
                chain_settings: None,
                listener: "inbound".into(),
                filter_chain: None,
                direct_local: socket("10.0.0.2:15006"),
                local: socket("10.0.0.2:8080"),
                remote: socket("10.0.0.1:5000"),
                direct_remote: socket("[2001:db8::1]:6000"),
                direction: TrafficDirection::Inbound,
                requested_server_name: Some("x.example".to_owned()),
                metadata: Metadata::default(),
                proxy_entries: None,
                restored: false,
                tls: Some(TlsInfo {
                    version: "TLSv1.3",
                    peer_uri_sans: vec!["spiffe://a".to_owned(), "spiffe://b".to_owned()],
                    ..TlsInfo::default()
                }),
            },
            request: headers(&[
                ("user-agent", "curl/8"),
                ("x-request-id", "id-1"),
                ("q", "hel\"lo"),
                ("empty", ""),
                ("content-type", "application/grpc+proto"),
            ]),
            response: headers(&[("x-envoy-upstream-service-time", "2")]),
            trailers: headers(&[("grpc-status", "4"), ("t", "last")]),
            address: Address::Socket(socket("10.0.0.3:80")),
            metadata: Metadata([("istio".to_owned(), istio)].into()),
        }
    }

    fn record(&self) -> StreamRecord<'_> {
        StreamRecord {
            protocol: Some(Protocol::Http11),
            request: Some(RequestRecord {
                method: "GET",
                scheme: "http",
                authority: "x.example:80",
                path: "/a?b=1&c=2",
                headers: &self.request,
            }),
            response_code: Some(503),
            response_headers: Some(&self.response),
            response_trailers: Some(&self.trailers),
            response_code_details: Some("upstream reset{x}"),
            flags: ResponseFlags::UPSTREAM_CONNECTION_FAILURE,
            bytes_received: 10,
            bytes_sent: 20,
            duration: Some(Duration::from_micros(12_900)),
            request_done: Some(Duration::from_millis(1)),
            response_started: Some(Duration::from_millis(5)),
            response_done: Some(Duration::from_millis(12)),
            upstream: Some(UpstreamRecord {
                cluster: "outbound|80||x",
                alt_stat_name: Some("x"),
                connected: true,
                cluster_metadata: Some(&self.metadata),
                address: Some(&self.address),
                local_address: Some("10.0.0.2:4000".parse().unwrap()),
                transport_failure: Some("delayed connect error: Connection refused"),
                ..UpstreamRecord::default()
            }),
            route_name: Some("default"),
            attempts: 1,
            ..StreamRecord::new(&self.connection, START)
        }
    }
}

fn line(formatter: &Formatter, record: &StreamRecord<'_>) -> String {
    let mut out = Vec::new();
    formatter.format(record, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn istios_default_format() {
    let stream = Stream::new();
    let formatter = Formatter::parse(ISTIO).unwrap();
    assert_eq!(
        line(&formatter, &stream.record()),
        "[2026-11-23T16:07:55.105Z] \"GET /a?b=1&c=2 HTTP/1.1\" 503 UF upstream_reset{x} - \"delayed_connect_error:_Connection_refused\" 10 20 12 2 \"-\" \"curl/8\" \"id-1\" \"x.example:80\" \"10.0.0.3:80\" outbound|80||x 10.0.0.2:4000 10.0.0.2:8080 10.0.0.1:5000 x.example default\n"
    );
    let tcp = StreamRecord {
        duration: Some(Duration::from_millis(3)),
        ..StreamRecord::new(&stream.connection, START)
    };
    assert_eq!(
        line(&formatter, &tcp),
        "[2026-11-23T16:07:55.105Z] \"- - -\" 0 - - - \"-\" 0 0 3 - \"-\" \"-\" \"-\" \"-\" \"-\" - - 10.0.0.2:8080 10.0.0.1:5000 x.example -\n"
    );
    let names = |names: &[http::HeaderName]| {
        names
            .iter()
            .map(|name| name.as_str().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        names(&formatter.fields().request_headers),
        [
            "x-envoy-original-path",
            "x-forwarded-for",
            "user-agent",
            "x-request-id"
        ]
    );
    assert_eq!(
        names(&formatter.fields().response_headers),
        ["x-envoy-upstream-service-time"]
    );
}

#[test]
fn envoys_default_format() {
    let stream = Stream::new();
    assert_eq!(
        line(&Formatter::default_line(), &stream.record()),
        "[2026-11-23T16:07:55.105Z] \"GET /a?b=1&c=2 HTTP/1.1\" 503 UF 10 20 12 2 \"-\" \"curl/8\" \"id-1\" \"x.example:80\" \"10.0.0.3:80\"\n"
    );
}

#[test]
fn operators() {
    let stream = Stream::new();
    let cases = [
        ("100%%", "100%"),
        (
            "%REQ(q):3%|%REQ(empty)%|%REQ(nope)%|%REQ(nope?host)%",
            "hel||-|x.example:80",
        ),
        ("%RESP(:STATUS)% %TRAILER(T)%", "503 last"),
        (
            "%PATH(NQ)% %PATH% %QUERY_PARAM(c)% %QUERY_PARAM(d)%",
            "/a /a?b=1&c=2 2 -",
        ),
        (
            "%GRPC_STATUS% %GRPC_STATUS(SNAKE_STRING)% %GRPC_STATUS_NUMBER%",
            "DeadlineExceeded DEADLINE_EXCEEDED 4",
        ),
        (
            "%REQUEST_DURATION% %RESPONSE_DURATION% %RESPONSE_TX_DURATION% %REQUEST_TX_DURATION%",
            "1 5 7 -",
        ),
        ("%COMMON_DURATION(DS_RX_BEG:DS_TX_END:us)%", "12000"),
        (
            "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS% %DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT% %DOWNSTREAM_DIRECT_REMOTE_PORT%",
            "[2001:db8::1]:6000 2001:db8::1 6000",
        ),
        (
            "%REQ_WITHOUT_QUERY(X-NONE?:PATH)% %REQ_WITHOUT_QUERY(:METHOD):2%",
            "/a GE",
        ),
        (
            "%DOWNSTREAM_LOCAL_PORT% %UPSTREAM_REMOTE_PORT% %CONNECTION_ID%",
            "8080 80 7",
        ),
        (
            "%DOWNSTREAM_TLS_VERSION% %DOWNSTREAM_TLS_CIPHER% %DOWNSTREAM_PEER_URI_SAN%",
            "TLSv1.3 - spiffe://a,spiffe://b",
        ),
        (
            "%UPSTREAM_CLUSTER% %UPSTREAM_HOST_NAME% %UPSTREAM_HOST_NAME_WITHOUT_PORT%",
            "x 10.0.0.3:80 10.0.0.3",
        ),
        (
            "%RESPONSE_FLAGS_LONG% %ACCESS_LOG_TYPE% %VIRTUAL_CLUSTER_NAME%",
            "UpstreamConnectionFailure DownstreamEnd -",
        ),
        (
            "%CLUSTER_METADATA(istio:services)% %CLUSTER_METADATA(istio:weight)% %METADATA(CLUSTER:none)%",
            "[{\"host\":\"x.ns.svc\",\"name\":\"x\"}] 3 -",
        ),
        (
            "%START_TIME(%s.%3f %Y/%m/%dT%H:%M:%S %6f %9f %1f %z %Z %j %a %b %e)%",
            "1795450075.105 2026/11/23T16:07:55 105970 105970000 1 +0000 UTC 327 Mon Nov 23",
        ),
    ];
    for (format, expected) in cases {
        let formatter = Formatter::parse(format).unwrap();
        assert_eq!(line(&formatter, &stream.record()), expected, "{format}");
    }
}

#[test]
fn a_header_is_empty_where_a_line_has_a_dash() {
    let stream = Stream::new();
    let formatter = Formatter::parse_header("a%REQ(nope)%b").unwrap();
    assert_eq!(line(&formatter, &stream.record()), "ab");
}

/// Envoy writes the same for the same format.
#[test]
fn json_values_keep_their_kind() {
    let stream = Stream::new();
    let text = |text: &str| Value::String(text.to_owned());
    let inner = [
        ("d".to_owned(), text("%DURATION%")),
        (
            "l".to_owned(),
            Value::List(vec![
                text("%PROTOCOL%"),
                Value::Number(5.0),
                Value::Bool(true),
                Value::Null,
            ]),
        ),
    ];
    let format = [
        ("z", text("%REQ(:METHOD)%")),
        ("a", text("%RESPONSE_CODE%")),
        ("b", text("x %RESPONSE_CODE% y")),
        ("missing", text("%REQ(NOPE)%")),
        ("f", text("%RESPONSE_FLAGS%")),
        ("m", text("%CLUSTER_METADATA(istio:services)%")),
        ("mm", text("%REQ(Q):2%")),
        ("q", text("a\"b\\c %REQ(Q)% %REQ(NOPE)%")),
        ("n", Value::Struct(inner.into())),
        ("e", text("")),
    ];
    let format = format.map(|(name, value)| (name.to_owned(), value));
    let formatter = Formatter::parse_json(&Value::Struct(format.into())).unwrap();
    assert_eq!(
        line(&formatter, &stream.record()),
        r#"{"a":503,"b":"x 503 y","e":"","f":"UF","m":[{"host":"x.ns.svc","name":"x"}],"missing":null,"mm":"he","n":{"d":12,"l":["HTTP/1.1",5,true,null]},"q":"a\"b\\c hel\"lo -","z":"GET"}
"#
        .replace("\r", "")
    );
}

#[test]
fn values_of_forwarded_certificates_are_found_by_their_key() {
    let stream = Stream::new();
    let mut headers = HeaderMap::new();
    let forwarded =
        r#"By=spiffe://a;Hash=12;Subject="CN=a,O=\"b\"; c";URI=,By=spiffe://d;uri="e;f""#;
    let forwarded = HeaderValue::from_str(forwarded).unwrap();
    headers.insert("x-forwarded-client-cert", forwarded);
    let mut record = stream.record();
    record.request.as_mut().unwrap().headers = &headers;
    for (key, expected) in [
        ("by", "spiffe://a"),
        ("Hash", "12"),
        ("SUBJECT", r#"CN=a,O="b"; c"#),
        ("uri", ""),
        ("dns", "-"),
    ] {
        let formatter = Formatter::parse(&format!("%XFCC_VALUE({key})%")).unwrap();
        assert_eq!(line(&formatter, &record), expected, "{key}");
        let wanted = &formatter.fields().request_headers;
        assert_eq!(wanted[0].as_str(), "x-forwarded-client-cert");
    }
    let formatter = Formatter::parse("%XFCC_VALUE(by)%").unwrap();
    assert_eq!(line(&formatter, &stream.record()), "-");
}

#[test]
fn round_trips_are_in_milliseconds() {
    let mut stream = Stream::new();
    stream.connection.round_trip = Some(Duration::from_micros(12_900));
    let formatter = Formatter::parse("%DOWNSTREAM_CX_RTT%").unwrap();
    assert_eq!(line(&formatter, &stream.record()), "12");
}

#[test]
fn a_wrong_format_names_what_is_wrong() {
    let cases = [
        ("ab %NOPE(x)%", "unknown operator %NOPE(x)% at position 3"),
        (
            "%nope%",
            "no operator ends the % at position 0; write %% for a percent sign",
        ),
        (
            "a %REQ(x)",
            "no operator ends the % at position 2; write %% for a percent sign",
        ),
        (
            "%REQ%",
            "operator %REQ% at position 0: it needs an argument",
        ),
        (
            "%REQ(a b)%",
            "operator %REQ% at position 0: \"a b\" is no header name",
        ),
        (
            "%REQ(a?b?c)%",
            "operator %REQ% at position 0: more than one alternative",
        ),
        (
            "%DURATION(x)%",
            "operator %DURATION% at position 0: it takes no argument",
        ),
        (
            "%START_TIME(%Q)%",
            "operator %START_TIME% at position 0: unknown time conversion %Q",
        ),
        (
            "%GRPC_STATUS(x)%",
            "operator %GRPC_STATUS% at position 0: \"x\" is none of CAMEL_STRING, SNAKE_STRING and NUMBER",
        ),
        (
            "%COMMON_DURATION(A)%",
            "operator %COMMON_DURATION% at position 0: it needs START:END:PRECISION",
        ),
        (
            "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(129)%",
            "operator %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% at position 0: \"129\" is no number of bits from 0 to 128",
        ),
        (
            "%CEL(nothing.at.all)%",
            "operator %CEL% at position 0: there is no attribute \"nothing\"",
        ),
        (
            "%METADATA(X:a)%",
            "operator %METADATA% at position 0: metadata of \"X\" is not kept",
        ),
    ];
    for (format, expected) in cases {
        assert_eq!(
            Formatter::parse(format).unwrap_err().to_string(),
            expected,
            "{format}"
        );
    }
}

#[test]
fn dates() {
    let cases = [
        (0, (1970, 1, 1, 1, 4)),
        (951_782_400, (2000, 2, 29, 60, 2)),
        (951_868_800, (2000, 3, 1, 61, 3)),
        (1_709_164_800, (2024, 2, 29, 60, 4)),
        (1_735_603_200, (2024, 12, 31, 366, 2)),
        (1_735_689_600, (2025, 1, 1, 1, 3)),
        (1_767_139_200, (2025, 12, 31, 365, 3)),
        (4_107_542_399, (2100, 2, 28, 59, 0)),
        (4_107_542_400, (2100, 3, 1, 60, 1)),
    ];
    for (seconds, expected) in cases {
        let civil = Civil::new(Duration::from_secs(seconds));
        let found = (
            civil.year,
            civil.month,
            civil.day,
            civil.day_of_year,
            civil.weekday,
        );
        assert_eq!(found, expected, "{seconds}");
    }
    let mut out = Vec::new();
    TimeFormat::parse("%F %T %D %I %p %y %A %B %%")
        .unwrap()
        .write(START, &mut out);
    assert_eq!(
        out,
        b"2026-11-23 16:07:55 11/23/26 04 PM 26 Monday November %"
    );
}

fn log(path: &std::path::Path, filter: Option<AccessLogFilter>) -> AccessLog {
    AccessLog {
        output: LogOutput::Lines {
            sink: LogSink::File(path.to_owned()),
            format: LogFormat::Text("%RESPONSE_CODE%\n".to_owned()),
        },
        filter,
    }
}

#[test]
fn lines_reach_the_file_when_flushed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.log");
    let files = LogFiles::new();
    let logger = AccessLogger::new(&log(&path, None), &files).unwrap();
    let (one, other) = (LogBuffers::new(), LogBuffers::new());
    let stream = Stream::new();
    logger.log(&one, &stream.record());
    logger.log(&other, &stream.record());
    let read = || std::fs::read_to_string(&path).unwrap();
    assert_eq!(read(), "");
    one.flush();
    assert_eq!(read(), "503\n");
    drop(other);
    assert_eq!(read(), "503\n503\n");

    std::fs::rename(&path, directory.path().join("b.log")).unwrap();
    files.reopen().unwrap();
    logger.log(&one, &stream.record());
    one.flush();
    assert_eq!(read(), "503\n");
}

#[test]
fn filters() {
    let directory = tempfile::tempdir().unwrap();
    let files = LogFiles::new();
    let stream = Stream::new();
    let flags = |names: &[&str]| {
        AccessLogFilter::ResponseFlags(names.iter().map(|name| (*name).to_owned()).collect())
    };
    let cases = [
        (None, true, true),
        (Some(flags(&[])), true, false),
        (Some(flags(&["UF", "NR"])), true, false),
        (Some(flags(&["NR"])), false, false),
        (Some(AccessLogFilter::NotHealthCheck), true, false),
    ];
    for (at, (filter, failed, fine)) in cases.into_iter().enumerate() {
        let path = directory.path().join(at.to_string());
        let buffers = LogBuffers::new();
        let logger = AccessLogger::new(&log(&path, filter.clone()), &files).unwrap();
        let mut record = stream.record();
        logger.log(&buffers, &record);
        record.flags = ResponseFlags::NONE;
        record.health_check = true;
        logger.log(&buffers, &record);
        buffers.flush();
        let lines = std::fs::read_to_string(&path).unwrap().lines().count();
        assert_eq!(lines, usize::from(failed) + usize::from(fine), "{filter:?}");
    }
    let wrong = AccessLogger::new(
        &log(&directory.path().join("x"), Some(flags(&["QQ"]))),
        &files,
    );
    assert_eq!(
        wrong.unwrap_err().to_string(),
        "filter.response_flag_filter.flags: unknown response flag \"QQ\""
    );
}

#[test]
fn what_is_not_there_is_left_out_of_sparse_formats() {
    let stream = Stream::new();
    let field = |text: &str| Value::String(text.to_owned());
    let of = |members: &[(&str, Value)]| {
        let members = members.iter().cloned();
        Value::Struct(
            members
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
        )
    };
    let format = of(&[
        ("empty", of(&[("inner", field("%REQ(NONE)%"))])),
        ("list", Value::List(vec![field("%REQ(NONE)%")])),
        ("mixed", field("a%REQ(NONE)%b")),
        ("missing", field("%REQ(NONE)%")),
        ("null", Value::Null),
        ("number", Value::Number(3.0)),
    ]);
    let written = |format: &LogFormat| {
        let formatter = Formatter::compile(format).unwrap();
        let mut out = Vec::new();
        formatter.format(&stream.record(), &mut out);
        String::from_utf8(out).unwrap()
    };
    let json = written(&LogFormat::SparseJson(format));
    assert_eq!(json, "{\"list\":[],\"mixed\":\"ab\",\"number\":3}\n");
    let nothing = of(&[("missing", field("%REQ(NONE)%"))]);
    assert_eq!(written(&LogFormat::SparseJson(nothing)), "{}\n");
    let text = LogFormat::SparseText("[%REQ(NONE)%]".to_owned());
    assert_eq!(written(&text), "[]");
}

#[test]
fn a_length_is_for_what_may_be_long() {
    for format in ["%PROTOCOL:3%", "%START_TIME:4%", "%GRPC_STATUS(NUMBER):1%"] {
        let error = Formatter::parse(format).unwrap_err().to_string();
        assert!(error.contains("takes no length"), "{format}: {error}");
    }
    for format in ["%REQ(A):3%", "%PATH(NQ):3%", "%QUERY_PARAMS:3%"] {
        Formatter::parse(format).unwrap();
    }
}

#[test]
fn the_first_of_several_operators() {
    let stream = Stream::new();
    for (argument, text) in [
        (
            r#"{"operators": ["TRACE_ID", {"command": "REQ", "param": "USER-AGENT", "max_length": 2}]}"#,
            "cu",
        ),
        (r#"{"operators": ["TRACE_ID", "CUSTOM_FLAGS"]}"#, "-"),
    ] {
        let formatter = Formatter::parse(&format!("%COALESCE({argument})%")).unwrap();
        assert_eq!(line(&formatter, &stream.record()), text, "{argument}");
    }
    for wrong in [
        "",
        "[]",
        r#"{"operators": []}"#,
        r#"{"operators": ["NONE_SUCH"]}"#,
    ] {
        Formatter::parse(&format!("%COALESCE({wrong})%")).unwrap_err();
    }
}

//! The configuration of each proxy for a work: one bootstrap for Envoy and for ours, and one
//! file for HAProxy.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use super::Work;

/// Where a proxy listens, where it sends, and what its configuration holds.
#[derive(Clone, Copy)]
pub struct Setting<'a> {
    /// The work.
    pub work: Work,
    /// The proxy's address.
    pub listen: SocketAddr,
    /// The upstream's address.
    pub upstream: SocketAddr,
    /// Where certificates are, and where the access log goes.
    pub directory: &'a Path,
    /// Virtual hosts, the one that is asked for among them.
    pub virtual_hosts: usize,
    /// Clusters, the one that is used among them.
    pub clusters: usize,
}

/// The bootstrap of Envoy and of ours, with an access log in Envoy's own format.
pub fn bootstrap(setting: &Setting<'_>) -> String {
    let Setting {
        listen, clusters, ..
    } = *setting;
    let mut text = format!(
        "static_resources:
  listeners:
  - name: bench
    address:
      socket_address: {{ address: {}, port_value: {} }}
    filter_chains:
    - filters:
{}{}  clusters:
",
        listen.ip(),
        listen.port(),
        network_filter(setting),
        downstream_tls(setting),
    );
    for number in 1..clusters {
        cluster(&mut text, &format!("upstream-{number}"), setting);
    }
    cluster(&mut text, "upstream", setting);
    text
}

fn network_filter(setting: &Setting<'_>) -> String {
    let log = setting.directory.join("access.log");
    let access_log = format!(
        r#"          stat_prefix: bench
          access_log:
          - name: envoy.access_loggers.file
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
              path: {}
"#,
        log.display()
    );
    if setting.work == Work::Tcp {
        return format!(
            r#"      - name: envoy.filters.network.tcp_proxy
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          cluster: upstream
{access_log}"#
        );
    }
    let mut text = format!(
        r#"      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
{access_log}          codec_type: AUTO
          http_filters:
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
          route_config:
            name: bench
            virtual_hosts:
"#
    );
    for number in 1..setting.virtual_hosts {
        let cluster = if setting.clusters > 1 {
            format!("upstream-{}", number % setting.clusters)
        } else {
            "upstream".to_owned()
        };
        let cluster = cluster.strip_suffix("-0").unwrap_or(&cluster);
        let action = format!("route: {{ cluster: {cluster} }}");
        let host = format!("host-{number}");
        virtual_host(&mut text, &host, &format!("{host}.example"), &action);
    }
    let action = if setting.work == Work::Handshakes {
        "direct_response: { status: 200, body: { inline_string: hello } }"
    } else {
        "route: { cluster: upstream }"
    };
    let domain = if setting.virtual_hosts > 1 {
        "bench.example"
    } else {
        "*"
    };
    virtual_host(&mut text, "bench", domain, action);
    text
}

fn virtual_host(text: &mut String, name: &str, domain: &str, action: &str) {
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        "            - name: {name}
              domains: [\"{domain}\"]
              routes:
              - match: {{ prefix: \"/\" }}
                {action}
"
    );
}

fn downstream_tls(setting: &Setting<'_>) -> String {
    let validation = match setting.work {
        Work::Tls => String::new(),
        Work::Handshakes => format!(
            "            validation_context: {{ trusted_ca: {{ filename: {} }} }}
          require_client_certificate: true
",
            setting.directory.join("ca.pem").display()
        ),
        Work::Http1 | Work::Http2 | Work::Http2Http1 | Work::Tcp => return String::new(),
    };
    format!(
        r#"      transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            tls_certificates:
            - certificate_chain: {{ filename: {} }}
              private_key: {{ filename: {} }}
{validation}"#,
        setting.directory.join("server.pem").display(),
        setting.directory.join("server-key.pem").display(),
    )
}

fn cluster(text: &mut String, name: &str, setting: &Setting<'_>) {
    let upstream = setting.upstream;
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        "  - name: {name}
    type: STATIC
    connect_timeout: 5s
    lb_policy: ROUND_ROBIN
    load_assignment:
      cluster_name: {name}
      endpoints:
      - lb_endpoints:
        - endpoint:
            address:
              socket_address: {{ address: {}, port_value: {} }}
",
        upstream.ip(),
        upstream.port(),
    );
    match setting.work {
        Work::Http2 => text.push_str(
            r#"    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: { http2_protocol_options: {} }
"#,
        ),
        Work::Tls => {
            let file = |name: &str| setting.directory.join(name).display().to_string();
            let _ = write!(
                text,
                r#"    transport_socket:
      name: envoy.transport_sockets.tls
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
        sni: bench.example
        common_tls_context:
          tls_certificates:
          - certificate_chain: {{ filename: {} }}
            private_key: {{ filename: {} }}
          validation_context: {{ trusted_ca: {{ filename: {} }} }}
"#,
                file("client.pem"),
                file("client-key.pem"),
                file("ca.pem"),
            );
        }
        Work::Http1 | Work::Http2Http1 | Work::Tcp | Work::Handshakes => {}
    }
}

/// HAProxy's configuration, for the kinds of load that it is measured with. It has no access
/// log, which it sends nowhere but to a logging daemon.
pub fn haproxy(setting: &Setting<'_>) -> Option<String> {
    let protocol = match setting.work {
        Work::Http1 => "",
        Work::Http2 | Work::Http2Http1 => " proto h2",
        Work::Tls | Work::Tcp | Work::Handshakes => return None,
    };
    let upstream_protocol = match setting.work {
        Work::Http2 => protocol,
        _ => "",
    };
    let Setting {
        listen, upstream, ..
    } = *setting;
    Some(format!(
        "global
  nbthread 1
  maxconn 4096
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  http-reuse always
frontend bench
  bind {listen}{protocol}
  default_backend upstream
backend upstream
  server one {upstream}{upstream_protocol}
"
    ))
}

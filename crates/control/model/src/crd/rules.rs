//! What an API server can check of a resource by itself.
//!
//! In: nothing. Out: the [`Rule`]s of each kind. They are a part of what `model` checks: whatever
//! they refuse is refused by the conversion as well, which knows more.

/// What is asked of a field.
pub(super) struct Rule {
    /// The field, below `spec`; empty for the spec itself.
    pub path: &'static str,
    pub check: Check,
}

/// What is asked.
pub(super) enum Check {
    /// It has one of these values.
    OneOf(&'static [&'static str]),
    /// It has these fields.
    Required(&'static [&'static str]),
    /// It is a number from one to the other.
    Range(i64, i64),
    /// It is not empty.
    Filled,
    /// It has at most so many characters.
    Longest(u32),
    /// It is a duration of at least a millisecond.
    Duration,
    /// A CEL expression holds; the message says what to do.
    Cel(&'static str, &'static str),
}

use Check::{Cel, Duration, Filled, Longest, OneOf, Range, Required};

const fn rule(path: &'static str, check: Check) -> Rule {
    Rule { path, check }
}

const CAPTURE_MODES: &[&str] = &["DEFAULT", "IPTABLES", "NONE"];
const SERVER_TLS_MODES: &[&str] = &[
    "PASSTHROUGH",
    "SIMPLE",
    "MUTUAL",
    "AUTO_PASSTHROUGH",
    "ISTIO_MUTUAL",
    "OPTIONAL_MUTUAL",
];
const CLIENT_TLS_MODES: &[&str] = &["DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL"];
const TLS_VERSIONS: &[&str] = &["TLS_AUTO", "TLSV1_0", "TLSV1_1", "TLSV1_2", "TLSV1_3"];
const BALANCERS: &[&str] = &[
    "UNSPECIFIED",
    "LEAST_CONN",
    "RANDOM",
    "PASSTHROUGH",
    "ROUND_ROBIN",
    "LEAST_REQUEST",
];
const UPGRADES: &[&str] = &["DEFAULT", "DO_NOT_UPGRADE", "UPGRADE"];
const MTLS_MODES: &[&str] = &["UNSET", "DISABLE", "PERMISSIVE", "STRICT"];
const PORTS: Check = Range(1, 65535);
const PERCENT: Check = Range(0, 100);

pub(super) const GATEWAY: &[Rule] = &[
    rule("servers[]", Required(&["port", "hosts"])),
    rule("servers[].hosts", Filled),
    rule("servers[].port", Required(&["number", "protocol", "name"])),
    rule("servers[].port.number", PORTS),
    rule("servers[].tls.mode", OneOf(SERVER_TLS_MODES)),
    rule("servers[].tls.minProtocolVersion", OneOf(TLS_VERSIONS)),
    rule("servers[].tls.maxProtocolVersion", OneOf(TLS_VERSIONS)),
    rule(
        "servers[].tls",
        Cel(
            "!(has(self.credentialName) && has(self.credentialNames))",
            "write credentialName or credentialNames, not both",
        ),
    ),
];

pub(super) const VIRTUAL_SERVICE: &[Rule] = &[
    rule("http[].timeout", Duration),
    rule("http[].retries.perTryTimeout", Duration),
    rule("http[].retries.attempts", Range(0, 2_147_483_647)),
    rule("http[].fault.delay.fixedDelay", Duration),
    rule("http[].fault.abort.httpStatus", Range(200, 599)),
    rule("http[].corsPolicy.maxAge", Duration),
    rule(
        "http[].corsPolicy.unmatchedPreflights",
        OneOf(&["UNSPECIFIED", "FORWARD", "IGNORE"]),
    ),
    rule("http[].redirect.redirectCode", Range(300, 399)),
    rule(
        "http[].redirect.derivePort",
        OneOf(&["FROM_PROTOCOL_DEFAULT", "FROM_REQUEST_PORT"]),
    ),
    rule(
        "http[].redirect",
        Cel(
            "!(has(self.port) && has(self.derivePort))",
            "write port or derivePort, not both",
        ),
    ),
    rule("http[].directResponse", Required(&["status"])),
    rule("http[].directResponse.status", Range(200, 599)),
    rule("http[].route[]", Required(&["destination"])),
    rule("http[].route[].destination", Required(&["host"])),
    rule("http[].route[].destination.port.number", PORTS),
    rule("http[].route[].weight", Range(0, 2_147_483_647)),
    rule("http[].match[].port", PORTS),
    rule(
        "http[].match[].uri",
        Cel(
            "(has(self.exact) ? 1 : 0) + (has(self.prefix) ? 1 : 0) + (has(self.regex) ? 1 : 0) <= 1",
            "write exactly one of exact, prefix, regex",
        ),
    ),
    rule(
        "http[]",
        Cel(
            "(has(self.route) ? 1 : 0) + (has(self.redirect) ? 1 : 0) + (has(self.directResponse) ? 1 : 0) + (has(self.delegate) ? 1 : 0) <= 1",
            "write only one of route, redirect, directResponse, delegate",
        ),
    ),
    rule("tls[]", Required(&["match"])),
    rule("tls[].match[]", Required(&["sniHosts"])),
    rule("tls[].match[].sniHosts", Filled),
    rule("tls[].match[].port", PORTS),
    rule("tls[].route[]", Required(&["destination"])),
    rule("tls[].route[].destination", Required(&["host"])),
    rule("tcp[].match[].port", PORTS),
    rule("tcp[].route[]", Required(&["destination"])),
    rule("tcp[].route[].destination", Required(&["host"])),
];

pub(super) const DESTINATION_RULE: &[Rule] = &[
    rule("", Required(&["host"])),
    rule("subsets[]", Required(&["name"])),
    rule("trafficPolicy.loadBalancer.simple", OneOf(BALANCERS)),
    rule(
        "trafficPolicy.loadBalancer",
        Cel(
            "!(has(self.simple) && has(self.consistentHash))",
            "write simple or consistentHash, not both",
        ),
    ),
    rule("trafficPolicy.connectionPool.tcp.connectTimeout", Duration),
    rule("trafficPolicy.connectionPool.tcp.idleTimeout", Duration),
    rule("trafficPolicy.connectionPool.http.idleTimeout", Duration),
    rule(
        "trafficPolicy.connectionPool.http.h2UpgradePolicy",
        OneOf(UPGRADES),
    ),
    rule("trafficPolicy.outlierDetection.interval", Duration),
    rule("trafficPolicy.outlierDetection.baseEjectionTime", Duration),
    rule("trafficPolicy.outlierDetection.maxEjectionPercent", PERCENT),
    rule("trafficPolicy.outlierDetection.minHealthPercent", PERCENT),
    rule("trafficPolicy.tls.mode", OneOf(CLIENT_TLS_MODES)),
    rule("trafficPolicy.portLevelSettings[].port.number", PORTS),
    rule(
        "trafficPolicy.portLevelSettings[].loadBalancer.simple",
        OneOf(BALANCERS),
    ),
    rule(
        "trafficPolicy.portLevelSettings[].tls.mode",
        OneOf(CLIENT_TLS_MODES),
    ),
    rule("trafficPolicy.proxyProtocol.version", OneOf(&["V1", "V2"])),
    rule(
        "subsets[].trafficPolicy.loadBalancer.simple",
        OneOf(BALANCERS),
    ),
    rule("subsets[].trafficPolicy.tls.mode", OneOf(CLIENT_TLS_MODES)),
];

pub(super) const SERVICE_ENTRY: &[Rule] = &[
    rule("", Required(&["hosts"])),
    rule(
        "",
        Cel(
            "!(has(self.workloadSelector) && has(self.endpoints))",
            "write workloadSelector or endpoints, not both",
        ),
    ),
    rule(
        "",
        Cel(
            "!has(self.addresses) || !self.addresses.exists(it, it.contains('/')) || !has(self.resolution) || self.resolution in ['NONE', 'STATIC']",
            "ranges of addresses go with resolution NONE or STATIC only",
        ),
    ),
    rule("hosts", Filled),
    rule("ports[]", Required(&["number", "name"])),
    rule("ports[].number", PORTS),
    rule("location", OneOf(&["MESH_EXTERNAL", "MESH_INTERNAL"])),
    rule(
        "resolution",
        OneOf(&["NONE", "STATIC", "DNS", "DNS_ROUND_ROBIN", "DYNAMIC_DNS"]),
    ),
    rule("endpoints[].ports[*]", PORTS),
    rule("endpoints[].address", Longest(256)),
];

pub(super) const WORKLOAD_ENTRY: &[Rule] = &[
    rule("address", Longest(256)),
    rule(
        "address",
        Cel(
            "!self.startsWith('unix://') || !self.endsWith('/')",
            "a Unix socket is no directory",
        ),
    ),
    rule("ports[*]", PORTS),
    rule("serviceAccount", Longest(253)),
    rule(
        "",
        Cel(
            "has(self.address) || has(self.network)",
            "write the address",
        ),
    ),
];

pub(super) const WORKLOAD_GROUP: &[Rule] = &[
    rule("", Required(&["template"])),
    rule("template.ports[*]", PORTS),
    rule("template.serviceAccount", Longest(253)),
    rule("probe.httpGet", Required(&["port"])),
    rule("probe.httpGet.port", PORTS),
    rule("probe.tcpSocket", Required(&["port"])),
    rule("probe.tcpSocket.port", PORTS),
    rule("probe.exec", Required(&["command"])),
    rule("probe.exec.command", Filled),
];

pub(super) const SIDECAR: &[Rule] = &[
    rule("ingress[]", Required(&["port"])),
    rule("ingress[].captureMode", OneOf(CAPTURE_MODES)),
    rule("ingress[].tls.mode", OneOf(SERVER_TLS_MODES)),
    rule("egress[]", Required(&["hosts"])),
    rule("egress[].hosts", Filled),
    rule("egress[].captureMode", OneOf(CAPTURE_MODES)),
    rule(
        "outboundTrafficPolicy.mode",
        OneOf(&["REGISTRY_ONLY", "ALLOW_ANY", "ALLOW_ANY_DYNAMIC_DNS"]),
    ),
];

pub(super) const PEER_AUTHENTICATION: &[Rule] = &[
    rule("mtls.mode", OneOf(MTLS_MODES)),
    rule("portLevelMtls[*].mode", OneOf(MTLS_MODES)),
    rule(
        "",
        Cel(
            "!has(self.portLevelMtls) || (has(self.selector) && has(self.selector.matchLabels) && self.selector.matchLabels.size() > 0)",
            "portLevelMtls needs a selector",
        ),
    ),
    rule(
        "portLevelMtls",
        Cel(
            "self.all(key, 0 < int(key) && int(key) <= 65535)",
            "the keys of portLevelMtls are ports",
        ),
    ),
];

const TARGETS: Check = Cel(
    "(has(self.selector) ? 1 : 0) + (has(self.targetRef) ? 1 : 0) + (has(self.targetRefs) ? 1 : 0) <= 1",
    "write only one of selector, targetRef, targetRefs",
);

pub(super) const AUTHORIZATION_POLICY: &[Rule] = &[
    rule("", TARGETS),
    rule("action", OneOf(&["ALLOW", "DENY", "AUDIT", "CUSTOM"])),
    rule("rules[].when[]", Required(&["key"])),
];

pub(super) const REQUEST_AUTHENTICATION: &[Rule] = &[
    rule("", TARGETS),
    rule("jwtRules[]", Required(&["issuer"])),
    rule("jwtRules[].issuer", Filled),
    rule("jwtRules[].timeout", Duration),
    rule("jwtRules[].fromHeaders[]", Required(&["name"])),
    rule("jwtRules[].fromHeaders[].name", Filled),
    rule(
        "jwtRules[].outputClaimToHeaders[]",
        Required(&["header", "claim"]),
    ),
];

pub(super) const PROXY_CONFIG: &[Rule] = &[
    rule("concurrency", Range(0, 2_147_483_647)),
    rule("environmentVariables[*]", Longest(2048)),
];

pub(super) const TELEMETRY: &[Rule] = &[rule(
    "accessLogging[].match.mode",
    OneOf(&["CLIENT_AND_SERVER", "CLIENT", "SERVER"]),
)];

pub(super) const ENVOY_FILTER: &[Rule] = &[
    rule("configPatches[]", Required(&["patch"])),
    rule("configPatches[].match.listener.portNumber", Range(0, 65535)),
    rule(
        "",
        Cel(
            "!(has(self.workloadSelector) && has(self.targetRefs))",
            "write only one of workloadSelector, targetRefs",
        ),
    ),
];

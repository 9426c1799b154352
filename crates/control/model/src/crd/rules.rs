//! What an API server can check of a resource by itself.
//!
//! In: nothing. Out: the [`Rule`]s of each kind, and those [`SHARED`] by kinds. They are a part of what
//! `model` checks: whatever they refuse is refused by the conversion as well, which knows more. Only
//! their bounds ([`Check::Most`]) are of their own: an API server takes no expression over a list of
//! any length, for it could cost too much. They are Istio's.

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
    /// It is a number of at least so much.
    Least(i64),
    /// It is not empty.
    Filled,
    /// It has at most so many items or entries.
    Most(u32),
    /// It has at most so many characters.
    Longest(u32),
    /// It is as the regular expression says.
    Pattern(&'static str),
    /// Its items differ in this field, which each has.
    Distinct(&'static str),
    /// It has at most one of these fields.
    AtMostOne(&'static [&'static str]),
    /// The spec is there; for the spec itself only.
    Written,
    /// It is a duration of at least a millisecond.
    Duration,
    /// A CEL expression holds; the message says what to do.
    Cel(&'static str, &'static str),
}

use Check::{
    AtMostOne, Cel, Distinct, Duration, Filled, Least, Longest, Most, OneOf, Pattern, Range,
    Required, Written,
};

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
const MATCH: Check = AtMostOne(&["exact", "prefix", "regex"]);
const WILD: &str = "a label and its value are compared as they are; write no wildcard";

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
        AtMostOne(&["credentialName", "credentialNames"]),
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
    rule("http[].redirect", AtMostOne(&["port", "derivePort"])),
    rule("http[].directResponse", Required(&["status"])),
    rule("http[].directResponse.status", Range(200, 599)),
    rule("http[].route[]", Required(&["destination"])),
    rule("http[].route[].destination", Required(&["host"])),
    rule("http[].route[].destination.port.number", PORTS),
    rule("http[].route[].weight", Range(0, 2_147_483_647)),
    rule("http[].match[].port", PORTS),
    rule("http[].match[].uri", MATCH),
    rule("http[].match[].scheme", MATCH),
    rule("http[].match[].method", MATCH),
    rule("http[].match[].authority", MATCH),
    rule("http[].match[].headers[*]", MATCH),
    rule("http[].match[].withoutHeaders[*]", MATCH),
    rule("http[].match[].queryParams[*]", MATCH),
    rule("http[].corsPolicy.allowOrigins[]", MATCH),
    rule(
        "http[]",
        AtMostOne(&["route", "redirect", "directResponse", "delegate"]),
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
    rule("trafficPolicy.portLevelSettings", Most(4096)),
    rule("subsets[].trafficPolicy.portLevelSettings", Most(4096)),
];

/// What a DestinationRule asks for: for a host, for one of its ports, for a subset.
const POLICY: &[Rule] = &[
    rule("port.number", PORTS),
    rule("loadBalancer.simple", OneOf(BALANCERS)),
    rule("loadBalancer", AtMostOne(&["simple", "consistentHash"])),
    rule(
        "loadBalancer.consistentHash.httpCookie",
        Required(&["name"]),
    ),
    rule("loadBalancer.warmup", Required(&["duration"])),
    rule("loadBalancer.warmup.duration", Duration),
    rule("loadBalancer.warmup.minimumPercent", PERCENT),
    rule("loadBalancer.warmup.aggression", Least(1)),
    rule("connectionPool.tcp.connectTimeout", Duration),
    rule("connectionPool.tcp.idleTimeout", Duration),
    rule("connectionPool.http.idleTimeout", Duration),
    rule("connectionPool.http.h2UpgradePolicy", OneOf(UPGRADES)),
    rule("outlierDetection.interval", Duration),
    rule("outlierDetection.baseEjectionTime", Duration),
    rule("outlierDetection.maxEjectionPercent", PERCENT),
    rule("outlierDetection.minHealthPercent", PERCENT),
    rule("tls.mode", OneOf(CLIENT_TLS_MODES)),
    rule("proxyProtocol.version", OneOf(&["V1", "V2"])),
];

pub(super) const SERVICE_ENTRY: &[Rule] = &[
    rule("", Written),
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
    rule(
        "",
        Cel(
            "has(self.resolution) && self.resolution != 'NONE' || !has(self.endpoints) || self.endpoints.size() == 0",
            "endpoints have no meaning with resolution NONE",
        ),
    ),
    rule(
        "",
        Cel(
            "!has(self.resolution) || self.resolution != 'DNS_ROUND_ROBIN' || !has(self.endpoints) || self.endpoints.size() <= 1",
            "DNS_ROUND_ROBIN takes one endpoint",
        ),
    ),
    rule("hosts", Filled),
    rule("hosts", Most(256)),
    rule("hosts[]", Cel("self != '*'", "name the hosts")),
    rule("addresses", Most(256)),
    rule("addresses[]", Longest(64)),
    rule("ports", Most(256)),
    rule("ports", Distinct("name")),
    rule(
        "ports",
        Cel(
            "self.all(one, self.exists_one(other, one.number == other.number))",
            "a number is that of one port only",
        ),
    ),
    rule("ports[]", Required(&["number", "name"])),
    rule("ports[].number", PORTS),
    rule("ports[].name", Longest(256)),
    rule("ports[].protocol", Longest(256)),
    rule("ports[].targetPort", PORTS),
    rule("location", OneOf(&["MESH_EXTERNAL", "MESH_INTERNAL"])),
    rule(
        "resolution",
        OneOf(&["NONE", "STATIC", "DNS", "DNS_ROUND_ROBIN", "DYNAMIC_DNS"]),
    ),
    rule("endpoints", Most(4096)),
    rule("endpoints[]", ADDRESSED),
];

/// Where a workload is: a WorkloadEntry, an endpoint of a ServiceEntry, a WorkloadGroup's template.
pub(super) const WORKLOAD: &[Rule] = &[
    rule("address", Longest(256)),
    rule(
        "address",
        Cel(
            "!self.startsWith('unix://') || !self.endsWith('/')",
            "a Unix socket is no directory",
        ),
    ),
    rule(
        "address",
        Cel(
            "!self.startsWith('unix://') || self.startsWith('unix:///') || self.startsWith('unix://@')",
            "the path of a Unix socket begins with / or @",
        ),
    ),
    rule(
        "",
        Cel(
            "!has(self.address) || !self.address.startsWith('unix://') || !has(self.ports) || self.ports.size() == 0",
            "a Unix socket has no ports",
        ),
    ),
    rule("ports", Most(128)),
    rule("ports[*]", PORTS),
    rule("labels", Most(256)),
    rule("network", Longest(2048)),
    rule("locality", Longest(2048)),
    rule("serviceAccount", Longest(253)),
];

const ADDRESSED: Check = Cel(
    "has(self.address) || has(self.network)",
    "write the address",
);

pub(super) const WORKLOAD_ENTRY: &[Rule] = &[rule("", Written), rule("", ADDRESSED)];

pub(super) const WORKLOAD_GROUP: &[Rule] = &[
    rule("", Written),
    rule("", Required(&["template"])),
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
    rule("portLevelMtls", Filled),
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
    rule("rules", Most(512)),
    rule("rules[].from", Most(512)),
    rule("rules[].when[]", Required(&["key"])),
    rule("rules[].from[].source.serviceAccounts", Most(16)),
    rule("rules[].from[].source.serviceAccounts[]", Longest(320)),
    rule("rules[].from[].source.notServiceAccounts", Most(16)),
    rule("rules[].from[].source.notServiceAccounts[]", Longest(320)),
    rule(
        "rules[].from[].source",
        Cel(
            "!(has(self.serviceAccounts) || has(self.notServiceAccounts)) || !(has(self.principals) || has(self.notPrincipals) || has(self.namespaces) || has(self.notNamespaces))",
            "keep serviceAccounts apart from principals and namespaces",
        ),
    ),
];

pub(super) const REQUEST_AUTHENTICATION: &[Rule] = &[
    rule("", TARGETS),
    rule("jwtRules[]", Required(&["issuer"])),
    rule("jwtRules", Most(4096)),
    rule("jwtRules[].issuer", Filled),
    rule("jwtRules[]", AtMostOne(&["jwks", "jwksUri"])),
    rule("jwtRules[].jwksUri", Filled),
    rule("jwtRules[].jwksUri", Longest(2048)),
    rule("jwtRules[].audiences[]", Filled),
    rule("jwtRules[].fromParams[]", Filled),
    rule("jwtRules[].fromCookies[]", Filled),
    rule("jwtRules[].spaceDelimitedClaims[]", Filled),
    rule("jwtRules[].outputClaimToHeaders[].header", Filled),
    rule("jwtRules[].outputClaimToHeaders[].claim", Filled),
    rule("jwtRules[].timeout", Duration),
    rule("jwtRules[].presence", OneOf(&["OPTIONAL", "REQUIRED"])),
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

/// What a policy is attached to.
const TARGET: &[Rule] = &[
    rule("", Required(&["kind", "name"])),
    rule("group", Longest(253)),
    rule(
        "group",
        Pattern(r"^$|^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"),
    ),
    rule("kind", Filled),
    rule("kind", Longest(63)),
    rule("kind", Pattern("^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$")),
    rule("name", Filled),
    rule("name", Longest(253)),
];

/// The labels of workloads that a policy is for.
const MATCH_LABELS: &[Rule] = &[
    rule("", Most(4096)),
    rule("", Cel("self.all(key, !key.contains('*'))", WILD)),
    rule("", Cel("self.all(key, key.size() != 0)", "name the label")),
    rule("[*]", Longest(63)),
    rule("[*]", Cel("!self.contains('*')", WILD)),
];

/// The labels of workloads that a resource of the network is for.
const SELECTOR_LABELS: &[Rule] = &[
    rule("", Most(256)),
    rule("[*]", Longest(63)),
    rule("[*]", Cel("!self.contains('*')", WILD)),
];

/// The rules of what several kinds have, by where they have it; a kind that has no such place is not
/// meant.
pub(super) const SHARED: &[(&str, &[Rule])] = &[
    ("selector.matchLabels", MATCH_LABELS),
    ("workloadSelector.labels", SELECTOR_LABELS),
    ("targetRef", TARGET),
    ("targetRefs[]", TARGET),
    ("targetRefs", &[rule("", Most(16))]),
    ("trafficPolicy", POLICY),
    ("trafficPolicy.portLevelSettings[]", POLICY),
    ("subsets[].trafficPolicy", POLICY),
    ("subsets[].trafficPolicy.portLevelSettings[]", POLICY),
    ("endpoints[]", WORKLOAD),
    ("template", WORKLOAD),
];

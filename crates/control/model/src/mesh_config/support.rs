//! What becomes of every field of the mesh configuration.
//!
//! In: nothing. Out: [`SUPPORT`], which `convert.rs` keeps to.

use crate::Kind;
use crate::support::{Row, harmless, rejected, supported};

const KIND: Kind = Kind::MeshConfig;

/// The state of every field.
pub(crate) const SUPPORT: &[Row] = &[
    supported(KIND, "rootNamespace"),
    supported(KIND, "trustDomain"),
    supported(KIND, "trustDomainAliases"),
    supported(KIND, "outboundTrafficPolicy"),
    supported(KIND, "inboundTrafficPolicy"),
    supported(KIND, "accessLogFile"),
    supported(KIND, "accessLogFormat"),
    supported(KIND, "accessLogEncoding"),
    rejected(KIND, "enableEnvoyAccessLogService").note("false is accepted"),
    harmless(KIND, "disableEnvoyListenerLog").note("there is no listener log"),
    supported(KIND, "enableAutoMtls"),
    rejected(KIND, "enableTracing").note("false is accepted"),
    harmless(KIND, "enablePrometheusMerge").note("the agent's affair"),
    supported(KIND, "proxyListenPort"),
    supported(KIND, "proxyInboundListenPort"),
    supported(KIND, "proxyHttpPort"),
    supported(KIND, "connectTimeout"),
    supported(KIND, "protocolDetectionTimeout"),
    supported(KIND, "tcpKeepalive"),
    supported(KIND, "h2UpgradePolicy"),
    supported(KIND, "defaultHttpRetryPolicy"),
    supported(KIND, "ingressClass"),
    supported(KIND, "ingressService"),
    supported(KIND, "ingressSelector"),
    harmless(KIND, "ingressControllerMode").note("Ingress resources are not taken yet"),
    supported(KIND, "defaultConfig"),
    supported(KIND, "defaultConfig.discoveryAddress")
        .note("by an agent, of its PROXY_CONFIG; without effect in `up`, which has a control plane of its own"),
    harmless(KIND, "defaultConfig.drainDuration").note("as long as `terminationDrainDuration`"),
    harmless(KIND, "defaultConfig.parentShutdownDuration").note("there is no hot restart"),
    harmless(KIND, "defaultConfig.binaryPath").note("the proxy is this program"),
    harmless(KIND, "defaultConfig.configPath").note("the proxy is this program"),
    harmless(KIND, "defaultConfig.serviceCluster").note("from the workload's labels"),
    harmless(KIND, "defaultConfig.controlPlaneAuthPolicy").note("deprecated in Istio"),
    harmless(KIND, "defaultConfig.holdApplicationUntilProxyStarts").note("always so"),
    harmless(KIND, "defaultConfig.image").note("the proxy is this program"),
    harmless(KIND, "defaultConfig.meshId").note("one mesh"),
    harmless(KIND, "defaultConfig.statNameLength").note("no limit"),
    rejected(KIND, "defaultConfig.tracing"),
    rejected(KIND, "defaultConfig.zipkinAddress"),
    rejected(KIND, "defaultConfig.tracingServiceName"),
    supported(KIND, "defaultConfig.proxyStatsMatcher")
        .note("by Envoy; this proxy has every statistic anyway. Of a pod also its annotations sidecar.istio.io/statsInclusionPrefixes, -Suffixes, -Regexps"),
    supported(KIND, "defaultConfig.extraStatTags")
        .note("by Envoy; this proxy knows the tags of its statistics anyway. Of a pod also its annotation sidecar.istio.io/extraStatTags"),
    supported(KIND, "defaultConfig.interceptionMode")
        .note("of a proxy whose metadata has no INTERCEPTION_MODE; `up` intercepts nothing"),
    rejected(KIND, "defaultConfig.envoyAccessLogService"),
    rejected(KIND, "defaultConfig.envoyMetricsService"),
    rejected(KIND, "defaultConfig.customConfigFile"),
    rejected(KIND, "defaultConfig.proxyBootstrapTemplatePath"),
    rejected(KIND, "defaultConfig.privateKeyProvider"),
    supported(KIND, "defaultConfig.readinessProbe")
        .note("by an agent, of its PROXY_CONFIG: docs/virtual-machines.md; without effect in `up`, whose workloads are not of WorkloadGroups"),
    supported(KIND, "defaultConfig.runtimeValues")
        .note("by Envoy; this proxy knows no runtime key"),
    rejected(KIND, "defaultConfig.statsdUdpAddress").note("there is no such sink"),
    supported(KIND, "defaultConfig.caCertificatesPem")
        .note("by the agent, which trusts them beside the mesh's roots"),
    supported(KIND, "defaultServiceExportTo"),
    supported(KIND, "defaultVirtualServiceExportTo"),
    supported(KIND, "defaultDestinationRuleExportTo"),
    supported(KIND, "defaultProviders"),
    supported(KIND, "defaultProviders.metrics").note("prometheus"),
    rejected(KIND, "defaultProviders.tracing"),
    supported(KIND, "extensionProviders"),
    harmless(KIND, "extensionProviders[].prometheus").note("its metrics are there anyway"),
    supported(KIND, "extensionProviders[].envoyHttpAls")
        .note("by Envoy; this proxy refuses the listener"),
    supported(KIND, "extensionProviders[].envoyTcpAls")
        .note("by Envoy; this proxy refuses the listener"),
    supported(KIND, "extensionProviders[].envoyOtelAls")
        .note("by Envoy; this proxy refuses the listener"),
    rejected(KIND, "extensionProviders[].zipkin"),
    rejected(KIND, "extensionProviders[].lightstep"),
    rejected(KIND, "extensionProviders[].datadog"),
    rejected(KIND, "extensionProviders[].stackdriver"),
    rejected(KIND, "extensionProviders[].opencensus"),
    rejected(KIND, "extensionProviders[].skywalking"),
    rejected(KIND, "extensionProviders[].opentelemetry"),
    supported(KIND, "extensionProviders[].sds")
        .note("for a gateway's credentialName `sds://NAME`, from the first such provider; this proxy asks one whose service is found by DNS"),
    supported(KIND, "discoverySelectors")
        .note("the root namespace is always of the mesh, and namespaces have the label kubernetes.io/metadata.name"),
    supported(KIND, "localityLbSetting"),
    supported(KIND, "pathNormalization"),
    harmless(KIND, "serviceSettings").note("one cluster, to which every service is local"),
    rejected(KIND, "serviceScopeConfigs"),
    rejected(KIND, "configSources"),
    rejected(KIND, "ca"),
    rejected(KIND, "caCertificates"),
    rejected(KIND, "certificates"),
    supported(KIND, "dnsRefreshRate"),
    supported(KIND, "inboundClusterStatName"),
    supported(KIND, "outboundClusterStatName"),
    supported(KIND, "meshMTLS").note("minProtocolVersion, cipherSuites"),
    rejected(KIND, "meshMTLS.ecdhCurves").note("as Istio does"),
    supported(KIND, "tlsDefaults").note("this proxy offers every curve"),
    rejected(KIND, "hboneIdleTimeout"),
    harmless(KIND, "verifyCertificateAtClient").note("certificates are always verified"),
];

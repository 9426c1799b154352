//! The cases that are known not to pass, with the reason.

const GATEWAY_API: &str = "the Gateway API and Ingress are not taken yet";
const REFUSED: &str =
    "Istio makes a listener that Envoy refuses; here the older of the two servers has the name";

/// Path below the folder of the cases, and why.
pub const EXCEPTIONS: &[(&str, &str)] = &[
    (
        "gateway/TestGatewayConflicts/03-duplicate-tls-gateway.yaml",
        REFUSED,
    ),
    (
        "gateway/TestIngress/01-ingress-shared-tls-cert-conflict-beta-first.yaml",
        GATEWAY_API,
    ),
    (
        "sidecar/TestSidecarRoutes/01-httproute-simple-port-80.yaml",
        GATEWAY_API,
    ),
    (
        "sidecar/TestSidecarRoutes/02-httproute-simple-port-8080.yaml",
        GATEWAY_API,
    ),
    (
        "sidecar/TestSidecarRoutes/04-httproute-unknown-port-8080.yaml",
        GATEWAY_API,
    ),
    (
        "sidecar/TestSidecarRoutes/05-httproute-unknown-port-8080-match-8080.yaml",
        GATEWAY_API,
    ),
    (
        "sidecar/TestSidecarRoutes/07-httproute-producer-rule-port-80.yaml",
        GATEWAY_API,
    ),
    (
        "sidecar/TestSidecarRoutes/08-httproute-producer-rule-port-8080.yaml",
        GATEWAY_API,
    ),
    (
        "sidecar/TestSidecarRoutes/10-httproute-consumer-rule-port-8080.yaml",
        GATEWAY_API,
    ),
    (
        "sidecar/TestSidecarRoutes/11-httproute-arbitrary-rule-port-80.yaml",
        GATEWAY_API,
    ),
    (
        "sidecar/TestSidecarRoutes/13-httproute-multiple-rules-80.yaml",
        GATEWAY_API,
    ),
    (
        "sidecar/TestSidecarRoutes/14-httproute-multiple-rules-8080.yaml",
        GATEWAY_API,
    ),
    (
        "sidecar/TestSidecarRoutes/16-httproute-cross-namespace-conflict.yaml",
        GATEWAY_API,
    ),
    (
        "sidecar/TestSidecarRoutes/17-httproute-import-only-a-unknown-service-route.yaml",
        GATEWAY_API,
    ),
];

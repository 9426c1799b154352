//! The name under which a cluster's statistics are counted.
//!
//! In: `inboundClusterStatName` and `outboundClusterStatName` of the mesh configuration, and the service.
//! Out: the name with its variables filled in; the cluster's own name where no pattern is written.

use meltemi_model::{Service, TargetPort};

use crate::name::stat_prefix;

/// The name by `pattern` of the cluster `name`, which is that of a subset of a service's port.
pub(super) fn of(
    pattern: Option<&str>,
    name: &str,
    service: Option<&Service>,
    port: u16,
    subset: &str,
) -> String {
    let (Some(pattern), Some(service)) = (pattern, service) else {
        return stat_prefix(name);
    };
    let port = service.port(port);
    let target = port.map(|it| match &it.target {
        TargetPort::Number(number) => number.to_string(),
        TargetPort::Name(name) => name.clone(),
    });
    // Istio's variables; the longer ones first, as some begin as others do.
    let variables = [
        (
            "%SERVICE_PORT_NAME%",
            port.map_or("", |it| it.name.as_str()).to_owned(),
        ),
        (
            "%SERVICE_PORT%",
            port.map_or_else(String::new, |it| it.number.to_string()),
        ),
        ("%SERVICE_FQDN%", service.hostname.to_string()),
        ("%SERVICE_NAME%", service.meta.name.to_string()),
        ("%SERVICE%", short(service)),
        ("%SUBSET_NAME%", subset.to_owned()),
        ("%TARGET_PORT%", target.unwrap_or_default()),
    ];
    let filled = variables
        .into_iter()
        .fold(pattern.to_owned(), |text, (variable, value)| {
            text.replace(variable, &value)
        });
    stat_prefix(&filled)
}

/// `name.namespace` of a service of the cluster, the host of any other.
fn short(service: &Service) -> String {
    let own = format!("{}.{}", service.meta.name, service.meta.namespace);
    match service.hostname.as_str().strip_prefix(&own) {
        Some(rest) if rest.starts_with(".svc.") => own,
        _ => service.hostname.to_string(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use meltemi_model::{Config, Defaults};

    use super::*;

    fn service(yaml: &str) -> Service {
        let documents = meltemi_api::parse(None, yaml).unwrap();
        match meltemi_model::convert(&documents[0], &Defaults::default()).unwrap() {
            Config::Service(service) => service,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn variables_are_filled_in_as_istio_does() {
        let reviews = service(
            "{apiVersion: v1, kind: Service, metadata: {name: reviews, namespace: shop}, \
             spec: {ports: [{name: http, port: 80, targetPort: 8080}]}}",
        );
        let name = |pattern| of(pattern, "outbound|80|v1|reviews", Some(&reviews), 80, "v1");
        assert_eq!(name(None), "outbound|80|v1|reviews;");
        for (pattern, expected) in [
            ("%SERVICE%_%SERVICE_PORT%", "reviews.shop_80;"),
            (
                "%SERVICE_FQDN%_%SERVICE_PORT_NAME%",
                "reviews.shop.svc.cluster.local_http;",
            ),
            (
                "%SERVICE_NAME%.%SUBSET_NAME%.%TARGET_PORT%",
                "reviews.v1.8080;",
            ),
            ("plain", "plain;"),
        ] {
            assert_eq!(name(Some(pattern)), expected);
        }
        assert_eq!(
            of(Some("%SERVICE%"), "inbound|80||", None, 80, ""),
            "inbound|80||;"
        );
    }
}

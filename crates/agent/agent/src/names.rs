//! The names of the mesh, from the control plane (Istio's NDS), for the DNS proxy.
//!
//! In: a stream of `istio.networking.nds.v1.NameTable`. Out: tables for [`DnsProxy`], which keeps the
//! last one while there is no stream. Called by `run` where `DNS_CAPTURE` is on.

use meltemi_dns::{DnsProxy, Home, Name, Names, Resolver};
use meltemi_lifecycle::Random;
use meltemi_xds::any;
use meltemi_xds::pb::envoy::service::discovery::v3::DiscoveryResponse;
use meltemi_xds::pb::istio::networking::nds::v1::NameTable;
use meltemi_xds::pb::istio::networking::nds::v1::name_table::NameInfo;
use tokio::task::JoinSet;
use tracing::warn;

use crate::Options;
use crate::stream::{Attempts, Stream, StreamSource};

/// The registry of services of Kubernetes.
const KUBERNETES: &str = "Kubernetes";
/// Where the system's servers are written.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Starts the DNS proxy, if there is to be one.
///
/// # Errors
/// When its address cannot be bound.
pub(crate) async fn start(
    options: &Options,
    source: StreamSource,
    tasks: &mut JoinSet<()>,
) -> std::io::Result<()> {
    let Some(address) = options.dns else {
        return Ok(());
    };
    let text = std::fs::read_to_string(RESOLV_CONF).unwrap_or_else(|error| {
        warn!("{RESOLV_CONF}: {error}; names that are not of the mesh are not answered");
        String::new()
    });
    let resolver = Resolver::parse(&text);
    let own = format!("{}.", options.namespace);
    let domain = options.dns_domain.strip_prefix(&own);
    let home = Home {
        namespace: options.namespace.clone(),
        domain: domain.unwrap_or(&options.dns_domain).to_owned(),
        search: resolver.search.first().cloned(),
    };
    let proxy = DnsProxy::bind(address, home, resolver).await?;
    let update = proxy.updates();
    tasks.spawn(proxy.serve());
    tasks.spawn(async move {
        let mut attempts = Attempts::new("names", Random::from_entropy());
        loop {
            let (useful, reason) = match source.open::<NameTable>().await {
                Ok(stream) => (true, take(stream, &update).await),
                Err(reason) => (false, reason),
            };
            attempts.pause(useful, &reason).await;
        }
    });
    Ok(())
}

/// Takes tables until the stream ends; why it did.
async fn take(mut stream: Stream, update: &(impl Fn(&Names) + Sync)) -> String {
    loop {
        let answer = match stream.next().await {
            Ok(answer) => answer,
            Err(reason) => return reason,
        };
        let said = match names(&answer) {
            Ok(names) => {
                update(&names);
                stream.confirm(&answer).await
            }
            Err(reason) => {
                warn!("a table of names is refused: {reason}");
                stream.refuse(&answer, reason).await
            }
        };
        if let Err(reason) = said {
            return reason;
        }
    }
}

/// The names that an answer holds. Addresses that are none are left out.
fn names(answer: &DiscoveryResponse) -> Result<Names, String> {
    let Some(body) = answer.resources.first() else {
        return Ok(Names::new());
    };
    let table: NameTable = any::unpack(body).map_err(|error| error.to_string())?;
    let entry = |(host, info): (String, NameInfo)| {
        let addresses = info.ips.iter().filter_map(|it| it.parse().ok());
        let name = Name {
            addresses: addresses.collect(),
            service: (info.registry == KUBERNETES && !info.shortname.is_empty())
                .then_some((info.shortname, info.namespace)),
        };
        (host, name)
    };
    Ok(table.table.into_iter().map(entry).collect())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_table_is_read_and_what_is_none_is_refused() {
        let info = |ips: &[&str], registry: &str| NameInfo {
            ips: ips.iter().map(|it| (*it).to_owned()).collect(),
            registry: registry.to_owned(),
            shortname: "web".to_owned(),
            namespace: "shop".to_owned(),
            ..NameInfo::default()
        };
        let table = NameTable {
            table: BTreeMap::from([
                (
                    "web.shop.svc".to_owned(),
                    info(&["10.0.0.1", "?"], KUBERNETES),
                ),
                ("example.org".to_owned(), info(&["::1"], "External")),
            ]),
            ..NameTable::default()
        };
        let answer = |body| DiscoveryResponse {
            resources: vec![body],
            ..DiscoveryResponse::default()
        };
        let names = names(&answer(any::pack(&table))).expect("a table");
        assert_eq!(names["web.shop.svc"].addresses.len(), 1);
        let service = ("web".to_owned(), "shop".to_owned());
        assert_eq!(names["web.shop.svc"].service, Some(service));
        assert_eq!(names["example.org"].service, None);
        let other = any::pack(&NameInfo::default());
        assert!(super::names(&answer(other)).is_err());
        assert_eq!(
            super::names(&DiscoveryResponse::default()),
            Ok(Names::new())
        );
    }
}

//! Names and what they lead to.
//!
//! In: the names of the mesh, and where the workload is. Out: [`Table`], which answers for each name in
//! every form in which the workload may ask for it. Called by `server`.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// A name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Name {
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Of a service of Kubernetes: its name and namespace, by which it is asked for too.
    pub service: Option<(String, String)>,
}

/// Names by host; one that begins with `*.` stands for all below it.
pub type Names = std::collections::BTreeMap<String, Name>;

/// Where the workload is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Home {
    /// Its namespace, whose services it may call by their bare names.
    pub namespace: String,
    /// The domain of services, such as `svc.cluster.local`.
    pub domain: String,
    /// What its resolver tries first to put behind a name.
    pub search: Option<String>,
}

/// Names in every form.
#[derive(Debug, Default)]
pub struct Table {
    hosts: HashMap<String, Arc<Addresses>>,
    /// Names with the search domain behind them, which a resolver asks for before the name itself.
    expanded: HashMap<String, String>,
}

#[derive(Debug, Default)]
struct Addresses {
    v4: Vec<Ipv4Addr>,
    v6: Vec<Ipv6Addr>,
}

/// What a name leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer<'a> {
    /// The name that was meant, where it is another one.
    pub alias: Option<&'a str>,
    /// Its IPv4 addresses.
    pub v4: &'a [Ipv4Addr],
    /// Its IPv6 addresses.
    pub v6: &'a [Ipv6Addr],
}

impl Table {
    /// The table of these names.
    pub fn new(names: &Names, home: &Home) -> Self {
        let mut table = Self::default();
        for (host, name) in names {
            let mut addresses = Addresses::default();
            for address in &name.addresses {
                match address {
                    IpAddr::V4(it) => addresses.v4.push(*it),
                    IpAddr::V6(it) => addresses.v6.push(*it),
                }
            }
            if name.addresses.is_empty() {
                continue;
            }
            let addresses = Arc::new(addresses);
            for form in forms(host, name, home) {
                if let Some(search) = &home.search {
                    let expanded = format!("{form}.{}", search.to_ascii_lowercase());
                    table.expanded.insert(expanded, form.clone());
                }
                table.hosts.insert(form, addresses.clone());
            }
        }
        table
    }

    /// How many forms of names there are.
    pub fn len(&self) -> usize {
        self.hosts.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.hosts.is_empty()
    }

    /// What a name in lower case leads to; `None` for one that is not of the mesh.
    pub fn find<'a>(&'a self, name: &str) -> Option<Answer<'a>> {
        if let Some(addresses) = self.hosts.get(name) {
            return Some(addresses.answer(None));
        }
        if let Some((meant, addresses)) = self.expanded(name) {
            return Some(addresses.answer(Some(meant)));
        }
        let mut rest = name;
        while let Some((_, parent)) = rest.split_once('.') {
            let wildcard = format!("*.{parent}");
            if let Some(addresses) = self.hosts.get(&wildcard) {
                return Some(addresses.answer(None));
            }
            rest = parent;
        }
        None
    }

    fn expanded(&self, name: &str) -> Option<(&str, &Addresses)> {
        let meant = self.expanded.get(name)?;
        let addresses = self.hosts.get(meant)?;
        Some((meant.as_str(), addresses))
    }
}

impl Addresses {
    fn answer<'a>(&'a self, alias: Option<&'a str>) -> Answer<'a> {
        Answer {
            alias,
            v4: &self.v4,
            v6: &self.v6,
        }
    }
}

/// The forms of a name. A service of the workload's own domain is asked for by shorter ones too; those of
/// other domains would not be told apart by them.
fn forms(host: &str, name: &Name, home: &Home) -> Vec<String> {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let mut forms = Vec::new();
    let near = !home.domain.is_empty() && host.ends_with(&home.domain);
    if let (Some((service, namespace)), true) = (&name.service, near) {
        let first = home.domain.split('.').next().unwrap_or_default();
        forms.push(format!("{service}.{namespace}"));
        forms.push(format!("{service}.{namespace}.{first}"));
        if *namespace == home.namespace {
            forms.push(service.clone());
        }
    }
    forms.push(host);
    forms
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let name = |ips: &[&str], service: Option<(&str, &str)>| Name {
            addresses: ips
                .iter()
                .map(|it| it.parse().expect("an address"))
                .collect(),
            service: service.map(|(name, namespace)| (name.to_owned(), namespace.to_owned())),
        };
        let names = Names::from([
            (
                "web.shop.svc.cluster.local".to_owned(),
                name(&["10.0.0.1", "fd00::1"], Some(("web", "shop"))),
            ),
            (
                "db.bank.svc.cluster.local".to_owned(),
                name(&["10.0.0.2"], Some(("db", "bank"))),
            ),
            (
                "far.shop.svc.other.local".to_owned(),
                name(&["10.0.0.3"], Some(("far", "shop"))),
            ),
            ("example.org".to_owned(), name(&["240.0.0.1"], None)),
            ("*.example.org".to_owned(), name(&["240.0.0.2"], None)),
            ("none.example.com".to_owned(), name(&[], None)),
        ]);
        let home = Home {
            namespace: "shop".to_owned(),
            domain: "svc.cluster.local".to_owned(),
            search: Some("shop.svc.cluster.local".to_owned()),
        };
        Table::new(&names, &home)
    }

    #[test]
    fn names_are_found_in_the_forms_in_which_they_are_asked_for() {
        let table = table();
        for (asked, expected) in [
            ("web.shop.svc.cluster.local", Some((None, "10.0.0.1"))),
            ("web.shop.svc", Some((None, "10.0.0.1"))),
            ("web.shop", Some((None, "10.0.0.1"))),
            ("web", Some((None, "10.0.0.1"))),
            ("db.bank", Some((None, "10.0.0.2"))),
            ("db", None),
            ("far.shop.svc.other.local", Some((None, "10.0.0.3"))),
            ("far.shop", None),
            ("example.org", Some((None, "240.0.0.1"))),
            ("a.b.example.org", Some((None, "240.0.0.2"))),
            (
                "example.org.shop.svc.cluster.local",
                Some((Some("example.org"), "240.0.0.1")),
            ),
            (
                "db.bank.shop.svc.cluster.local",
                Some((Some("db.bank"), "10.0.0.2")),
            ),
            ("none.example.com", None),
            ("elsewhere.com", None),
            ("", None),
        ] {
            let found = table.find(asked);
            let found = found.map(|it| (it.alias, it.v4[0].to_string()));
            let expected = expected.map(|(alias, ip)| (alias, ip.to_owned()));
            assert_eq!(found, expected, "{asked}");
        }
        let both = table.find("web").expect("it is there");
        assert_eq!((both.v4.len(), both.v6.len()), (1, 1));
        assert!(!table.is_empty() && table.len() > 6);
    }
}

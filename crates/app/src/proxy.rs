//! The forward proxy that upstream calls go through, by `http_proxy` and `no_proxy`.

use std::net::IpAddr;

use http::Uri;
use http::uri::Authority;

/// Which proxy to use, and for which hosts none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ProxySettings {
    proxy: Option<Authority>,
    exceptions: Vec<Exception>,
}

/// One entry of `no_proxy`.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Exception {
    Everything,
    /// The host itself and hosts below it, on one port or any.
    Domain {
        name: String,
        port: Option<u16>,
    },
    Network {
        address: IpAddr,
        prefix: u32,
    },
}

impl ProxySettings {
    /// Reads a proxy's URI, or its bare authority, and a comma-separated list of exceptions.
    pub(crate) fn parse(
        proxy: Option<&str>,
        exceptions: Option<&str>,
    ) -> Result<Self, &'static str> {
        let proxy = match proxy {
            None => None,
            Some(written) => {
                let bare = written
                    .strip_prefix("http://")
                    .unwrap_or(written)
                    .trim_end_matches('/');
                let authority: Authority = bare.parse().map_err(|_| "no http:// proxy")?;
                Some(authority)
            }
        };
        let exceptions = exceptions.unwrap_or_default().split(',').map(str::trim);
        let exceptions = exceptions
            .filter(|entry| !entry.is_empty())
            .map(Exception::parse)
            .collect();
        Ok(Self { proxy, exceptions })
    }

    /// The proxy to send a request for `uri` to, or `None` to go straight to its host.
    pub(crate) fn for_uri(&self, uri: &Uri) -> Option<&Authority> {
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let port = uri.port_u16().unwrap_or(80);
        let excepted = self
            .exceptions
            .iter()
            .any(|exception| exception.covers(host, port));
        self.proxy.as_ref().filter(|_| !excepted)
    }
}

impl Exception {
    fn parse(entry: &str) -> Self {
        if entry == "*" {
            return Self::Everything;
        }
        let (address, prefix) = entry.split_once('/').unwrap_or((entry, ""));
        if let Ok(address) = address.trim_matches(['[', ']']).parse::<IpAddr>() {
            return Self::Network {
                address,
                prefix: prefix.parse().unwrap_or(128),
            };
        }
        let (name, port) = match entry.rsplit_once(':') {
            Some((name, port)) => (name, port.parse().ok()),
            None => (entry, None),
        };
        let name = name
            .trim_start_matches('*')
            .trim_start_matches('.')
            .to_ascii_lowercase();
        Self::Domain { name, port }
    }

    fn covers(&self, host: &str, on_port: u16) -> bool {
        match self {
            Self::Everything => true,
            Self::Domain { name, port } => {
                let host = host.to_ascii_lowercase();
                let below = host
                    .strip_suffix(name)
                    .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
                below && port.is_none_or(|port| port == on_port)
            }
            Self::Network { address, prefix } => host
                .parse()
                .is_ok_and(|host| in_network(host, *address, *prefix)),
        }
    }
}

fn in_network(host: IpAddr, network: IpAddr, prefix: u32) -> bool {
    let (host, network, width) = match (host, network) {
        (IpAddr::V4(host), IpAddr::V4(network)) => (
            u128::from(host.to_bits()),
            u128::from(network.to_bits()),
            32,
        ),
        (IpAddr::V6(host), IpAddr::V6(network)) => (host.to_bits(), network.to_bits(), 128),
        _ => return false,
    };
    let ignored = width - prefix.min(width);
    host.checked_shr(ignored) == network.checked_shr(ignored)
}

#[cfg(test)]
mod tests;

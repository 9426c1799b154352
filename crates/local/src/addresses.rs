//! Who has which address of the mesh's part of 127.0.0.0/8.
//!
//! In: a `/16` below `127.0.0.0/8`, names of pods and services. Out: addresses, the same one for the
//! same name as long as it is held. No privilege is needed: Linux lets any process listen on any of
//! them. Called by the platform.
//!
//! | addresses of `127.77.0.0/16` | whose |
//! |---|---|
//! | `127.77.0.1` | the control plane |
//! | `127.77.1.1` to `127.77.63.254` | pods: where a sidecar or gateway listens |
//! | `127.77.64.1` to `127.77.127.254` | services (`clusterIP`) |
//! | `127.77.129.1` to `127.77.191.254` | applications beside a sidecar: the pod's address with 128 more in its third number |

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

/// The part of 127.0.0.0/8 that one mesh uses, so that several can run side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loopback(u8);

/// Text that is no such part.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a part of 127.0.0.0/8; write for instance 127.77.0.0/16")]
pub struct LoopbackError(String);

/// No address is left.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no address is left for {name}: {limit} are taken")]
pub struct Exhausted {
    /// Who asked.
    name: String,
    /// How many there are.
    limit: u16,
}

/// The addresses that are given out.
#[derive(Debug)]
pub(crate) struct Addresses {
    loopback: Loopback,
    pods: Pool,
    services: Pool,
}

/// Numbers by name; a number that was given back is used again only when all others are taken.
#[derive(Debug, Default)]
struct Pool {
    next: u16,
    held: BTreeMap<String, u16>,
    returned: VecDeque<u16>,
}

const HOSTS: u16 = 254;
const PODS: u16 = 63 * HOSTS;
const SERVICES: u16 = 64 * HOSTS;
const FIRST_POD_NET: u8 = 1;
const FIRST_SERVICE_NET: u8 = 64;
const APPLICATION: u8 = 128;

impl Loopback {
    /// Where the control plane listens.
    #[must_use]
    pub fn control_plane(self) -> IpAddr {
        self.host(0, 1)
    }

    /// Another part, to suggest.
    pub(crate) fn other(self) -> Self {
        Self(self.0 % 250 + 1)
    }

    /// Where the application listens beside the sidecar on `pod`.
    pub(crate) fn application(pod: IpAddr) -> IpAddr {
        match pod {
            IpAddr::V4(pod) => {
                let [a, b, net, host] = pod.octets();
                Ipv4Addr::new(a, b, net | APPLICATION, host).into()
            }
            IpAddr::V6(_) => pod,
        }
    }

    fn host(self, net: u8, host: u8) -> IpAddr {
        Ipv4Addr::new(127, self.0, net, host).into()
    }

    fn nth(self, first_net: u8, n: u16) -> IpAddr {
        let [net, host] = [n / HOSTS, n % HOSTS + 1].map(|it| it.to_be_bytes()[1]);
        self.host(first_net + net, host)
    }
}

impl Default for Loopback {
    fn default() -> Self {
        Self(77)
    }
}

impl FromStr for Loopback {
    type Err = LoopbackError;

    /// Takes `127.N.0.0/16`, and `127.N` for short.
    fn from_str(text: &str) -> Result<Self, LoopbackError> {
        let error = || LoopbackError(text.to_owned());
        let bare = text.strip_suffix("/16").unwrap_or(text);
        let bare = bare.strip_suffix(".0.0").unwrap_or(bare);
        let number = bare.strip_prefix("127.").ok_or_else(error)?;
        number.parse().map(Self).map_err(|_| error())
    }
}

impl fmt::Display for Loopback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "127.{}.0.0/16", self.0)
    }
}

impl Addresses {
    pub(crate) fn new(loopback: Loopback) -> Self {
        Self {
            loopback,
            pods: Pool::default(),
            services: Pool::default(),
        }
    }

    pub(crate) fn pod(&mut self, name: &str) -> Result<IpAddr, Exhausted> {
        let n = self.pods.take(name, PODS)?;
        Ok(self.loopback.nth(FIRST_POD_NET, n))
    }

    pub(crate) fn return_pod(&mut self, name: &str) {
        self.pods.give_back(name);
    }

    pub(crate) fn service(&mut self, name: &str) -> Result<IpAddr, Exhausted> {
        let n = self.services.take(name, SERVICES)?;
        Ok(self.loopback.nth(FIRST_SERVICE_NET, n))
    }

    pub(crate) fn return_service(&mut self, name: &str) {
        self.services.give_back(name);
    }
}

impl Pool {
    fn take(&mut self, name: &str, limit: u16) -> Result<u16, Exhausted> {
        if let Some(&n) = self.held.get(name) {
            return Ok(n);
        }
        let fresh = (self.next < limit).then_some(self.next);
        let n = match fresh {
            Some(n) => {
                self.next += 1;
                n
            }
            None => self.returned.pop_front().ok_or_else(|| Exhausted {
                name: name.to_owned(),
                limit,
            })?,
        };
        self.held.insert(name.to_owned(), n);
        Ok(n)
    }

    fn give_back(&mut self, name: &str) {
        if let Some(n) = self.held.remove(name) {
            self.returned.push_back(n);
        }
    }
}

#[cfg(test)]
mod tests;

//! Addresses and ranges of them.
//!
//! In: `IP` or `IP/BITS` as resources have them. Out: [`AddressRange`].

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// An IP address, or all that share its first bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddressRange {
    /// The address; bits beyond the prefix are as written.
    pub ip: IpAddr,
    /// How many bits count.
    pub bits: u8,
}

/// Why a text is no range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotARange;

impl AddressRange {
    /// The range of just one address.
    pub fn single(ip: IpAddr) -> Self {
        Self {
            ip,
            bits: width(ip),
        }
    }

    /// The address, if the range has no other.
    pub fn as_single(self) -> Option<IpAddr> {
        (self.bits == width(self.ip)).then_some(self.ip)
    }

    /// The range with the bits that do not count at zero: equal for equal ranges.
    pub fn canonical(self) -> Self {
        let ip = match self.ip {
            IpAddr::V4(ip) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.bits)).unwrap_or(0);
                IpAddr::V4((u32::from(ip) & mask).into())
            }
            IpAddr::V6(ip) => {
                let mask = u128::MAX
                    .checked_shl(128 - u32::from(self.bits))
                    .unwrap_or(0);
                IpAddr::V6((u128::from(ip) & mask).into())
            }
        };
        Self { ip, ..self }
    }
}

fn width(ip: IpAddr) -> u8 {
    match ip {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

impl FromStr for AddressRange {
    type Err = NotARange;

    fn from_str(text: &str) -> Result<Self, NotARange> {
        let (ip, bits) = match text.split_once('/') {
            Some((ip, bits)) => (ip, Some(bits)),
            None => (text, None),
        };
        let ip: IpAddr = ip.parse().map_err(|_| NotARange)?;
        let bits = match bits {
            Some(bits) => bits.parse().map_err(|_| NotARange)?,
            None => width(ip),
        };
        if bits > width(ip) {
            return Err(NotARange);
        }
        Ok(Self { ip, bits })
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.as_single() {
            Some(ip) => write!(f, "{ip}"),
            None => write!(f, "{}/{}", self.ip, self.bits),
        }
    }
}

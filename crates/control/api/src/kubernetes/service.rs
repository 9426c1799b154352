//! Service as written.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize as DeriveDeserialize;
use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// `spec` of a Service.
#[derive(Debug, Clone, Default, DeriveDeserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceSpec {
    /// `type`.
    pub r#type: Option<String>,
    /// `clusterIP`.
    #[serde(rename = "clusterIP")]
    pub cluster_ip: Option<String>,
    /// `clusterIPs`.
    #[serde(rename = "clusterIPs")]
    pub cluster_ips: Vec<String>,
    /// `externalName`.
    pub external_name: Option<String>,
    /// `selector`.
    pub selector: BTreeMap<String, String>,
    /// `ports`.
    pub ports: Vec<ServicePort>,
    /// `publishNotReadyAddresses`.
    pub publish_not_ready_addresses: bool,
    /// `trafficDistribution`.
    pub traffic_distribution: Option<String>,
}

/// ServicePort.
#[derive(Debug, Clone, Default, DeriveDeserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServicePort {
    /// `name`.
    pub name: Option<String>,
    /// `port`.
    pub port: Option<i64>,
    /// `targetPort`.
    pub target_port: Option<IntOrText>,
    /// `protocol`.
    pub protocol: Option<String>,
    /// `appProtocol`.
    pub app_protocol: Option<String>,
}

/// A number or a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IntOrText {
    /// A number.
    Int(i64),
    /// A name.
    Text(String),
}

impl<'de> Deserialize<'de> for IntOrText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = IntOrText;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number or a name")
            }

            fn visit_i64<E: Error>(self, value: i64) -> Result<IntOrText, E> {
                Ok(IntOrText::Int(value))
            }

            fn visit_str<E: Error>(self, value: &str) -> Result<IntOrText, E> {
                Ok(IntOrText::Text(value.to_owned()))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

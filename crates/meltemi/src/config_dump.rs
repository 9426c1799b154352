//! A proxy's configuration dump, taken apart.
//!
//! In: the JSON of `/config_dump`, of this proxy or of Envoy. Out: the messages in it. A resource that
//! this program does not understand is left out and told, the others are shown.

use anyhow::{Context as _, Result, bail};
use meltemi_xds::json as messages;
use meltemi_xds::pb::envoy::admin::v3::SecretsConfigDump;
use meltemi_xds::pb::envoy::config::cluster::v3::Cluster;
use meltemi_xds::pb::envoy::config::core::v3::TypedExtensionConfig;
use meltemi_xds::pb::envoy::config::listener::v3::Listener;
use meltemi_xds::pb::envoy::config::route::v3::RouteConfiguration;
use meltemi_xds::pb::envoy::extensions::transport_sockets::tls::v3::Secret;
use prost::{Message, Name};
use serde_json::{Value, json};

/// A proxy's configuration dump.
#[derive(Debug, Clone)]
pub(crate) struct ConfigDump {
    configs: Vec<Value>,
}

/// What was found of one kind, and what was not understood.
#[derive(Debug)]
pub(crate) struct Found<M> {
    /// The messages, the delivered ones first.
    pub messages: Vec<M>,
    /// Why others are left out.
    pub problems: Vec<String>,
}

/// Where resources of a kind are: the dump's type, its lists (that of delivered ones first), and the
/// way from an entry to the message.
struct Place {
    dump: &'static str,
    lists: &'static [(&'static str, &'static [&'static str])],
}

const LISTENERS: Place = Place {
    dump: "ListenersConfigDump",
    lists: &[
        ("dynamic_listeners", &["active_state", "listener"]),
        ("static_listeners", &["listener"]),
    ],
};

const CLUSTERS: Place = Place {
    dump: "ClustersConfigDump",
    lists: &[
        ("dynamic_active_clusters", &["cluster"]),
        ("static_clusters", &["cluster"]),
    ],
};

const ROUTES: Place = Place {
    dump: "RoutesConfigDump",
    lists: &[
        ("dynamic_route_configs", &["route_config"]),
        ("static_route_configs", &["route_config"]),
    ],
};

const EXTENSIONS: Place = Place {
    dump: "EcdsConfigDump",
    lists: &[("ecds_filters", &["ecds_filter"])],
};

/// Secrets, and the state that each list means.
const SECRETS: [(Place, &str); 2] = [
    (
        Place {
            dump: "SecretsConfigDump",
            lists: &[
                ("dynamic_active_secrets", &["secret"]),
                ("static_secrets", &["secret"]),
            ],
        },
        "ACTIVE",
    ),
    (
        Place {
            dump: "SecretsConfigDump",
            lists: &[("dynamic_warming_secrets", &["secret"])],
        },
        "WARMING",
    ),
];

/// What came from the control plane.
#[derive(Debug)]
pub(crate) struct Delivered {
    pub clusters: Found<Cluster>,
    pub listeners: Found<Listener>,
    pub routes: Found<RouteConfiguration>,
}

/// A secret that a proxy has.
#[derive(Debug)]
pub(crate) struct Held {
    pub secret: Secret,
    /// `ACTIVE`, or `WARMING` while it has not come.
    pub state: &'static str,
}

impl ConfigDump {
    /// Reads the dump.
    ///
    /// # Errors
    /// When it is none.
    pub(crate) fn parse(text: &[u8]) -> Result<Self> {
        let mut dump: Value = serde_json::from_slice(text).context("no JSON")?;
        match dump.get_mut("configs").map(Value::take) {
            Some(Value::Array(configs)) => Ok(Self { configs }),
            _ => bail!("no configuration dump: `configs` is missing"),
        }
    }

    /// The listeners in use.
    pub(crate) fn listeners(&self) -> Found<Listener> {
        self.messages(&LISTENERS)
    }

    /// The clusters in use.
    pub(crate) fn clusters(&self) -> Found<Cluster> {
        self.messages(&CLUSTERS)
    }

    /// The route tables, those inside listeners included.
    pub(crate) fn routes(&self) -> Found<RouteConfiguration> {
        self.messages(&ROUTES)
    }

    /// The discovered filter configurations.
    pub(crate) fn extensions(&self) -> Found<TypedExtensionConfig> {
        self.messages(&EXTENSIONS)
    }

    /// The same, as they stand there.
    pub(crate) fn extensions_to_json(&self) -> Value {
        self.config(EXTENSIONS.dump).cloned().unwrap_or(Value::Null)
    }

    /// What came from the control plane.
    pub(crate) fn delivered(&self) -> Delivered {
        let dynamic = |place: &Place| Place {
            dump: place.dump,
            lists: &place.lists[..1],
        };
        Delivered {
            clusters: self.messages(&dynamic(&CLUSTERS)),
            listeners: self.messages(&dynamic(&LISTENERS)),
            routes: self.messages(&dynamic(&ROUTES)),
        }
    }

    /// The secrets.
    pub(crate) fn secrets(&self) -> Found<Held> {
        let mut found = Found {
            messages: Vec::new(),
            problems: Vec::new(),
        };
        for (place, state) in &SECRETS {
            let some = self.messages(place);
            let held = some.messages.into_iter();
            let held = held.map(|secret| Held { secret, state });
            found.messages.extend(held);
            found.problems.extend(some.problems);
        }
        found
    }

    /// The secrets as a message, with when each came.
    ///
    /// # Errors
    /// When one of them is not understood.
    pub(crate) fn secrets_dump(&self) -> Result<SecretsConfigDump> {
        match self.config("SecretsConfigDump") {
            Some(config) => message(config).context("the dump's secrets"),
            None => Ok(SecretsConfigDump::default()),
        }
    }

    /// All of it, as it stands there.
    pub(crate) fn to_json(&self) -> Value {
        json!({ "configs": self.configs })
    }

    /// The bootstrap, as it stands there.
    pub(crate) fn bootstrap(&self) -> Option<&Value> {
        self.config("BootstrapConfigDump")?.get("bootstrap")
    }

    fn config(&self, name: &str) -> Option<&Value> {
        self.configs.iter().find(|config| {
            let url = config.get("@type").and_then(Value::as_str);
            url.is_some_and(|url| url.rsplit('.').next() == Some(name))
        })
    }

    fn messages<M: Message + Name + Default>(&self, place: &Place) -> Found<M> {
        let mut found = Found {
            messages: Vec::new(),
            problems: Vec::new(),
        };
        let Some(config) = self.config(place.dump) else {
            return found;
        };
        for (list, way) in place.lists {
            let entries = field(config, list).and_then(Value::as_array);
            for entry in entries.into_iter().flatten() {
                let at = way.iter().try_fold(entry, |value, name| field(value, name));
                let Some(value) = at else {
                    // it is still warming, or was refused before it ever was in use
                    continue;
                };
                match message(value) {
                    Ok(message) => found.messages.push(message),
                    Err(error) => {
                        let name = field(value, "name").and_then(Value::as_str);
                        let name = name.unwrap_or("without a name");
                        found.problems.push(format!("{list}: {name}: {error}"));
                    }
                }
            }
        }
        found
    }
}

/// A field, in either spelling.
fn field<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    value.get(name).or_else(|| {
        let mut camel = String::new();
        for (nth, word) in name.split('_').enumerate() {
            let mut letters = word.chars();
            match letters.next() {
                Some(first) if nth > 0 => camel.extend(first.to_uppercase()),
                Some(first) => camel.push(first),
                None => {}
            }
            camel.push_str(letters.as_str());
        }
        value.get(&camel)
    })
}

fn message<M: Message + Name + Default>(value: &Value) -> Result<M, messages::JsonError> {
    let mut value = value.clone();
    if let Value::Object(fields) = &mut value {
        fields.shift_remove("@type");
    }
    messages::from_json(value)
}

//! The configurations of filters that discovery delivers by name (ECDS), and the listeners that wait
//! for them.
//!
//! In: listeners as they were received, and configurations. Out: the same listeners with the
//! configurations in their places, for whoever converts them. A listener is converted anew whenever one
//! of its configurations changes; connections notice nothing of that.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use meltemi_ir::{ConfigSource, ResourceSource};
use meltemi_xds::any::{is, pack, unpack};
use meltemi_xds::pb::envoy::config::core::v3::ExtensionConfigSource;
use meltemi_xds::pb::envoy::config::listener::v3::{
    FilterChain, Listener, filter, listener_filter,
};
use meltemi_xds::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, http_filter,
};
use prost_types::Any;

/// What is known.
#[derive(Debug, Default)]
pub(crate) struct Extensions(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The configurations by name.
    known: BTreeMap<String, Any>,
    /// The listeners with filters that ask.
    listeners: BTreeMap<String, Held>,
    /// Configurations that nobody waits for any more.
    given_up: BTreeSet<String>,
}

/// A listener with filters that ask.
#[derive(Debug)]
pub(crate) struct Held {
    message: Listener,
    /// What delivered it.
    from: ResourceSource,
    asked: Vec<Asked>,
    /// It is not in service in this form.
    waits: bool,
}

/// A filter that asks for its configuration.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Asked {
    /// The name of the configuration, which is that of the filter.
    pub name: String,
    /// The types that it may have.
    type_urls: Vec<String>,
    /// What holds without.
    default: Option<Any>,
    /// The default holds until the configuration comes.
    eager: bool,
    /// Where it comes from.
    pub source: ConfigSource,
    /// A filter of requests, which answers them without its configuration.
    of_requests: bool,
}

/// Whether a listener waits for what its filters ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Until it comes, or nobody waits for it any more.
    Waits,
    /// It does not wait.
    None,
}

impl Extensions {
    /// A listener has come; it waits. Gives what it takes the place of.
    pub fn hold(&self, message: Listener, from: &ResourceSource) -> Option<Held> {
        let held = Held {
            asked: asked(&message, from),
            from: from.clone(),
            waits: true,
            message,
        };
        let name = held.message.name.clone();
        self.lock().listeners.insert(name, held)
    }

    /// A listener was refused: what was there before is there again.
    pub fn put_back(&self, listener: &str, before: Option<Held>) {
        let mut state = self.lock();
        match before {
            Some(held) => drop(state.listeners.insert(listener.to_owned(), held)),
            None => drop(state.listeners.remove(listener)),
        }
    }

    /// A listener is gone, or asks for nothing.
    pub fn forget(&self, listener: &str) {
        self.lock().listeners.remove(listener);
    }

    /// The listeners that ask for something.
    pub fn listeners(&self) -> Vec<String> {
        self.lock().listeners.keys().cloned().collect()
    }

    /// The listeners that ask for a configuration.
    pub fn users(&self, name: &str) -> Vec<String> {
        let state = self.lock();
        let asking = (state.listeners.iter())
            .filter(|(_, it)| it.asked.iter().any(|asked| asked.name == name));
        asking.map(|(listener, _)| listener.clone()).collect()
    }

    /// The names that are asked for, and where.
    pub fn wanted(&self) -> BTreeMap<String, ConfigSource> {
        let state = self.lock();
        let asked = state.listeners.values().flat_map(|it| &it.asked);
        asked
            .map(|it| (it.name.clone(), it.source.clone()))
            .collect()
    }

    /// What waits for the configuration goes into service without it.
    pub fn give_up(&self, name: &str) {
        self.lock().given_up.insert(name.to_owned());
    }

    /// The configuration is waited for again.
    pub fn wait_again(&self, name: &str) {
        self.lock().given_up.remove(name);
    }

    /// The first of these that another listener has from elsewhere: a name is of one configuration.
    pub fn is_elsewhere(&self, listener: &str, asked: &[Asked]) -> Option<String> {
        let state = self.lock();
        let others = state.listeners.iter().filter(|(name, _)| *name != listener);
        let others: Vec<_> = others.flat_map(|(_, it)| &it.asked).collect();
        let other = |it: &&Asked| {
            let same = |other: &&&Asked| other.name == it.name;
            others
                .iter()
                .filter(same)
                .any(|other| other.source.from != it.source.from)
        };
        asked.iter().find(other).map(|it| it.name.clone())
    }

    /// How many listeners wait.
    pub fn waiting(&self) -> usize {
        let state = self.lock();
        state.listeners.values().filter(|it| it.waits).count()
    }

    /// The listeners that wait.
    pub fn waiting_listeners(&self) -> Vec<String> {
        let state = self.lock();
        let waiting = state.listeners.iter().filter(|(_, it)| it.waits);
        waiting.map(|(name, _)| name.clone()).collect()
    }

    /// A listener is in service with what is known.
    pub fn served(&self, listener: &str) {
        if let Some(held) = self.lock().listeners.get_mut(listener) {
            held.waits = false;
        }
    }

    /// Whether a configuration may be what those who ask for it take.
    ///
    /// # Errors
    /// In Envoy's words, where it may not.
    pub fn check_type(&self, name: &str, config: &Any) -> Result<(), String> {
        let state = self.lock();
        let asked = state.listeners.values().flat_map(|it| &it.asked);
        for it in asked.filter(|it| it.name == name) {
            if !it
                .type_urls
                .iter()
                .any(|url| same_type(url, &config.type_url))
            {
                return Err(format!(
                    "Error: filter config has type URL {} but expect {}.",
                    config.type_url,
                    it.type_urls.join(", ")
                ));
            }
        }
        Ok(())
    }

    /// A configuration holds from now on.
    pub fn set(&self, name: &str, config: Any) {
        self.lock().known.insert(name.to_owned(), config);
    }

    /// A configuration is there no longer.
    pub fn unset(&self, name: &str) {
        self.lock().known.remove(name);
    }

    /// A listener, and what delivered it, with what is known in its places, and with `candidate` in the place of what is known
    /// under its name; `None` while something is missing without which it does not serve.
    pub fn filled(
        &self,
        listener: &str,
        candidate: Option<(&str, &Any)>,
        patience: Patience,
    ) -> Option<(Listener, ResourceSource)> {
        let state = self.lock();
        let held = state.listeners.get(listener)?;
        let known = |name: &str| match candidate {
            Some((named, config)) if named == name => Some(config),
            _ => state.known.get(name),
        };
        let gives_up = |it: &Asked| patience == Patience::None || state.given_up.contains(&it.name);
        let holds = |asked: &Asked| {
            let given = known(&asked.name);
            let fits = |it: &&Any| {
                asked
                    .type_urls
                    .iter()
                    .any(|url| same_type(url, &it.type_url))
            };
            let default = asked.default.as_ref();
            let default = default.filter(|_| asked.eager || gives_up(asked));
            given.filter(fits).or(default).cloned()
        };
        let lacks = |it: &&Asked| holds(it).is_none() && !(it.of_requests && gives_up(it));
        if held.asked.iter().any(|it| lacks(&it)) {
            return None;
        }
        let mut message = held.message.clone();
        visit(&mut message, &held.from, &mut |asked| holds(asked));
        Some((message, held.from.clone()))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The filters of a listener, which `from` delivered, that ask for their configuration; what asks where
/// there is nothing is refused by whoever converts it.
pub(crate) fn asked(listener: &Listener, from: &ResourceSource) -> Vec<Asked> {
    let mut all = Vec::new();
    visit(&mut listener.clone(), from, &mut |asked| {
        all.push(asked.clone());
        None
    });
    all
}

fn same_type(a: &str, b: &str) -> bool {
    let name = |url: &str| url.rsplit('/').next().map(str::to_owned);
    name(a) == name(b)
}

impl Asked {
    fn of(
        name: &str,
        message: &ExtensionConfigSource,
        from: &ResourceSource,
        of_requests: bool,
    ) -> Option<Self> {
        Some(Self {
            name: name.to_owned(),
            type_urls: message.type_urls.clone(),
            default: message.default_config.clone(),
            eager: message.apply_default_config_without_warming,
            source: meltemi_config::extension_source(from, message).ok()?,
            of_requests,
        })
    }
}

/// Every filter that asks, and what is given for it.
fn visit(
    listener: &mut Listener,
    from: &ResourceSource,
    give: &mut dyn FnMut(&Asked) -> Option<Any>,
) {
    for filter in &mut listener.listener_filters {
        use listener_filter::ConfigType::{ConfigDiscovery, TypedConfig};
        if let Some(ConfigDiscovery(source)) = &filter.config_type
            && let Some(asked) = Asked::of(&filter.name, source, from, false)
            && let Some(config) = give(&asked)
        {
            filter.config_type = Some(TypedConfig(config));
        }
    }
    let default = listener.default_filter_chain.as_mut();
    for chain in listener.filter_chains.iter_mut().chain(default) {
        visit_chain(chain, from, give);
    }
}

fn visit_chain(
    chain: &mut FilterChain,
    from: &ResourceSource,
    give: &mut dyn FnMut(&Asked) -> Option<Any>,
) {
    use filter::ConfigType::{ConfigDiscovery, TypedConfig};
    for filter in &mut chain.filters {
        match &mut filter.config_type {
            Some(ConfigDiscovery(source)) => {
                if let Some(asked) = Asked::of(&filter.name, source, from, false)
                    && let Some(config) = give(&asked)
                {
                    filter.config_type = Some(TypedConfig(config));
                }
            }
            Some(TypedConfig(any)) if is::<HttpConnectionManager>(any) => {
                visit_http(any, from, give)
            }
            Some(TypedConfig(_)) | None => {}
        }
    }
}

fn visit_http(any: &mut Any, from: &ResourceSource, give: &mut dyn FnMut(&Asked) -> Option<Any>) {
    use http_filter::ConfigType::{ConfigDiscovery, TypedConfig};
    let Ok(mut manager) = unpack::<HttpConnectionManager>(any) else {
        return;
    };
    let mut changed = false;
    for filter in &mut manager.http_filters {
        if let Some(ConfigDiscovery(source)) = &filter.config_type
            && let Some(asked) = Asked::of(&filter.name, source, from, true)
            && let Some(config) = give(&asked)
        {
            filter.config_type = Some(TypedConfig(config));
            changed = true;
        }
    }
    if changed {
        *any = pack(&manager);
    }
}

#[cfg(test)]
mod tests;

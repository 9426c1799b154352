//! Where connections to a cluster's hosts come from, and the options of their sockets: compiled from
//! what the cluster says and what the proxy says for all.

use std::io;
use std::net::SocketAddr;

use meltemi_ir as ir;
use meltemi_net::{Family, SocketOption, SocketState, SocketValue, set_options};
use socket2::Socket;

/// Where connections come from.
#[derive(Debug, Default)]
pub(crate) struct Binding {
    /// With options that take the place of the others.
    sources: Vec<(SocketAddr, Option<Vec<SocketOption>>)>,
    freebind: Option<bool>,
    options: Vec<SocketOption>,
}

impl Binding {
    /// What the cluster says; else what is said for all.
    ///
    /// # Errors
    /// With the path of an option that is not known.
    pub(crate) fn new(
        own: Option<&ir::BindConfig>,
        for_all: Option<&ir::BindConfig>,
    ) -> Result<Self, String> {
        let (own_path, path_for_all) = (
            "upstream_bind_config",
            "the bootstrap's cluster_manager.upstream_bind_config",
        );
        let own = own.map(|config| (config, own_path));
        let for_all = for_all.map(|config| (config, path_for_all));
        let mut binding = Self::default();
        let mut every = own.into_iter().chain(for_all);
        if let Some((config, path)) = every.clone().find(|(it, _)| !it.sources.is_empty()) {
            for (index, (address, options)) in config.sources.iter().enumerate() {
                let path = format!("{path}.extra_source_addresses[{index}].socket_options");
                let options = options.as_deref();
                let options = options
                    .map(|options| compiled(options, &path))
                    .transpose()?;
                binding.sources.push((*address, options));
            }
        }
        if let Some((config, path)) = every.clone().find(|(it, _)| !it.options.is_empty()) {
            binding.options = compiled(&config.options, path)?;
        }
        binding.freebind = every.find_map(|(config, _)| config.freebind);
        Ok(binding)
    }

    /// Makes a socket ready to connect to this address.
    ///
    /// # Errors
    /// With what the system does not let it have, as Envoy words it.
    pub(crate) fn prepare(&self, socket: &Socket, to: SocketAddr) -> Result<(), String> {
        let family = if to.is_ipv4() { Family::V4 } else { Family::V6 };
        let source = self
            .sources
            .iter()
            .find(|(source, _)| source.is_ipv4() == to.is_ipv4());
        let options = match source {
            Some((_, Some(options))) => options,
            _ => &self.options,
        };
        if let Some(on) = self.freebind {
            match family {
                Family::V4 => socket.set_freebind_v4(on),
                Family::V6 => socket.set_freebind_v6(on),
            }
            .map_err(|error| failed("set IP_FREEBIND", &error))?;
        }
        let set = |state| {
            let set = set_options(options, state, family, socket);
            set.map_err(|error| failed("set a socket option", &error))
        };
        set(SocketState::Prebind)?;
        if let Some((source, _)) = source {
            let bound = socket.bind(&(*source).into());
            bound.map_err(|error| failed(&format!("bind to {source}"), &error))?;
        }
        set(SocketState::Bound)
    }
}

fn failed(what: &str, error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    format!("failed to {what}: {text}")
}

/// Options that are known; `path` is their message's.
fn compiled(options: &[ir::SocketOption], path: &str) -> Result<Vec<SocketOption>, String> {
    let compile = |(index, option): (usize, &ir::SocketOption)| {
        socket_option(option).ok_or_else(|| {
            format!(
                "{path}.socket_options[{index}]: level {} and name {} are no option that the proxy knows, or its value is of another kind",
                option.level, option.name
            )
        })
    };
    options.iter().enumerate().map(compile).collect()
}

/// The option that a configuration means, where it is known.
pub fn socket_option(option: &ir::SocketOption) -> Option<SocketOption> {
    let ir::SocketOption {
        level,
        name,
        value,
        state,
        only_v4,
    } = option;
    SocketOption::new(
        (*level, *name),
        match value {
            ir::SocketValue::Number(value) => SocketValue::Number(*value),
            ir::SocketValue::Bytes(bytes) => SocketValue::Bytes(bytes.clone()),
        },
        match state {
            ir::SocketState::Prebind => SocketState::Prebind,
            ir::SocketState::Bound => SocketState::Bound,
            ir::SocketState::Listening => SocketState::Listening,
        },
        only_v4.map(|v4| if v4 { Family::V4 } else { Family::V6 }),
    )
}

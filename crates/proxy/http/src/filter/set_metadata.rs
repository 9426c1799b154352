//! `envoy.filters.http.set_metadata` and `envoy.filters.http.set_filter_state`: write what routes,
//! other filters and logs read.

use std::collections::BTreeMap;
use std::sync::Arc;

use meltemi_ir as ir;
use meltemi_telemetry::Formatter;

use super::{Decision, HttpFilter, RequestContext, RouteConfig};
use crate::mutation::MutationError;

/// `envoy.filters.http.set_metadata`.
pub(crate) struct SetMetadataFilter(Arc<Vec<ir::SetMetadata>>);

impl SetMetadataFilter {
    pub(crate) fn new(config: Arc<Vec<ir::SetMetadata>>) -> Self {
        Self(config)
    }
}

impl HttpFilter for SetMetadataFilter {
    fn on_request(&self, request: &mut RequestContext<'_>) -> Decision {
        let mut facts = request.stream.facts.borrow_mut();
        let metadata = &mut facts.notes.shared_mut().metadata;
        for entry in &*self.0 {
            match metadata.0.get_mut(&entry.namespace) {
                None => {
                    metadata
                        .0
                        .insert(entry.namespace.clone(), entry.value.clone());
                }
                Some(known) if entry.merge => merge(known, &entry.value),
                Some(known) if entry.allow_overwrite => known.extend(entry.value.clone()),
                Some(_) => {}
            }
        }
        Decision::Continue
    }
}

/// Adds lists up, joins structures, replaces everything else.
fn merge(into: &mut BTreeMap<String, ir::Value>, more: &BTreeMap<String, ir::Value>) {
    for (key, value) in more {
        match (into.get_mut(key), value) {
            (Some(ir::Value::Struct(known)), ir::Value::Struct(value)) => merge(known, value),
            (Some(ir::Value::List(known)), ir::Value::List(value)) => {
                known.extend(value.iter().cloned());
            }
            _ => {
                into.insert(key.clone(), value.clone());
            }
        }
    }
}

/// `envoy.filters.http.set_filter_state`.
pub(crate) struct SetFilterStateFilter(StateWriter);

/// Writes filter state.
pub(crate) struct StateWriter {
    values: Vec<(String, Formatter, bool)>,
    reroute: bool,
}

impl StateWriter {
    /// Compiles the formats.
    ///
    /// # Errors
    /// When a value is no valid format.
    pub(crate) fn new(config: &ir::SetFilterState) -> Result<Self, MutationError> {
        let value = |(index, value): (usize, &ir::FilterStateValue)| {
            let formatter = Formatter::compile(&value.format);
            let formatter = formatter.map_err(|source| MutationError::Format { index, source })?;
            Ok((value.key.clone(), formatter, value.skip_if_empty))
        };
        Ok(Self {
            values: config
                .values
                .iter()
                .enumerate()
                .map(value)
                .collect::<Result<_, _>>()?,
            reroute: config.clear_route_cache,
        })
    }

    fn write(&self, request: &mut RequestContext<'_>) {
        for (key, formatter, skip_if_empty) in &self.values {
            let mut text = Vec::new();
            let head = &*request.head;
            let stream = request.stream;
            stream.with_record(None, Some(head), None, |record| {
                formatter.format(record, &mut text);
            });
            if text.is_empty() && *skip_if_empty {
                continue;
            }
            let text = String::from_utf8_lossy(&text).into_owned();
            let mut facts = stream.facts.borrow_mut();
            facts.notes.shared_mut().state.insert(key.clone(), text);
        }
        request.stream.facts.borrow_mut().notes.reroute |= self.reroute;
    }
}

impl SetFilterStateFilter {
    pub(crate) fn new(config: &ir::SetFilterState) -> Result<Self, MutationError> {
        StateWriter::new(config).map(Self)
    }
}

impl HttpFilter for SetFilterStateFilter {
    fn on_request(&self, request: &mut RequestContext<'_>) -> Decision {
        self.0.write(request);
        if let Some(RouteConfig::SetFilterState(writer)) = request.place.config() {
            writer.write(request);
        }
        Decision::Continue
    }
}

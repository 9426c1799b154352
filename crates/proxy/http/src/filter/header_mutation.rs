//! `envoy.filters.http.header_mutation`: changes headers, query parameters and trailers, as the
//! filter and each scope of the route say.

use std::rc::Rc;

use bytes::Bytes;
use http::HeaderMap;
use meltemi_ir as ir;
use meltemi_telemetry::Formatter;

use super::transform::Rest;
use super::{
    BodyTransform, Decision, HttpFilter, Place, RequestContext, ResponseContext, RouteConfig,
};
use crate::mutation::{Mutation, MutationError, NoPseudo};
use crate::stream::Stream;

/// The filter with its settings.
pub(crate) struct HeaderMutationFilter {
    own: Mutations,
    most_specific_wins: bool,
}

/// The changes of one scope, compiled.
pub(crate) struct Mutations {
    request: Mutation,
    query: Vec<QueryStep>,
    response: Mutation,
    request_trailers: Rc2<Mutation>,
    response_trailers: Rc2<Mutation>,
}

/// Shared with the bodies whose trailers are changed.
type Rc2<T> = std::sync::Arc<T>;

enum QueryStep {
    Remove(String),
    Append {
        key: String,
        value: Formatter,
        action: ir::AppendAction,
    },
}

/// Changes trailers when they come.
struct Trailers(Vec<Rc2<Mutation>>, Rc<Stream>);

impl Mutations {
    /// Compiles the changes.
    ///
    /// # Errors
    /// When a value is no valid format.
    pub(crate) fn new(config: &ir::HeaderMutations) -> Result<Self, MutationError> {
        let ir::HeaderMutations {
            request,
            query,
            response,
            request_trailers,
            response_trailers,
        } = config;
        let step = |(index, edit): (usize, &ir::QueryEdit)| {
            Ok(match edit {
                ir::QueryEdit::Remove(key) => QueryStep::Remove(key.clone()),
                ir::QueryEdit::Append { key, value, action } => QueryStep::Append {
                    key: key.clone(),
                    value: Formatter::parse_header(value)
                        .map_err(|source| MutationError::Format { index, source })?,
                    action: *action,
                },
            })
        };
        Ok(Self {
            request: Mutation::ordered(request)?,
            query: query
                .iter()
                .enumerate()
                .map(step)
                .collect::<Result<_, _>>()?,
            response: Mutation::ordered(response)?,
            request_trailers: Mutation::ordered(request_trailers)?.into(),
            response_trailers: Mutation::ordered(response_trailers)?.into(),
        })
    }
}

impl HeaderMutationFilter {
    pub(crate) fn new(
        config: &ir::HeaderMutations,
        most_specific_wins: bool,
    ) -> Result<Self, MutationError> {
        Ok(Self {
            own: Mutations::new(config)?,
            most_specific_wins,
        })
    }

    /// The filter's changes, then those of the route's scopes in their order.
    fn scopes<'a>(&'a self, place: &Place<'a>) -> Vec<&'a Mutations> {
        let mut scopes: Vec<_> = place
            .route
            .configs(place.name)
            .filter_map(|config| match config {
                RouteConfig::HeaderMutation(mutations) => Some(mutations),
                _ => None,
            })
            .collect();
        if self.most_specific_wins {
            scopes.reverse();
        }
        scopes.insert(0, &self.own);
        scopes
    }
}

impl HttpFilter for HeaderMutationFilter {
    fn on_request(&self, request: &mut RequestContext<'_>) -> Decision {
        let mut trailers = Vec::new();
        for mutations in self.scopes(&request.place) {
            request.stream.mutate(&mutations.request, request.head);
            change_query(&mutations.query, request);
            if !mutations.request_trailers.is_empty() {
                trailers.push(mutations.request_trailers.clone());
            }
        }
        // without a body there are no trailers to change
        if !trailers.is_empty() && !request.body.is_end() {
            let change = Trailers(trailers, request.stream.clone());
            request.body.transform(Box::new(change));
        }
        Decision::Continue
    }

    fn on_response(&self, response: &mut ResponseContext<'_>) {
        let mut trailers = Vec::new();
        let status = response.status.as_u16();
        for mutations in self.scopes(&response.place) {
            response
                .stream
                .mutate_response(&mutations.response, status, response.headers);
            if !mutations.response_trailers.is_empty() {
                trailers.push(mutations.response_trailers.clone());
            }
        }
        if !trailers.is_empty() && !response.is_empty {
            let change = Trailers(trailers, response.stream.clone());
            response.transforms.push(Box::new(change));
        }
    }
}

impl BodyTransform for Trailers {
    fn data(&mut self, data: Bytes) -> Result<Bytes, super::transform::TransformError> {
        Ok(data)
    }

    fn end(
        &mut self,
        trailers: Option<HeaderMap>,
    ) -> Result<Rest, super::transform::TransformError> {
        let changed = trailers.map(|mut trailers| {
            for mutation in &self.0 {
                let values = if mutation.needs_record() {
                    self.1
                        .with_record(None, None, None, |record| mutation.values(record))
                } else {
                    Vec::new()
                };
                mutation.apply(&mut trailers, &mut NoPseudo, values);
            }
            trailers
        });
        Ok((Bytes::new(), changed))
    }
}

fn change_query(steps: &[QueryStep], request: &mut RequestContext<'_>) {
    if steps.is_empty() || request.head.path.is_none() {
        return;
    }
    let path = request.head.path().to_owned();
    let (path, query) = path.split_once('?').unwrap_or((&path, ""));
    let mut parameters: Vec<(String, String)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    for step in steps {
        match step {
            QueryStep::Remove(key) => parameters.retain(|(known, _)| known != key),
            QueryStep::Append { key, value, action } => {
                let mut text = Vec::new();
                let head = &*request.head;
                request
                    .stream
                    .with_record(None, Some(head), None, |record| {
                        value.format(record, &mut text);
                    });
                let text = String::from_utf8_lossy(&text).into_owned();
                let there = parameters.iter().any(|(known, _)| known == key);
                match action {
                    ir::AppendAction::AddIfAbsent if there => continue,
                    ir::AppendAction::OverwriteIfExists if !there => continue,
                    ir::AppendAction::OverwriteOrAdd | ir::AppendAction::OverwriteIfExists => {
                        parameters.retain(|(known, _)| known != key);
                    }
                    ir::AppendAction::AppendOrAdd | ir::AppendAction::AddIfAbsent => {}
                }
                parameters.push((key.clone(), text));
            }
        }
    }
    let mut changed = path.to_owned();
    for (at, (key, value)) in parameters.iter().enumerate() {
        changed.push(if at == 0 { '?' } else { '&' });
        changed.push_str(key);
        changed.push('=');
        changed.push_str(value);
    }
    request.head.set_path(changed);
}

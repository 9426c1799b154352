//! Changes to headers, query parameters and trailers.

use meltemi_ir::{AppendAction, HeaderMutations, QueryEdit};
use meltemi_xds::pb::envoy::config::core::v3 as core_v3;
use meltemi_xds::pb::envoy::config::core::v3::key_value_append::KeyValueAppendAction;
use meltemi_xds::pb::envoy::extensions::filters::http::header_mutation::v3 as mutation_v3;
use prost_types::value::Kind;

use crate::fields::fields;
use crate::header::{Side, edits};
use crate::path::At;
use crate::scalar::{enumeration, non_empty};

/// The changes, and whether those of the narrowest scope come last.
pub(crate) fn header_mutation(
    message: &mutation_v3::HeaderMutation,
    at: &At<'_>,
) -> Option<(HeaderMutations, bool)> {
    fields!(at, message, mutation_v3::HeaderMutation {
        honoured { mutations, most_specific_header_mutations_wins }
    });
    let changes = mutations
        .as_ref()
        .map(|message| self::mutations(message, &at.field("mutations")))
        .unwrap_or_default();
    Some((changes, *most_specific_header_mutations_wins))
}

/// The changes of a route.
pub(crate) fn per_route(
    message: &mutation_v3::HeaderMutationPerRoute,
    at: &At<'_>,
) -> Option<HeaderMutations> {
    fields!(at, message, mutation_v3::HeaderMutationPerRoute { honoured { mutations } });
    let message = mutations.as_ref();
    Some(
        message
            .map(|message| self::mutations(message, &at.field("mutations")))
            .unwrap_or_default(),
    )
}

fn mutations(message: &mutation_v3::Mutations, at: &At<'_>) -> HeaderMutations {
    fields!(at, message, mutation_v3::Mutations {
        honoured {
            request_mutations, query_parameter_mutations, response_mutations,
            response_trailers_mutations, request_trailers_mutations,
        }
    });
    let headers = |list, side, field| edits(list, side, &at.field(field));
    HeaderMutations {
        request: headers(request_mutations, Side::Request, "request_mutations"),
        query: at
            .field("query_parameter_mutations")
            .each(query_parameter_mutations, query),
        response: headers(response_mutations, Side::Response, "response_mutations"),
        request_trailers: headers(
            request_trailers_mutations,
            Side::Trailers,
            "request_trailers_mutations",
        ),
        response_trailers: headers(
            response_trailers_mutations,
            Side::Trailers,
            "response_trailers_mutations",
        ),
    }
}

fn query(message: &core_v3::KeyValueMutation, at: &At<'_>) -> Option<QueryEdit> {
    fields!(at, message, core_v3::KeyValueMutation { honoured { append, remove } });
    match append {
        None => Some(QueryEdit::Remove(
            non_empty(remove, &at.field("remove")).to_owned(),
        )),
        Some(message) => {
            let at = &at.field("append");
            fields!(at, message, core_v3::KeyValueAppend {
                honoured { record, action }
                refused { entry: "use record" }
            });
            let action = match enumeration(*action, &at.field("action"))? {
                KeyValueAppendAction::AppendIfExistsOrAdd => AppendAction::AppendOrAdd,
                KeyValueAppendAction::AddIfAbsent => AppendAction::AddIfAbsent,
                KeyValueAppendAction::OverwriteIfExistsOrAdd => AppendAction::OverwriteOrAdd,
                KeyValueAppendAction::OverwriteIfExists => AppendAction::OverwriteIfExists,
            };
            let at = &at.field("record");
            let Some(message) = record else {
                at.problem("is required");
                return None;
            };
            fields!(at, message, core_v3::KeyValuePair { honoured { key, value } });
            let value = match value.as_ref().and_then(|value| value.kind.as_ref()) {
                Some(Kind::StringValue(text)) => text.clone(),
                _ => {
                    at.field("value").problem("must be a string");
                    return None;
                }
            };
            Some(QueryEdit::Append {
                key: non_empty(key, &at.field("key")).to_owned(),
                value,
                action,
            })
        }
    }
}

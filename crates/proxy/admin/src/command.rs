//! The commands: one table that requests are dispatched by and `/help` is printed from.

use std::fmt::Write as _;

use axum::http::{Method, StatusCode};

use crate::query::Query;
use crate::reply::Reply;
use crate::{AdminState, DrainRequest};
use crate::{certs, clusters, config_dump, init_dump, listeners, logging, server_info, stats};

/// One command.
struct Command {
    path: &'static str,
    help: &'static str,
    /// It changes something, so that it needs a POST.
    mutates: bool,
    parameters: &'static [(&'static str, &'static str)],
    run: fn(&AdminState, &Query<'_>) -> Reply,
}

const fn read(
    path: &'static str,
    help: &'static str,
    parameters: &'static [(&'static str, &'static str)],
    run: fn(&AdminState, &Query<'_>) -> Reply,
) -> Command {
    Command {
        path,
        help,
        mutates: false,
        parameters,
        run,
    }
}

const fn change(
    path: &'static str,
    help: &'static str,
    parameters: &'static [(&'static str, &'static str)],
    run: fn(&AdminState, &Query<'_>) -> Reply,
) -> Command {
    Command {
        path,
        help,
        mutates: true,
        parameters,
        run,
    }
}

/// In alphabetical order.
const COMMANDS: &[Command] = &[
    read("/", "this list as a page", &[], |_, _| home()),
    read("/certs", "certificates in use", &[], |state, _| {
        certs::certs(state)
    }),
    read(
        "/clusters",
        "clusters and their hosts",
        &[
            (
                "filter",
                "only clusters in whose name this regular expression is found",
            ),
            ("format", "one of text, json"),
        ],
        clusters::clusters,
    ),
    read(
        "/config_dump",
        "configuration as it was received",
        &[
            (
                "resource",
                "only this repeated field of the dump, such as dynamic_listeners",
            ),
            (
                "mask",
                "only these fields, with commas between them and dots within",
            ),
            (
                "name_regex",
                "only resources in whose name this regular expression is found",
            ),
            ("include_eds", "endpoints too"),
        ],
        config_dump::config_dump,
    ),
    change(
        "/drain_listeners",
        "drain listeners",
        &[
            ("graceful", "let connections finish what they are at first"),
            ("skip_exit", "drain connections, but keep listening"),
            ("inboundonly", "only listeners of inbound traffic"),
        ],
        drain_listeners,
    ),
    change(
        "/healthcheck/fail",
        "fail health checks",
        &[],
        |state, _| {
            state.status.fail_health_checks(true);
            Reply::done()
        },
    ),
    change("/healthcheck/ok", "pass health checks", &[], |state, _| {
        state.status.fail_health_checks(false);
        Reply::done()
    }),
    read("/help", "this list", &[], |_, _| {
        Reply::text(format!("admin commands are:\n{}", list()))
    }),
    read(
        "/hot_restart_version",
        "what this process and its successor speak, or disabled",
        &[],
        |state, _| Reply::text(state.info.hot_restart.unwrap_or("disabled")),
    ),
    read(
        "/init_dump",
        "what the start, or a change, still waits for",
        &[("mask", "only of this kind: listener")],
        init_dump::init_dump,
    ),
    read(
        "/listeners",
        "listeners and their addresses",
        &[("format", "one of text, json")],
        listeners::listeners,
    ),
    change(
        "/logging",
        "show log levels, or change them",
        &[
            (
                "level",
                "the level of every logger; one of trace, debug, info, warning, error, critical, off",
            ),
            (
                "paths",
                "levels of some loggers, as in http:debug,upstream:trace",
            ),
        ],
        logging::logging,
    ),
    read("/memory", "memory in use", &[], |_, _| {
        server_info::memory()
    }),
    change("/quitquitquit", "end the server", &[], |state, _| {
        state.control.quit();
        Reply::done()
    }),
    read(
        "/ready",
        "LIVE with status 200, or another state with 503",
        &[],
        |state, _| server_info::ready(state),
    ),
    change(
        "/reopen_logs",
        "open access logs anew",
        &[],
        |state, _| match state.control.reopen_logs() {
            Ok(()) => Reply::done(),
            Err(error) => Reply::error(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
        },
    ),
    change(
        "/reset_counters",
        "set all counters to zero",
        &[],
        |state, _| {
            state.stats.reset_counters();
            Reply::done()
        },
    ),
    read(
        "/runtime",
        "runtime values, of which there are none",
        &[],
        |_, _| Reply::json(&serde_json::json!({"layers": [], "entries": {}})),
    ),
    read(
        "/server_info",
        "version, state and options",
        &[],
        |state, _| server_info::server_info(state),
    ),
    read(
        "/stats",
        "statistics",
        &[
            ("usedonly", "only those that were ever written"),
            (
                "filter",
                "only those in whose name this regular expression is found",
            ),
            ("invert_filter", "only those in whose name it is not found"),
            ("format", "one of text, json, prometheus, html, active-html"),
            (
                "type",
                "one of All, Counters, Gauges, Histograms, TextReadouts",
            ),
            ("histogram_buckets", "one of summary, cumulative, disjoint"),
        ],
        stats::stats,
    ),
    read(
        "/stats/prometheus",
        "statistics for Prometheus",
        &[
            ("usedonly", "only those that were ever written"),
            (
                "filter",
                "only those in whose name this regular expression is found",
            ),
            ("invert_filter", "only those in whose name it is not found"),
        ],
        stats::prometheus,
    ),
];

/// Answers a request.
pub(crate) fn answer(state: &AdminState, method: &Method, path: &str, query: &str) -> Reply {
    let Some(command) = COMMANDS.iter().find(|command| command.path == path) else {
        let body = format!("invalid path. admin commands are:\n{}", list());
        return Reply::error(StatusCode::NOT_FOUND, body);
    };
    if command.mutates && *method != Method::POST {
        let body = format!("Method {method} not allowed, POST required.");
        return Reply::error(StatusCode::METHOD_NOT_ALLOWED, body);
    }
    (command.run)(state, &Query::parse(query))
}

fn list() -> String {
    let mut out = String::new();
    for command in COMMANDS {
        let post = if command.mutates { " (POST)" } else { "" };
        let _ = writeln!(out, "  {}{post}: {}", command.path, command.help);
        for (name, help) in command.parameters {
            let _ = writeln!(out, "      {name}: {help}");
        }
    }
    out
}

fn home() -> Reply {
    let mut rows = String::new();
    for command in COMMANDS.iter().filter(|command| command.path != "/") {
        let Command {
            path,
            help,
            mutates,
            ..
        } = command;
        // A link asks with GET; what changes something is shown as a button.
        let name = if *mutates {
            format!("<form method=\"post\" action=\"{path}\"><button>{path}</button></form>")
        } else {
            format!("<a href=\"{path}\">{path}</a>")
        };
        let _ = writeln!(rows, "<tr><td>{name}</td><td>{help}</td></tr>");
    }
    Reply::html(format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>Proxy admin\
         </title></head>\n<body>\n<table>\n{rows}</table>\n</body>\n</html>\n"
    ))
}

fn drain_listeners(state: &AdminState, query: &Query<'_>) -> Reply {
    state.control.drain_listeners(DrainRequest {
        inbound_only: query.has("inboundonly"),
        graceful: query.has("graceful"),
        skip_exit: query.has("skip_exit"),
    });
    Reply::done()
}

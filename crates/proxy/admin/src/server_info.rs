//! `/server_info`, `/ready`, `/memory`, and the `server.*` statistics that say the same.

use std::time::Duration;

use axum::http::StatusCode;
use meltemi_xds::json;
use serde_json::json as value;

use crate::reply::Reply;
use crate::{AdminState, ServerPhase, certs};

pub(crate) fn server_info(state: &AdminState) -> Reply {
    let info = &state.info;
    let uptime = format!("{}s", uptime(state).as_secs());
    Reply::json(&value!({
        "version": info.version,
        "state": state.status.phase().as_str(),
        "uptime_current_epoch": uptime,
        "uptime_all_epochs": uptime,
        "hot_restart_version": "disabled",
        "command_line_options": {
            "concurrency": info.concurrency,
            "config_path": info.config_path,
            "log_level": state.logs.default_level().as_str(),
            "drain_time": format!("{}s", info.drain_seconds),
            "mode": "Serve",
            "disable_hot_restart": true,
            "restart_epoch": 0,
        },
        "node": json::to_json(&info.node),
    }))
}

pub(crate) fn ready(state: &AdminState) -> Reply {
    let phase = state.status.phase();
    let status = match phase {
        ServerPhase::Live => StatusCode::OK,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    Reply::error(status, format!("{}\n", phase.as_str()))
}

pub(crate) fn memory() -> Reply {
    let memory = Memory::read();
    Reply::json(&value!({
        "allocated": memory.anonymous.to_string(),
        "heap_size": memory.data.to_string(),
        "pageheap_unmapped": "0",
        "pageheap_free": "0",
        "total_thread_cache": "0",
        "total_physical_bytes": memory.resident.to_string(),
    }))
}

/// Brings the `server.*` gauges up to date; they are read nowhere else.
pub(crate) fn update_stats(state: &AdminState) {
    let server = state.stats.server();
    let phase = state.status.phase();
    let memory = Memory::read();
    server.uptime.set(uptime(state).as_secs());
    server.state.set(phase.number().into());
    server
        .live
        .set(u64::from(!state.status.fails_health_checks()));
    server.concurrency.set(state.info.concurrency.into());
    server.total_connections.set(state.control.connections());
    server.memory_allocated.set(memory.anonymous);
    server.memory_heap_size.set(memory.data);
    server.memory_physical_size.set(memory.resident);
    // Without a certificate, Envoy says the greatest number of 32 bits.
    let days = certs::first_expiry(state).unwrap_or(u32::MAX.into());
    server.days_until_first_cert_expiring.set(days);
}

fn uptime(state: &AdminState) -> Duration {
    let started = state.info.started;
    started.map_or(Duration::ZERO, |started| state.clock.now() - started)
}

/// Bytes as the kernel counts them for this process.
#[derive(Default)]
struct Memory {
    /// In memory.
    resident: u64,
    /// In memory and not from files.
    anonymous: u64,
    /// Reserved for data.
    data: u64,
}

impl Memory {
    fn read() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let mut memory = Self::default();
        for line in status.lines() {
            let Some((name, rest)) = line.split_once(':') else {
                continue;
            };
            let kibibytes = rest.trim().trim_end_matches("kB").trim();
            let bytes = kibibytes.parse::<u64>().unwrap_or(0) * 1024;
            match name {
                "VmRSS" => memory.resident = bytes,
                "RssAnon" => memory.anonymous = bytes,
                "VmData" => memory.data = bytes,
                _ => {}
            }
        }
        memory
    }
}

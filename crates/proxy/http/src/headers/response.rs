//! What the connection manager does to a response's headers on their way downstream.

use http::{HeaderMap, HeaderValue, header};
use meltemi_ir as ir;

use super::client_cert::append;
use super::names;

/// Makes the response's headers what the client may see. An upgrade keeps what it needs.
pub(crate) fn prepare(
    headers: &mut HeaderMap,
    config: &ir::HttpConnectionManager,
    server: &HeaderValue,
    upgrade: bool,
) {
    remove_hop_by_hop(headers, upgrade);
    match config.server_header {
        ir::ServerHeader::Overwrite => {
            headers.insert(header::SERVER, server.clone());
        }
        ir::ServerHeader::AppendIfAbsent => {
            headers
                .entry(header::SERVER)
                .or_insert_with(|| server.clone());
        }
        ir::ServerHeader::PassThrough => {}
    }
    if let Some(via) = &config.via {
        append(headers, &header::VIA, via.as_bytes(), b", ");
    }
}

fn remove_hop_by_hop(headers: &mut HeaderMap, upgrade: bool) {
    let mut special = 0u8;
    for name in headers.keys() {
        special |= match name.as_str() {
            "connection" => 1,
            "upgrade" => 2,
            "keep-alive" => 4,
            "proxy-connection" => 8,
            "transfer-encoding" => 16,
            _ => continue,
        };
    }
    if special == 0 {
        return;
    }
    if !upgrade {
        headers.remove(header::CONNECTION);
        headers.remove(header::UPGRADE);
    }
    headers.remove(names::KEEP_ALIVE);
    headers.remove(names::PROXY_CONNECTION);
    headers.remove(header::TRANSFER_ENCODING);
}

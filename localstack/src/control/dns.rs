//! The part of the control API that is about DNS: `/dns/…`.

use std::net::SocketAddr;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Problem, milliseconds_ago, read};
use crate::{
    dns::{Protocol, Role, Server},
    fault::Fault,
    http::Call,
    name_servers::{NameServers, Station},
};

/// Answers a request for `/dns/STEPS`.
pub(super) fn act(
    servers: &NameServers,
    call: &Call,
    steps: &[&str],
) -> Result<Option<Value>, Problem> {
    match (call.method.as_str(), steps) {
        ("GET", []) => return Ok(Some(show(servers))),
        ("GET", ["records"]) => return Ok(Some(records(servers))),
        ("POST", ["records"]) => {
            let line: String = read(call)?;
            servers.zones().add(&line).map_err(Problem::Zone)?;
        }
        ("DELETE", ["records", name]) => servers.zones().delete(name, None),
        ("PUT", [addr]) => {
            let addr = address(addr)?;
            let started = match read(call)? {
                Kind::Primary => servers.start(addr, Role::Primary),
                Kind::Replica => servers.start(addr, Role::Replica),
                Kind::BlackHole => servers.start_black_hole(addr),
            };
            let addr = started.map_err(Problem::Start)?;
            return Ok(Some(json!({"address": addr})));
        }
        ("DELETE", [addr]) => {
            let addr = address(addr)?;
            if !servers.stop(addr) {
                return Err(Problem::NoServer(addr));
            }
        }
        ("PUT", [addr, "fault"]) => {
            let fault: Fault = read(call)?;
            on(servers, addr, |server| server.fault(fault))?;
        }
        ("PUT", [addr, "forge"]) => {
            let Budget { requests, updates } = read(call)?;
            on(servers, addr, |server| {
                server.forge_next(requests);
                server.forge_next_updates(updates);
            })?;
        }
        ("PUT", [addr, "lose"]) => {
            let Budget { requests, updates } = read(call)?;
            on(servers, addr, |server| {
                server.lose_next(requests);
                server.lose_next_updates(updates);
            })?;
        }
        ("PUT", [addr, "truncate-udp"]) => {
            let is_on = read(call)?;
            on(servers, addr, |server| server.truncate_udp(is_on))?;
        }
        ("PUT", [addr, "clock-skew"]) => {
            let seconds = read(call)?;
            on(servers, addr, |server| server.clock_skew(seconds))?;
        }
        ("PUT", [addr, "leases"]) => {
            let seconds: Option<u64> = read(call)?;
            let longest = seconds.map(std::time::Duration::from_secs);
            on(servers, addr, |server| server.grant_leases(longest))?;
        }
        ("DELETE", [addr, "faults"]) => on(servers, addr, Server::behave)?,
        _ => return Err(Problem::NoPath(format!("{} {}", call.method, call.path))),
    }
    Ok(None)
}

/// The requests that the servers have taken, oldest first.
pub(super) fn requests(servers: &NameServers) -> Value {
    let of = |station: &Station| match station {
        Station::Server(server) => {
            let addr = server.addr();
            server.received().into_iter().map(|received| (addr, received)).collect()
        }
        Station::BlackHole(_) => Vec::new(),
    };
    let mut all: Vec<_> = servers.each(of).into_iter().flatten().collect();
    all.sort_by_key(|(_, received)| received.at);
    let shown = all.into_iter().map(|(addr, received)| {
        json!({
            "milliseconds_ago": milliseconds_ago(received.at),
            "server": addr,
            "peer": received.peer,
            "protocol": match received.protocol {
                Protocol::Udp => "udp",
                Protocol::Tcp => "tcp",
            },
            "is_update": received.is_update,
            "name": received.name,
            "type": received.kind,
            "signer": received.signer,
        })
    });
    Value::Array(shown.collect())
}

/// Forgets them.
pub(super) fn clear_requests(servers: &NameServers) {
    servers.each(|station| {
        if let Station::Server(server) = station {
            server.forget_received();
        }
    });
}

/// What is at an address, in a request.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    Primary,
    Replica,
    BlackHole,
}

/// How many requests something happens to: whatever comes, or updates only.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
struct Budget {
    requests: u32,
    updates: u32,
}

fn show(servers: &NameServers) -> Value {
    Value::Array(servers.each(|station| match station {
        Station::Server(server) => json!({
            "address": server.addr(),
            "is": server.role(),
            "queries": server.queries(),
            "updates": server.updates(),
        }),
        Station::BlackHole(hole) => json!({
            "address": hole.addr(),
            "is": "black-hole",
            "datagrams": hole.datagrams(),
            "connections": hole.connections(),
        }),
    }))
}

fn records(servers: &NameServers) -> Value {
    let zones = servers.zones();
    zones.names().into_iter().map(|zone| (zone.clone(), json!(zones.all(&zone)))).collect()
}

fn on(servers: &NameServers, addr: &str, change: impl FnOnce(&Server)) -> Result<(), Problem> {
    let addr = address(addr)?;
    servers.at(addr, change).ok_or(Problem::NoServer(addr))
}

fn address(text: &str) -> Result<SocketAddr, Problem> {
    text.parse().map_err(|_| Problem::NoAddress(text.to_owned()))
}

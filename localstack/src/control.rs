//! Changes everything over HTTP while it runs, in JSON; for demonstrations and tests in other languages.
//!
//! | | |
//! |---|---|
//! | `GET /state` | account, instances, zones |
//! | `PUT /instances/ID` | adds or replaces an [`Instance`] |
//! | `DELETE /instances/ID` | takes it away |
//! | `PUT /instances/ID/tags` | replaces its tags |
//! | `PUT /zones/ID` | adds or replaces a [`Zone`] |
//! | `PUT /faults/SERVICE` | switches a [`Fault`] on: `imds`, `ec2`, `sts`, `route53`, `dns`, or some requests of it |
//! | `DELETE /faults` | switches all off |
//! | `PUT /throttling` | `true` or `false`: whether AWS's request limits are enforced |
//! | `GET /requests`, `DELETE /requests` | what was asked of each service; forget it |
//! | `POST /tokens/expire` | IMDS refuses every token given out so far |
//! | `GET /dns` | DNS servers and black holes, and how much they were asked |
//! | `PUT /dns/ADDR` | starts `"primary"`, `"replica"` or `"black-hole"` there, in place of what is there |
//! | `DELETE /dns/ADDR` | ends it |
//! | `PUT /dns/ADDR/fault` | switches a [`Fault`] on, for this server |
//! | `PUT /dns/ADDR/forge`, `…/lose` | `{"requests": N, "updates": N}`: forges, or loses, that many answers |
//! | `PUT /dns/ADDR/truncate-udp` | `true` or `false`: answers over UDP are cut |
//! | `PUT /dns/ADDR/clock-skew` | seconds that its clock is ahead |
//! | `DELETE /dns/ADDR/faults` | switches all of this server's off |
//! | `GET /dns/records` | all records, by zone |
//! | `POST /dns/records` | adds one, `"NAME TTL TYPE DATA"`, behind the agent's back |
//! | `DELETE /dns/records/NAME` | deletes all at a name |

mod dns;

use std::{
    collections::BTreeMap,
    io,
    net::{SocketAddr, TcpListener},
    time::Instant,
};

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::{
    dns::ZoneError,
    fault::{Fault, Service},
    form,
    http::{self, Answer, Call, Refusal, Site, Subject},
    instance::Instance,
    name_servers::NameServers,
    world::World,
    zone::Zone,
};

/// Serves the control API on `listener` until the future is dropped.
///
/// # Errors
/// When the listener can't be handed to the runtime.
pub async fn serve(
    world: World,
    name_servers: NameServers,
    listener: TcpListener,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let site = Control { world, name_servers };
    http::serve(tokio::net::TcpListener::from_std(listener)?, site).await;
    Ok(())
}

#[derive(Clone)]
struct Control {
    world: World,
    name_servers: NameServers,
}

impl Site for Control {
    fn world(&self) -> &World {
        &self.world
    }

    fn subject(&self, _: &Call) -> Option<Subject> {
        None
    }

    fn answer(&self, call: &Call) -> Answer {
        match act(&self.world, &self.name_servers, call) {
            Ok(Some(shown)) => Answer::new(200, JSON, format!("{shown:#}\n")),
            Ok(None) => Answer::new(204, JSON, String::new()),
            Err(problem) => Answer::new(
                problem.status(),
                JSON,
                format!("{}\n", json!({"error": problem.to_string()})),
            ),
        }
    }

    fn refuse(&self, call: &Call, _: Refusal) -> Answer {
        self.answer(call)
    }
}

fn act(world: &World, name_servers: &NameServers, call: &Call) -> Result<Option<Value>, Problem> {
    let path = form::decode(&call.path);
    let steps: Vec<_> = path.split('/').filter(|step| !step.is_empty()).collect();
    match (call.method.as_str(), &steps[..]) {
        ("GET", ["state"]) => {
            Ok(Some(serde_json::to_value(world.snapshot()).map_err(Problem::Json)?))
        }
        ("PUT", ["instances", id]) => {
            let instance: Instance = read(call)?;
            same(id, &instance.id)?;
            world.put_instance(instance);
            Ok(None)
        }
        ("DELETE", ["instances", id]) => world
            .remove_instance(id)
            .map(|_| None)
            .ok_or_else(|| Problem::NoInstance((*id).to_owned())),
        ("PUT", ["instances", id, "tags"]) => {
            let tags: BTreeMap<String, String> = read(call)?;
            let is_known = world.update_instance(id, |instance| instance.tags = tags);
            if is_known { Ok(None) } else { Err(Problem::NoInstance((*id).to_owned())) }
        }
        ("PUT", ["zones", id]) => {
            let zone: Zone = read(call)?;
            same(id, &zone.id)?;
            world.put_zone(zone);
            Ok(None)
        }
        ("PUT", ["faults", service]) => {
            let service = serde_json::from_value(json!(service)).map_err(Problem::Json)?;
            let fault: Fault = read(call)?;
            world.faults().set(service, fault);
            Ok(None)
        }
        ("DELETE", ["faults"]) => {
            world.faults().clear();
            Ok(None)
        }
        ("PUT", ["throttling"]) => {
            world.set_throttling(read(call)?);
            Ok(None)
        }
        ("GET", ["requests"]) => Ok(Some(requests(world, name_servers))),
        ("DELETE", ["requests"]) => {
            world.clear_requests();
            dns::clear_requests(name_servers);
            Ok(None)
        }
        ("POST", ["tokens", "expire"]) => {
            world.expire_tokens();
            Ok(None)
        }
        (_, ["dns", steps @ ..]) => dns::act(name_servers, call, steps),
        _ => Err(Problem::NoPath(format!("{} {path}", call.method))),
    }
}

fn requests(world: &World, name_servers: &NameServers) -> Value {
    let of = |service| {
        let requests = world.requests(service).into_iter().map(|request| {
            json!({
                "milliseconds_ago": milliseconds_ago(request.at),
                "method": request.method,
                "target": request.target,
                "status": request.status,
            })
        });
        Value::Array(requests.collect())
    };
    json!({
        "imds": of(Service::Imds),
        "ec2": of(Service::Ec2),
        "sts": of(Service::Sts),
        "route53": of(Service::Route53),
        "ssm": of(Service::Ssm),
        "secretsmanager": of(Service::SecretsManager),
        "dns": dns::requests(name_servers),
    })
}

fn milliseconds_ago(at: Instant) -> u64 {
    u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX)
}

fn read<T: DeserializeOwned>(call: &Call) -> Result<T, Problem> {
    serde_json::from_slice(&call.body).map_err(Problem::Json)
}

fn same(path: &str, body: &str) -> Result<(), Problem> {
    if path == body {
        return Ok(());
    }
    Err(Problem::OtherId { path: path.to_owned(), body: body.to_owned() })
}

/// Why a request changes nothing.
#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("no such path: {0}")]
    NoPath(String),
    #[error("no instance {0}")]
    NoInstance(String),
    #[error("the path says {path}, the body {body}")]
    OtherId { path: String, body: String },
    #[error("no DNS server at {0}")]
    NoServer(SocketAddr),
    #[error("`{0}` is not an address with a port")]
    NoAddress(String),
    #[error(transparent)]
    Start(io::Error),
    #[error(transparent)]
    Zone(ZoneError),
    #[error(transparent)]
    Json(serde_json::Error),
}

impl Problem {
    fn status(&self) -> u16 {
        match self {
            Self::NoPath(_) | Self::NoInstance(_) | Self::NoServer(_) => 404,
            Self::Start(_) => 409,
            Self::OtherId { .. } | Self::NoAddress(_) | Self::Zone(_) | Self::Json(_) => 400,
        }
    }
}

const JSON: &str = "application/json";

//! The instance metadata service, version 2 only: a session token first, then the tree, as strict as AWS.
//! EC2 User Guide, "Use the Instance Metadata Service to access instance metadata".
//!
//! A token is good for the instance that it was given to, for its time, and until [`World::expire_tokens`].

mod tree;

use std::{
    io,
    net::{IpAddr, TcpListener},
    time::{Duration, Instant},
};

use hyper::Method;

use crate::{
    credentials::random_text,
    fault::Service,
    http::{self, Answer, Call, Refusal, Site, Subject},
    world::{State, Token, World},
};

/// Which instance an IMDS listener speaks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whom {
    /// Always this one.
    Instance(String),
    /// The one whose private IPv4 or IPv6 address the request comes from.
    BySource,
}

/// Serves the metadata of `whom` on `listener` until the future is dropped.
///
/// # Errors
/// When the listener can't be handed to the runtime.
pub async fn serve(world: World, listener: TcpListener, whom: Whom) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    http::serve(tokio::net::TcpListener::from_std(listener)?, Imds { world, whom }).await;
    Ok(())
}

#[derive(Clone)]
struct Imds {
    world: World,
    whom: Whom,
}

impl Site for Imds {
    fn world(&self) -> &World {
        &self.world
    }

    fn subject(&self, call: &Call) -> Option<Subject> {
        let path = crate::form::decode(&call.path);
        let below_version = path.trim_start_matches('/').split_once('/').map(|(_, below)| below);
        Some(Subject {
            service: Service::Imds,
            target: call.path.clone(),
            name: below_version.unwrap_or_default().to_owned(),
        })
    }

    fn answer(&self, call: &Call) -> Answer {
        let state = &mut *self.world.state();
        let Some(instance) = self.instance(state, call.peer.ip()) else { return page(404) };
        if call.path == TOKEN_PATH {
            return if call.method == Method::PUT {
                give_token(state, &instance, call)
            } else {
                page(405)
            };
        }
        if call.method != Method::GET && call.method != Method::HEAD {
            return page(405);
        }
        let token = call.header(TOKEN_HEADER).and_then(|token| state.tokens.get(token));
        let Some(left) = token.filter(|token| token.instance == instance).and_then(time_left)
        else {
            return page(401);
        };
        let Some(instance) = state.instances.get(&instance).cloned() else { return page(404) };
        let body = read(state, &instance, &call.path);
        body.map_or_else(|| page(404), |body| Answer::new(200, "text/plain", body))
            .with(TTL_HEADER, left.as_secs().to_string())
    }

    fn refuse(&self, _: &Call, refusal: Refusal) -> Answer {
        match refusal {
            Refusal::Throttled => page(503),
            Refusal::Failed(status) => page(status),
        }
    }
}

impl Imds {
    fn instance(&self, state: &State, source: IpAddr) -> Option<String> {
        match &self.whom {
            Whom::Instance(id) => state.instances.contains_key(id).then(|| id.clone()),
            Whom::BySource => {
                let source = source.to_canonical();
                state
                    .instances
                    .values()
                    .find(|instance| instance.has_address(source))
                    .map(|found| found.id.clone())
            }
        }
    }
}

fn give_token(state: &mut State, instance: &str, call: &Call) -> Answer {
    // a forwarded request comes through a proxy, which must not get a token (User Guide, "How IMDSv2 works")
    if call.headers.contains_key("x-forwarded-for") {
        return page(403);
    }
    let ttl = call
        .header(TTL_HEADER)
        .and_then(|ttl| ttl.parse::<u64>().ok())
        .filter(|ttl| TTL_RANGE.contains(ttl));
    let Some(ttl) = ttl else { return page(400) };
    let now = Instant::now();
    state.tokens.retain(|_, token| token.until > now);
    let token = format!("AQAEA{}==", random_text(49));
    let until = now + Duration::from_secs(ttl);
    state.tokens.insert(token.clone(), Token { instance: instance.to_owned(), until });
    let answer = Answer::new(200, "text/plain", token).with(TTL_HEADER, ttl.to_string());
    Answer { hops: Some(state.hop_limit), ..answer }
}

fn time_left(token: &Token) -> Option<Duration> {
    token.until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
}

/// What the path holds: a value, a listing, or nothing.
fn read(state: &mut State, instance: &crate::instance::Instance, path: &str) -> Option<String> {
    let decoded = crate::form::decode(path);
    let mut steps = decoded.split('/').filter(|step| !step.is_empty());
    let Some(version) = steps.next() else {
        return Some([&VERSIONS[..], &["latest"]].concat().join("\n"));
    };
    let latest = VERSIONS.last().copied().unwrap_or_default();
    let version = if version == "latest" { latest } else { version };
    let version = VERSIONS.iter().find(|known| **known == version)?;
    let steps: Vec<_> = steps.collect();
    if steps == ["meta-data", "tags", "instance"]
        && !instance.metadata_tags
        && *version >= TAGS_SINCE
    {
        // `tags` itself is 404 then; aws/amazon-ec2-metadata-mock#189
        return Some(String::new());
    }
    if steps.is_empty() {
        // unlike every directory below them, these are listed without a slash
        let user_data = if instance.user_data.is_some() { "\nuser-data" } else { "" };
        return Some(format!("dynamic\nmeta-data{user_data}"));
    }
    steps
        .into_iter()
        .try_fold(tree::of(state, instance, version), tree::Node::into_child)
        .map(tree::Node::print)
}

/// The page that IMDS shows in place of an answer.
fn page(status: u16) -> Answer {
    let reason = hyper::StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason())
        .unwrap_or("");
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"iso-8859-1\"?>\n\
         <!DOCTYPE html PUBLIC \"-//W3C//DTD XHTML 1.0 Transitional//EN\"\n\
         \t\"http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd\">\n\
         <html xmlns=\"http://www.w3.org/1999/xhtml\" xml:lang=\"en\" lang=\"en\">\n \
         <head>\n  <title>{status} - {reason}</title>\n </head>\n \
         <body>\n  <h1>{status} - {reason}</h1>\n </body>\n</html>\n"
    );
    Answer::new(status, "text/html", body)
}

const TOKEN_PATH: &str = "/latest/api/token";
const TOKEN_HEADER: &str = "x-aws-ec2-metadata-token";
const TTL_HEADER: &str = "x-aws-ec2-metadata-token-ttl-seconds";
/// One second to six hours.
const TTL_RANGE: std::ops::RangeInclusive<u64> = 1..=21_600;
const TAGS_SINCE: &str = "2021-03-23";
/// EC2 User Guide, "Instance metadata categories".
const TARGET_LIFECYCLE_STATE_SINCE: &str = "2021-07-15";
/// The published versions from the one on that every client of today starts with, oldest first.
const VERSIONS: [&str; 11] = [
    "2016-09-02",
    "2018-03-28",
    "2018-08-17",
    "2018-09-24",
    "2019-10-01",
    "2020-10-27",
    "2021-01-03",
    "2021-03-23",
    "2021-07-15",
    "2022-09-24",
    "2024-04-11",
];

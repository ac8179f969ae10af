//! The part of the Route 53 REST API (2013-04-01) that deals with hosted zones and their records.
//! Amazon Route 53 API Reference; Developer Guide, "Quotas".
//!
//! A refused change batch is `<ErrorResponse><Error>` with all problems in one `<Message>[…, …]`, as the service
//! sends it, and each by itself in `<Messages>`, as the reference documents it.

mod change;
mod list;
mod record;
mod request;
mod value;
mod zones;

use std::collections::BTreeMap;

use hyper::Method;

use crate::{
    bucket::Limit,
    form::{self, Form},
    http::{Answer, Call, Refusal},
    policy::Wish,
    rest_error::Error,
    sts,
    world::{State, World},
    xml::Xml,
};

/// Answers one request.
pub(crate) fn answer(world: &World, call: &Call) -> Answer {
    let state = &mut *world.state();
    let request_id = state.request_id();
    match act(state, call) {
        Ok(Reply { status, root, location, content }) => {
            let body = Xml::document(root, Some(NAMESPACE), content);
            let answer = Answer::new(status, "text/xml", body).with("x-amzn-requestid", request_id);
            match location {
                Some(location) => answer.with("location", location),
                None => answer,
            }
        }
        Err(error) => error.answer(NAMESPACE, &request_id),
    }
}

/// The answer in place of the real one.
pub(crate) fn refuse(world: &World, refusal: Refusal) -> Answer {
    Error::of_refusal(refusal).answer(NAMESPACE, &world.state().request_id())
}

/// What the request asks for, `ListHostedZones`; empty for what Route 53 does not know.
pub(crate) fn action(call: &Call) -> &'static str {
    let path = form::decode(call.path.strip_prefix(PREFIX).unwrap_or_default());
    let steps: Vec<_> = path.split('/').filter(|step| !step.is_empty()).collect();
    Operation::parse(&call.method, &steps).map_or("", Operation::name)
}

fn act(state: &mut State, call: &Call) -> Result<Reply, Error> {
    let caller = state.credentials.caller(&call.headers, "route53").map_err(Error::of_stranger)?;
    // all operations, all callers of the account, one bucket
    if !state.admits("route53", Limit { burst: 5, per_second: 5 }) {
        return Err(Error::throttled());
    }
    let path = form::decode(call.path.strip_prefix(PREFIX).unwrap_or_default());
    let steps: Vec<_> = path.split('/').filter(|step| !step.is_empty()).collect();
    let operation = Operation::parse(&call.method, &steps).ok_or_else(|| {
        let message = "The requested operation is not recognized by the service.";
        Error::new(404, "UnknownOperationException", message)
    })?;
    let text = std::str::from_utf8(&call.body).unwrap_or_default();
    let wish = wish(state, operation, text);
    if state.denies(&wish) {
        let (arn, Wish { action, resource, .. }) = (sts::arn_of(state, &caller), wish);
        let message = format!(
            "User: {arn} is not authorized to perform: {action} on resource: {resource} \
             because no identity-based policy allows the {action} action"
        );
        return Err(Error::new(403, "AccessDenied", message));
    }
    let query = Form::parse(&call.query);
    match operation {
        Operation::ChangeResourceRecordSets(zone) => change::change(state, zone, text),
        Operation::ListResourceRecordSets(zone) => list::records(state, zone, &query),
        Operation::GetChange(id) => change::get(state, id),
        Operation::CreateHostedZone => zones::create(state, text),
        Operation::DeleteHostedZone(zone) => zones::delete(state, zone),
        Operation::GetHostedZone(zone) => zones::get(state, zone),
        Operation::ListHostedZones => list::zones(state, &query),
        Operation::ListHostedZonesByName => list::zones_by_name(state, &query),
        Operation::ListHostedZonesByVpc => list::zones_by_vpc(state, &query),
    }
}

/// What IAM is asked about (Service Authorization Reference, "Amazon Route 53").
fn wish(state: &State, operation: Operation<'_>, text: &str) -> Wish {
    let resource = operation.zone().map_or_else(
        || "*".to_owned(),
        |zone| format!("arn:{}:route53:::hostedzone/{zone}", state.account.partition),
    );
    let context = match (operation, request::Batch::parse(text)) {
        (Operation::ChangeResourceRecordSets(_), Ok(batch)) => change::condition_keys(&batch),
        _ => BTreeMap::new(),
    };
    Wish { action: format!("route53:{}", operation.name()), resource, context }
}

/// What is asked, and of which zone or change.
#[derive(Clone, Copy, Debug)]
enum Operation<'a> {
    ChangeResourceRecordSets(&'a str),
    ListResourceRecordSets(&'a str),
    GetChange(&'a str),
    CreateHostedZone,
    DeleteHostedZone(&'a str),
    GetHostedZone(&'a str),
    ListHostedZones,
    ListHostedZonesByName,
    ListHostedZonesByVpc,
}

impl<'a> Operation<'a> {
    fn parse(method: &Method, steps: &[&'a str]) -> Option<Self> {
        Some(match (method.as_str(), steps) {
            ("POST", ["hostedzone", zone, "rrset"]) => Self::ChangeResourceRecordSets(zone),
            ("GET", ["hostedzone", zone, "rrset"]) => Self::ListResourceRecordSets(zone),
            ("GET", ["change", id]) => Self::GetChange(id),
            ("POST", ["hostedzone"]) => Self::CreateHostedZone,
            ("DELETE", ["hostedzone", zone]) => Self::DeleteHostedZone(zone),
            ("GET", ["hostedzone", zone]) => Self::GetHostedZone(zone),
            ("GET", ["hostedzone"]) => Self::ListHostedZones,
            ("GET", ["hostedzonesbyname"]) => Self::ListHostedZonesByName,
            ("GET", ["hostedzonesbyvpc"]) => Self::ListHostedZonesByVpc,
            _ => return None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::ChangeResourceRecordSets(_) => "ChangeResourceRecordSets",
            Self::ListResourceRecordSets(_) => "ListResourceRecordSets",
            Self::GetChange(_) => "GetChange",
            Self::CreateHostedZone => "CreateHostedZone",
            Self::DeleteHostedZone(_) => "DeleteHostedZone",
            Self::GetHostedZone(_) => "GetHostedZone",
            Self::ListHostedZones => "ListHostedZones",
            Self::ListHostedZonesByName => "ListHostedZonesByName",
            Self::ListHostedZonesByVpc => "ListHostedZonesByVPC",
        }
    }

    fn zone(self) -> Option<&'a str> {
        match self {
            Self::ChangeResourceRecordSets(zone)
            | Self::ListResourceRecordSets(zone)
            | Self::DeleteHostedZone(zone)
            | Self::GetHostedZone(zone) => Some(zone),
            _ => None,
        }
    }
}

/// A success.
struct Reply {
    status: u16,
    root: &'static str,
    location: Option<String>,
    content: Content,
}

impl Reply {
    fn ok(root: &'static str, content: impl FnOnce(&mut Xml) + 'static) -> Self {
        Self { status: 200, root, location: None, content: Box::new(content) }
    }
}

type Content = Box<dyn FnOnce(&mut Xml)>;

fn no_such_zone(id: &str) -> Error {
    Error::new(404, "NoSuchHostedZone", format!("No hosted zone found with ID: {id}"))
}

fn invalid_input(message: impl Into<String>) -> Error {
    Error::new(400, "InvalidInput", message)
}

/// The path of every request.
pub(crate) const PREFIX: &str = "/2013-04-01/";
const NAMESPACE: &str = "https://route53.amazonaws.com/doc/2013-04-01/";

//! The part of the EC2 query API (2016-11-15) that a DNS registration agent and its operators use.
//! EC2 API Reference; "Request throttling for the Amazon EC2 API"; "Error codes for the Amazon EC2 API".

mod describe;
mod document;
mod filter;
mod interfaces;
mod life;
mod subnets;
mod tags;

use crate::{
    bucket::Limit,
    credentials::{self, Caller},
    form::Form,
    http::{Answer, Call, Refusal},
    policy::Wish,
    world::{Account, State, World},
    xml::Xml,
};

/// Answers one request, whose parameters are `form`.
pub(crate) fn answer(world: &World, call: &Call, form: &Form) -> Answer {
    let state = &mut *world.state();
    let request_id = state.request_id();
    match act(state, call, form, &request_id) {
        Ok(body) => Answer::new(200, "text/xml;charset=UTF-8", body),
        Err(error) => error.answer(&request_id),
    }
}

/// The answer in place of the real one.
pub(crate) fn refuse(world: &World, refusal: Refusal) -> Answer {
    let error = match refusal {
        Refusal::Throttled => Error::throttled(),
        Refusal::Failed(503) => Error {
            status: 503,
            ..Error::new("Unavailable", "The service is unavailable. Please try again shortly.")
        },
        Refusal::Failed(status) => {
            Error { status, ..Error::new("InternalError", "An internal error has occurred") }
        }
    };
    error.answer(&world.state().request_id())
}

fn act(state: &mut State, call: &Call, form: &Form, request_id: &str) -> Result<String, Error> {
    let name = form.get("Action").ok_or_else(|| {
        Error::new("MissingAction", "The request is missing an action or a required parameter.")
    })?;
    let action = Action::parse(name).ok_or_else(|| {
        Error::new("InvalidAction", format!("The action {name} is not valid for this web service."))
    })?;
    let _: Caller = state.credentials.caller(&call.headers, "ec2").map_err(|_| Error {
        status: 401,
        ..Error::new("AuthFailure", "AWS was not able to validate the provided access credentials")
    })?;
    let (bucket, limit) = action.bucket(form);
    if !state.admits(&format!("ec2 {name} {bucket}"), limit) {
        return Err(Error::throttled());
    }
    // Each Region has an endpoint of its own; here the signature says which one is meant.
    let region = credentials::region(&call.headers).unwrap_or_default();
    if wishes(state, action, name, form, region).iter().any(|wish| state.denies(wish)) {
        let refused = Error::new(
            "UnauthorizedOperation",
            "You are not authorized to perform this operation.",
        );
        return Err(Error { status: 403, ..refused });
    }
    if form.get("DryRun").is_some_and(|dry| dry.eq_ignore_ascii_case("true")) {
        let message = "Request would have succeeded, but DryRun flag is set.";
        return Err(Error { status: 412, ..Error::new("DryRunOperation", message) });
    }
    let content = match action {
        Action::DescribeInstances => describe::instances(state, form, region)?,
        Action::DescribeNetworkInterfaces => interfaces::describe(state, form, region)?,
        Action::DescribeSubnets => subnets::describe(state, form, region)?,
        Action::DescribeTags => describe::tags(state, form)?,
        Action::CreateTags => tags::create(state, form)?,
        Action::DeleteTags => tags::delete(state, form)?,
        Action::StartInstances | Action::StopInstances | Action::TerminateInstances => {
            life::change(state, action, form)?
        }
    };
    Ok(Xml::document(&format!("{name}Response"), Some(NAMESPACE), |xml| {
        xml.leaf("requestId", request_id);
        content(xml);
    }))
}

/// What IAM is asked about (Service Authorization Reference, "Amazon EC2"): each instance that is to be tagged. For the others, of
/// which those that only read know no resource, it is `*` here.
fn wishes(state: &State, action: Action, name: &str, form: &Form, region: &str) -> Vec<Wish> {
    let tagged = match action {
        Action::CreateTags | Action::DeleteTags => form.list("ResourceId"),
        _ => Vec::new(),
    };
    let action = format!("ec2:{name}");
    if tagged.is_empty() {
        return vec![Wish { action, resource: "*".to_owned(), ..Wish::default() }];
    }
    let Account { partition, id: account, .. } = &state.account;
    let wish = |id: &str| Wish {
        action: action.clone(),
        resource: format!("arn:{partition}:ec2:{region}:{account}:instance/{id}"),
        context: tags::condition_keys(state, id, form),
    };
    tagged.into_iter().map(wish).collect()
}

/// Writes what follows the request id.
type Content = Box<dyn FnOnce(&mut Xml)>;

/// The actions that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    DescribeInstances,
    DescribeNetworkInterfaces,
    DescribeSubnets,
    DescribeTags,
    CreateTags,
    DeleteTags,
    StartInstances,
    StopInstances,
    TerminateInstances,
}

impl Action {
    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "DescribeInstances" => Self::DescribeInstances,
            "DescribeNetworkInterfaces" => Self::DescribeNetworkInterfaces,
            "DescribeSubnets" => Self::DescribeSubnets,
            "DescribeTags" => Self::DescribeTags,
            "CreateTags" => Self::CreateTags,
            "DeleteTags" => Self::DeleteTags,
            "StartInstances" => Self::StartInstances,
            "StopInstances" => Self::StopInstances,
            "TerminateInstances" => Self::TerminateInstances,
            _ => return None,
        })
    }

    /// Which of the action's buckets the request takes from. Naming ids is neither a filter nor a page.
    fn bucket(self, form: &Form) -> (&'static str, Limit) {
        let is_narrow = !form.members("Filter").is_empty()
            || form.get("MaxResults").is_some()
            || form.get("NextToken").is_some();
        match self {
            Self::DescribeInstances if !is_narrow => {
                ("unfiltered", Limit { burst: 50, per_second: 10 })
            }
            Self::DescribeInstances
            | Self::DescribeNetworkInterfaces
            | Self::DescribeSubnets
            | Self::DescribeTags => ("read", Limit { burst: 100, per_second: 20 }),
            Self::CreateTags | Self::DeleteTags => ("tags", Limit { burst: 100, per_second: 10 }),
            Self::StartInstances | Self::StopInstances | Self::TerminateInstances => {
                ("write", Limit { burst: 50, per_second: 5 })
            }
        }
    }
}

/// An error answer.
#[derive(Debug)]
struct Error {
    status: u16,
    code: &'static str,
    message: String,
}

impl Error {
    /// With status 400.
    fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { status: 400, code, message: message.into() }
    }

    fn throttled() -> Self {
        Self { status: 503, ..Self::new("RequestLimitExceeded", "Request limit exceeded.") }
    }

    fn value(message: impl Into<String>) -> Self {
        Self::new("InvalidParameterValue", message)
    }

    fn missing(parameter: &str) -> Self {
        Self::new("MissingParameter", format!("The request must contain the parameter {parameter}"))
    }

    fn answer(&self, request_id: &str) -> Answer {
        let body = Xml::document("Response", None, |xml| {
            xml.nest("Errors", |xml| {
                xml.nest("Error", |xml| {
                    xml.leaf("Code", self.code);
                    xml.leaf("Message", &self.message);
                });
            });
            xml.leaf("RequestID", request_id);
        });
        Answer::new(self.status, "text/xml;charset=UTF-8", body)
    }
}

/// The named instances; an id that is none, or is unknown, is an error that names every bad one.
fn named_ids<'a>(state: &State, form: &'a Form, parameter: &str) -> Result<Vec<&'a str>, Error> {
    let ids = form.list(parameter);
    if let Some(id) = ids.iter().find(|id| !is_instance_id(id)) {
        return Err(Error::new("InvalidInstanceID.Malformed", format!("Invalid id: \"{id}\"")));
    }
    unknown(state, &ids)?;
    Ok(ids)
}

fn unknown(state: &State, ids: &[&str]) -> Result<(), Error> {
    let unknown: Vec<_> =
        ids.iter().filter(|id| !state.instances.contains_key(**id)).copied().collect();
    let message = match unknown[..] {
        [] => return Ok(()),
        [one] => format!("The instance ID '{one}' does not exist"),
        _ => format!("The instance IDs '{}' do not exist", unknown.join(", ")),
    };
    Err(Error::new("InvalidInstanceID.NotFound", message))
}

/// `i-` and 8 or 17 hexadecimal digits.
fn is_instance_id(id: &str) -> bool {
    id.strip_prefix("i-").is_some_and(|digits| {
        matches!(digits.len(), 8 | 17)
            && digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
    })
}

const NAMESPACE: &str = "http://ec2.amazonaws.com/doc/2016-11-15/";

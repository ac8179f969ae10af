//! The part of the STS query API (2011-06-15) that tells a caller who it is.

use crate::{
    clock::iso8601,
    credentials::Caller,
    form::Form,
    http::{Answer, Call, Refusal},
    naming,
    policy::Wish,
    rest_error::Error,
    world::{State, World},
    xml::Xml,
};

/// Answers one request, whose parameters are `form`.
pub(crate) fn answer(world: &World, call: &Call, form: &Form) -> Answer {
    let state = &mut *world.state();
    let request_id = state.request_id();
    match act(state, call, form, &request_id) {
        Ok(body) => Answer::new(200, "text/xml", body).with("x-amzn-requestid", request_id),
        Err(error) => error.answer(NAMESPACE, &request_id),
    }
}

/// The answer in place of the real one.
pub(crate) fn refuse(world: &World, refusal: Refusal) -> Answer {
    Error::of_refusal(refusal).answer(NAMESPACE, &world.state().request_id())
}

fn act(state: &mut State, call: &Call, form: &Form, request_id: &str) -> Result<String, Error> {
    let caller = state.credentials.caller(&call.headers, "sts").map_err(Error::of_stranger)?;
    let action = form.get("Action").unwrap_or_default();
    let arn = arn_of(state, &caller);
    // GetCallerIdentity can't be denied in AWS either
    if action != "GetCallerIdentity"
        && state.denies(&Wish {
            action: format!("sts:{action}"),
            resource: "*".to_owned(),
            ..Wish::default()
        })
    {
        let message = format!("User: {arn} is not authorized to perform: sts:{action}");
        return Err(Error::new(403, "AccessDenied", message));
    }
    let result = match action {
        "GetCallerIdentity" => {
            let user_id = match &caller {
                Caller::Role { role, session } => {
                    format!("{}:{session}", naming::unique_id("AROA", role))
                }
                Caller::User(key) => naming::unique_id("AIDA", key),
            };
            identity(&arn, &user_id, &state.account.id)
        }
        "AssumeRole" => assume(state, form)?,
        _ => {
            let message = format!("Could not find operation {action} for version 2011-06-15");
            return Err(Error::new(400, "InvalidAction", message));
        }
    };
    Ok(Xml::document(&format!("{action}Response"), Some(NAMESPACE), |xml| {
        xml.nest(&format!("{action}Result"), result);
        xml.nest("ResponseMetadata", |xml| xml.leaf("RequestId", request_id));
    }))
}

fn identity(arn: &str, user_id: &str, account: &str) -> Content {
    let (arn, user_id, account) = (arn.to_owned(), user_id.to_owned(), account.to_owned());
    Box::new(move |xml| {
        xml.leaf("Arn", arn);
        xml.leaf("UserId", user_id);
        xml.leaf("Account", account);
    })
}

/// Any role may be assumed; trust policies are not modelled.
fn assume(state: &mut State, form: &Form) -> Result<Content, Error> {
    let missing =
        |name: &str| Error::new(400, "ValidationError", format!("The request must contain {name}"));
    let role_arn = form.get("RoleArn").ok_or_else(|| missing("RoleArn"))?;
    let session = form.get("RoleSessionName").ok_or_else(|| missing("RoleSessionName"))?;
    let role =
        role_arn.rsplit_once(":role/").map(|(_, path)| path.rsplit('/').next().unwrap_or(path));
    let role =
        role.ok_or_else(|| Error::new(400, "ValidationError", format!("{role_arn} is invalid")))?;
    let issued = state.credentials.of_session(role, session);
    let caller = Caller::Role { role: role.to_owned(), session: session.to_owned() };
    let arn = arn_of(state, &caller);
    let id = format!("{}:{session}", naming::unique_id("AROA", role));
    Ok(Box::new(move |xml| {
        xml.nest("Credentials", |xml| {
            xml.leaf("AccessKeyId", issued.access_key);
            xml.leaf("SecretAccessKey", issued.secret);
            xml.leaf("SessionToken", issued.token);
            xml.leaf("Expiration", iso8601(issued.expires));
        });
        xml.nest("AssumedRoleUser", |xml| {
            xml.leaf("AssumedRoleId", id);
            xml.leaf("Arn", arn);
        });
    }))
}

/// The ARN in identities and in denials.
pub(crate) fn arn_of(state: &State, caller: &Caller) -> String {
    let (partition, account) = (&state.account.partition, &state.account.id);
    match caller {
        Caller::Role { role, session } => {
            format!("arn:{partition}:sts::{account}:assumed-role/{role}/{session}")
        }
        Caller::User(key) => format!("arn:{partition}:iam::{account}:user/{key}"),
    }
}

type Content = Box<dyn FnOnce(&mut Xml)>;

const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";

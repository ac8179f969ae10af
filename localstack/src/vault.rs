//! The one call each of Systems Manager's Parameter Store and of Secrets Manager that reads a secret (their API References,
//! `GetParameter` and `GetSecretValue`), in JSON 1.1.

use serde_json::{Value, json};

use crate::{
    credentials::Stranger,
    fault::Service,
    http::{Answer, Call, Refusal},
    policy::Wish,
    sts,
    world::{State, World},
};

/// Which of the two a request is for, and its action.
pub(crate) fn target(call: &Call) -> Option<(Service, &str)> {
    let (service, action) = call.header("x-amz-target")?.split_once('.')?;
    match service {
        "AmazonSSM" => Some((Service::Ssm, action)),
        "secretsmanager" => Some((Service::SecretsManager, action)),
        _ => None,
    }
}

/// Answers one request.
pub(crate) fn answer(world: &World, call: &Call) -> Answer {
    let state = &mut *world.state();
    let answered = match target(call) {
        Some((Service::Ssm, "GetParameter")) => parameter(state, call),
        Some((Service::SecretsManager, "GetSecretValue")) => secret(state, call),
        _ => Err(Error::new("UnknownOperationException", "")),
    };
    match answered {
        Ok(body) => document(200, &body),
        Err(error) => error.answer(),
    }
}

/// The answer in place of the real one.
pub(crate) fn refuse(refusal: Refusal) -> Answer {
    match refusal {
        Refusal::Throttled => Error::new("ThrottlingException", "Rate exceeded").answer(),
        Refusal::Failed(status) => {
            Error { status, ..Error::new("InternalServerError", "An internal error has occurred.") }
                .answer()
        }
    }
}

fn parameter(state: &mut State, call: &Call) -> Result<Value, Error> {
    let request: Value = serde_json::from_slice(&call.body).unwrap_or_default();
    let name = text(&request, "Name")?;
    let plain = name.rsplit_once(":parameter/").map_or(name, |(_, name)| name);
    let plain = plain.trim_start_matches('/');
    let arn = arn(state, "ssm", &format!("parameter/{plain}"));
    state.permits(call, "ssm", "ssm:GetParameter", &arn)?;
    let value = state.vault.get(&(Service::Ssm, plain.to_owned()));
    let value = value.ok_or_else(|| Error::new("ParameterNotFound", ""))?;
    let is_decrypted = request.get("WithDecryption").and_then(Value::as_bool) == Some(true);
    let value = if is_decrypted { value } else { "AQICAHh+encrypted+" };
    Ok(json!({"Parameter": {
        "ARN": arn, "DataType": "text", "LastModifiedDate": 1.7e9, "Name": name, "Type": "SecureString",
        "Value": value, "Version": 1
    }}))
}

fn secret(state: &mut State, call: &Call) -> Result<Value, Error> {
    let request: Value = serde_json::from_slice(&call.body).unwrap_or_default();
    let id = text(&request, "SecretId")?;
    let name = id.rsplit_once(":secret:").map_or(id, |(_, rest)| {
        rest.rsplit_once('-').filter(|(_, end)| end.len() == 6).map_or(rest, |(name, _)| name)
    });
    let arn = arn(state, "secretsmanager", &format!("secret:{name}-AbCdEf"));
    state.permits(call, "secretsmanager", "secretsmanager:GetSecretValue", &arn)?;
    let found = state.vault.get(&(Service::SecretsManager, name.to_owned()));
    let text = found.ok_or_else(|| {
        let message = "Secrets Manager can't find the specified secret.";
        Error::new("ResourceNotFoundException", message)
    })?;
    Ok(json!({
        "ARN": arn, "CreatedDate": 1.7e9, "Name": name, "SecretString": text,
        "VersionId": "00000000-0000-4000-8000-000000000001", "VersionStages": ["AWSCURRENT"]
    }))
}

fn text<'a>(request: &'a Value, parameter: &str) -> Result<&'a str, Error> {
    let value = request.get(parameter).and_then(Value::as_str);
    value.ok_or_else(|| Error::validation(parameter))
}

fn arn(state: &State, service: &str, resource: &str) -> String {
    let account = &state.account;
    format!("arn:{}:{service}:{}:{}:{resource}", account.partition, account.region, account.id)
}

impl State {
    fn permits(
        &mut self,
        call: &Call,
        service: &str,
        action: &str,
        resource: &str,
    ) -> Result<(), Error> {
        let caller = self.credentials.caller(&call.headers, service);
        let caller = caller.map_err(|stranger| match stranger {
            Stranger::Expired => Error::new(
                "ExpiredTokenException",
                "The security token included in the request is expired",
            ),
            _ => Error::new(
                "UnrecognizedClientException",
                "The security token included in the request is invalid.",
            ),
        })?;
        let wish =
            Wish { action: action.to_owned(), resource: resource.to_owned(), ..Wish::default() };
        if self.denies(&wish) {
            let message = format!(
                "User: {} is not authorized to perform: {action} on resource: {resource} because no identity-based policy \
                 allows the {action} action",
                sts::arn_of(self, &caller)
            );
            return Err(Error::new("AccessDeniedException", message));
        }
        Ok(())
    }
}

struct Error {
    status: u16,
    code: &'static str,
    message: String,
}

impl Error {
    fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { status: 400, code, message: message.into() }
    }

    fn validation(parameter: &str) -> Self {
        let message = format!(
            "1 validation error detected: Value null at '{parameter}' failed to satisfy constraint: Member must not be null"
        );
        Self::new("ValidationException", message)
    }

    fn answer(&self) -> Answer {
        document(self.status, &json!({"__type": self.code, "message": self.message}))
    }
}

fn document(status: u16, body: &Value) -> Answer {
    Answer::new(status, "application/x-amz-json-1.1", body.to_string())
}

//! Keys in a parameter of Systems Manager, of type `SecureString` (Systems Manager User Guide, "AWS Systems Manager Parameter Store").

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_ssm::{
    Client,
    config::Builder,
    error::{ProvideErrorMetadata as _, SdkError},
    operation::get_parameter::GetParameterError,
};
use zeroize::Zeroizing;

use super::Last;
use crate::ports::{KeySource, error::KeyError, said};

/// A parameter, read once and kept in memory.
#[derive(Debug)]
pub(super) struct Parameter {
    name: String,
    client: Client,
    last: Last,
}

impl Parameter {
    pub(super) fn new(name: &str, aws: &SdkConfig, endpoint: Option<&str>) -> Self {
        let mut config = Builder::from(aws);
        config.set_endpoint_url(endpoint.map(str::to_owned));
        let client = Client::from_conf(config.build());
        Self { name: name.to_owned(), client, last: Last::default() }
    }

    async fn get(&self) -> Result<Zeroizing<String>, KeyError> {
        let call = self.client.get_parameter().name(&self.name).with_decryption(true);
        let answer = call.send().await.map_err(|error| self.failed(&error))?;
        let value = answer.parameter.and_then(|parameter| parameter.value);
        value.map(Zeroizing::new).ok_or_else(|| KeyError::Missing { place: self.place() })
    }

    fn failed(&self, error: &SdkError<GetParameterError>) -> KeyError {
        let (action, place, source) =
            (ACTION, self.place(), said(error.code(), error.message(), error));
        match error.as_service_error().and_then(|service| service.code()).unwrap_or_default() {
            "ParameterNotFound" | "ParameterVersionNotFound" => KeyError::Missing { place },
            "AccessDeniedException" => KeyError::NotAuthorized { place, action, source },
            "ThrottlingException" => KeyError::Throttled { action, source },
            _ => KeyError::Failed { action, source },
        }
    }
}

#[async_trait]
impl KeySource for Parameter {
    async fn read(&self) -> Result<Zeroizing<String>, KeyError> {
        self.last.or(self.get()).await
    }

    async fn read_anew(&self) -> Result<Zeroizing<String>, KeyError> {
        self.last.replace(self.get()).await
    }

    fn place(&self) -> String {
        format!("parameter {}", self.name)
    }
}

const ACTION: &str = "ssm:GetParameter";

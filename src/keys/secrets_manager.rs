//! Keys in a secret of AWS Secrets Manager (AWS Secrets Manager User Guide), as its text.

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_secretsmanager::{
    Client,
    config::Builder,
    error::{ProvideErrorMetadata as _, SdkError},
    operation::get_secret_value::GetSecretValueError,
};
use zeroize::Zeroizing;

use super::Last;
use crate::ports::{KeySource, error::KeyError, said};

/// A secret, read once and kept in memory.
#[derive(Debug)]
pub(super) struct Secret {
    id: String,
    client: Client,
    last: Last,
}

impl Secret {
    pub(super) fn new(id: &str, aws: &SdkConfig, endpoint: Option<&str>) -> Self {
        let mut config = Builder::from(aws);
        config.set_endpoint_url(endpoint.map(str::to_owned));
        let client = Client::from_conf(config.build());
        Self { id: id.to_owned(), client, last: Last::default() }
    }

    async fn get(&self) -> Result<Zeroizing<String>, KeyError> {
        let call = self.client.get_secret_value().secret_id(&self.id);
        let answer = call.send().await.map_err(|error| self.failed(&error))?;
        let not_text = || KeyError::NoKey {
            place: self.place(),
            source: "it is binary; keep the key as the secret's text".into(),
        };
        answer.secret_string.map(Zeroizing::new).ok_or_else(not_text)
    }

    fn failed(&self, error: &SdkError<GetSecretValueError>) -> KeyError {
        let (action, place, source) =
            (ACTION, self.place(), said(error.code(), error.message(), error));
        match error.as_service_error().and_then(|service| service.code()).unwrap_or_default() {
            "ResourceNotFoundException" => KeyError::Missing { place },
            "AccessDeniedException" => KeyError::NotAuthorized { place, action, source },
            "ThrottlingException" => KeyError::Throttled { action, source },
            _ => KeyError::Failed { action, source },
        }
    }
}

#[async_trait]
impl KeySource for Secret {
    async fn read(&self) -> Result<Zeroizing<String>, KeyError> {
        self.last.or(self.get()).await
    }

    async fn read_anew(&self) -> Result<Zeroizing<String>, KeyError> {
        self.last.replace(self.get()).await
    }

    fn place(&self) -> String {
        format!("secret {}", self.id)
    }
}

const ACTION: &str = "secretsmanager:GetSecretValue";

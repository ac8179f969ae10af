//! Credentials: the environment's if there are any (tests, containers), else those of the instance's role (EC2 User Guide,
//! "Retrieve security credentials from instance metadata").
//!
//! The SDK's own metadata client is not used: it keeps a token that the service refuses, does not try refused connections
//! again, and sends the token request through a proxy if one is set. Here the credentials are also read beside the rest of
//! the metadata, so that nobody waits for them when AWS is called.

use std::{
    sync::{Arc, Mutex as StdMutex, PoisonError},
    time::{Duration, SystemTime},
};

use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_credential_types::{
    Credentials,
    provider::{self, ProvideCredentials, error::CredentialsError, future},
};
use aws_smithy_types::{DateTime, date_time::Format};
use futures_util::future::{OptionFuture, join};
use serde::Deserialize;
use tokio::sync::Mutex;

use super::imds::{Imds, Item};
use crate::ports::error::{FactError, NO_PROFILE};

/// This process's credentials, read once and kept until shortly before they end.
#[derive(Debug)]
pub struct InstanceCredentials {
    imds: Arc<Imds>,
    /// The role that the instance has, as far as it is known: a guess that saves a round trip.
    role: StdMutex<Option<String>>,
    kept: Mutex<Option<Credentials>>,
}

impl InstanceCredentials {
    /// Credentials of the role that `imds` names; `role` is the one that it named last.
    #[must_use]
    pub fn new(imds: Arc<Imds>, role: Option<String>) -> Self {
        Self { imds, role: StdMutex::new(role), kept: Mutex::default() }
    }

    /// The instance's role, worth remembering for the next process.
    #[must_use]
    pub fn role(&self) -> Option<String> {
        self.role.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Begins to read them, if nobody has; whoever needs them before they are there waits for this reading.
    pub fn prefetch(self: &Arc<Self>) {
        let credentials = self.clone();
        tokio::spawn(async move {
            // What fails now is read again, and reported, by whoever needs it.
            if let Ok(mut kept) = credentials.kept.try_lock() {
                *kept = credentials.read(kept.take()).await.ok();
            }
        });
    }

    async fn read(&self, kept: Option<Credentials>) -> provider::Result {
        let last = |kept: &Credentials, until| kept.expiry().is_none_or(|ends| ends > until);
        let now = SystemTime::now();
        if let Some(kept) = kept.clone().filter(|kept| last(kept, now + RENEW_BEFORE)) {
            return Ok(kept);
        }
        let read = match EnvironmentVariableCredentialsProvider::new().provide_credentials().await {
            Err(CredentialsError::CredentialsNotLoaded(_)) => self.of_role().await,
            answer => answer,
        };
        // What has not ended is better than nothing.
        read.or_else(|error| kept.filter(|kept| last(kept, now)).ok_or(error))
    }

    async fn of_role(&self) -> provider::Result {
        let unknown = |error: FactError| CredentialsError::provider_error(error);
        let guess = self.role();
        let guessed = guess.as_ref().map(|role| self.document(role));
        let (roles, guessed) = join(self.imds.get(ROLES), OptionFuture::from(guessed)).await;
        let role = roles.map_err(unknown)?.lines().into_iter().next();
        let role = role.ok_or_else(|| CredentialsError::not_loaded(NO_PROFILE))?;
        let document = match guessed {
            Some(document) if guess.as_ref() == Some(&role) => document,
            _ => self.document(&role).await,
        };
        *self.role.lock().unwrap_or_else(PoisonError::into_inner) = Some(role.clone());
        match document.map_err(unknown)? {
            Item::Present(document) => credentials(&role, &document),
            Item::Absent => {
                Err(CredentialsError::not_loaded(format!("role {role} has no credentials yet")))
            }
        }
    }

    async fn document(&self, role: &str) -> Result<Item, FactError> {
        self.imds.get(&format!("{ROLES}{role}")).await
    }
}

impl ProvideCredentials for InstanceCredentials {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async move {
            let mut kept = self.kept.lock().await;
            let read = self.read(kept.take()).await;
            *kept = read.as_ref().ok().cloned();
            read
        })
    }
}

fn credentials(role: &str, document: &str) -> provider::Result {
    let unusable =
        |_| CredentialsError::unhandled(format!("the credentials of role {role} cannot be read"));
    let found: RoleCredentials = serde_json::from_str(document).map_err(unusable)?;
    if found.code != "Success" {
        return Err(CredentialsError::not_loaded(format!(
            "the credentials of role {role}: {}",
            found.code
        )));
    }
    let ends = DateTime::from_str(&found.expiration, Format::DateTime).ok();
    let ends = ends.and_then(|time| SystemTime::try_from(time).ok());
    Ok(Credentials::new(
        found.access_key_id,
        found.secret_access_key,
        Some(found.token),
        ends,
        "instance role",
    ))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RoleCredentials {
    code: String,
    access_key_id: String,
    secret_access_key: String,
    token: String,
    expiration: String,
}

const ROLES: &str = "meta-data/iam/security-credentials/";
/// New credentials are there at least this long before the old ones end (EC2 User Guide).
const RENEW_BEFORE: Duration = Duration::from_mins(5);

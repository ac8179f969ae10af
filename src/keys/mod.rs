//! Where TSIG keys are kept. To add a place: write `keys/NAME.rs` with a type that implements
//! [`KeySource`], add its variant to `config::KeyPlace`, its key to `config/table.rs`, and an arm to
//! [`open`].

pub mod file;
mod parameter_store;
mod secrets_manager;

use std::sync::Arc;

use aws_config::SdkConfig;
use zeroize::Zeroizing;

use self::{file::KeyFile, parameter_store::Parameter, secrets_manager::Secret};
use crate::{
    config::KeyPlace,
    ports::{KeySource, error::KeyError},
};

/// Opens the place; nothing is read yet.
#[must_use]
pub fn open(place: &KeyPlace, aws: &SdkConfig, endpoint: Option<&str>) -> Arc<dyn KeySource> {
    match place {
        KeyPlace::File(path) => Arc::new(KeyFile::at(path)),
        KeyPlace::Credential(name) => Arc::new(KeyFile::credential(name)),
        KeyPlace::Parameter(name) => Arc::new(Parameter::new(name, aws, endpoint)),
        KeyPlace::Secret(id) => Arc::new(Secret::new(id, aws, endpoint)),
    }
}

/// What was read last: calls cost money, and there are few of them for a whole account.
#[derive(Default)]
struct Last(tokio::sync::Mutex<Option<Zeroizing<String>>>);

impl std::fmt::Debug for Last {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Last([secret])")
    }
}

impl Last {
    async fn or(
        &self,
        read: impl Future<Output = Result<Zeroizing<String>, KeyError>>,
    ) -> Result<Zeroizing<String>, KeyError> {
        let mut last = self.0.lock().await;
        if let Some(text) = &*last {
            return Ok(text.clone());
        }
        let text = read.await?;
        *last = Some(text.clone());
        Ok(text)
    }

    async fn replace(
        &self,
        read: impl Future<Output = Result<Zeroizing<String>, KeyError>>,
    ) -> Result<Zeroizing<String>, KeyError> {
        let text = read.await?;
        *self.0.lock().await = Some(text.clone());
        Ok(text)
    }
}

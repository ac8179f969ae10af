//! Keys in a file of their own: one that the configuration names, or a credential that systemd hands to the unit
//! (systemd.exec(5), `LoadCredential=`).

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use async_trait::async_trait;
use zeroize::Zeroizing;

use crate::{
    ports::{KeySource, error::KeyError},
    sys::fs::read_regular,
};

/// A file of keys. It is read each time: a file costs nothing.
#[derive(Clone, Debug)]
pub struct KeyFile {
    path: PathBuf,
    place: String,
    /// What whoever has it can do.
    power: &'static str,
}

impl KeyFile {
    /// The file at `path`.
    #[must_use]
    pub fn at(path: &Path) -> Self {
        Self {
            path: path.to_path_buf(),
            place: format!("key file {}", path.display()),
            power: OF_A_KEY,
        }
    }

    /// The credential `name` of this unit; outside of any unit that of the agent's, which root can read.
    #[must_use]
    pub fn credential(name: &str) -> Self {
        let directory = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        let directory = directory.unwrap_or_else(|| PathBuf::from(OF_THE_AGENT));
        let place = format!("systemd credential {name} in {}", directory.display());
        Self { path: directory.join(name), place, power: OF_A_KEY }
    }

    /// The Kerberos keytab at `path`.
    #[must_use]
    pub fn keytab(path: &Path) -> Self {
        Self {
            path: path.to_path_buf(),
            place: format!("keytab {}", path.display()),
            power: OF_A_KEYTAB,
        }
    }

    /// Reads it.
    ///
    /// # Errors
    /// It is missing or unreadable.
    pub fn text(&self) -> Result<Zeroizing<String>, KeyError> {
        let place = || self.place.clone();
        let content = read_regular(&self.path, LIMIT)
            .map_err(|source| KeyError::Unreadable { place: place(), source: source.into() })?;
        let content = content.ok_or_else(|| KeyError::Missing { place: place() })?;
        let content = Zeroizing::new(content);
        Ok(Zeroizing::new(String::from_utf8_lossy(&content).into_owned()))
    }

    /// What is unwise about a file of keys that can be used: who else can read or change it.
    #[must_use]
    pub fn exposure(&self) -> Option<String> {
        let mode = fs::metadata(&self.path).ok()?.mode();
        let others = match (mode & 0o004, mode & 0o022) {
            (0, 0) => return None,
            (0, _) => "changed by others than its owner",
            _ => "read by everybody",
        };
        Some(format!(
            "the {} can be {others}; `chmod 600` it, since whoever has it {}",
            self.place, self.power
        ))
    }
}

#[async_trait]
impl KeySource for KeyFile {
    async fn read(&self) -> Result<Zeroizing<String>, KeyError> {
        self.text()
    }

    async fn read_anew(&self) -> Result<Zeroizing<String>, KeyError> {
        self.text()
    }

    fn place(&self) -> String {
        self.place.clone()
    }
}

/// Where systemd keeps what it hands to the agent (systemd.exec(5), "Credentials").
const OF_THE_AGENT: &str = "/run/credentials/tagalong.service";
const LIMIT: u64 = 64 << 10;
const OF_A_KEY: &str = "can publish as any host";
const OF_A_KEYTAB: &str = "is this host to everybody";

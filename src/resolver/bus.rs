//! The system's message bus: one connection, made when it is first needed, and no call that waits for longer than a second.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};
use tokio::{sync::Mutex, time::timeout};
use zbus::{
    Connection, Error, OwnedObjectPath, OwnedVariant, Signature, Type, as_variant,
    fdo::Error as FdoError,
};

use crate::{
    core::detect::{Owner, Presence},
    ports::error::ResolverError,
    sys::fs::inside,
};

/// The bus of a host.
#[derive(Debug)]
pub struct Bus {
    socket: PathBuf,
    connection: Mutex<Option<Connection>>,
}

/// An object and the interface of it that is spoken to.
#[derive(Clone, Debug)]
pub(super) struct Object {
    pub(super) owner: Owner,
    pub(super) service: &'static str,
    pub(super) path: String,
    pub(super) interface: &'static str,
}

impl Bus {
    /// The bus of the host whose files are at `root`: an image has none.
    #[must_use]
    pub fn of(root: &Path) -> Self {
        Self { socket: inside(root, Path::new(SOCKET)), connection: Mutex::default() }
    }

    /// What the bus knows of `service`, which systemd starts as `unit`.
    pub(super) async fn presence(&self, service: &'static str, unit: &'static str) -> Presence {
        if !self.socket.exists() {
            return Presence::Unknown;
        }
        let itself = Object {
            owner: Owner::ResolvConf,
            service: "org.freedesktop.DBus",
            path: "/org/freedesktop/DBus".to_owned(),
            interface: "org.freedesktop.DBus",
        };
        match self.try_call(&itself, "NameHasOwner", &(service,)).await {
            Ok(true) => return Presence::Runs(self.version(unit).await),
            Ok(false) => {}
            Err(_) => return Presence::Unknown,
        }
        match self.try_call::<_, Vec<String>>(&itself, "ListActivatableNames", &()).await {
            Ok(names) if names.iter().any(|name| name == service) => self.startable(unit).await,
            Ok(_) => Presence::Absent,
            Err(_) => Presence::Unknown,
        }
    }

    /// The version of what belongs to systemd; others say theirs themselves.
    async fn version(&self, unit: &'static str) -> Option<String> {
        if !unit.starts_with("systemd-") {
            return None;
        }
        let said = self.property::<String>(&systemd(), "read its version", "Version").await.ok()?;
        let version = said.split(|c: char| !c.is_ascii_digit() && c != '.').next()?;
        (!version.is_empty()).then(|| version.to_owned())
    }

    /// The bus names whatever it has a file for, even if systemd is not to start it.
    async fn startable(&self, unit: &'static str) -> Presence {
        match self.try_call::<_, String>(&systemd(), "GetUnitFileState", &(unit,)).await {
            Ok(state) if !state.starts_with("enabled") => Presence::Absent,
            Ok(_) | Err(_) => Presence::Startable,
        }
    }

    /// Whether there is a bus to ask `owner` at all.
    pub(super) async fn reach(&self, owner: Owner) -> Result<(), ResolverError> {
        let connected = timeout(LIMIT, self.connection()).await.unwrap_or_else(|_| Err(late()));
        connected.map(drop).map_err(|error| failed(owner, "do anything", error))
    }

    /// Calls a method of `object` to do what `operation` says.
    pub(super) async fn call<B, R>(
        &self,
        object: &Object,
        operation: &'static str,
        method: &'static str,
        body: &B,
    ) -> Result<R, ResolverError>
    where
        B: Serialize + Type + Sync,
        R: DeserializeOwned + Type,
    {
        let answer = self.try_call(object, method, body).await;
        answer.map_err(|error| failed(object.owner, operation, error))
    }

    /// A property of `object`'s interface.
    pub(super) async fn property<T: DeserializeOwned + Type + 'static>(
        &self,
        object: &Object,
        operation: &'static str,
        name: &'static str,
    ) -> Result<T, ResolverError> {
        let properties = Object { interface: PROPERTIES, ..object.clone() };
        let Held(value) =
            self.call(&properties, operation, "Get", &(object.interface, name)).await?;
        Ok(value)
    }

    /// Sets a property of `object`'s interface.
    pub(super) async fn set_property(
        &self,
        object: &Object,
        operation: &'static str,
        name: &'static str,
        value: &OwnedVariant,
    ) -> Result<(), ResolverError> {
        let properties = Object { interface: PROPERTIES, ..object.clone() };
        self.call(&properties, operation, "Set", &(object.interface, name, value)).await
    }

    /// Has systemd let `unit` read its files anew, or start anew where that does not do.
    pub(super) async fn start_anew(
        &self,
        owner: Owner,
        unit: &'static str,
    ) -> Result<(), ResolverError> {
        let object = Object { owner, ..systemd() };
        let operation = "have it read its files anew";
        let body = (unit, "replace");
        self.call(&object, operation, "ReloadOrRestartUnit", &body)
            .await
            .map(|_: OwnedObjectPath| ())
    }

    async fn try_call<B, R>(
        &self,
        object: &Object,
        method: &'static str,
        body: &B,
    ) -> Result<R, Error>
    where
        B: Serialize + Type + Sync,
        R: DeserializeOwned + Type,
    {
        let answer = timeout(LIMIT, async {
            let connection = self.connection().await?;
            let Object { service, path, interface, .. } = object;
            connection
                .call_method(Some(*service), path.as_str(), Some(*interface), method, body)
                .await
        });
        let answer = answer.await.unwrap_or_else(|_| Err(late()));
        if matches!(answer, Err(Error::InputOutput(_))) {
            // A bus that was started anew is another one.
            *self.connection.lock().await = None;
        }
        answer?.body().deserialize()
    }

    async fn connection(&self) -> Result<Connection, Error> {
        let mut kept = self.connection.lock().await;
        if let Some(connection) = &*kept {
            return Ok(connection.clone());
        }
        let address = format!("unix:path={}", self.socket.display());
        let connection = zbus::connection::Builder::address(address.as_str()).build().await?;
        Ok(kept.insert(connection).clone())
    }
}

/// systemd(1) itself.
fn systemd() -> Object {
    Object {
        owner: Owner::ResolvConf,
        service: "org.freedesktop.systemd1",
        path: "/org/freedesktop/systemd1".to_owned(),
        interface: "org.freedesktop.systemd1.Manager",
    }
}

fn late() -> Error {
    io::Error::new(io::ErrorKind::TimedOut, "no answer in time").into()
}

fn failed(owner: Owner, operation: &'static str, error: Error) -> ResolverError {
    // The bus itself says so of an owner that is not there, or does not answer.
    let is_absent = match &error {
        Error::MethodError(name, ..) => ABSENT.contains(&name.as_str()),
        Error::FDO(error) => matches!(
            **error,
            FdoError::ServiceUnknown(_) | FdoError::NameHasNoOwner(_) | FdoError::NoReply(_)
        ),
        _ => true,
    };
    match error {
        Error::MethodError(..) | Error::FDO(_) if !is_absent => {
            ResolverError::Refused { owner, operation, source: Box::new(error) }
        }
        _ => ResolverError::Unreachable { owner, operation, source: Box::new(error) },
    }
}

/// What a variant holds.
struct Held<T>(T);

impl<'de, T: DeserializeOwned + Type + 'static> Deserialize<'de> for Held<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        as_variant::Deserialize::deserialize(deserializer).map(|held| Self(held.0))
    }
}

impl<T> Type for Held<T> {
    const SIGNATURE: &'static Signature = &Signature::Variant;
}

/// Whether the owner refused with an error of this name.
pub(super) fn is_named(error: &ResolverError, name: &str) -> bool {
    let ResolverError::Refused { source, .. } = error else { return false };
    matches!(source.downcast_ref(), Some(Error::MethodError(known, ..)) if known.as_str() == name)
}

const ABSENT: [&str; 5] = [
    "org.freedesktop.DBus.Error.ServiceUnknown",
    "org.freedesktop.DBus.Error.NameHasNoOwner",
    "org.freedesktop.DBus.Error.NoReply",
    "org.freedesktop.systemd1.NoSuchUnit",
    "org.freedesktop.systemd1.UnitMasked",
];
/// How long an answer is waited for.
const LIMIT: Duration = Duration::from_secs(1);
const SOCKET: &str = "/run/dbus/system_bus_socket";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_bus_that_says_nothing_is_waited_for_for_one_second() {
        let root = tempfile::tempdir().unwrap();
        let socket = root.path().join("run/dbus/system_bus_socket");
        std::fs::create_dir_all(socket.parent().unwrap()).unwrap();
        let _mute = UnixListener::bind(&socket).unwrap();
        let bus = Bus::of(root.path());
        let begun = Instant::now();
        let error = bus.property::<String>(&systemd(), "be tried", "Version").await.unwrap_err();
        assert_eq!(begun.elapsed().as_secs(), 1, "{error}");
        assert!(matches!(error, ResolverError::Unreachable { .. }), "{error}");
    }
}

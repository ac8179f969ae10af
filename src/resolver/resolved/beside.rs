//! Who is asked beside our servers: other links', and those of no link at all, which resolved.conf(5) names. No call of D-Bus takes these away; a drop-in does, until it is
//! removed or the host is booted anew, and resolved reads it when it is started.

use std::{fs, io::ErrorKind, path::Path, time::Duration};

use tokio::time::{sleep, timeout};

use super::{EVERYTHING, RESOLVED, Resolved, Settings, address, manager, words};
use crate::{
    core::detect::Owner,
    ports::error::ResolverError,
    sys::fs::{inside, replace},
};

impl Resolved {
    /// They, if they are asked for what a link with the domains `ours` is asked for, by resolved or by whoever reads its own
    /// resolv.conf. What else they are for is asked of them alone: that is an administrator's word.
    pub(super) async fn system_wide(
        &self,
        ours: &[(String, bool)],
    ) -> Result<Option<Settings>, ResolverError> {
        let operation = "read the system-wide servers";
        let resolved = manager(RESOLVED);
        let servers: Vec<(i32, i32, Vec<u8>)> =
            self.bus.property(&resolved, operation, "DNS").await?;
        let servers = servers.into_iter().filter(|(link, ..)| *link == NO_LINK);
        let servers = servers.filter_map(|(.., octets)| address(&octets)).collect::<Vec<_>>();
        if servers.is_empty() {
            return Ok(None);
        }
        let mode: String = self.bus.property(&resolved, operation, "ResolvConfMode").await?;
        if mode == "foreign" {
            // They are those of a resolv.conf that is not its own: that file's affair.
            return Ok(None);
        }
        let domains: Vec<(i32, String, bool)> =
            self.bus.property(&resolved, operation, "Domains").await?;
        let domains = domains.into_iter().filter(|(link, ..)| *link == NO_LINK);
        let domains =
            domains.map(|(_, domain, only_routes)| (domain, only_routes)).collect::<Vec<_>>();
        let is_for_everything = domains.iter().any(|(domain, _)| domain == ".");
        // In its own resolv.conf they stand first, whatever a link is for.
        let is_read_first = domains.is_empty() && mode == "uplink";
        let settings = Settings { link: NO_LINK, servers, domains, ..Settings::default() };
        let is_rival = is_for_everything || is_read_first || settings.rivals(ours);
        Ok(is_rival.then_some(settings))
    }

    /// Domains of other links whose servers are asked beside ours, each with the number of the link.
    pub(in crate::resolver) async fn beside(&self) -> Result<Vec<(i32, String)>, ResolverError> {
        let link = self.link().await?;
        let own = self.settings(link).await?;
        let mut beside = Vec::new();
        for other in self.others(link).await? {
            let domains = words(&other.domains).into_iter();
            let asked = domains.filter(|domain| *domain == EVERYTHING || own.has(domain));
            beside.extend(asked.map(|domain| (other.link, domain)));
        }
        Ok(beside)
    }

    /// Takes them out of force.
    pub(super) async fn silence(&self, ours: &[(String, bool)]) -> Result<(), ResolverError> {
        let path = inside(&self.root, Path::new(DROP_IN));
        let failed = |operation, source| {
            let path = path.display().to_string();
            ResolverError::File { operation, path, source }
        };
        if fs::read(&path).is_ok_and(|content| content == CONTENT.as_bytes()) {
            // It was started anew for that, and once more would change nothing.
            return Err(ResolverError::Ignored { owner: Owner::SystemdResolved });
        }
        let directory = path.parent().unwrap_or(&self.root);
        fs::create_dir_all(directory).map_err(|error| failed("make the directory of", error))?;
        replace(&self.root, &path, CONTENT.as_bytes(), 0o644)
            .map_err(|error| failed("write", error))?;
        if let Err(error) = self.start_anew().await {
            // Or the next try would take it for read.
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        // It is started while we go on.
        let silent = async {
            while !matches!(self.system_wide(ours).await, Ok(None)) {
                sleep(PAUSE).await;
            }
        };
        let _ = timeout(PATIENCE, silent).await;
        Ok(())
    }

    /// Lets them be in force again; gives whether they were not.
    pub(super) async fn let_speak(&self) -> Result<bool, ResolverError> {
        let path = inside(&self.root, Path::new(DROP_IN));
        match fs::remove_file(&path) {
            Ok(()) => {
                self.start_anew().await?;
                let started = async {
                    while self.others(NO_LINK).await.is_err() {
                        sleep(PAUSE).await;
                    }
                };
                let _ = timeout(PATIENCE, started).await;
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(source) => {
                let path = path.display().to_string();
                Err(ResolverError::File { operation: "remove", path, source })
            }
        }
    }

    async fn start_anew(&self) -> Result<(), ResolverError> {
        let unit = "systemd-resolved.service";
        self.bus.start_anew(Owner::SystemdResolved, unit).await
    }
}

/// The number that stands for no link.
const NO_LINK: i32 = 0;
const DROP_IN: &str = "/run/systemd/resolved.conf.d/zz-tagalong.conf";
const CONTENT: &str = "# By tagalong: its servers are those of the link with the default route, and these are not to be asked beside them.\n\
                       # `tagalong restore` takes this away.\n[Resolve]\nDNS=\nDomains=\n";
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(50);

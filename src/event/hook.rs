//! What the hooks of DHCP clients report: one file for each interface and address family in the run directory.
//!
//! A hook writes the file with its shell's own `echo` and returns: nothing is forked, nobody is waited for, and a report
//! outlives an agent that is stopped, dead or not yet started. Only the newest report of an interface matters, so that the
//! files never become many; a `FAIL` alone, which names no address, has a file of its own beside the report of the address
//! that it ends. They say when to look; what is true comes from the metadata service.

use std::{
    fs, io,
    net::IpAddr,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    time::SystemTime,
};

use async_trait::async_trait;
use tokio::sync::mpsc::Sender;

use crate::{
    core::{
        event::Event,
        lease::{Lease, Reason},
    },
    ports::EventSource,
    sys::{
        fs::{read_regular, replace},
        inotify::{Inotify, What},
    },
};

/// The directory that the hooks report in.
#[derive(Clone, Debug)]
pub struct Hooks {
    directory: PathBuf,
}

impl Hooks {
    /// The reports in a run directory.
    #[must_use]
    pub fn in_run_dir(run_dir: &Path) -> Self {
        Self { directory: run_dir.join("hook") }
    }

    /// Makes the directory: without it hooks do not report.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn make(&self) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o755).create(&self.directory)
    }

    /// The newest report of each interface and family. Files of others than root and ourselves say nothing.
    #[must_use]
    pub fn leases(&self) -> Vec<Lease> {
        let entries = fs::read_dir(&self.directory).into_iter().flatten().flatten();
        let mut names = entries.map(|entry| entry.file_name()).collect::<Vec<_>>();
        names.sort();
        let leases = names.iter().filter_map(|name| self.read(Path::new(name)));
        // Both files of one that has failed say the same.
        leases.fold(Vec::new(), |mut leases, lease| {
            if !leases.contains(&lease) {
                leases.push(lease);
            }
            leases
        })
    }

    /// Reports as a hook does; for those that are programs, not parts of a shell script.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn report(&self, lease: &Lease) -> io::Result<()> {
        let is_ipv6 = [lease.new_address, lease.old_address].iter().flatten().any(IpAddr::is_ipv6);
        let which = match lease.reason {
            Reason::Fail => FAIL,
            _ if is_ipv6 => "6",
            _ => IPV4,
        };
        let path = self.directory.join(format!("{}:{which}", lease.interface));
        replace(&self.directory, &path, lease.render().as_bytes(), 0o644).map(drop)
    }

    /// What a file says of its interface, after what the file beside it says: the newer of a `FAIL` and of what it ends.
    fn read(&self, name: &Path) -> Option<Lease> {
        // A report under another interface's name would speak for that one.
        let (interface, which) = name.to_str()?.rsplit_once(':')?;
        let beside = |which: &str| self.read_file(interface, which);
        match which {
            IPV4 | FAIL => match (beside(IPV4), beside(FAIL)) {
                (Some((before, at)), Some((failed, when))) if when > at => {
                    Some(failed.after(&before))
                }
                (None, Some((failed, _))) => Some(failed),
                (before, _) => before.map(|(lease, _)| lease),
            },
            _ => beside(which).map(|(lease, _)| lease),
        }
    }

    /// A report, and when it was left.
    fn read_file(&self, interface: &str, which: &str) -> Option<(Lease, SystemTime)> {
        let path = self.directory.join(format!("{interface}:{which}"));
        let file = fs::symlink_metadata(&path).ok()?;
        let is_trusted = file.uid() == 0 || file.uid() == rustix::process::geteuid().as_raw();
        let report = read_regular(&path, LIMIT).ok()?.filter(|_| is_trusted)?;
        let lease = Lease::parse(std::str::from_utf8(&report).ok()?)?;
        (interface == lease.interface).then_some((lease, file.modified().ok()?))
    }

    async fn watch(&self, events: &Sender<Event>) -> io::Result<()> {
        self.make()?;
        let inotify = Inotify::new()?;
        inotify.watch(&self.directory, What::CLOSE_WRITE | What::MOVED_TO | What::DELETE_SELF)?;
        loop {
            let changes = inotify.changes().await?;
            let mut names = changes.into_iter().map(|(_, name)| name).collect::<Vec<_>>();
            names.dedup();
            for name in names {
                // Without a name it is the directory itself that is gone.
                let name = name.ok_or(io::ErrorKind::NotFound)?;
                let Some(lease) = self.read(Path::new(&name)) else { continue };
                if events.send(Event::Lease(lease)).await.is_err() {
                    return Ok(());
                }
            }
        }
    }
}

#[async_trait]
impl EventSource for Hooks {
    fn subject(&self) -> String {
        self.directory.display().to_string()
    }

    fn missed(&self) -> Vec<Event> {
        self.leases().into_iter().map(Event::Lease).collect()
    }

    async fn run(&self, events: &Sender<Event>) -> io::Error {
        match self.watch(events).await {
            Ok(()) => io::ErrorKind::BrokenPipe.into(),
            Err(error) => error,
        }
    }
}

/// Which report a file is, behind its interface's name.
const IPV4: &str = "4";
const FAIL: &str = "fail";
/// A report has about 100 octets.
const LIMIT: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn hooks() -> (tempfile::TempDir, Hooks) {
        let run_dir = tempfile::tempdir().unwrap();
        let hooks = Hooks::in_run_dir(run_dir.path());
        hooks.make().unwrap();
        (run_dir, hooks)
    }

    fn lease(report: &str) -> Lease {
        Lease::parse(report).unwrap()
    }

    #[test]
    fn the_newest_report_of_each_interface_and_family_is_kept() {
        let (_run_dir, hooks) = hooks();
        let first = lease("reason=BOUND\ninterface=eth0\nnew=10.0.0.1\nold=\nend\n");
        let second = lease("reason=EXPIRE\ninterface=eth0\nnew=\nold=10.0.0.1\nend\n");
        let sixth = lease("reason=BOUND\ninterface=eth0\nnew=2001:db8::1\nold=\nend\n");
        for one in [&first, &second, &sixth] {
            hooks.report(one).unwrap();
        }
        assert_eq!(hooks.leases(), [second, sixth]);
    }

    #[test]
    fn a_failure_ends_what_was_reported_before_it_until_something_newer_is() {
        let (_run_dir, hooks) = hooks();
        let failed = lease("reason=FAIL\ninterface=eth0\nnew=\nold=\nend\n");
        let at = |name: &str, seconds: u64| {
            let file = fs::File::open(hooks.directory.join(name)).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds))
                .unwrap();
        };
        hooks.report(&failed).unwrap();
        assert_eq!(hooks.leases(), std::slice::from_ref(&failed));
        at("eth0:fail", 20);
        for report in [
            "reason=BOUND\ninterface=eth0\nnew=10.0.0.1\nold=\nend\n",
            "reason=EXPIRE\ninterface=eth0\nnew=\nold=10.0.0.1\nend\n",
        ] {
            hooks.report(&lease(report)).unwrap();
            at("eth0:4", 10);
            let [now] = &hooks.leases()[..] else { panic!("{:?}", hooks.leases()) };
            assert_eq!(
                (now.reason, now.held(), now.lost()),
                (Reason::Fail, None, "10.0.0.1".parse().ok())
            );
            at("eth0:4", 30);
            assert_eq!(hooks.leases(), [lease(report)]);
        }
    }

    #[test]
    fn what_is_no_report_says_nothing() {
        let (_run_dir, hooks) = hooks();
        let report = "reason=BOUND\ninterface=eth0\nnew=10.0.0.1\nold=\nend\n";
        fs::write(hooks.directory.join("eth1:4"), report).unwrap();
        fs::write(hooks.directory.join("eth0"), report).unwrap();
        fs::write(hooks.directory.join("eth0:4"), &report[..20]).unwrap();
        fs::write(hooks.directory.join("eth0:6"), [0xff; 10]).unwrap();
        fs::create_dir(hooks.directory.join("eth2:4")).unwrap();
        assert_eq!(hooks.leases(), []);
    }

    #[tokio::test]
    async fn a_report_wakes_the_agent() {
        let (_run_dir, hooks) = hooks();
        let (sender, mut events) = tokio::sync::mpsc::channel(4);
        let watcher = hooks.clone();
        tokio::spawn(async move { watcher.run(&sender).await });
        let reported = lease("reason=BOUND\ninterface=eth0\nnew=10.0.0.1\nold=\nend\n");
        // The watch begins at some moment of its own: report until one is seen.
        for _ in 0..500 {
            hooks.report(&reported).unwrap();
            let wait = tokio::time::timeout(std::time::Duration::from_millis(10), events.recv());
            if let Ok(event) = wait.await {
                assert_eq!(event, Some(Event::Lease(reported)));
                return;
            }
        }
        panic!("no report was seen");
    }
}

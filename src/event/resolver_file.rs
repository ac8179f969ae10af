//! resolv.conf was written, replaced or removed, or systemd-resolved's list of servers was: by another program, or by
//! ourselves, which whoever hears of it can tell.

use std::{
    ffi::OsStr,
    io,
    path::{Path, PathBuf},
};

use async_trait::async_trait;
use tokio::sync::mpsc::Sender;

use crate::{
    core::{event::Event, resolv_conf::RESOLV_CONF},
    ports::EventSource,
    sys::{
        fs::{follow, inside},
        inotify::{Inotify, What},
    },
};

/// The resolver's file of a host.
#[derive(Clone, Debug)]
pub struct ResolverFile {
    root: PathBuf,
    path: PathBuf,
}

impl ResolverFile {
    /// The file of the host whose files are at `root`.
    #[must_use]
    pub fn in_root(root: &Path) -> Self {
        Self { root: root.to_path_buf(), path: inside(root, Path::new(RESOLV_CONF)) }
    }

    async fn watch(&self, events: &Sender<Event>) -> io::Result<()> {
        let inotify = Inotify::new()?;
        loop {
            let watched = self.arm(&inotify)?;
            let changes = inotify.changes().await?;
            let is_ours = |(number, name): &(i32, Option<String>)| {
                watched.iter().any(|(watched, file)| {
                    number == watched
                        && (name.is_none() || name.as_deref().map(OsStr::new) == file.file_name())
                })
            };
            if changes.iter().any(is_ours) && events.send(Event::ResolverTouched).await.is_err() {
                return Ok(());
            }
        }
    }

    /// Everything anew each time, since all of it may be other files now.
    fn arm(&self, inotify: &Inotify) -> io::Result<Vec<(i32, PathBuf)>> {
        let mut watched = self.arm_one(inotify, &self.path)?;
        // Where systemd-resolved does not run there is no such directory.
        let resolved = inside(&self.root, Path::new(RESOLVED_CONF));
        watched.extend(self.arm_one(inotify, &resolved).unwrap_or_default());
        Ok(watched)
    }

    /// Watches a file's name, its target's if it is a link, and the file itself: a bind-mounted one changes without its directory.
    fn arm_one(&self, inotify: &Inotify, path: &Path) -> io::Result<Vec<(i32, PathBuf)>> {
        let mut watched = Vec::new();
        let directory = path.parent().unwrap_or(&self.root);
        watched.push((inotify.watch(directory, NAMES)?, path.to_path_buf()));
        let Ok(target) = follow(&self.root, path) else { return Ok(watched) };
        if target != path {
            // A link may lead to where nothing is yet.
            let number = target.parent().map(|directory| inotify.watch(directory, NAMES));
            watched.extend(number.and_then(Result::ok).map(|number| (number, target.clone())));
        }
        watched.extend(inotify.watch(&target, CONTENT).ok().map(|number| (number, target)));
        Ok(watched)
    }
}

#[async_trait]
impl EventSource for ResolverFile {
    fn subject(&self) -> String {
        self.path.display().to_string()
    }

    fn missed(&self) -> Vec<Event> {
        vec![Event::ResolverTouched]
    }

    async fn run(&self, events: &Sender<Event>) -> io::Error {
        match self.watch(events).await {
            Ok(()) => io::ErrorKind::BrokenPipe.into(),
            Err(error) => error,
        }
    }
}

/// systemd-resolved(8) writes its servers there whenever they change, whatever resolv.conf is.
const RESOLVED_CONF: &str = "/run/systemd/resolve/resolv.conf";
/// In a directory: files that come, go, or are written to their end.
const NAMES: What = What::CREATE
    .union(What::MOVED_TO)
    .union(What::MOVED_FROM)
    .union(What::DELETE)
    .union(What::CLOSE_WRITE)
    .union(What::ONLYDIR);
/// Of the file itself.
const CONTENT: What = What::CLOSE_WRITE.union(What::DELETE_SELF).union(What::MOVE_SELF);

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink, time::Duration};

    use super::*;

    /// Whether `change` to a host's files is noticed.
    async fn is_noticed(prepare: impl Fn(&Path), change: impl Fn(&Path)) -> bool {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("etc")).unwrap();
        prepare(root.path());
        let source = ResolverFile::in_root(root.path());
        let (sender, mut events) = tokio::sync::mpsc::channel(4);
        tokio::spawn(async move { source.run(&sender).await });
        // Everything is on this thread: once it had its turn it watches.
        tokio::task::yield_now().await;
        change(root.path());
        tokio::time::timeout(Duration::from_millis(500), events.recv()).await.is_ok()
    }

    fn plain(root: &Path) {
        fs::write(root.join("etc/resolv.conf"), "nameserver 10.0.0.1\n").unwrap();
    }

    fn linked(root: &Path) {
        fs::create_dir_all(root.join("run")).unwrap();
        fs::write(root.join("run/resolv.conf"), "nameserver 10.0.0.1\n").unwrap();
        symlink("/run/resolv.conf", root.join("etc/resolv.conf")).unwrap();
    }

    #[tokio::test]
    async fn whatever_becomes_of_the_file_is_noticed() {
        assert!(is_noticed(plain, plain).await, "written in place");
        assert!(
            is_noticed(plain, |root| fs::remove_file(root.join("etc/resolv.conf")).unwrap()).await,
            "removed"
        );
        assert!(is_noticed(|_| {}, plain).await, "made");
        let renamed = |root: &Path| {
            fs::write(root.join("etc/new"), "x").unwrap();
            fs::rename(root.join("etc/new"), root.join("etc/resolv.conf")).unwrap();
        };
        assert!(is_noticed(plain, renamed).await, "replaced");
        let target = |root: &Path| fs::write(root.join("run/resolv.conf"), "x").unwrap();
        assert!(is_noticed(linked, target).await, "its target written");
        // As a bind-mounted file is: the same file, by another directory's name.
        let mounted = |root: &Path| {
            plain(root);
            fs::hard_link(root.join("etc/resolv.conf"), root.join("elsewhere")).unwrap();
        };
        let outside = |root: &Path| fs::write(root.join("elsewhere"), "x").unwrap();
        assert!(is_noticed(mounted, outside).await, "written from where it is mounted from");
        let resolved = |root: &Path| root.join("run/systemd/resolve");
        let prepare = |root: &Path| fs::create_dir_all(resolved(root)).unwrap();
        let change = |root: &Path| fs::write(resolved(root).join("resolv.conf"), "x").unwrap();
        assert!(is_noticed(prepare, change).await, "systemd-resolved's list written");
    }

    #[tokio::test]
    async fn other_files_are_none_of_our_business() {
        assert!(!is_noticed(plain, |root| fs::write(root.join("etc/hosts"), "x").unwrap()).await);
    }
}

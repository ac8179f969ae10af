//! The only writer of files: whole or not at all, and durable.
//!
//! A file is written beside its place, flushed to disk and renamed over it, with the mode and owner of what it replaces; a
//! reader sees the old content or the new, never less. Where a rename is impossible (a file that is itself a mount point,
//! as containers have resolv.conf, or a directory that cannot be written to) the content is overwritten in place by one call,
//! but a reader can then see it half written, and a crash can leave it so.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions, Permissions, TryLockError},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown},
    path::{Component, Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    buffer::{SpareCapacity, spare_capacity},
    fs::XattrFlags,
};

/// How a file came to its new content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// By a rename: no reader ever saw anything but the old or the new content.
    Atomically,
    /// In place, since a rename was impossible.
    InPlace,
}

/// Replaces the content of `path`; a new file gets `mode`.
///
/// A symbolic link is followed inside `root`, so that its target is replaced and the link stays.
///
/// # Errors
/// The system refuses; the file then has its old content, unless it could be written in place only.
pub fn replace(root: &Path, path: &Path, content: &[u8], mode: u32) -> io::Result<Written> {
    let path = follow(root, path)?;
    match rename_over(&path, content, mode) {
        Ok(()) => Ok(Written::Atomically),
        Err(error) if is_unmovable(&error) && path.exists() => {
            overwrite(&path, content)?;
            Ok(Written::InPlace)
        }
        Err(error) => Err(error),
    }
}

/// The file that `path` means after all its symbolic links, those of its directories too, none of which leads out of `root`.
///
/// # Errors
/// Links go round in a circle, or cannot be read.
pub fn follow(root: &Path, path: &Path) -> io::Result<PathBuf> {
    let mut rest = parts(&below(root, path));
    let mut resolved = root.to_path_buf();
    let mut links = 0;
    while let Some(part) = rest.pop() {
        if part == ".." {
            if resolved != root {
                resolved.pop();
            }
            continue;
        }
        let candidate = resolved.join(&part);
        match fs::symlink_metadata(&candidate) {
            Ok(metadata) if metadata.file_type().is_symlink() => {
                links += 1;
                if links > MAX_LINKS {
                    return Err(io::Error::other(format!("more than {MAX_LINKS} symbolic links")));
                }
                let target = fs::read_link(&candidate)?;
                if target.is_absolute() {
                    resolved = root.to_path_buf();
                }
                rest.extend(parts(&target));
            }
            Ok(_) => resolved = candidate,
            Err(error) if error.kind() == io::ErrorKind::NotFound => resolved = candidate,
            Err(error) => return Err(error),
        }
    }
    Ok(resolved)
}

/// The parts of a path, the last one first; `..` stays, since it may follow on a link.
fn parts(path: &Path) -> Vec<OsString> {
    let parts = path.components().filter_map(|component| match component {
        Component::Normal(part) => Some(part.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    parts.rev().collect()
}

/// Reads a file of at most `limit` bytes; `None` when there is none. Anything but a regular file is an error: opening a
/// FIFO would wait for a writer that never comes.
///
/// # Errors
/// The file cannot be read, is no regular file, or is larger.
pub fn read_regular(path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    if metadata.len() > limit {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("it is larger than {limit} bytes"),
        ));
    }
    fs::read(path).map(Some)
}

/// Takes the lock that `path` is, a file that is made if it is missing and never removed: whoever waited for a removed one
/// would hold a lock that nobody else sees. It is given back when the file is dropped, and by the system when we are killed.
///
/// # Errors
/// The file cannot be opened or locked, or others hold the lock for longer than `patience`.
pub fn lock(path: &Path, patience: Duration) -> io::Result<File> {
    // Opened for reading too, a FIFO in its place is not waited for.
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)?;
    let began = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) if began.elapsed() < patience => {
                thread::sleep(LOCK_PAUSE);
            }
            Err(TryLockError::WouldBlock) => {
                let text = format!("the lock {} is held by another pass", path.display());
                return Err(io::Error::new(io::ErrorKind::TimedOut, text));
            }
        }
    }
}

/// Whether somebody holds the lock that `path` is. It is held for an instant to find that out, and never made.
///
/// # Errors
/// The file is there and cannot be opened or locked.
pub fn is_locked(path: &Path) -> io::Result<Option<bool>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(Some(false)),
        Err(TryLockError::WouldBlock) => Ok(Some(true)),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// `path` as it is seen from `root`: `/etc/resolv.conf` in `/mnt/image` is `/mnt/image/etc/resolv.conf`.
#[must_use]
pub fn inside(root: &Path, path: &Path) -> PathBuf {
    let mut inside = root.to_path_buf();
    let mut depth = 0_usize;
    for component in path.components() {
        match component {
            Component::Normal(part) => {
                inside.push(part);
                depth += 1;
            }
            Component::ParentDir if depth > 0 => {
                inside.pop();
                depth -= 1;
            }
            Component::ParentDir
            | Component::RootDir
            | Component::CurDir
            | Component::Prefix(_) => {}
        }
    }
    inside
}

/// `path` without the root in front of it.
fn below(root: &Path, path: &Path) -> PathBuf {
    Path::new("/").join(path.strip_prefix(root).unwrap_or(path))
}

fn rename_over(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let stem = format!(".{name}.tagalong-");
    sweep(directory, &stem);
    let temporary = directory.join(format!("{stem}{}", std::process::id()));
    let result = write_beside(path, &temporary, content, mode)
        .and_then(|()| fs::rename(&temporary, path))
        .and_then(|()| File::open(directory)?.sync_all());
    if result.is_err() {
        // The error at hand matters more than the leftover.
        let _ = fs::remove_file(&temporary);
    }
    result
}

/// Removes what runs left beside their file that were killed between writing and renaming.
fn sweep(directory: &Path, stem: &str) {
    let is_dead = |pid: &str| {
        pid.parse::<u32>().is_ok_and(|pid| !Path::new("/proc").join(pid.to_string()).exists())
    };
    // Without a list of processes nobody can be told to be dead.
    if !Path::new("/proc/self").exists() {
        return;
    }
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let is_left = name.to_str().and_then(|name| name.strip_prefix(stem)).is_some_and(is_dead);
        if is_left && entry.file_type().is_ok_and(|kind| kind.is_file()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn write_beside(path: &Path, temporary: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    // What an earlier run with our process id left there when it was killed.
    match fs::remove_file(temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(temporary)?;
    file.write_all(content)?;
    let mode = match fs::metadata(path) {
        Ok(before) => {
            let own = file.metadata()?;
            if (own.uid(), own.gid()) != (before.uid(), before.gid()) {
                fchown(&file, Some(before.uid()), Some(before.gid()))?;
            }
            before.mode() & 0o7777
        }
        Err(_) => mode,
    };
    // After the content and the owner: the umask does not count, and no bit is lost by a change of owner.
    file.set_permissions(Permissions::from_mode(mode))?;
    copy_attributes(path, &file);
    file.sync_all()
}

/// Carries over the extended attributes: `SELinux`'s label, access control lists, whatever others keep there. What cannot be
/// read or set is left out: a file system without attributes has none to lose, and a file with the default label is better
/// than none.
fn copy_attributes(from: &Path, to: &File) {
    let mut names = Vec::new();
    let Ok(_) = rustix::fs::listxattr(from, spare(&mut names)) else { return };
    for name in names.split(|octet| *octet == 0).filter(|name| !name.is_empty()) {
        let mut value = Vec::new();
        if rustix::fs::getxattr(from, name, spare(&mut value)).is_ok() {
            let _ = rustix::fs::fsetxattr(to, name, &value, XattrFlags::empty());
        }
    }
}

/// Room for as much as Linux lets attributes have (`xattr(7)`).
fn spare(buffer: &mut Vec<u8>) -> SpareCapacity<'_, u8> {
    buffer.reserve(64 << 10);
    spare_capacity(buffer)
}

fn overwrite(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(path)?;
    // Newlines in place of what is longer in the old content: a reader between the two calls sees no rest of its lines.
    let mut whole = content.to_vec();
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(0);
    whole.resize(length.max(content.len()), b'\n');
    file.write_all(&whole)?;
    file.set_len(u64::try_from(content.len()).unwrap_or(u64::MAX))?;
    file.sync_all()
}

/// Errors after which the same file may still be written in place.
fn is_unmovable(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ResourceBusy
            | io::ErrorKind::CrossesDevices
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::ReadOnlyFilesystem
    )
}

/// Between two tries to take a lock; whoever has it keeps it for about as long.
const LOCK_PAUSE: Duration = Duration::from_millis(5);

/// As many links as Linux follows (`path_resolution(7)`).
const MAX_LINKS: usize = 40;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn mode_and_content_are_replaced_together_and_nothing_is_left_beside() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        assert_eq!(replace(directory.path(), &path, b"new", 0o644).unwrap(), Written::Atomically);
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o640);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn attributes_and_access_control_lists_are_kept() {
        // Not every file system has attributes of users: /var/tmp is rarely in memory.
        let directory = tempfile::tempdir_in("/var/tmp").unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        // A list as acl(5) has it on disk: owner rw, user 1 rw, group r, mask rw, others nothing.
        let entries: [(u16, u16, u32); 5] =
            [(1, 6, u32::MAX), (2, 6, 1), (4, 4, u32::MAX), (16, 6, u32::MAX), (32, 0, u32::MAX)];
        let mut list = 2_u32.to_le_bytes().to_vec();
        for (tag, permission, id) in entries {
            list.extend([tag.to_le_bytes(), permission.to_le_bytes()].concat());
            list.extend(id.to_le_bytes());
        }
        let attributes = [("user.kept", b"as it was".to_vec()), ("system.posix_acl_access", list)];
        let file = File::open(&path).unwrap();
        for (name, value) in &attributes {
            rustix::fs::fsetxattr(&file, *name, value, XattrFlags::empty()).unwrap();
        }
        let mode = fs::metadata(&path).unwrap().mode();
        replace(directory.path(), &path, b"new", 0o644).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        for (name, value) in attributes {
            let mut kept = Vec::new();
            rustix::fs::getxattr(&path, name, spare(&mut kept)).unwrap();
            assert_eq!(kept, value, "{name}");
        }
        assert_eq!(fs::metadata(&path).unwrap().mode(), mode);
    }

    #[test]
    fn what_a_killed_run_left_beside_goes_and_what_a_living_one_writes_stays() {
        let directory = tempfile::tempdir().unwrap();
        let beside = |pid: &str| directory.path().join(format!(".file.tagalong-{pid}"));
        // No process has this number: it is above the highest that Linux gives.
        for name in ["4194305", "1", "x", "4194305.orig"] {
            fs::write(beside(name), "").unwrap();
        }
        replace(directory.path(), &directory.path().join("file"), b"new", 0o644).unwrap();
        assert!(!beside("4194305").exists());
        assert!(["1", "x", "4194305.orig"].iter().all(|name| beside(name).exists()));
    }

    #[test]
    fn a_new_file_has_the_mode_that_was_asked_for_whatever_the_umask() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        replace(directory.path(), &path, b"new", 0o644).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o644);
    }

    #[test]
    fn a_link_stays_and_its_target_is_replaced() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("etc")).unwrap();
        fs::create_dir_all(root.path().join("run/x")).unwrap();
        for (link, target) in
            [("relative", "../run/x/resolv.conf"), ("absolute", "/run/x/resolv.conf")]
        {
            let path = root.path().join("etc").join(link);
            symlink(target, &path).unwrap();
            replace(root.path(), &path, link.as_bytes(), 0o644).unwrap();
            assert!(fs::symlink_metadata(&path).unwrap().file_type().is_symlink());
            assert_eq!(fs::read(root.path().join("run/x/resolv.conf")).unwrap(), link.as_bytes());
        }
    }

    #[test]
    fn a_link_never_leads_out_of_the_root() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("resolv.conf");
        symlink("../../../../../../../../etc/tagalong-test-outside", &path).unwrap();
        assert_eq!(
            follow(root.path(), &path).unwrap(),
            root.path().join("etc/tagalong-test-outside")
        );
    }

    #[test]
    fn links_in_a_circle_are_an_error() {
        let root = tempfile::tempdir().unwrap();
        symlink("b", root.path().join("a")).unwrap();
        symlink("a", root.path().join("b")).unwrap();
        assert!(follow(root.path(), &root.path().join("a")).is_err());
    }

    #[test]
    fn a_fifo_is_refused_and_not_waited_for() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("fifo");
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RUSR).unwrap();
        assert_eq!(read_regular(&path, 100).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(read_regular(&root.path().join("none"), 100).unwrap(), None);
    }
}

//! Gathers what the verdict on the resolver's owner rests on.

use std::{
    fs::{self, File},
    os::unix::fs::MetadataExt as _,
    path::Path,
};

use rustix::fs::{IFlags, StatVfsMountFlags, ioctl_getflags, statvfs};

use super::{bus::Bus, network_manager, resolvconf::PROGRAMS};
use crate::{
    core::{
        detect::{Hindrance, HostProbe, Presence, Resolvconf},
        resolv_conf::{RESOLV_CONF, ResolvConf},
    },
    ports::error::ResolverError,
    sys::fs::{follow, inside, read_regular},
};

/// Looks at the host whose files are at `root`, and asks its message bus.
///
/// # Errors
/// resolv.conf is there and cannot be read.
pub async fn probe(root: &Path, bus: &Bus) -> Result<HostProbe, ResolverError> {
    let path = inside(root, Path::new(RESOLV_CONF));
    let link = fs::read_link(&path).ok().map(|target| target.display().to_string());
    let content = read(root)?;
    let (resolved, network_manager) = tokio::join!(
        bus.presence(RESOLVED, "systemd-resolved.service"),
        bus.presence(network_manager::SERVICE, "NetworkManager.service")
    );
    let is_managed = matches!(network_manager, Presence::Runs(_));
    let (dns_mode, network_manager) = if is_managed {
        let (dns_mode, version) =
            tokio::join!(network_manager::dns_mode(bus), network_manager::version(bus));
        (dns_mode, Presence::Runs(version))
    } else {
        (None, network_manager)
    };
    let metadata = follow(root, &path).and_then(fs::metadata).ok().filter(fs::Metadata::is_file);
    Ok(HostProbe {
        link,
        content,
        hindrances: hindrances(root, &path),
        mode: metadata.as_ref().map(|metadata| metadata.mode() & 0o7777),
        names: metadata.map_or(0, |metadata| metadata.nlink()),
        hosts: hosts(root),
        resolved,
        network_manager,
        dns_mode,
        resolvconf: resolvconf(root),
    })
}

/// The content of resolv.conf, if there is one.
///
/// # Errors
/// It cannot be read.
pub(super) fn read(root: &Path) -> Result<Option<Vec<u8>>, ResolverError> {
    let path = inside(root, Path::new(RESOLV_CONF));
    let unreadable = |source| ResolverError::File {
        operation: "read",
        path: path.display().to_string(),
        source,
    };
    read_regular(&follow(root, &path).map_err(unreadable)?, LIMIT).map_err(unreadable)
}

/// What resolv.conf says, where another program renders it.
///
/// # Errors
/// It cannot be read.
pub(super) fn settings(root: &Path) -> Result<ResolvConf, ResolverError> {
    Ok(ResolvConf::parse(&read(root)?.unwrap_or_default()).settings())
}

fn hindrances(root: &Path, path: &Path) -> Vec<Hindrance> {
    let Ok(path) = follow(root, path) else { return Vec::new() };
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let is_mounted = mounts.lines().any(|line| {
        // The fifth field; what proc(5) writes in octal cannot be in our path.
        line.split(' ').nth(4).map(Path::new) == Some(path.as_path())
    });
    let place = if path.exists() { &path } else { path.parent().unwrap_or(root) };
    let is_read_only = statvfs(place).is_ok_and(|it| it.f_flag.contains(StatVfsMountFlags::RDONLY));
    // A file is opened for reading only, and never a FIFO.
    let is_immutable = path.is_file()
        && File::open(&path).is_ok_and(|file| {
            ioctl_getflags(&file).is_ok_and(|flags| flags.contains(IFlags::IMMUTABLE))
        });
    [
        (is_mounted, Hindrance::Mounted),
        (is_read_only, Hindrance::ReadOnly),
        (is_immutable, Hindrance::Immutable),
    ]
    .into_iter()
    .filter_map(|(is_so, hindrance)| is_so.then_some(hindrance))
    .collect()
}

/// The services of nsswitch.conf(5)'s `hosts` line.
pub(super) fn hosts(root: &Path) -> Vec<String> {
    let path = inside(root, Path::new("/etc/nsswitch.conf"));
    let content = read_regular(&path, LIMIT).ok().flatten().unwrap_or_default();
    let text = String::from_utf8_lossy(&content);
    let line = text.lines().find_map(|line| line.trim_start().strip_prefix("hosts:"));
    let line = line.unwrap_or_default().split('#').next().unwrap_or_default();
    line.split_whitespace().map(str::to_owned).collect()
}

/// Which program resolvconf(8) is: what it says of itself would cost a process on each look.
pub(super) fn resolvconf(root: &Path) -> Option<Resolvconf> {
    let path = PROGRAMS.iter().map(|path| inside(root, Path::new(path)));
    let path = path.into_iter().find(|path| path.exists())?;
    let program = follow(root, &path).ok()?;
    if program.file_name().is_some_and(|name| name == "resolvectl") {
        return Some(Resolvconf::Resolvectl);
    }
    let content = read_regular(&program, LIMIT).ok()??;
    let says = |words: &str| String::from_utf8_lossy(&content).contains(words);
    // Anything else that has the name gets no record of ours.
    if says("openresolv") {
        Some(Resolvconf::Openresolv)
    } else {
        says("--disable-updates").then_some(Resolvconf::Debian)
    }
}

const RESOLVED: &str = "org.freedesktop.resolve1";
const LIMIT: u64 = 1 << 20;

//! Whoever reads resolv.conf while it is rewritten: a program that looks a name up at that instant.

use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use tagalong::core::resolv_conf::{MARKER, Wanted};

use super::manager;
use crate::support::block_on;

const REWRITES: usize = 10_000;

fn wanted(servers: &[u8]) -> Wanted {
    Wanted {
        nameservers: servers.iter().map(|last| [10, 0, 0, *last].into()).collect(),
        search: vec!["corp.internal".to_owned()],
        options: vec!["timeout:1".to_owned()],
        sortlist: None,
    }
}

/// The two contents that the file has in turn, of different length.
fn contents() -> [String; 2] {
    let text = |servers: &[u8]| {
        let lines = servers.iter().map(|last| format!("nameserver 10.0.0.{last}\n"));
        format!("{MARKER}\n{}search corp.internal\noptions timeout:1\n", lines.collect::<String>())
    };
    [text(&[2, 3, 4]), text(&[5])]
}

/// Rewrites the file in `root` all the time, while another thread reads it all the time; `is_whole` says whether what it read
/// may be there. Gives how often it read, and how often that was not so.
fn read_beside_rewrites(
    root: &Path,
    path: &Path,
    is_whole: impl Fn(&str) -> bool + Sync,
) -> (usize, usize) {
    let state = root.join("state");
    let manager = manager(root, &state);
    block_on(manager.apply(&wanted(&[5]))).unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (mut reads, mut torn) = (0, 0);
            while !done.load(Ordering::Relaxed) {
                let text = fs::read_to_string(path).expect("the file is there at every instant");
                assert!(!text.is_empty(), "the file is never empty");
                reads += 1;
                torn += usize::from(!is_whole(&text));
            }
            (reads, torn)
        });
        for round in 0..REWRITES {
            let servers: &[u8] = if round % 2 == 0 { &[2, 3, 4] } else { &[5] };
            block_on(manager.apply(&wanted(servers))).unwrap();
        }
        done.store(true, Ordering::Relaxed);
        reader.join().unwrap()
    })
}

/// In memory: it is the order of system calls that counts, and not the disk.
fn root() -> tempfile::TempDir {
    let root = tempfile::tempdir_in("/dev/shm").unwrap();
    fs::create_dir_all(root.path().join("etc")).unwrap();
    root
}

#[test]
fn no_reader_ever_sees_a_plain_file_missing_empty_or_half_written() {
    let root = root();
    let path = root.path().join("etc/resolv.conf");
    fs::write(&path, "nameserver 10.9.9.9\n").unwrap();
    let (reads, torn) =
        read_beside_rewrites(root.path(), &path, |text| contents().iter().any(|one| one == text));
    assert_eq!(torn, 0, "of {reads} reads");
    assert!(reads > 1000, "{reads}");
}

#[test]
fn no_reader_ever_sees_a_link_missing_empty_or_half_written() {
    let root = root();
    fs::create_dir_all(root.path().join("run")).unwrap();
    fs::write(root.path().join("run/resolv.conf"), "nameserver 10.9.9.9\n").unwrap();
    let path = root.path().join("etc/resolv.conf");
    symlink("../run/resolv.conf", &path).unwrap();
    let (reads, torn) =
        read_beside_rewrites(root.path(), &path, |text| contents().iter().any(|one| one == text));
    assert_eq!(torn, 0, "of {reads} reads");
    assert!(fs::symlink_metadata(&path).unwrap().is_symlink());
}

/// A mounted file cannot be renamed over. It is never missing and never empty; a reader can see lines of both contents, which
/// newlines in place of a longer content's rest make rare.
#[test]
fn a_reader_of_a_mounted_file_never_sees_it_missing_or_empty_and_rarely_a_mixture() {
    if std::env::var_os("TAGALONG_MOUNTED").is_none() {
        // The same test again, in a mount namespace of its own.
        let mut command = Command::new("unshare");
        if !rustix::process::geteuid().is_root() {
            command.arg("--map-root-user");
        }
        let name = "resolve::readers::a_reader_of_a_mounted_file_never_sees_it_missing_or_empty_and_rarely_a_mixture";
        command.arg("--mount").arg(std::env::current_exe().unwrap()).args(["--exact", name]);
        let output = command.env("TAGALONG_MOUNTED", "1").stdin(Stdio::null()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
        return;
    }
    let root = root();
    let path = root.path().join("etc/resolv.conf");
    let mounted = root.path().join("mounted");
    for file in [&path, &mounted] {
        fs::write(file, "nameserver 10.9.9.9\n").unwrap();
    }
    let status = Command::new("mount").arg("--bind").args([&mounted, &path]).status().unwrap();
    assert!(status.success());
    let lines = contents().map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>());
    let (reads, torn) = read_beside_rewrites(root.path(), &path, |text| {
        let seen =
            text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect::<Vec<_>>();
        lines.contains(&seen)
    });
    // A reader takes two calls as well, and the file can become longer in between.
    assert!(torn * 100 <= reads, "{torn} of {reads} reads saw lines of both");
}

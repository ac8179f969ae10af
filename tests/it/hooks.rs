//! The packaged hooks, as dhclient-script sources them: under both shells, in every adversity, without a trace in the caller.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use tagalong::core::{lease::Lease, resolv_conf::MARKER};
use tempfile::TempDir;

use crate::bind::missing;

const HOOKS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/hooks");
const SHELLS: [&str; 2] = ["dash", "bash"];
const ALL: [&str; 3] = ["dhclient-enter-hook", "dhclient-exit-hook", "dhcpcd-hook"];

/// A host with a /run and an /etc of its own, as far as hooks see them.
struct Host {
    dir: TempDir,
}

impl Host {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("run/tagalong/hook")).unwrap();
        fs::write(dir.path().join("resolv.conf"), "nameserver 10.9.9.9\n").unwrap();
        Self { dir }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    /// Runs `script` in `shell` in a mount namespace with this host's files; `mounts` come last.
    fn run(&self, shell: &str, mounts: &str, script: &str) -> (i32, String, String) {
        let mut command = Command::new("unshare");
        if !rustix::process::geteuid().is_root() {
            command.arg("--map-root-user");
        }
        let prepare = format!(
            "mount --bind \"$1/resolv.conf\" /etc/resolv.conf; mount --rbind \"$1/run\" /run; {mounts}\nexec \"$2\" -c \"$3\""
        );
        command.args(["--mount", "sh", "-ec", &prepare, "sh"]);
        command.arg(self.dir.path()).args([shell, script]);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        let output = command.output().unwrap_or_else(|error| missing("unshare", &error));
        let text = |octets| String::from_utf8_lossy(octets).into_owned();
        (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
    }

    fn report(&self, name: &str) -> Option<Lease> {
        let text = fs::read_to_string(self.path("run/tagalong/hook").join(name)).ok()?;
        Lease::parse(&text)
    }
}

/// What dhclient-script does around a hook: variables of its own, the hook, and on with its work.
fn sourcing(hook: &str, variables: &str) -> String {
    format!(
        "set -eu\n{variables}\nmake_resolv_conf() {{ echo theirs; }}\n. {HOOKS}/{hook}\nmake_resolv_conf\necho \"status $?\""
    )
}

#[test]
fn each_reason_is_reported_with_interface_and_addresses() {
    for shell in SHELLS {
        for (reason, new, old, file) in [
            ("BOUND", "10.0.0.1", "", "eth0:4"),
            ("RENEW", "10.0.0.1", "10.0.0.1", "eth0:4"),
            ("REBIND", "10.0.0.1", "10.0.0.1", "eth0:4"),
            ("REBOOT", "10.0.0.1", "", "eth0:4"),
            ("EXPIRE", "", "10.0.0.1", "eth0:4"),
            ("FAIL", "", "", "eth0:fail"),
            ("FAIL", "", "10.0.0.1", "eth0:fail"),
            ("RELEASE", "", "10.0.0.1", "eth0:4"),
            ("STOP", "", "10.0.0.1", "eth0:4"),
            ("TIMEOUT", "10.0.0.1", "", "eth0:4"),
            ("BOUND6", "2001:db8::1", "", "eth0:6"),
            ("EXPIRE6", "", "2001:db8::1", "eth0:6"),
        ] {
            let host = Host::new();
            let family = if reason.ends_with('6') { "6" } else { "" };
            let mut variables = format!("reason={reason}; interface=eth0");
            for (word, value) in
                [("new", new), ("old", old)].iter().filter(|(_, value)| !value.is_empty())
            {
                variables += &format!("; {word}_ip{family}_address={value}");
            }
            let (code, stdout, stderr) =
                host.run(shell, "", &sourcing("dhclient-exit-hook", &variables));
            assert_eq!(
                (code, stdout.as_str(), stderr.as_str()),
                (0, "theirs\nstatus 0\n", ""),
                "{shell} {reason}"
            );
            let lease =
                host.report(file).unwrap_or_else(|| panic!("{shell} {reason} left no report"));
            let address = |text: &str| text.parse().ok();
            assert_eq!(lease.reason.to_string(), reason.trim_end_matches('6'));
            assert_eq!(
                (lease.new_address, lease.old_address),
                (address(new), address(old)),
                "{shell} {reason}"
            );
        }
    }
}

#[test]
fn what_dhcpcd_calls_otherwise_is_reported_as_the_end_of_the_lease() {
    for shell in SHELLS {
        for reason in ["NAK", "NOCARRIER", "DEPARTED", "STOPPED"] {
            let host = Host::new();
            let variables = format!("reason={reason}; interface=eth0; old_ip_address=10.0.0.1");
            let (code, _, stderr) = host.run(shell, "", &sourcing("dhcpcd-hook", &variables));
            assert_eq!((code, stderr.as_str()), (0, ""), "{shell} {reason}");
            let lease = host.report("eth0:4").unwrap_or_else(|| panic!("{shell} {reason}"));
            assert_eq!(lease.reason.to_string(), "EXPIRE", "{shell} {reason}");
            assert_eq!((lease.new_address, lease.old_address), (None, "10.0.0.1".parse().ok()));
        }
    }
}

#[test]
fn what_is_about_no_address_is_not_reported() {
    for shell in SHELLS {
        for variables in ["reason=PREINIT; interface=eth0", "reason=MEDIUM; interface=eth0", ":"] {
            let host = Host::new();
            let (code, _, stderr) = host.run(shell, "", &sourcing("dhclient-exit-hook", variables));
            assert_eq!((code, stderr.as_str()), (0, ""), "{shell} {variables}");
            assert_eq!(fs::read_dir(host.path("run/tagalong/hook")).unwrap().count(), 0);
        }
    }
}

/// What may be in the way of a report, and how a host comes to it.
const ADVERSITIES: [(&str, &str); 5] = [
    ("the package is not there", "mount -t tmpfs none /run"),
    ("the agent was never started", "rmdir /run/tagalong/hook"),
    (
        "read-only",
        "mount -t tmpfs none /run/tagalong; mkdir /run/tagalong/hook; mount -o remount,ro /run/tagalong",
    ),
    (
        "full",
        "mount -t tmpfs -o size=4k none /run/tagalong; mkdir /run/tagalong/hook; \
     head -c 4096 /dev/zero > /run/tagalong/full 2>/dev/null || :",
    ),
    ("in the way", "mkdir /run/tagalong/hook/eth0:4 /run/tagalong/hook/eth0:fail"),
];

#[test]
fn a_report_that_cannot_be_left_is_no_failure_of_the_lease() {
    for shell in SHELLS {
        for (what, mounts) in ADVERSITIES {
            let bound = "reason=BOUND; interface=eth0; new_ip_address=10.0.0.1";
            let failed = "reason=FAIL; interface=eth0";
            for (hook, variables) in [
                ("dhclient-exit-hook", bound),
                ("dhclient-exit-hook", failed),
                ("dhcpcd-hook", bound),
                ("dhcpcd-hook", failed),
            ] {
                let (code, stdout, stderr) =
                    Host::new().run(shell, mounts, &sourcing(hook, variables));
                assert_eq!(
                    (code, stdout.as_str(), stderr.as_str()),
                    (0, "theirs\nstatus 0\n", ""),
                    "{shell}, {hook}, {what}"
                );
            }
        }
    }
}

/// A dispatcher's call as its service makes it, with the program that was built in place of the installed one.
fn dispatching(host: &Host, dispatcher: &str, state: &str, action: &str) -> String {
    let text = fs::read_to_string(format!("{HOOKS}/{dispatcher}")).unwrap();
    let here = text.replace("/usr/bin/tagalong", env!("CARGO_BIN_EXE_tagalong"));
    assert_ne!(here, text);
    let path = host.path(dispatcher);
    fs::write(&path, here).unwrap();
    format!("export STATE={state} IFACE=eth0; sh -eu '{}' eth0 {action}", path.display())
}

#[test]
fn a_dispatcher_reports_and_is_no_failure_of_the_connection_where_it_cannot() {
    for dispatcher in ["networkmanager-dispatcher", "networkd-dispatcher"] {
        for (state, action, report) in [
            ("routable", "up", Some("BOUND of eth0")),
            ("off", "down", Some("STOP of eth0")),
            ("no-carrier", "down", Some("STOP of eth0")),
            ("degraded", "hostname", None),
        ] {
            let host = Host::new();
            let call = dispatching(&host, dispatcher, state, action);
            let (code, stdout, stderr) = host.run("dash", "", &call);
            assert_eq!((code, stdout.as_str(), stderr.as_str()), (0, "", ""), "{dispatcher}");
            let lease = host.report("eth0:4").map(|lease| lease.to_string());
            assert_eq!(lease.as_deref(), report, "{dispatcher}");
        }
        for (what, mounts) in ADVERSITIES {
            let host = Host::new();
            let (code, _, stderr) =
                host.run("dash", mounts, &dispatching(&host, dispatcher, "routable", "up"));
            assert_eq!(code, 0, "{dispatcher}, {what}: {stderr}");
        }
    }
}

#[test]
fn hooks_are_made_of_what_the_shell_has_built_in_so_that_nothing_is_forked_and_nobody_is_asked() {
    for (shell, hook) in
        SHELLS.into_iter().flat_map(|shell| ALL.into_iter().map(move |hook| (shell, hook)))
    {
        for host in [Host::new(), managed()] {
            let variables =
                "PATH=/nonexistent; reason=BOUND; interface=eth0; new_ip_address=10.0.0.1";
            let (code, stdout, stderr) = host.run(shell, "", &sourcing(hook, variables));
            assert_eq!((code, stderr.as_str()), (0, ""), "{shell} {hook}");
            assert!(stdout.ends_with("status 0\n"), "{shell} {hook}: {stdout}");
            if hook != "dhclient-enter-hook" {
                assert!(host.report("eth0:4").is_some(), "{shell} {hook}");
            }
        }
        // Nor is a subshell: a substitution or a pipe is one.
        let text = fs::read_to_string(Path::new(HOOKS).join(hook)).unwrap();
        let code = text.lines().filter(|line| !line.trim_start().starts_with('#'));
        // The words of a `case` are parted by what else makes a pipe.
        let mut code = code.filter(|line| !line.ends_with(')'));
        let forks = |line: &str| line.replace("() {", "").contains(['(', '`']);
        let is_pipe = |line: &str| line.replace("||", "").contains('|');
        assert!(!code.any(|line| forks(line) || is_pipe(line)), "{hook}");
    }
}

#[test]
fn no_variable_of_the_caller_is_changed_and_none_is_left() {
    for (shell, hook) in
        SHELLS.into_iter().flat_map(|shell| ALL.into_iter().map(move |hook| (shell, hook)))
    {
        let host = managed();
        let script = format!(
            "reason=BOUND; interface=eth0; new_ip_address=10.0.0.1; skip_hooks=; IFS=:\nset > $OUT/before\n. {HOOKS}/{hook}\nset > $OUT/after"
        );
        let script = format!("OUT={}\n{script}", host.path("").display());
        let (code, _, stderr) = host.run(shell, "", &script);
        assert_eq!((code, stderr.as_str()), (0, ""), "{shell} {hook}");
        let [mut before, mut after] = ["before", "after"].map(|name| variables(&host.path(name)));
        assert!(before.contains_key("new_ip_address"), "{before:?}");
        if hook == "dhcpcd-hook" {
            // That is how dhcpcd is told (dhcpcd-run-hooks(8)).
            assert_ne!(before.remove("skip_hooks"), after.remove("skip_hooks"), "{shell}");
        }
        assert_eq!(before, after, "{shell} {hook}");
    }
}

/// The variables that a shell's `set` printed, without those that change by themselves and without functions.
fn variables(path: &Path) -> BTreeMap<String, String> {
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines().take_while(|line| !line.ends_with("() "));
    let pairs = lines.filter_map(|line| line.split_once('='));
    let pairs = pairs
        .filter(|(name, _)| !name.starts_with("BASH") && *name != "_" && *name != "PIPESTATUS");
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// A host whose resolv.conf tagalong has set in this boot.
fn managed() -> Host {
    let host = Host::new();
    fs::write(host.path("resolv.conf"), format!("{MARKER}\nnameserver 10.0.0.2\n")).unwrap();
    fs::write(host.path("run/tagalong/resolver"), "{}").unwrap();
    host
}

#[test]
fn dhclients_own_function_is_kept_away_from_a_file_that_we_manage_and_from_no_other() {
    let unmanaged = Host::new();
    fs::write(unmanaged.path("run/tagalong/resolver"), "{}").unwrap();
    let of_last_boot = managed();
    fs::remove_file(of_last_boot.path("run/tagalong/resolver")).unwrap();
    let empty = managed();
    fs::write(empty.path("resolv.conf"), "").unwrap();
    for shell in SHELLS {
        for (what, host, mounts, expect) in [
            ("ours", &managed(), "", "status 0\n"),
            ("not ours", &unmanaged, "", "theirs\nstatus 0\n"),
            ("ours of the last boot", &of_last_boot, "", "theirs\nstatus 0\n"),
            ("empty", &empty, "", "theirs\nstatus 0\n"),
            ("not installed", &managed(), "mount -t tmpfs none /run", "theirs\nstatus 0\n"),
        ] {
            let script = sourcing("dhclient-enter-hook", "reason=BOUND; interface=eth0");
            let (code, stdout, stderr) = host.run(shell, mounts, &script);
            assert_eq!(
                (code, stdout.as_str(), stderr.as_str()),
                (0, expect, ""),
                "{shell}, {what}"
            );
        }
    }
}

#[test]
fn dhcpcds_own_hook_is_skipped_for_a_file_that_we_manage_and_for_no_other() {
    for (host, expect) in [(managed(), "timesyncd resolv.conf"), (Host::new(), "timesyncd")] {
        let variables =
            "reason=BOUND; interface=eth0; new_ip_address=10.0.0.1; skip_hooks=timesyncd";
        let script = format!("set -eu\n{variables}\n. {HOOKS}/dhcpcd-hook\necho \"$skip_hooks\"");
        let (code, stdout, stderr) = host.run("dash", "", &script);
        assert_eq!((code, stdout.trim_end(), stderr.as_str()), (0, expect, ""));
        assert_eq!(host.report("eth0:4").unwrap().held(), "10.0.0.1".parse().ok());
    }
}

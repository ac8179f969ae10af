//! A whole host that is booted: systemd as its first process, cloud-init with the Ec2 data source, its own disk, in a container on the
//! VPC's network. What it runs is what the packages say; the test only reads and gives commands.

use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{
    bind::missing,
    lab::{Ends, KEY, Namespace, ROUTER, US, Vpc, say, until, until_within},
    package,
};

/// How an instance is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Debian: ifupdown, the ISC client, a plain resolv.conf.
    Debian,
    /// Debian 12 as its image for EC2 is: systemd-networkd, and the file of systemd-resolved's servers.
    Debian12,
    /// Debian 13 as its image for EC2 is: systemd-networkd, and systemd-resolved's stub.
    Debian13,
    /// Amazon Linux 2023: systemd-networkd and systemd-resolved.
    AmazonLinux2023,
    /// Red Hat: NetworkManager.
    NetworkManager,
    /// dhcpcd.
    Dhcpcd,
    /// Ubuntu: systemd-networkd, and systemd-resolved's stub.
    Ubuntu,
    /// Fedora: NetworkManager, and systemd-resolved's stub.
    Fedora,
    /// Debian with openresolv.
    Openresolv,
    /// Debian with its own resolvconf.
    Resolvconf,
}

impl Shape {
    fn root(self) -> PathBuf {
        let name = match self {
            Self::Debian => "debian",
            Self::AmazonLinux2023 | Self::Debian12 => "al2023",
            Self::NetworkManager => "network-manager",
            Self::Dhcpcd => "dhcpcd",
            Self::Ubuntu | Self::Debian13 => "ubuntu",
            Self::Fedora => "fedora",
            Self::Openresolv => "openresolv",
            Self::Resolvconf => "resolvconf",
        };
        Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("system-roots").join(name)
    }

    /// What kind of package it takes.
    pub(crate) fn package(self) -> &'static str {
        match self {
            Self::AmazonLinux2023 | Self::NetworkManager | Self::Fedora => "rpm",
            _ => "deb",
        }
    }

    /// The packaged user data of such a host, which installs this package.
    fn user_data(self, package: &Path) -> String {
        let name = match self {
            Self::Debian | Self::Debian12 | Self::Dhcpcd | Self::Openresolv | Self::Resolvconf => {
                "debian-12"
            }
            Self::Debian13 => "debian-13",
            Self::AmazonLinux2023 => "amazon-linux-2023",
            Self::Ubuntu => "ubuntu-24.04",
            Self::NetworkManager | Self::Fedora => "rhel-9",
        };
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/cloud-init");
        let text = fs::read_to_string(folder.join(format!("{name}.yaml"))).unwrap();
        let sum = Command::new("sha256sum").arg(package).output().unwrap().stdout;
        let sum = String::from_utf8(sum).unwrap();
        for placeholder in ["\"PACKAGE_URL\"", "\"PACKAGE_SHA256 "] {
            assert_eq!(text.matches(placeholder).count(), 1, "{name}");
        }
        let name = package.file_name().unwrap().display();
        text.replace("\"PACKAGE_URL\"", &format!("http://{ROUTER}:{PACKAGES}/{name}"))
            .replace("\"PACKAGE_SHA256 ", &format!("\"{} ", sum.split(' ').next().unwrap()))
    }

    /// Whether such a host can be booted here; says so if not.
    pub(crate) fn can_boot(self, test: &str) -> bool {
        let root = self.root();
        let why = if !rustix::process::geteuid().is_root() {
            "needs root"
        } else if !root.with_file_name("stamp").exists() {
            "needs the trees that tests/system/make-roots makes"
        } else {
            let mut command = nspawn(&root);
            command.args(["--volatile=overlay", "/bin/true"]);
            match command.stdin(Stdio::null()).output() {
                Ok(output) if output.status.success() => return true,
                Ok(output) => {
                    eprintln!("{}", String::from_utf8_lossy(&output.stderr));
                    "needs systemd-nspawn to work here"
                }
                Err(_) => "needs systemd-nspawn",
            }
        };
        say(&format!("NOT RUN: {test} {why}"));
        false
    }
}

fn nspawn(root: &Path) -> Command {
    let mut command = Command::new("systemd-nspawn");
    command
        .args(["--quiet", "--register=no", "--keep-unit", "--resolv-conf=off", "--console=pipe"])
        .arg(format!("--directory={}", root.display()));
    command
}

/// The machine, and its VPC.
pub(crate) struct Machine {
    pub(crate) vpc: Vpc,
    network: Namespace,
    pub(crate) shape: Shape,
    dir: TempDir,
    boots: u32,
    running: Option<Running>,
    _groups: ControlGroups,
    _packages: Ends,
}

/// How a boot ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Off,
    Reboot,
}

/// The control groups of a machine, which go with it.
struct ControlGroups(String);

impl Drop for ControlGroups {
    fn drop(&mut self) {
        for tree in ["", "systemd/", "unified/"] {
            let top = format!("/sys/fs/cgroup/{tree}{}", self.0);
            let mut find = Command::new("find");
            find.args([&top, "-depth", "-type", "d", "-exec", "rmdir", "{}", ";"]);
            // What ends has to be gone first.
            for _ in 0..50 {
                let _ = find.stdin(Stdio::null()).stderr(Stdio::null()).status();
                if !Path::new(&top).exists() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

struct Running {
    container: Ends,
    /// Its first process, as this machine counts.
    leader: String,
}

impl Machine {
    /// A machine that has never been booted. Its user data are the packaged ones, with the package to install, the key, and `more`
    /// of the configuration.
    pub(crate) fn new(shape: Shape, more: &str) -> Self {
        Self::with(shape, more, |package| shape.user_data(package))
    }

    /// A machine without tagalong, whose user data only say where AWS is.
    pub(crate) fn bare(shape: Shape) -> Self {
        Self::with(shape, "", |_| "#cloud-config\nwrite_files:\n".to_owned())
    }

    fn with(shape: Shape, more: &str, user_data: impl Fn(&Path) -> String) -> Self {
        let network = Namespace::new("machine");
        let vpc = Vpc::new(&network);
        let dir = tempfile::tempdir().unwrap();
        for folder in ["disk", "work", "root", "www"] {
            fs::create_dir(dir.path().join(folder)).unwrap();
        }
        // So that it can be read once the machine is off.
        fs::create_dir_all(dir.path().join("disk/var/log/journal")).unwrap();
        let package = dir.path().join("www/tagalong").with_extension(shape.package());
        package::build(shape.package(), env!("CARGO_PKG_VERSION"), &package);
        vpc.world.put_parameter("/tagalong/tsig", KEY);
        let config = format!("[aws]\nendpoint = \"http://{}\"\n{more}", vpc.aws);
        let user_data = user_data(&package);
        let more = file("/etc/tagalong/config.d/vpc.toml", &config);
        let user_data = insert_after(&user_data, "write_files:\n", &more);
        vpc.world.update_instance(US, |us| us.user_data = Some(user_data));
        let packages = vpc.namespace.inside(|| {
            let mut command = Command::new("python3");
            command.args(["-m", "http.server", PACKAGES, "--bind", &ROUTER.to_string()]);
            command.args(["--directory".as_ref(), dir.path().join("www").as_os_str()]);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            Ends(command.spawn().unwrap_or_else(|error| missing("python3", &error)))
        });
        let groups = ControlGroups(network.name().to_owned());
        Self {
            vpc,
            network,
            shape,
            dir,
            boots: 0,
            running: None,
            _groups: groups,
            _packages: packages,
        }
    }

    /// Puts a file on its disk, before it is switched on.
    pub(crate) fn put(&self, path: &str, content: &str) {
        let path = self.dir.path().join("disk").join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Switches it on, and waits until systemd says that it has started all that it starts.
    pub(crate) fn boot(&mut self) -> Duration {
        let started = Instant::now();
        self.switch_on();
        self.wait_until_booted();
        started.elapsed()
    }

    pub(crate) fn switch_on(&mut self) {
        self.boots += 1;
        let dir = self.dir.path();
        let mut command = Command::new("unshare");
        // Two machines in one control group would stop each other's units: nspawn makes its own below the one that it is in.
        let script = "mount --make-rprivate /
            for tree in /sys/fs/cgroup /sys/fs/cgroup/systemd /sys/fs/cgroup/unified; do
                [ -w $tree/cgroup.procs ] || continue
                mkdir -p \"$tree/$3\" && echo 0 >\"$tree/$3/cgroup.procs\"
            done
            mount -t overlay -o lowerdir=\"$1\",upperdir=\"$2\"/disk,workdir=\"$2\"/work none \"$2\"/root
            shift 3
            exec \"$@\"";
        // Whatever is in it ends with `unshare`, whose child is its first process.
        command.args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
        command.args(["sh", "-ec", script, "sh"]).arg(self.shape.root()).arg(dir);
        command.arg(self.network.name());
        let mut container = nspawn(&dir.join("root"));
        container.args([
            "--boot",
            &format!("--machine={}", self.network.name()),
            "--capability=CAP_NET_ADMIN,CAP_NET_RAW",
        ]);
        command.arg(container.get_program()).args(container.get_args());
        let log = fs::File::create(dir.join(format!("boot-{}.log", self.boots))).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        // dhcpcd writes there.
        command.env("SYSTEMD_NSPAWN_API_VFS_WRITABLE", "network");
        let container = self.network.inside(|| Ends(command.spawn().unwrap()));
        let pid = container.0.id();
        let mut leader = String::new();
        until("the machine is switched on", || {
            leader = leader_of(pid).unwrap_or_default();
            !leader.is_empty()
        });
        self.running = Some(Running { container, leader });
    }

    pub(crate) fn wait_until_booted(&self) {
        until_within(Duration::from_secs(180), "the machine has booted", || {
            let state = self.run("systemctl is-system-running");
            let state = String::from_utf8_lossy(&state.stdout).trim().to_owned();
            matches!(state.as_str(), "running" | "degraded")
        });
    }

    /// A shell's command on the machine.
    pub(crate) fn run(&self, script: &str) -> Output {
        let running = self.running.as_ref().expect("the machine is on");
        let mut command = Command::new("nsenter");
        command.args(["--target", &running.leader, "--all", "--wd=/", "sh", "-c", script]);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        let output = command.stdin(Stdio::null()).output();
        let output = output.unwrap_or_else(|error| missing("nsenter", &error));
        for told in [&output.stdout, &output.stderr] {
            self.vpc.tells_no_secret(script, &String::from_utf8_lossy(told));
        }
        output
    }

    /// The same, of which the output is wanted.
    #[track_caller]
    pub(crate) fn ask(&self, script: &str) -> String {
        let output = self.run(script);
        assert!(output.status.success(), "{script}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Fetches `tagalong.deb`, `tagalong.rpm` or the bare `tagalong` of this build.
    pub(crate) fn fetch(&self, what: &str, to: &str) {
        let url = format!("http://{ROUTER}:{PACKAGES}/{what}");
        self.ask(&format!("curl --fail --silent --output {to} {url}"));
    }

    /// Installs the package of this build's program as if it were `version`.
    pub(crate) fn upgrade(&self, version: &str) {
        let kind = self.shape.package();
        let name = format!("tagalong-{version}.{kind}");
        package::build(kind, version, &self.dir.path().join("www").join(&name));
        let install = if kind == "rpm" { "rpm --upgrade" } else { "dpkg --install" };
        self.ask(&format!(
            "cd /root && curl --fail --silent --remote-name http://{ROUTER}:{PACKAGES}/{name} && {install} {name}"
        ));
    }

    pub(crate) fn remove_package(&self) {
        let remove = if self.shape.package() == "rpm" { "rpm --erase" } else { "dpkg --remove" };
        self.ask(&format!("{remove} tagalong"));
    }

    /// From systemd's start until it had started all that it starts, by its own count.
    pub(crate) fn boot_time(&self) -> Duration {
        let text = self.ask(
            "systemctl show --value --property=UserspaceTimestampMonotonic --property=FinishTimestampMonotonic",
        );
        let mut microseconds = text.lines().map(|line| line.parse::<u64>().unwrap());
        let (Some(began), Some(finished)) = (microseconds.next(), microseconds.next()) else {
            panic!("{text}")
        };
        Duration::from_micros(finished - began)
    }

    /// `systemctl poweroff` or `systemctl reboot`: what became of the machine, and how long that took.
    pub(crate) fn shut_down(&mut self, how: &str) -> (End, Duration) {
        let started = Instant::now();
        self.run(&format!("systemctl {how}"));
        let mut running = self.running.take().unwrap();
        let mut status = None;
        until("the machine is off", || {
            status = running.container.0.try_wait().unwrap();
            status.is_some()
        });
        let end = match status.and_then(|status| status.code()) {
            Some(0) => End::Off,
            Some(133) => End::Reboot,
            other => panic!("systemd-nspawn ended with {other:?}"),
        };
        (end, started.elapsed())
    }

    /// Whether the server is among those that its resolver asks, which resolved's stub is not.
    pub(crate) fn uses(&self, address: Ipv4Addr) -> bool {
        let files = "cat /etc/resolv.conf /run/systemd/resolve/resolv.conf 2>/dev/null || :";
        self.ask(files).contains(&format!("nameserver {address}\n"))
    }

    /// Whether the machine's own lookups work: by getaddrinfo(3).
    pub(crate) fn resolves(&self, name: &str) -> bool {
        self.run(&format!("getent ahosts {name}")).status.success()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            if self.running.is_some() {
                for script in [
                    "journalctl --no-pager -b -u tagalong",
                    "cat /var/log/cloud-init-output.log",
                    "ls -l /etc/resolv.conf; cat /etc/resolv.conf /run/systemd/resolve/resolv.conf; ip addr",
                    "resolvectl; tagalong status",
                    "journalctl --no-pager -b -n 60",
                ] {
                    let output = self.run(script);
                    eprintln!("--- {script}\n{}", String::from_utf8_lossy(&output.stdout));
                }
            }
            let mut command = Command::new("journalctl");
            command.args(["--no-pager", "--unit=tagalong", "--lines=40", "--directory"]);
            let output = command.arg(self.dir.path().join("disk/var/log/journal")).output();
            let kept = output.map(|output| output.stdout).unwrap_or_default();
            eprintln!("--- what the agent said last\n{}", String::from_utf8_lossy(&kept));
            for boot in 1..=self.boots {
                let log = self.dir.path().join(format!("boot-{boot}.log"));
                eprintln!("--- boot {boot}\n{}", fs::read_to_string(log).unwrap_or_default());
            }
        } else {
            if self.running.is_some() {
                self.run("find /run/tagalong -type f -exec cat {} +");
            }
            let disk = self.dir.path().join("disk");
            let output = Command::new("journalctl")
                .args(["--no-pager", "--directory"])
                .arg(disk.join("var/log/journal"))
                .output();
            let journal = output.map(|output| output.stdout).unwrap_or_default();
            self.vpc.tells_no_secret("the journal", &String::from_utf8_lossy(&journal));
            for kept in ["var/lib/tagalong", "var/log"] {
                self.vpc.keeps_no_secret(&disk.join(kept));
            }
            for boot in 1..=self.boots {
                let log = fs::read(self.dir.path().join(format!("boot-{boot}.log"))).unwrap();
                self.vpc.tells_no_secret("the console", &String::from_utf8_lossy(&log));
            }
        }
    }
}

/// Where the package is fetched.
const PACKAGES: &str = "8000";

/// The first process of the container that the child of `unshare` made.
fn leader_of(unshare: u32) -> Option<String> {
    let children = |pid: &str| {
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let children = children.unwrap_or_default();
        children.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    let nspawns = children(&unshare.to_string());
    nspawns.iter().flat_map(|nspawn| children(nspawn)).find(|child| {
        fs::read_to_string(format!("/proc/{child}/comm")).is_ok_and(|name| name == "systemd\n")
    })
}

/// An item of cloud-init's `write_files`.
fn file(path: &str, content: &str) -> String {
    let content = content.replace('\n', "\n      ");
    format!(
        "  - path: {path}\n    permissions: \"0600\"\n    content: |\n      {}\n",
        content.trim_end()
    )
}

fn insert_after(text: &str, mark: &str, more: &str) -> String {
    assert_eq!(text.matches(mark).count(), 1, "{mark:?} in {text}");
    text.replace(mark, &format!("{mark}{more}"))
}

//! A host for one test: its metadata service and its AWS on loopback, directories of its own, a configuration, and the
//! program run on them, with a clean environment and a bound on its time.

use std::{
    fmt::Write as _,
    fs,
    io::{Read, Write as _},
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use sandbox::{
    dns::{Key, Server, Zone},
    imds::Whom,
    instance::Instance,
    running::{Listen, Running},
    world::World,
};
use tempfile::TempDir;

use crate::bind::missing;

/// This host.
pub(crate) const US: &str = "i-0aaaaaaaaaaaaaaa1";
pub(crate) const OUR_MARKER: &str =
    "\"tagalong-owner=i-0aaaaaaaaaaaaaaa1\" \"home=123456789012/us-east-1\"";
pub(crate) const ZONE: &str = "corp.internal";
/// The name of this host, and of its address.
pub(crate) const NAME: &str = "web-1.corp.internal.";
pub(crate) const REVERSE: &str = "23.1.0.10.in-addr.arpa.";
pub(crate) const ANY_PORT: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
/// The tag that makes an instance a DNS server, as configured by default.
pub(crate) const SERVER_TAG: &str = "tagalong:dns-server";
/// Where DNS servers with an address of their own listen: below the ports that the system gives to clients.
pub(crate) const DNS_PORT: u16 = 10_053;

/// Everything around one host.
pub(crate) struct Lab {
    pub(crate) world: World,
    pub(crate) running: Running,
    pub(crate) dir: TempDir,
    /// What the configuration says of `[metadata] endpoint`.
    pub(crate) metadata: String,
    /// What the configuration says of `[aws] endpoint`.
    pub(crate) aws: String,
    /// What the configuration says of `[aws] vpc_resolver`.
    pub(crate) vpc_resolver: SocketAddr,
}

impl Lab {
    /// An instance `web-1` at 10.0.1.23 with a role and with tags in its metadata; nobody is at the VPC's resolver.
    pub(crate) fn new() -> Self {
        Self::with(web())
    }

    pub(crate) fn with(instance: Instance) -> Self {
        let world = World::new();
        world.set_throttling(false);
        Self::beside(&world, instance)
    }

    /// The same in an account where others may be.
    pub(crate) fn beside(world: &World, instance: Instance) -> Self {
        let world = world.clone();
        let whom = Whom::Instance(instance.id.clone());
        world.put_instance(instance);
        let listen =
            Listen { imds: vec![(ANY_PORT, whom)], aws: Some(ANY_PORT), ..Listen::default() };
        let running = Running::start(world.clone(), listen).unwrap();
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("root/etc")).unwrap();
        let lab = Self {
            metadata: format!("http://{}", running.imds()[0]),
            aws: format!("http://{}", running.aws().unwrap()),
            vpc_resolver: own_address(),
            world,
            running,
            dir,
        };
        lab.configure("[resolver]\nmanager = \"none\"\n");
        lab
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file below the lab's directory, and says where.
    pub(crate) fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// The configuration: where everything is, and then `sections`.
    pub(crate) fn configure(&self, sections: &str) {
        let Self { metadata, aws, vpc_resolver, .. } = self;
        self.file(
            "config.toml",
            &format!(
                "version = 1\n[metadata]\nendpoint = \"{metadata}\"\n\
                 [aws]\nendpoint = \"{aws}\"\nvpc_resolver = [\"{vpc_resolver}\"]\n{sections}"
            ),
        );
    }

    /// One record `{tag:Name}.corp.internal`, published by dynamic updates at `servers`; the resolver is left alone.
    pub(crate) fn publish_at(&self, servers: &[SocketAddr], key: &str, record: &str) {
        let key_file = self.file("tsig.key", key);
        let servers: Vec<_> = servers.iter().map(|server| format!("\"{server}\"")).collect();
        self.configure(&format!(
            "[[record]]\nname = \"{{tag:Name}}.{ZONE}\"\n{record}\n\
             [backend.internal]\nkind = \"rfc2136\"\nservers = [{}]\nkey_file = \"{}\"\n\
             [resolver]\nmanager = \"none\"\n",
            servers.join(", "),
            key_file.display()
        ));
    }

    /// Nothing to publish; DNS servers are the tagged ones; `resolver` says the rest of `[resolver]`.
    pub(crate) fn resolve_only(&self, resolver: &str) {
        self.configure(&format!(
            "[discovery]\nport = {DNS_PORT}\n[resolver]\nsearch = [\"{ZONE}\"]\n{resolver}\n"
        ));
    }

    pub(crate) fn resolv_conf(&self) -> String {
        fs::read_to_string(self.path("root/etc/resolv.conf")).unwrap()
    }

    pub(crate) fn state(&self) -> String {
        fs::read_to_string(self.path("state/state.json")).unwrap()
    }

    /// Adds a tagged instance at `address`, as a DNS server of the fleet.
    pub(crate) fn list_server(&self, address: SocketAddr, zone: &str) {
        let std::net::IpAddr::V4(ipv4) = address.ip() else { panic!("{address} is not IPv4") };
        let id = format!("i-{:017x}", u32::from(ipv4));
        self.world.put_instance(Instance::new(&id, zone, ipv4).tag(SERVER_TAG, ZONE));
    }

    /// A command that runs the program on this host, with nothing of this process's environment.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tagalong"));
        command.env_clear().args(["--config".into(), self.path("config.toml")]);
        command.args(["--state-dir".into(), self.path("state")]);
        command.args(["--run-dir".into(), self.path("run")]);
        if !arguments.contains(&"--root") {
            command.args(["--root".into(), self.path("root")]);
        }
        command.args(arguments);
        command
    }

    /// Runs the program to its end.
    pub(crate) fn tagalong(&self, arguments: &[&str]) -> Run {
        self.start(arguments).finish()
    }

    pub(crate) fn start(&self, arguments: &[&str]) -> Started {
        Started::of(self.command(arguments))
    }

    /// `once`, which must do all that it is asked to.
    pub(crate) fn once(&self) -> Run {
        self.tagalong(&["once", "--deadline", "20s"]).expect_code(0)
    }

    /// `once`, which must fail.
    pub(crate) fn once_fails(&self) -> Run {
        self.tagalong(&["once", "--deadline", "4s"]).expect_code(1)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if !thread::panicking() {
            crate::secrets::are_kept(self.dir.path(), &self.world.secrets());
        }
    }
}

pub(crate) fn web() -> Instance {
    Instance::new(US, "us-east-1a", [10, 0, 1, 23].into())
        .tag("Name", "web-1")
        .metadata_tags()
        .role("dns-agent")
}

/// Runs the program in a mount namespace of its own, after the mounts of `script`, which gets `$1` to `$9`.
pub(crate) fn mounted(lab: &Lab, script: &str, arguments: &[&str], program: &[&str]) -> Run {
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.arg("--map-root-user");
    }
    command.args([
        "--mount",
        "sh",
        "-ec",
        &format!("{script}\nshift {}\nexec \"$@\"", arguments.len()),
        "sh",
    ]);
    let inner = lab.command(program);
    command.args(arguments).arg(inner.get_program()).args(inner.get_args());
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    if let Err(error) = Command::new("unshare").arg("--version").output() {
        missing("unshare", &error);
    }
    Started::of(command).finish()
}

/// A run that has ended.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) elapsed: Duration,
}

impl Run {
    #[track_caller]
    pub(crate) fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self}");
        self
    }

    /// Standard error must hold all of `words`.
    #[track_caller]
    pub(crate) fn says(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.stderr.contains(word), "`{word}` is missing in:\n{self}");
        }
        self
    }

    /// Standard output must hold all of `words`.
    #[track_caller]
    pub(crate) fn prints(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.stdout.contains(word), "`{word}` is missing in:\n{self}");
        }
        self
    }

    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self}"))
    }
}

impl std::fmt::Display for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { code, stdout, stderr, elapsed } = self;
        write!(f, "exit {code} after {elapsed:?}\n--- stdout\n{stdout}--- stderr\n{stderr}---")
    }
}

/// A run under way.
pub(crate) struct Started {
    pub(crate) child: Child,
    at: Instant,
    readers: [thread::JoinHandle<String>; 2],
    /// Where what it told is kept: beside the configuration, if it is the program.
    log: Option<PathBuf>,
}

impl Started {
    pub(crate) fn of(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut words = command.get_args().skip_while(|word| *word != "--config");
        let log = words.nth(1).map(|config| Path::new(config).with_file_name("told.log"));
        let at = Instant::now();
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let readers = [reader(child.stdout.take().unwrap()), reader(child.stderr.take().unwrap())];
        Self { child, at, readers, log }
    }

    /// Waits for its end; one that never ends is ended by its handle, and is a failure.
    pub(crate) fn finish(self) -> Run {
        self.finish_within(RUN_LIMIT)
    }

    /// As [`finish`](Self::finish), for what takes longer.
    pub(crate) fn finish_within(mut self, limit: Duration) -> Run {
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break Some(status);
            }
            if self.at.elapsed() > limit {
                break None;
            }
            thread::sleep(Duration::from_millis(2));
        };
        let elapsed = self.at.elapsed();
        if status.is_none() {
            self.child.kill().unwrap();
            self.child.wait().unwrap();
        }
        let [stdout, stderr] = self.told();
        let code = status.and_then(|status| status.code()).unwrap_or(-1);
        let run = Run { code, stdout, stderr, elapsed };
        // Each error of a verb leads to the manual.
        let is_error = run.stderr.lines().any(|line| line.starts_with("error:"));
        let is_led = run.stderr.contains("  see: https://");
        assert!(!is_error || is_led || run.code == 64, "no way to the manual: {run}");
        assert!(status.is_some(), "it did not end within {limit:?}: {run}");
        run
    }

    /// SIGKILL, now.
    pub(crate) fn kill(mut self) {
        let _ = self.child.kill();
        self.child.wait().unwrap();
        self.told();
    }

    /// What it printed and what it said; its host's end searches the log for secrets.
    fn told(self) -> [String; 2] {
        let told = self.readers.map(|reader| reader.join().unwrap());
        if let Some(path) = self.log {
            let mut log = fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
            log.write_all(told.concat().as_bytes()).unwrap();
        }
        told
    }
}

fn reader(mut pipe: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut octets = Vec::new();
        let _ = pipe.read_to_end(&mut octets);
        String::from_utf8_lossy(&octets).into_owned()
    })
}

/// Waits for what another thread or process is about to do.
#[track_caller]
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < RUN_LIMIT, "never: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// A loopback address that no other test has, on [`DNS_PORT`]. All of 127/8 is there without being set up.
pub(crate) fn own_address() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // This process's share of 127/8 begins somewhere that depends on its id: two runs side by side do not meet.
    let base = 0x7f02_0000 + (std::process::id() % 250) * 0x1_0000;
    let host = base + NEXT.fetch_add(1, Ordering::Relaxed) * 2 + 1;
    SocketAddr::new(Ipv4Addr::from(host).into(), DNS_PORT)
}

/// A DNS server at an address of its own, with the fleet's zones.
pub(crate) fn fleet_server(keys: Vec<Key>) -> Server {
    Server::start(own_address(), fleet_zones(), keys).unwrap()
}

pub(crate) fn fleet_zones() -> Vec<Zone> {
    vec![Zone::new(ZONE), Zone::new("10.in-addr.arpa")]
}

/// A resolv.conf with these servers and nothing else.
pub(crate) fn resolv_conf(servers: &[SocketAddr]) -> String {
    servers.iter().fold(String::new(), |mut text, server| {
        writeln!(text, "nameserver {}", server.ip()).unwrap();
        text
    })
}

/// Far beyond any deadline that a test gives.
const RUN_LIMIT: Duration = Duration::from_secs(60);

/// Runs to its end what the product does side by side with other work.
pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

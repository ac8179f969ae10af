//! One VPC and one host, each in a network namespace: the VPC has a DHCP server, the metadata service on 169.254.169.254:80, EC2's
//! API, and DNS servers; the host has an interface with the metadata's hardware address, and its own /etc, /run and /var/lib.

use std::{
    fmt::Write as _,
    fs,
    io::{self, BufRead as _, BufReader, Write as _},
    net::{Ipv4Addr, SocketAddr},
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use sandbox::{
    black_hole::BlackHole,
    imds::Whom,
    instance::{Instance, Interface},
    running::{Listen, Running},
    world::World,
};
use tempfile::TempDir;

use crate::bind::{Process, missing};

pub(crate) const US: &str = "i-0aaaaaaaaaaaaaaa1";
pub(crate) const ZONE: &str = "corp.internal";
const REVERSE_ZONE: &str = "10.in-addr.arpa";
pub(crate) const NAME: &str = "web-1.corp.internal";
/// A name of the zone that every DNS server of the fleet has.
pub(crate) const APP: &str = "app.corp.internal";
/// Where this host's name is published.
pub(crate) const PRIMARY: Ipv4Addr = Ipv4Addr::new(10, 66, 0, 10);
pub(crate) const FIRST_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 66, 0, 101);
pub(crate) const INTERFACE: &str = "ens5";
/// The other interface, where there is one.
pub(crate) const SECOND_INTERFACE: &str = "ens6";
/// The other interface, attached anew.
pub(crate) const MOVED_INTERFACE: &str = "ens7";
/// The VPC's bridge, with all its addresses.
const SUBNET: &str = "subnet";
pub(crate) const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 66, 0, 1);
const SERVER_TAG: &str = "tagalong:dns-server";
pub(crate) const KEY: &str = "key \"agent-key\" {\n\talgorithm hmac-sha256;\n\tsecret \"EZHQ9xJsTwEW01CWk0anu1Tjc0ml3XBtGa8q5TYB36I=\";\n};\n";

/// Whether whole hosts can be made here; says so if not.
pub(crate) fn can_run(test: &str) -> bool {
    let works = |program: &str, arguments: &[&str]| {
        Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
    };
    let can = rustix::process::geteuid().is_root()
        && works("unshare", &["--net", "--mount", "true"])
        && works("ip", &["netns", "list"]);
    if !can {
        say(&format!("NOT RUN: {test} needs root, and network namespaces"));
    }
    can
}

/// Says it past the test's own output, which nobody sees when it passes.
pub(crate) fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// A network namespace; it goes with this.
pub(crate) struct Namespace(String);

impl Namespace {
    pub(crate) fn new(what: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("tagalong-{}-{number}-{what}", std::process::id());
        ip(&["netns", "add", &name]);
        let namespace = Self(name);
        namespace.ip(&["link", "set", "lo", "up"]);
        namespace
    }

    pub(crate) fn name(&self) -> &str {
        &self.0
    }

    pub(crate) fn ip(&self, arguments: &[&str]) {
        ip(&[&["-n", &self.0], arguments].concat());
    }

    /// Runs `work` on a thread in the namespace; its sockets and children stay there.
    pub(crate) fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let file = fs::File::open(format!("/run/netns/{}", self.0)).unwrap();
        thread::scope(|scope| {
            let there = scope.spawn(|| {
                let kind = rustix::thread::LinkNameSpaceType::Network;
                rustix::thread::move_into_link_name_space(file.as_fd(), Some(kind)).unwrap();
                work()
            });
            there.join().unwrap()
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "delete", &self.0]).status();
    }
}

fn ip(arguments: &[&str]) {
    let output = Command::new("ip").args(arguments).output();
    let output = output.unwrap_or_else(|error| missing("ip", &error));
    assert!(
        output.status.success(),
        "ip {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn send(child: &Child, signal: &str) {
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-s", signal, &pid]).status().unwrap().success());
}

/// A child that is ended by its id when this is dropped.
pub(crate) struct Ends(pub(crate) Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The VPC: everything but the host.
pub(crate) struct Vpc {
    pub(crate) world: World,
    pub(crate) namespace: Namespace,
    pub(crate) aws: SocketAddr,
    dir: TempDir,
    dhcp: Ends,
    primary: Option<Name>,
    _metadata: Running,
}

/// A named of the fleet; it ends with this.
pub(crate) struct Name {
    _process: Process,
    _dir: TempDir,
}

impl Vpc {
    /// A VPC with an instance whose first lease is for [`FIRST_ADDRESS`], and a primary of the zone.
    pub(crate) fn new(host: &Namespace) -> Self {
        let namespace = Namespace::new("vpc");
        namespace.ip(&["link", "add", SUBNET, "type", "bridge"]);
        namespace.ip(&["link", "set", SUBNET, "up"]);
        attach(&namespace, host, INTERFACE);
        let world = World::new();
        world.set_throttling(false);
        let us = Instance::new(US, "us-east-1a", FIRST_ADDRESS)
            .tag("Name", "web-1")
            .metadata_tags()
            .role("dns-agent");
        host.ip(&["link", "set", INTERFACE, "address", &us.interfaces[0].mac]);
        world.put_instance(us);
        namespace.ip(&["addr", "add", &format!("{ROUTER}/24"), "dev", SUBNET]);
        namespace.ip(&["addr", "add", "169.254.169.254/32", "dev", "lo"]);
        let whom = Whom::Instance(US.to_owned());
        let listen = Listen {
            imds: vec![(SocketAddr::from(([169, 254, 169, 254], 80)), whom)],
            aws: Some(SocketAddr::new(ROUTER.into(), 0)),
            control: None,
        };
        let metadata = namespace.inside(|| Running::start(world.clone(), listen).unwrap());
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("hosts"), reservations(&world)).unwrap();
        fs::write(dir.path().join("dnsmasq.conf"), dnsmasq_conf(dir.path())).unwrap();
        let dhcp = namespace.inside(|| dnsmasq(dir.path()));
        let mut vpc = Self {
            world,
            namespace,
            aws: metadata.aws().unwrap(),
            dir,
            dhcp,
            primary: None,
            _metadata: metadata,
        };
        vpc.respawn_primary();
        vpc
    }

    /// A DNS server of the fleet at `address`, with the fleet's zones: their primary at [`PRIMARY`], a secondary elsewhere.
    pub(crate) fn named(&self, address: Ipv4Addr) -> Name {
        self.add(address);
        let dir = tempfile::tempdir().unwrap();
        if address == PRIMARY {
            let header = format!(
                "$TTL 60\n@ SOA ns1.{ZONE}. hostmaster.{ZONE}. 1 3600 600 86400 60\n@ NS ns1.{ZONE}.\n"
            );
            let hosts = format!("ns1 A {PRIMARY}\napp 1 A 10.66.0.50\n");
            fs::write(dir.path().join(format!("{ZONE}.db")), header.clone() + &hosts).unwrap();
            fs::write(dir.path().join(format!("{REVERSE_ZONE}.db")), header).unwrap();
        }
        let (process, ()) = self.namespace.inside(|| {
            Process::start(dir.path(), || {
                fs::write(dir.path().join("named.conf"), named_conf(address, dir.path())).unwrap();
            })
        });
        // A secondary has to fetch the zone first.
        if address != PRIMARY && self.primary.is_some() {
            until("the secondary has the zone", || !self.answer_of(address, APP, "A").is_empty());
        }
        Name { _process: process, _dir: dir }
    }

    /// An address of the VPC's subnet, for a server.
    fn add(&self, address: Ipv4Addr) {
        let words = ["addr", "replace", &format!("{address}/32"), "dev", SUBNET];
        self.namespace.ip(&words);
    }

    /// A dead instance at `address`, where a server of the fleet was: what is sent there is never answered.
    pub(crate) fn black_hole(&self, address: Ipv4Addr) -> BlackHole {
        self.add(address);
        self.namespace.inside(|| BlackHole::start(SocketAddr::new(address.into(), 53)).unwrap())
    }

    /// The primary dies, with the zone's records; what is sent to it is never answered.
    pub(crate) fn kill_primary(&mut self) -> BlackHole {
        self.primary = None;
        self.black_hole(PRIMARY)
    }

    /// A new primary, with a zone as it was at first.
    pub(crate) fn respawn_primary(&mut self) {
        self.primary = Some(self.named(PRIMARY));
    }

    /// Takes that instance away.
    pub(crate) fn unlist(&self, address: Ipv4Addr) {
        self.world.remove_instance(&format!("i-{:017x}", u32::from(address)));
    }

    /// Tags an instance at `address` as a DNS server of the fleet.
    pub(crate) fn list(&self, address: Ipv4Addr) {
        let id = format!("i-{:017x}", u32::from(address));
        self.world.put_instance(Instance::new(&id, "us-east-1a", address).tag(SERVER_TAG, ZONE));
    }

    /// Tags that DNS server as one that is about to be shut down.
    pub(crate) fn drain(&self, address: Ipv4Addr) {
        let id = format!("i-{:017x}", u32::from(address));
        self.world.update_instance(&id, |instance| {
            instance.tags.insert("tagalong:draining".to_owned(), "true".to_owned());
        });
    }

    /// The host's next lease is for `address`: the server refuses the old one at its next renewal, as EC2 does not, but a stopped and
    /// started instance sees it so. The metadata say the same from now on.
    pub(crate) fn move_host(&self, address: Ipv4Addr) {
        self.world.update_instance(US, |host| host.move_to(address));
        self.reserve();
    }

    /// The DHCP server's next answers are for the addresses that EC2 says.
    fn reserve(&self) {
        fs::write(self.dir.path().join("hosts"), reservations(&self.world)).unwrap();
        send(&self.dhcp.0, "HUP");
    }

    /// The DHCP server stops, and nobody takes its place.
    pub(crate) fn stop_dhcp(&mut self) {
        self.dhcp.0.kill().unwrap();
        self.dhcp.0.wait().unwrap();
    }

    /// The addresses of `name` at the primary.
    pub(crate) fn published(&self, name: &str) -> Vec<String> {
        self.published_as(name, "A")
    }

    /// The data of this type there.
    pub(crate) fn published_as(&self, name: &str, kind: &str) -> Vec<String> {
        self.answer_of(PRIMARY, name, kind)
    }

    fn answer_of(&self, server: Ipv4Addr, name: &str, kind: &str) -> Vec<String> {
        self.namespace.inside(|| {
            let server = format!("@{server}");
            let output = Command::new("dig")
                .args([&server, "+short", "+time=1", "+tries=2", name, kind])
                .output();
            let output = output.unwrap_or_else(|error| missing("dig", &error));
            String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
        })
    }

    /// A dynamic update of the zone, in nsupdate(1)'s words.
    pub(crate) fn update(&self, commands: &[String]) {
        let key = self.dir.path().join("tsig.key");
        fs::write(&key, KEY).unwrap();
        let script = self.dir.path().join("update");
        let text = format!("server {PRIMARY}\n{}\nsend\n", commands.join("\n"));
        fs::write(&script, text).unwrap();
        let mut command = Command::new("nsupdate");
        command.arg("-k").arg(&key).arg(&script);
        let output = self.namespace.inside(|| command.output());
        let output = output.unwrap_or_else(|error| missing("nsupdate", &error));
        assert!(output.status.success(), "{output:?}");
    }

    pub(crate) fn config(&self, more: &str) -> String {
        format!(
            "version = 1\n[aws]\nendpoint = \"http://{}\"\n[[record]]\nname = \"{{tag:Name}}.{ZONE}\"\n\
             [backend.internal]\nkind = \"rfc2136\"\nservers = [\"{PRIMARY}\"]\nkey_file = \"/etc/tagalong/tsig.key\"\n\
             [resolver]\nsearch = [\"{ZONE}\"]\nfallback = \"none\"\n{more}",
            self.aws
        )
    }

    /// Fails if `text` holds the fleet's key, or the credentials of a role.
    pub(crate) fn tells_no_secret(&self, what: &str, text: &str) {
        tells_no_secret(what, text);
        let is_told = self.world.secrets().iter().any(|secret| text.contains(secret));
        assert!(!is_told, "{what} holds a role's credentials:\n{text}");
    }

    /// Fails if a file below holds one of them.
    pub(crate) fn keeps_no_secret(&self, folder: &Path) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => self.keeps_no_secret(&path),
                Ok(kind) if kind.is_file() => {
                    let octets = fs::read(&path).unwrap_or_default();
                    let text = String::from_utf8_lossy(&octets);
                    self.tells_no_secret(&path.display().to_string(), &text);
                }
                _ => {}
            }
        }
    }
}

/// The primary address of each of the host's interfaces.
fn reservations(world: &World) -> String {
    let interfaces = world.instance(US).unwrap().interfaces;
    let lines = interfaces.iter().map(|one| format!("{},{}\n", one.mac, one.private_ipv4s[0]));
    lines.collect::<Vec<_>>().concat()
}

/// A link from the host to the subnet.
fn attach(vpc: &Namespace, host: &Namespace, interface: &str) {
    let port = format!("port-{interface}");
    vpc.ip(&["link", "add", &port, "type", "veth", "peer", "name", interface, "netns", &host.0]);
    vpc.ip(&["link", "set", &port, "master", SUBNET, "up"]);
}

/// Its shortest lease is two minutes; T1 and T2 make the client come back every five seconds.
fn dnsmasq_conf(dir: &Path) -> String {
    format!(
        "port=0\ninterface={SUBNET}\nbind-interfaces\nno-resolv\nno-hosts\nno-ping\nuser=root\n\
         dhcp-range=10.66.0.100,10.66.0.199,255.255.255.0,2m\ndhcp-option-force=58,5\ndhcp-option-force=59,9\n\
         dhcp-option=option:router,{ROUTER}\ndhcp-option=option:dns-server,{ROUTER}\n\
         dhcp-leasefile={0}/leases\ndhcp-hostsfile={0}/hosts\ndhcp-authoritative\nlog-dhcp\nlog-facility=-\n",
        dir.display()
    )
}

fn dnsmasq(dir: &Path) -> Ends {
    let mut command = Command::new("dnsmasq");
    command.args(["--keep-in-foreground", "--pid-file"]);
    let log = fs::File::create(dir.join("dnsmasq.log")).unwrap();
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    let command = command.arg(format!("--conf-file={}", dir.join("dnsmasq.conf").display()));
    let child = Ends(command.spawn().unwrap_or_else(|error| missing("dnsmasq", &error)));
    until("dnsmasq serves", || {
        fs::read_to_string(dir.join("dnsmasq.log")).unwrap().contains("DHCP, IP range")
    });
    child
}

fn named_conf(address: Ipv4Addr, dir: &Path) -> String {
    let path = dir.display();
    let mut conf = format!(
        "{KEY}options {{ directory \"{path}\"; listen-on port 53 {{ {address}; }}; listen-on-v6 {{ none; }}; pid-file none;\n\
         session-keyfile \"{path}/session.key\"; recursion no; empty-zones-enable no; dnssec-validation no; notify no; }};\n\
         controls {{ }};\n"
    );
    let role = if address == PRIMARY {
        "primary; allow-transfer { any; }; update-policy { grant agent-key zonesub A AAAA PTR TXT; }".to_owned()
    } else {
        format!("secondary; primaries {{ {PRIMARY}; }}")
    };
    for origin in [ZONE, REVERSE_ZONE] {
        writeln!(conf, "zone \"{origin}\" {{ type {role}; file \"{origin}.db\"; }};").unwrap();
    }
    conf
}

/// A host: a network namespace, and a mount namespace with files of its own.
pub(crate) struct Host {
    pub(crate) vpc: Vpc,
    network: Namespace,
    /// What holds the mount namespace open.
    holder: Ends,
    pub(crate) dir: TempDir,
    running: Vec<(&'static str, Ends)>,
}

impl Host {
    /// A host that has just been started, with `dhclient.conf` and, if `hooks`, the packaged hooks.
    pub(crate) fn new(dhclient_conf: &str, hooks: Hooks) -> Self {
        let network = Namespace::new("host");
        let vpc = Vpc::new(&network);
        let dir = tempfile::tempdir().unwrap();
        let etc = dir.path().join("etc");
        for folder in [
            "etc/dhcp/dhclient-enter-hooks.d",
            "etc/dhcp/dhclient-exit-hooks.d",
            "etc/tagalong",
            "work-etc",
            "lib",
            "work-lib",
        ] {
            fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        // Hooks of this machine's own packages are none of ours.
        for folder in ["enter", "exit"] {
            rustix::fs::setxattr(
                etc.join(format!("dhcp/dhclient-{folder}-hooks.d")),
                "trusted.overlay.opaque",
                b"y",
                rustix::fs::XattrFlags::empty(),
            )
            .unwrap();
        }
        fs::write(etc.join("resolv.conf"), "").unwrap();
        fs::write(etc.join("nsswitch.conf"), "hosts: files dns\n").unwrap();
        fs::write(etc.join("dhcp/dhclient.conf"), dhclient_conf).unwrap();
        fs::write(etc.join("tagalong/tsig.key"), KEY).unwrap();
        if hooks == Hooks::Installed {
            let packaged = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/hooks");
            let copy = |name: &str, to: &str| {
                fs::copy(packaged.join(name), etc.join(to)).unwrap();
            };
            copy("dhclient-enter-hook", "dhcp/dhclient-enter-hooks.d/zz-tagalong");
            copy("dhclient-exit-hook", "dhcp/dhclient-exit-hooks.d/tagalong");
        }
        let holder = network.inside(|| hold(dir.path()));
        network.ip(&["link", "set", INTERFACE, "up"]);
        Self { vpc, network, holder, dir, running: Vec::new() }
    }

    /// A file of the host.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        Path::new("/proc")
            .join(self.holder.0.id().to_string())
            .join("root")
            .join(path.trim_start_matches('/'))
    }

    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap_or_default()
    }

    pub(crate) fn write(&self, path: &str, content: &str) {
        fs::write(self.path(path), content).unwrap();
    }

    /// A command on the host.
    pub(crate) fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        let pid = self.holder.0.id().to_string();
        command.args(["--target", &pid, "--mount", "--net", "--wd=/", program]).args(arguments);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command
    }

    /// Starts what runs until the end; its output is `NAME.log` in the host's directory.
    fn start(&mut self, name: &'static str, mut command: Command) {
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.dir.path().join(format!("{name}.log")))
            .unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.running.push((name, Ends(command.spawn().unwrap())));
    }

    pub(crate) fn log(&self, name: &str) -> String {
        fs::read_to_string(self.dir.path().join(format!("{name}.log"))).unwrap_or_default()
    }

    /// The ISC client, as Debian's ifupdown starts it; waits for the first lease.
    pub(crate) fn dhclient(&mut self) {
        self.dhclient_on(INTERFACE);
    }

    /// The same on another interface; its log has the interface's name.
    pub(crate) fn dhclient_on(&mut self, interface: &'static str) {
        let arguments = [&["-d".to_owned()][..], &dhclient_arguments(interface)].concat();
        let command =
            self.command("dhclient", &arguments.iter().map(|one| &**one).collect::<Vec<_>>());
        self.start(interface, command);
        until("the first lease", || self.log(interface).contains("bound to"));
    }

    /// Gives the lease back, and ends the client.
    pub(crate) fn release(&mut self, interface: &'static str) {
        let arguments = [&["-r".to_owned()][..], &dhclient_arguments(interface)].concat();
        let output = self
            .command("dhclient", &arguments.iter().map(|one| &**one).collect::<Vec<_>>())
            .output();
        let output = output.unwrap();
        assert!(output.status.success(), "{output:?}");
        self.kill(interface);
    }

    /// The agent, as its unit starts it.
    pub(crate) fn agent(&mut self, more: &str) {
        self.write("/etc/tagalong/config.toml", &self.vpc.config(more));
        let mut command = self.command(env!("CARGO_BIN_EXE_tagalong"), &["run"]);
        command.env("RUST_LOG", "warn,tagalong=debug");
        self.start("agent", command);
    }

    /// A signal for what was started under `name`.
    pub(crate) fn signal(&self, name: &str, signal: &str) {
        let (_, child) = self.running.iter().find(|(running, _)| *running == name).unwrap();
        send(&child.0, signal);
    }

    /// SIGKILL for what was started under `name`.
    pub(crate) fn kill(&mut self, name: &str) {
        self.running.retain(|(running, _)| *running != name);
    }

    /// Attaches a second interface, as EC2 does: the metadata list it with `address`, the kernel has a link, and the DHCP server knows it.
    pub(crate) fn attach_second(&self, address: Ipv4Addr) {
        let mut second = Interface::new(address);
        second.device_number = 1;
        attach(&self.vpc.namespace, &self.network, SECOND_INTERFACE);
        self.ip(&["link", "set", SECOND_INTERFACE, "address", &second.mac]);
        self.vpc.world.update_instance(US, |host| host.interfaces.push(second));
        self.vpc.reserve();
        self.ip(&["link", "set", SECOND_INTERFACE, "up"]);
    }

    /// Takes it away again.
    pub(crate) fn detach_second(&self) {
        self.vpc.world.update_instance(US, |host| host.interfaces.truncate(1));
        self.ip(&["link", "delete", SECOND_INTERFACE]);
    }

    /// Another interface takes the second one's place, and its address.
    pub(crate) fn replace_second(&self) {
        self.ip(&["link", "delete", SECOND_INTERFACE]);
        attach(&self.vpc.namespace, &self.network, MOVED_INTERFACE);
        let mac = "06:00:0a:42:00:ee";
        self.ip(&["link", "set", MOVED_INTERFACE, "address", mac]);
        self.vpc.world.update_instance(US, |host| {
            let second = &mut host.interfaces[1];
            (second.mac, second.id) = (mac.to_owned(), "eni-0moved".to_owned());
        });
        self.vpc.reserve();
        self.ip(&["link", "set", MOVED_INTERFACE, "up"]);
    }

    /// ip(8) in the host's network.
    pub(crate) fn ip(&self, arguments: &[&str]) {
        self.network.ip(arguments);
    }

    /// Whether the kernel has the address.
    pub(crate) fn has(&self, address: Ipv4Addr) -> bool {
        let tables = format!("/proc/{}/net/fib_trie", self.holder.0.id());
        fs::read_to_string(tables).unwrap().contains(&format!("-- {address}\n"))
    }

    pub(crate) fn uses(&self, address: Ipv4Addr) -> bool {
        self.read("/etc/resolv.conf").contains(&format!("nameserver {address}\n"))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.running.clear();
        if thread::panicking() {
            for name in [INTERFACE, SECOND_INTERFACE, MOVED_INTERFACE, "agent"] {
                eprintln!("--- {name}\n{}", self.log(name));
            }
            eprintln!("--- resolv.conf\n{}", self.read("/etc/resolv.conf"));
        } else {
            self.vpc.keeps_no_secret(&self.path("/var/lib/tagalong"));
            self.vpc.keeps_no_secret(&self.path("/run/tagalong"));
            for name in [INTERFACE, SECOND_INTERFACE, MOVED_INTERFACE, "agent"] {
                self.vpc.tells_no_secret(name, &self.log(name));
            }
        }
    }
}

/// Fails if `text` holds the fleet's key.
pub(crate) fn tells_no_secret(what: &str, text: &str) {
    let secret = KEY.split("secret \"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    assert!(!text.contains(secret), "{what} holds the key's secret:\n{text}");
}

fn dhclient_arguments(interface: &str) -> Vec<String> {
    [
        "-4",
        "-v",
        "-pf",
        &format!("/run/dhclient.{interface}.pid"),
        "-lf",
        &format!("/run/dhclient.{interface}.leases"),
        interface,
    ]
    .map(str::to_owned)
    .to_vec()
}

/// Whether the packaged hooks are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hooks {
    Installed,
    Missing,
}

/// A process in a mount namespace of its own: /etc and /var/lib over this machine's, a new /run.
fn hold(dir: &Path) -> Ends {
    let script = "mount --make-rprivate /
        mount -t overlay -o lowerdir=/etc,upperdir=\"$1\"/etc,workdir=\"$1\"/work-etc none /etc
        mount -t overlay -o lowerdir=/var/lib,upperdir=\"$1\"/lib,workdir=\"$1\"/work-lib none /var/lib
        mount -t tmpfs none /run
        mkdir -p /run/tagalong/hook
        echo ready
        exec sleep infinity";
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-ec", script, "sh"])
        .arg(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| missing("unshare", &error));
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n", "the host's mounts");
    Ends(child)
}

/// Waits for what another process is about to do.
#[track_caller]
pub(crate) fn until(what: &str, is_so: impl FnMut() -> bool) {
    until_within(Duration::from_secs(60), what, is_so);
}

#[track_caller]
pub(crate) fn until_within(
    limit: Duration,
    what: &str,
    mut is_so: impl FnMut() -> bool,
) -> Duration {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < limit, "never: {what}");
        thread::sleep(Duration::from_millis(5));
    }
    started.elapsed()
}

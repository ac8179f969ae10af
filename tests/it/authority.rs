//! The servers that names are published at: BIND's `named`, and the sandbox's, behind one face; and `dig` to read them.

use std::{
    fmt::Write as _,
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    process::{Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicU16, Ordering},
    },
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use sandbox::{
    black_hole::BlackHole,
    dns::{Algorithm, Key, Server, Zone},
};
use tempfile::TempDir;

use crate::{
    bind::{Process, missing},
    support::fleet_server,
};

/// A primary of `corp.internal` and `10.in-addr.arpa`.
pub(crate) enum Authority {
    Bind(Named),
    Ours(Server),
}

impl Authority {
    /// Runs `promise` at both, each with its own key.
    pub(crate) fn each(promise: impl Fn(&Self, &str)) {
        let key = tsig_keygen("hmac-sha256", "agent-key");
        let bind = Self::Bind(Named::primary(&fleet(), &key));
        promise(&bind, &key);
        let ours = Self::Ours(fleet_server(vec![parsed(&key)]));
        promise(&ours, &key);
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        match self {
            Self::Bind(named) => named.addr,
            Self::Ours(server) => server.addr(),
        }
    }

    /// The data at a name, as `dig` prints it, sorted.
    pub(crate) fn read(&self, name: &str, kind: &str) -> Vec<String> {
        dig(self.addr(), name, kind)
    }

    /// The zone's serial number, which each change raises.
    pub(crate) fn serial(&self, zone: &str) -> u32 {
        serial(self.addr(), zone)
    }

    /// A record that somebody else makes.
    pub(crate) fn add(&self, zone: &str, record: &str) {
        match self {
            Self::Bind(named) => {
                let script = format!("zone {zone}\nupdate add {record}\nsend\n");
                named.nsupdate(&script);
            }
            Self::Ours(server) => server.zones().add(record).unwrap(),
        }
    }

    /// Everything at a name, which somebody else removes.
    pub(crate) fn remove(&self, zone: &str, name: &str) {
        match self {
            Self::Bind(named) => {
                named.nsupdate(&format!("zone {zone}\nupdate delete {name}\nsend\n"));
            }
            Self::Ours(server) => server.zones().delete(name, None),
        }
    }
}

pub(crate) fn serial(server: SocketAddr, zone: &str) -> u32 {
    let soa = dig(server, zone, "SOA");
    let serial = soa.first().and_then(|soa| soa.split(' ').nth(2)?.parse().ok());
    serial.unwrap_or_else(|| panic!("{server} has no SOA of {zone}: {soa:?}"))
}

/// A zone of a `named`: its name, and the lines of its file beside SOA and NS.
#[derive(Clone)]
pub(crate) struct ZoneFile {
    pub(crate) origin: String,
    pub(crate) mname: String,
    pub(crate) lines: Vec<String>,
    /// Who may transfer it.
    pub(crate) transfer: String,
    /// Who may change it.
    pub(crate) policy: String,
}

impl ZoneFile {
    pub(crate) fn new(origin: &str) -> Self {
        Self {
            origin: origin.to_owned(),
            mname: "ns1.example.".to_owned(),
            lines: Vec::new(),
            transfer: "any".to_owned(),
            policy: "update-policy { grant agent-key zonesub A AAAA PTR TXT DHCID; grant admin zonesub ANY; };"
                .to_owned(),
        }
    }
}

pub(crate) fn fleet() -> Vec<ZoneFile> {
    vec![ZoneFile::new("corp.internal"), ZoneFile::new("10.in-addr.arpa")]
}

/// A real BIND server on loopback; it ends with this.
pub(crate) struct Named {
    pub(crate) addr: SocketAddr,
    process: Mutex<Option<Process>>,
    dir: TempDir,
}

impl Named {
    /// A primary of `zones` at 127.0.0.1; `key` may change what their policies say, and a key of its own anything.
    pub(crate) fn primary(zones: &[ZoneFile], key: &str) -> Self {
        Self::primary_with("", zones, key)
    }

    /// The same with more options.
    pub(crate) fn primary_with(options: &str, zones: &[ZoneFile], key: &str) -> Self {
        let addr = || free_port(Ipv4Addr::LOCALHOST.into());
        Self::start(addr, options, || statements(zones, key), zones)
    }

    /// As [`primary`](Self::primary), at another address.
    pub(crate) fn primary_at(addr: SocketAddr, zones: &[ZoneFile], key: &str) -> Self {
        Self::start(|| addr, "", || statements(zones, key), zones)
    }

    /// A secondary of `zones` at 127.0.0.1, on the port of `primary`.
    pub(crate) fn secondary(primary: SocketAddr, zones: &[ZoneFile], key: &str) -> Self {
        let secondaries = zones.iter().fold(key.to_owned(), |mut text, ZoneFile { origin, .. }| {
            let (ip, port) = (primary.ip(), primary.port());
            writeln!(
                text,
                "zone \"{origin}\" {{ type secondary; primaries port {port} {{ {ip}; }}; file \"{origin}.copy\"; }};"
            )
            .unwrap();
            text
        });
        let addr = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), primary.port());
        Self::start(|| addr, "", || secondaries.clone(), &[])
    }

    /// A cache at `addr` that has everything from `upstream`, and knows `key`.
    pub(crate) fn cache(addr: SocketAddr, upstream: SocketAddr, key: &str) -> Self {
        let (ip, port) = (upstream.ip(), upstream.port());
        let options = format!(
            "options {{ recursion yes; allow-recursion {{ any; }}; forward only; forwarders {{ {ip} port {port}; }};"
        );
        let dir = tempfile::tempdir().unwrap();
        let conf = named_conf(addr, dir.path(), key).replacen("options {", &options, 1);
        let conf = conf.replacen("recursion no; ", "", 1);
        let (process, ()) = Process::start(dir.path(), || {
            fs::write(dir.path().join("named.conf"), &conf).unwrap();
        });
        Self { addr, process: Mutex::new(Some(process)), dir }
    }

    /// Ends it without a warning, and starts it anew with what it had written down.
    pub(crate) fn restart(&self) {
        let mut process = self.process.lock().unwrap();
        *process = None;
        *process = Some(Process::start(self.dir.path(), || {}).0);
    }

    fn start(
        addr: impl Fn() -> SocketAddr,
        options: &str,
        statements: impl Fn() -> String,
        zones: &[ZoneFile],
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for ZoneFile { origin, mname, lines, .. } in zones {
            let text = format!(
                "$TTL 300\n@ 300 IN SOA {mname} hostmaster.example. 1 3600 600 86400 60\n@ 300 IN NS {mname}\n{}\n",
                lines.join("\n")
            );
            fs::write(dir.path().join(format!("{origin}.db")), text).unwrap();
        }
        let (process, addr) = Process::start(dir.path(), || {
            let addr = addr();
            let conf = named_conf(addr, dir.path(), &statements());
            let conf = conf.replacen("options {", &format!("options {{ {options}"), 1);
            fs::write(dir.path().join("named.conf"), conf).unwrap();
            addr
        });
        Self { addr, process: Mutex::new(Some(process)), dir }
    }

    /// A change by the zone's administrator.
    pub(crate) fn nsupdate(&self, script: &str) {
        let mut command = Command::new("nsupdate");
        command.arg("-k").arg(self.dir.path().join("admin.key"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let admin = tsig_text("hmac-sha256", "admin", ADMIN_SECRET);
        fs::write(self.dir.path().join("admin.key"), admin).unwrap();
        let mut child = command.spawn().unwrap_or_else(|error| missing("nsupdate", &error));
        let script = format!("server {} {}\n{script}", self.addr.ip(), self.addr.port());
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), script.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

fn named_conf(addr: SocketAddr, dir: &Path, statements: &str) -> String {
    let (port, path) = (addr.port(), dir.display());
    let (v4, v6) = match addr.ip() {
        IpAddr::V4(ip) => (format!("port {port} {{ {ip}; }}"), "{ none; }".to_owned()),
        IpAddr::V6(ip) => ("{ none; }".to_owned(), format!("port {port} {{ {ip}; }}")),
    };
    format!(
        "options {{ directory \"{path}\"; listen-on {v4}; listen-on-v6 {v6}; pid-file none;\n\
         session-keyfile \"{path}/session.key\"; recursion no; empty-zones-enable no; dnssec-validation no;\n\
         notify no; minimal-responses yes; allow-query {{ any; }}; }};\ncontrols {{ }};\n{statements}"
    )
}

fn statements(zones: &[ZoneFile], key: &str) -> String {
    let admin = tsig_text("hmac-sha256", "admin", ADMIN_SECRET);
    zones.iter().fold(format!("{key}\n{admin}\n"), |mut text, ZoneFile { origin, policy, transfer, .. }| {
        writeln!(
            text,
            "zone \"{origin}\" {{ type primary; file \"{origin}.db\"; allow-transfer {{ {transfer}; }}; {policy} }};"
        )
        .unwrap();
        text
    })
}

/// A key as `tsig-keygen` makes it.
pub(crate) fn tsig_keygen(algorithm: &str, name: &str) -> String {
    let output = Command::new("tsig-keygen")
        .args(["-a", algorithm, name])
        .output()
        .unwrap_or_else(|error| missing("tsig-keygen", &error));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The text of a key.
pub(crate) fn tsig_text(algorithm: &str, name: &str, secret: &str) -> String {
    format!("key \"{name}\" {{\n\talgorithm {algorithm};\n\tsecret \"{secret}\";\n}};\n")
}

/// The sandbox's form of a key of HMAC-SHA256.
pub(crate) fn parsed(text: &str) -> Key {
    let mut words = text.split('"');
    let (name, secret) = (words.nth(1).unwrap(), words.nth(1).unwrap());
    assert!(text.contains("hmac-sha256"), "{text}");
    let secret = STANDARD.decode(secret).unwrap();
    Key { name: name.to_owned(), algorithm: Algorithm::HmacSha256, secret }
}

/// What `dig +short` prints, sorted.
pub(crate) fn dig(server: SocketAddr, name: &str, kind: &str) -> Vec<String> {
    let output = Command::new("dig")
        .args([format!("@{}", server.ip()), "-p".to_owned(), server.port().to_string()])
        .args(["+short", "+norecurse", "+tries=3", "+time=5", name, kind])
        .output()
        .unwrap_or_else(|error| missing("dig", &error));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && !text.contains(";;"), "dig {name} {kind}: {text}");
    let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// A port of `ip` that was free for UDP and TCP a moment ago, below those that the system gives to clients.
pub(crate) fn free_port(ip: IpAddr) -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let base = 11_000 + u16::try_from(std::process::id() % 200).unwrap() * 100;
    let candidates = (0..1000)
        .map(|_| base + NEXT.fetch_add(1, Ordering::Relaxed) % 100)
        .map(|port| SocketAddr::new(ip, port));
    candidates.into_iter().find(|addr| BlackHole::start(*addr).is_ok()).expect("a free port")
}

/// `corp.internal` alone, without a reverse zone beside it.
pub(crate) fn forward_only() -> Vec<Zone> {
    vec![Zone::new("corp.internal")]
}

const ADMIN_SECRET: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

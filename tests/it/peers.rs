//! Other servers that take dynamic updates: Knot and `PowerDNS`, each a primary of the fleet's zones that ends with its test.

use std::{
    collections::BTreeSet,
    fs,
    io::Write as _,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Mutex,
};

use tempfile::TempDir;

use crate::{
    authority::free_port,
    support::{ZONE, until},
};

const ZONES: [&str; 2] = [ZONE, "10.in-addr.arpa"];
const HEADER: &str = "$TTL 300\n@ 300 IN SOA ns1.example. hostmaster.example. 1 3600 600 86400 60\n@ 300 IN NS ns1.example.\n";

/// A server that is run; it ends with this.
pub(crate) struct Peer {
    pub(crate) addr: SocketAddr,
    command: Mutex<Command>,
    child: Mutex<Child>,
    dir: TempDir,
}

impl Peer {
    /// Knot, with the zones open to the key of `key`, as `tsig-keygen` writes it.
    pub(crate) fn knot(key: &str) -> Self {
        Self::knot_that_takes(key, "")
    }

    /// The same with a narrower access list.
    pub(crate) fn knot_that_takes(key: &str, limits: &str) -> Self {
        Self::knot_that_lets(key, "update, transfer", limits)
    }

    /// The same with zones that nobody may transfer.
    pub(crate) fn knot_that_gives_nothing(key: &str) -> Self {
        Self::knot_that_lets(key, "update", "")
    }

    fn knot_that_lets(key: &str, actions: &str, limits: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let addr = free_port(Ipv4Addr::LOCALHOST.into());
        let path = dir.path().display();
        for zone in ZONES {
            fs::write(dir.path().join(format!("{zone}.zone")), HEADER).unwrap();
        }
        let zones = ZONES.map(|zone| {
            format!("  - domain: {zone}\n    storage: \"{path}\"\n    file: {zone}.zone\n    acl: [ all ]\n    zonefile-sync: -1\n    zonefile-load: difference\n    journal-content: all\n")
        });
        let conf = format!(
            "server:\n    rundir: \"{path}\"\n    listen: [ {}@{} ]\nlog:\n  - target: stderr\n    any: warning\n\
             database:\n    storage: \"{path}\"\nkey:\n  - id: agent-key\n    algorithm: hmac-sha256\n    secret: {}\n\
             acl:\n  - id: all\n    key: agent-key\n    action: [ {actions} ]\n{limits}zone:\n{}",
            addr.ip(),
            addr.port(),
            secret(key),
            zones.concat()
        );
        fs::write(dir.path().join("knot.conf"), conf).unwrap();
        let mut command = Command::new("knotd");
        command.arg("-c").arg(dir.path().join("knot.conf"));
        Self::start(command, addr, dir, key)
    }

    /// `PowerDNS` with its `SQLite` backend.
    pub(crate) fn powerdns(key: &str) -> Self {
        Self::powerdns_that_takes(key, "agent-key")
    }

    /// The same with the zones open to a key of this name, that of `key` or another.
    pub(crate) fn powerdns_that_takes(key: &str, name: &str) -> Self {
        Self::powerdns_that_lets(key, name, "agent-key")
    }

    /// The same with zones that nobody may transfer.
    pub(crate) fn powerdns_that_gives_nothing(key: &str) -> Self {
        Self::powerdns_that_lets(key, "agent-key", "nobodys-key")
    }

    fn powerdns_that_lets(key: &str, name: &str, reader: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let addr = free_port(Ipv4Addr::LOCALHOST.into());
        let path = dir.path().display().to_string();
        let conf = format!(
            "launch=gsqlite3\ngsqlite3-database={path}/pdns.sqlite3\ngsqlite3-dnssec=no\nlocal-address={addr}\nsocket-dir={path}\n\
             dnsupdate=yes\nallow-dnsupdate-from=127.0.0.0/8\nforward-dnsupdate=no\ndaemon=no\nguardian=no\ndisable-syslog=yes\n\
             loglevel=3\ncache-ttl=0\nquery-cache-ttl=0\nnegquery-cache-ttl=0\nzone-cache-refresh-interval=0\nwebserver=no\n\
             default-soa-content=ns1.example. hostmaster.example. 0 3600 600 86400 60\n"
        );
        fs::write(dir.path().join("pdns.conf"), conf).unwrap();
        let schema = "/usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql";
        let script = format!("sqlite3 {path}/pdns.sqlite3 < {schema}");
        run(Command::new("sh").args(["-c", &script]));
        let util = |arguments: &[&str]| {
            run(Command::new("pdnsutil").arg(format!("--config-dir={path}")).args(arguments));
        };
        for known in BTreeSet::from(["agent-key", name]) {
            util(&["import-tsig-key", known, "hmac-sha256", &secret(key)]);
        }
        for zone in ZONES {
            util(&["create-zone", zone, "ns1.example"]);
            for (kind, value) in [
                ("TSIG-ALLOW-DNSUPDATE", name),
                ("TSIG-ALLOW-AXFR", reader),
                ("ALLOW-DNSUPDATE-FROM", "127.0.0.0/8"),
                ("SOA-EDIT-DNSUPDATE", "INCREASE"),
            ] {
                util(&["set-meta", zone, kind, value]);
            }
        }
        let mut command = Command::new("pdns_server");
        command.arg(format!("--config-dir={path}"));
        Self::start(command, addr, dir, key)
    }

    fn start(mut command: Command, addr: SocketAddr, dir: TempDir, key: &str) -> Self {
        fs::write(dir.path().join("tsig.key"), key).unwrap();
        let log = fs::File::create(dir.path().join("log")).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let child = command.spawn().unwrap_or_else(|error| missing(&command, &error));
        let (command, child) = (Mutex::new(command), Mutex::new(child));
        let peer = Self { addr, command, child, dir };
        peer.serves();
        peer
    }

    /// Ends it without a warning, and starts it anew with what it had written down.
    pub(crate) fn restart(&self) {
        let mut child = self.child.lock().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        *child = self.command.lock().unwrap().spawn().unwrap();
        self.serves();
    }

    fn serves(&self) {
        let addr = self.addr;
        until("the server serves the zones", || {
            ZONES.iter().all(|zone| {
                let (server, port) = (format!("@{}", addr.ip()), addr.port().to_string());
                let words = ["+short", "+time=1", "+tries=1", "-p", &port, &server, zone, "SOA"];
                let output = Command::new("dig").args(words).output();
                output.is_ok_and(|it| it.status.success() && it.stdout.contains(&b' '))
            })
        });
    }

    /// A change by somebody else who has the key.
    pub(crate) fn nsupdate(&self, script: &str) {
        let path = self.dir.path().join("script");
        let script = format!("server {} {}\n{script}", self.addr.ip(), self.addr.port());
        fs::write(&path, script).unwrap();
        run(Command::new("nsupdate").arg("-k").arg(self.dir.path().join("tsig.key")).arg(path));
    }

    /// What it said.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Ok(mut child) = self.child.lock() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            let _ = writeln!(std::io::stderr(), "{}", self.log());
        }
    }
}

fn secret(key: &str) -> String {
    key.split("secret \"").nth(1).unwrap().split('"').next().unwrap().to_owned()
}

fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| missing(command, &error));
    assert!(output.status.success(), "{command:?}: {output:?}");
}

fn missing(command: &Command, error: &std::io::Error) -> ! {
    let program = Path::new(command.get_program()).display();
    panic!(
        "cannot run `{program}` ({error}): these tests need the packages knot, pdns-server, pdns-backend-sqlite3, sqlite3 and \
         bind9-dnsutils (Debian)"
    )
}

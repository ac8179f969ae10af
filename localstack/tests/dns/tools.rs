//! Runs `named`, `nsupdate` and `dig`, and speaks raw DNS for what these do not say.

use std::{
    fmt::Write as _,
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use hickory_proto::{
    op::{Message, MessageType, OpCode, Query},
    rr::{DNSClass, Name, RData, Record, RecordType},
};
use sandbox::{
    black_hole::BlackHole,
    dns::{Key, Server, Zone},
};
use tempfile::TempDir;

use crate::bind::{Process, missing};

pub(crate) const ANY_PORT: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A zone in both forms: `@` in its lines stands for its name.
#[derive(Clone)]
pub(crate) struct ZoneText {
    pub(crate) origin: String,
    pub(crate) lines: Vec<String>,
}

impl ZoneText {
    pub(crate) fn new(origin: &str, lines: &[&str]) -> Self {
        let apex = [
            "@ 300 SOA ns1.example. hostmaster.example. 1 3600 600 86400 60",
            "@ 300 NS ns1.example.",
        ];
        let lines = apex.iter().chain(lines).map(|line| line.replace('@', origin)).collect();
        Self { origin: origin.to_owned(), lines }
    }

    pub(crate) fn zone(&self) -> Zone {
        self.lines
            .iter()
            .fold(Zone::new(self.origin.as_str()), |zone, line| zone.record(line.as_str()))
    }
}

/// One of the two servers under comparison.
pub(crate) enum Subject {
    Ours(Server),
    Bind(Named),
}

impl Subject {
    /// Both, with the same zones and keys.
    pub(crate) fn both(zones: &[ZoneText], keys: &[Key]) -> [Self; 2] {
        let ours =
            Server::start(ANY_PORT, zones.iter().map(ZoneText::zone).collect(), keys.to_vec())
                .unwrap();
        [Self::Bind(Named::start(zones, keys)), Self::Ours(ours)]
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Ours(_) => "our server",
            Self::Bind(_) => "named",
        }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        match self {
            Self::Ours(server) => server.addr(),
            Self::Bind(named) => named.addr,
        }
    }
}

/// A real BIND server on a loopback port; it ends with this.
pub(crate) struct Named {
    pub(crate) addr: SocketAddr,
    _process: Process,
    _dir: TempDir,
}

impl Named {
    pub(crate) fn start(zones: &[ZoneText], keys: &[Key]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (process, addr) = Process::start(dir.path(), || {
            let addr = free_port();
            configure(dir.path(), addr, zones, keys);
            addr
        });
        Self { addr, _process: process, _dir: dir }
    }
}

fn configure(dir: &Path, addr: SocketAddr, zones: &[ZoneText], keys: &[Key]) {
    let (port, path) = (addr.port(), dir.display());
    let mut conf = format!(
        "options {{ directory \"{path}\"; listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};\n\
         pid-file none; session-keyfile \"{path}/session.key\"; recursion no; empty-zones-enable no;\n\
         dnssec-validation no; notify no; minimal-responses yes; }};\ncontrols {{ }};\n"
    );
    let names: Vec<_> = keys.iter().map(|key| format!("key \"{}\";", key.name)).collect();
    let names = names.join(" ");
    for key in keys {
        conf += &key.to_key_file();
    }
    for ZoneText { origin, lines } in zones {
        let file = format!("{origin}db");
        fs::write(dir.join(&file), lines.join("\n") + "\n").unwrap();
        let allowed = format!("allow-update {{ {names} }}; allow-transfer {{ {names} }};");
        writeln!(conf, "zone \"{origin}\" {{ type primary; file \"{file}\"; {allowed} }};")
            .unwrap();
    }
    fs::write(dir.join("named.conf"), conf).unwrap();
}

/// Sends an update; the rcode as `nsupdate` prints it, `NOERROR` when it says nothing.
pub(crate) fn nsupdate(
    addr: SocketAddr,
    key: Option<&Key>,
    options: &[&str],
    script: &str,
) -> String {
    let (_dir, key) = key_option(key);
    let mut command = Command::new("nsupdate");
    command
        .args(&key)
        .args(options)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| missing("nsupdate", &error));
    let script = format!("server {} {}\n{script}\nsend\n", addr.ip(), addr.port());
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned();
    match said.lines().find_map(|line| line.strip_prefix("update failed: ")) {
        Some(code) => code.to_owned(),
        None if status.success() => "NOERROR".to_owned(),
        None => panic!("nsupdate said {said:?} to {script}"),
    }
}

/// What `dig` prints.
pub(crate) fn dig(addr: SocketAddr, key: Option<&Key>, arguments: &str) -> String {
    let (_dir, key) = key_option(key);
    let mut command = Command::new("dig");
    command.arg(format!("@{}", addr.ip())).args(["-p", &addr.port().to_string()]).args(&key);
    let output = command
        .args(arguments.split_whitespace())
        .output()
        .unwrap_or_else(|error| missing("dig", &error));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The zone by transfer: its lines in lower case and sorted, single-spaced, without the class.
pub(crate) fn transfer(addr: SocketAddr, key: &Key, zone: &str) -> Vec<String> {
    let said = dig(addr, Some(key), &format!("AXFR {zone} +noall +answer +onesoa"));
    let lines = said.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    let mut lines: Vec<_> = lines.map(|line| line.replacen(" IN ", " ", 1)).collect();
    lines.sort();
    lines
}

/// An update as no tool would send it. Classes and TTLs are those of the records.
pub(crate) fn update(zone: &str, prerequisites: Vec<Record>, updates: Vec<Record>) -> Message {
    let mut message = Message::new(4711, MessageType::Query, OpCode::Update);
    message.add_query(Query::query(name(zone), RecordType::SOA));
    message.answers = prerequisites;
    message.authorities = updates;
    message
}

/// A record of any class, for an update.
pub(crate) fn record(owner: &str, class: DNSClass, ttl: u32, data: RData) -> Record {
    let mut record = Record::from_rdata(name(owner), ttl, data);
    record.dns_class = class;
    record
}

pub(crate) fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

/// Sends a datagram, and takes the first that comes back.
pub(crate) fn exchange(addr: SocketAddr, message: &[u8]) -> Vec<u8> {
    let socket = ask(addr, message);
    receive(&socket).expect("no answer")
}

pub(crate) fn ask(addr: SocketAddr, message: &[u8]) -> UdpSocket {
    let socket = UdpSocket::bind(ANY_PORT).unwrap();
    socket.connect(addr).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket.send(message).unwrap();
    socket
}

pub(crate) fn receive(socket: &UdpSocket) -> std::io::Result<Vec<u8>> {
    let mut buffer = vec![0; 65_535];
    let length = socket.recv(&mut buffer)?;
    buffer.truncate(length);
    Ok(buffer)
}

/// Sends a message over TCP, and takes the answer.
pub(crate) fn exchange_tcp(addr: SocketAddr, message: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    stream.write_all(&u16::try_from(message.len()).unwrap().to_be_bytes()).unwrap();
    stream.write_all(message).unwrap();
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut answer).unwrap();
    answer
}

/// The low four bits of the rcode.
pub(crate) fn rcode(answer: &[u8]) -> &'static str {
    let names = [
        "NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN", "YXRRSET",
        "NXRRSET", "NOTAUTH", "NOTZONE",
    ];
    names.get(usize::from(answer[3] & 0xf)).copied().unwrap_or("?")
}

pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn key_option(key: Option<&Key>) -> (Option<TempDir>, Vec<PathBuf>) {
    let Some(key) = key else { return (None, Vec::new()) };
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tsig.key");
    fs::write(&file, key.to_key_file()).unwrap();
    (Some(dir), vec!["-k".into(), file])
}

/// A port that was free for UDP and TCP a moment ago.
fn free_port() -> SocketAddr {
    BlackHole::start(ANY_PORT).unwrap().addr()
}

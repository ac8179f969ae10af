//! Updates per second at one named: a host's whole way (read, plan, change, one name at a time, and many at once) against `nsupdate`, fed one
//! batch or started for each update; what planning is of it; and what a lost race costs.
//!
//! usage: `cargo bench --bench updates -- [NAMES] [ROUNDS]`

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a benchmark fails by panicking, makes its files as it likes, and prints its figures"
)]

#[path = "../localstack/tests/dns/bind.rs"]
mod bind;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    io::Write as _,
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use futures_util::{StreamExt as _, stream};
use tagalong::{
    backend::rfc2136::{Keys, Rfc2136},
    core::{
        name::Name,
        naming::{Conflict, Reverse, Wish},
        ownership::OwnerId,
        plan::{Observed, ZoneChange, plan},
        rrset::{Rdata, Records},
    },
    ports::{Backend, error::BackendError},
};

/// How many of a process each are enough to tell.
const PROCESSES: usize = 100;
const AT_ONCE: usize = 32;

fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|word| word.parse::<usize>().ok());
    let (names, rounds) = (numbers.next().unwrap_or(1000), numbers.next().unwrap_or(5));
    let dir = tempfile::tempdir().unwrap();
    let key = Command::new("tsig-keygen").arg("agent-key").output().expect("bind9 is installed");
    let key = String::from_utf8(key.stdout).unwrap();
    let (_named, addr) = named(dir.path(), &key);
    let backend = Rfc2136::new("internal", vec![addr], Keys::fixed(&key).unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut rates: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    let mut shares = Vec::new();
    for round in 0..rounds {
        let mut note = |what, names: usize, began: Instant| {
            rates.entry(what).or_default().push(names as f64 / began.elapsed().as_secs_f64());
        };
        let began = Instant::now();
        let planning = runtime.block_on(async {
            let mut planning = Duration::ZERO;
            for number in 0..names {
                planning += publish(&backend, &name("one", round, number), 23).await;
            }
            planning
        });
        shares.push(planning.as_secs_f64() / began.elapsed().as_secs_f64());
        note("tagalong, one after another", names, began);
        let began = Instant::now();
        runtime.block_on(async {
            let all = (0..names).map(|number| name("many", round, number));
            let published = stream::iter(all).map(async |name| publish(&backend, &name, 23).await);
            published.buffer_unordered(AT_ONCE).collect::<Vec<_>>().await;
        });
        note("tagalong, 32 at once", names, began);
        let began = Instant::now();
        nsupdate(dir.path(), addr, (0..names).map(|number| name("batch", round, number)));
        note("nsupdate, one batch", names, began);
        let began = Instant::now();
        for number in 0..PROCESSES {
            nsupdate(dir.path(), addr, [name("process", round, number)]);
        }
        note("nsupdate, a process each", PROCESSES, began);
    }
    println!(
        "{names} names, {rounds} rounds, medians; each update adds an address and its marker to a vacant name, signed"
    );
    for (what, rates) in rates {
        println!("{what:28} {:7.0} updates/s", median(rates));
    }
    println!("planning is {:.1} % of the time of one after another", 100.0 * median(shares));
    runtime.block_on(lost_race(&backend, dir.path(), addr));
}

fn name(kind: &str, round: usize, number: usize) -> Name {
    format!("{kind}-{round}-{number}.corp.internal").parse().unwrap()
}

fn wish(name: &Name, last: u8) -> BTreeMap<Name, Wish> {
    let wish = Wish {
        ttl: 60,
        values: BTreeSet::from([Rdata::A([10, 0, 1, last].into())]),
        reverse: Reverse::Never,
        conflict: Conflict::Refuse,
        shared: false,
        because: Vec::new(),
    };
    BTreeMap::from([(name.clone(), wish)])
}

/// Reads, plans and changes; the time that planning took.
async fn publish(backend: &dyn Backend, name: &Name, last: u8) -> Duration {
    let owner = OwnerId::new("i-0123456789abcdef0");
    let desired = wish(name, last);
    loop {
        let observed = backend.observe(std::slice::from_ref(name)).await.unwrap();
        let began = Instant::now();
        let planned = plan(&owner, &desired, &BTreeSet::new(), &observed);
        let planning = began.elapsed();
        let mut is_done = true;
        for change in &planned.changes {
            match backend.apply(change).await {
                Ok(_) => {}
                Err(BackendError::Conflict { .. }) => is_done = false,
                Err(error) => panic!("{error}"),
            }
        }
        if is_done {
            return planning;
        }
    }
}

/// The backend, where somebody else changes the name's address between the first reading and writing.
struct Raced<'a> {
    backend: &'a Rfc2136,
    meanwhile: &'a (dyn Fn() + Sync),
    reads: AtomicU32,
    updates: AtomicU32,
}

#[async_trait]
impl Backend for Raced<'_> {
    async fn observe(&self, names: &[Name]) -> Result<Observed, BackendError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.backend.observe(names).await
    }

    async fn apply(&self, change: &ZoneChange) -> Result<Option<Duration>, BackendError> {
        if self.updates.fetch_add(1, Ordering::Relaxed) == 0 {
            (self.meanwhile)();
        }
        self.backend.apply(change).await
    }

    async fn read(&self, zone: &Name) -> Result<Records, BackendError> {
        self.backend.read(zone).await
    }

    fn place(&self) -> String {
        self.backend.place()
    }
}

async fn lost_race(backend: &Rfc2136, dir: &Path, addr: SocketAddr) {
    let name = name("raced", 0, 0);
    publish(backend, &name, 23).await;
    let meanwhile = || {
        let change = format!("update delete {name} A\nupdate add {name} 60 A 10.0.1.99\nsend\n");
        run_nsupdate(dir, addr, &change);
    };
    let (reads, updates) = (AtomicU32::new(0), AtomicU32::new(0));
    let raced = Raced { backend, meanwhile: &meanwhile, reads, updates };
    publish(&raced, &name, 24).await;
    let (reads, updates) = (raced.reads.into_inner(), raced.updates.into_inner());
    println!(
        "a lost race: {updates} update(s) and {reads} round(s) of queries, side by side, in place of 1 and 1"
    );
}

fn nsupdate(dir: &Path, addr: SocketAddr, names: impl IntoIterator<Item = Name>) {
    let mut script = String::new();
    for name in names {
        writeln!(
            script,
            "prereq nxdomain {name}\nupdate add {name} 60 A 10.0.1.23\n\
             update add {name} 60 TXT \"tagalong-owner=i-0123456789abcdef0\"\nsend"
        )
        .unwrap();
    }
    run_nsupdate(dir, addr, &script);
}

fn run_nsupdate(dir: &Path, addr: SocketAddr, changes: &str) {
    let script = format!("server {} {}\nzone corp.internal\n{changes}", addr.ip(), addr.port());
    let mut command = Command::new("nsupdate");
    command.arg("-k").arg(dir.join("agent.key")).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut child = command.spawn().expect("bind9-dnsutils is installed");
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

fn named(dir: &Path, key: &str) -> (bind::Process, SocketAddr) {
    fs::write(dir.join("agent.key"), key).unwrap();
    let zone = "$TTL 300\n@ 300 IN SOA ns1.example. hostmaster.example. 1 3600 600 86400 60\n@ 300 IN NS ns1.example.\n";
    fs::write(dir.join("zone.db"), zone).unwrap();
    bind::Process::start(dir, || {
        let probe = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let addr = probe.local_addr().unwrap();
        drop(probe);
        let (port, path) = (addr.port(), dir.display());
        let conf = format!(
            "options {{ directory \"{path}\"; listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};\n\
             pid-file none; session-keyfile \"{path}/session.key\"; recursion no; dnssec-validation no; notify no; }};\n\
             controls {{ }};\n{key}\n\
             zone \"corp.internal\" {{ type primary; file \"zone.db\"; update-policy {{ grant agent-key zonesub ANY; }}; }};\n"
        );
        fs::write(dir.join("named.conf"), conf).unwrap();
        addr
    })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

//! Looks a name up through a resolv.conf as a C library does, ten times a second, and keeps count.
//!
//! resolv.conf(5), and glibc's `res_send`: the servers in order, `timeout` seconds for each, `attempts` times over; one
//! whose port is closed, or that answers SERVFAIL, NOTIMP or REFUSED, gives way to the next at once. glibc looks for each
//! lookup whether the file has changed; here it is read for each.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tagalong::{
    core::{
        name::Name,
        rrset::{Rdata, RrType},
    },
    wire::message::{Question, Rcode, Recursion, Response, parse, query},
};

/// Lookups under way.
pub(crate) struct Lookups {
    begun: Instant,
    stop: Arc<AtomicBool>,
    over: Arc<Mutex<Vec<Lookup>>>,
    thread: JoinHandle<()>,
}

/// One that is over.
#[derive(Clone, Debug)]
struct Lookup {
    begun: Instant,
    took: Duration,
    failure: Option<String>,
}

/// What became of some of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Count {
    pub(crate) all: u32,
    pub(crate) failed: u32,
    pub(crate) slowest: Duration,
    /// How the first of the failed ones failed.
    pub(crate) failure: Option<String>,
}

impl Lookups {
    /// Looks up `name` through the servers of `file`, on `port`, until told to stop.
    pub(crate) fn start(name: Name, file: PathBuf, port: u16) -> io::Result<Self> {
        let begun = Instant::now();
        let stop = Arc::new(AtomicBool::new(false));
        let over = Arc::default();
        let clock = {
            let (stop, over) = (Arc::clone(&stop), Arc::clone(&over));
            move || {
                let mut next = begun;
                let mut under_way = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let (name, file, over) = (name.clone(), file.clone(), Arc::clone(&over));
                    // each on a thread of its own: a slow one does not hold up the next
                    under_way.push(thread::spawn(move || {
                        let begun = Instant::now();
                        let failure = look_up(&name, &file, port).err();
                        locked(&over).push(Lookup { begun, took: begun.elapsed(), failure });
                    }));
                    next += PERIOD;
                    thread::sleep(next.saturating_duration_since(Instant::now()));
                }
                for lookup in under_way {
                    // a panic in there has been printed already, and is missing in the count
                    let _ = lookup.join();
                }
            }
        };
        let thread = thread::Builder::new().name("lookups".to_owned()).spawn(clock)?;
        Ok(Self { begun, stop, over, thread })
    }

    /// Those that were begun at or after `since`, and before `until`, and are over.
    pub(crate) fn count(&self, since: Instant, until: Instant) -> Count {
        count(&locked(&self.over), since, until)
    }

    /// Stops, waits for those under way, and counts all.
    pub(crate) fn stop(self) -> Count {
        self.stop.store(true, Ordering::Relaxed);
        // a panic in there has been printed already
        let _ = self.thread.join();
        count(&locked(&self.over), self.begun, Instant::now())
    }
}

fn count(lookups: &[Lookup], since: Instant, until: Instant) -> Count {
    let mut count = Count::default();
    for lookup in lookups.iter().filter(|one| (since..until).contains(&one.begun)) {
        count.all += 1;
        count.failed += u32::from(lookup.failure.is_some());
        count.slowest = count.slowest.max(lookup.took);
        count.failure = count.failure.or_else(|| lookup.failure.clone());
    }
    count
}

fn locked(lookups: &Mutex<Vec<Lookup>>) -> MutexGuard<'_, Vec<Lookup>> {
    lookups.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One lookup, as `getaddrinfo` does it for an absolute name.
fn look_up(name: &Name, file: &Path, port: u16) -> Result<IpAddr, String> {
    let text = fs::read_to_string(file).map_err(|error| format!("no resolv.conf: {error}"))?;
    let file = ResolvConf::read(&text);
    let mut failure = "no server in resolv.conf".to_owned();
    for _ in 0..file.attempts {
        for server in &file.servers {
            let server = SocketAddr::new(*server, port);
            let question = Question::Type(RrType::A);
            let response = match ask(server, name, question, file.timeout) {
                Ok(response) => response,
                Err(error) => {
                    failure = format!("{server}: {error}");
                    continue;
                }
            };
            if matches!(response.rcode, Rcode::SERVFAIL | Rcode::NOTIMP | Rcode::REFUSED) {
                failure = format!("{server}: {}", response.rcode);
                continue;
            }
            let mut values = response.answers.into_values().flat_map(|set| set.values);
            let address = values.find_map(|value| match value {
                Rdata::A(address) => Some(address.into()),
                _ => None,
            });
            return address.ok_or_else(|| format!("{server}: {}, no address", response.rcode));
        }
    }
    Err(failure)
}

/// Asks one server one question, and waits no longer than `timeout`.
pub(crate) fn ask(
    server: SocketAddr,
    name: &Name,
    question: Question,
    timeout: Duration,
) -> io::Result<Response> {
    let request = query(name, question, Recursion::Desired).map_err(io::Error::other)?;
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.connect(server)?;
    socket.send(&request.octets)?;
    let deadline = Instant::now() + timeout;
    let mut buffer = [0; 4096];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        socket.set_read_timeout(Some(left))?;
        let length = match socket.recv(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            received => received?,
        };
        let answer = buffer.get(..length).unwrap_or_default();
        if answer.starts_with(&request.id.to_be_bytes()) {
            return parse(answer).map_err(io::Error::other);
        }
    }
}

/// What a C library reads in the file: by eyes other than the agent's.
#[derive(Debug)]
struct ResolvConf {
    servers: Vec<IpAddr>,
    timeout: Duration,
    attempts: u32,
}

impl ResolvConf {
    fn read(text: &str) -> Self {
        let mut file = Self { servers: Vec::new(), timeout: Duration::from_secs(5), attempts: 2 };
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") if file.servers.len() < 3 => {
                    file.servers.extend(words.next().and_then(|word| word.parse::<IpAddr>().ok()));
                }
                Some("options") => {
                    for option in words {
                        match option.split_once(':') {
                            Some(("timeout", seconds)) => {
                                file.timeout = Duration::from_secs(seconds.parse().unwrap_or(5));
                            }
                            Some(("attempts", times)) => file.attempts = times.parse().unwrap_or(2),
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        file
    }
}

/// Ten a second.
const PERIOD: Duration = Duration::from_millis(100);

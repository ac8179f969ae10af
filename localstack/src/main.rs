//! The program `sandbox`: serves the stand-ins from a state file until it is told to end.

use std::{
    fs::{self, File},
    io::{self, Write},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use sandbox::{
    dns::{Key, KeyError, Role, Zone, ZoneError, Zones},
    imds::Whom,
    name_servers::NameServers,
    running::{Listen, Running},
    state_file::StateFile,
    world::World,
};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

/// Stand-ins for AWS and DNS, for tests and demonstrations.
#[derive(Parser)]
#[command(name = "sandbox", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serves until SIGTERM or SIGINT; prints one line of JSON with the bound addresses when ready.
    Serve(Serve),
}

#[derive(clap::Args)]
struct Serve {
    /// Account, instances, hosted zones and DNS zones, in JSON; `{}` is an empty account.
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Serve IMDS here, as `ADDR` (each client sees the instance that has its address) or `ADDR=INSTANCE`.
    #[arg(long, value_name = "ADDR[=INSTANCE]", value_parser = imds_listener)]
    imds: Vec<(SocketAddr, Whom)>,
    /// Serve EC2, STS and Route 53 here.
    #[arg(long, value_name = "ADDR", default_value_t = loopback())]
    aws: SocketAddr,
    /// Serve the control API here.
    #[arg(long, value_name = "ADDR", default_value_t = loopback())]
    control: SocketAddr,
    /// Serve DNS here, UDP and TCP; a replica takes no updates. All servers show the same zones.
    #[arg(long, value_name = "ADDR[=replica]", value_parser = dns_listener)]
    dns: Vec<(SocketAddr, Role)>,
    /// Take packets and connections here, and never answer.
    #[arg(long, value_name = "ADDR")]
    black_hole: Vec<SocketAddr>,
    /// A DNS zone besides those of the state file, empty at first.
    #[arg(long, value_name = "NAME")]
    zone: Vec<String>,
    /// A TSIG key besides those of the state file, as `tsig-keygen` writes it; made here if there is no such file.
    #[arg(long, value_name = "FILE")]
    key_file: Vec<PathBuf>,
}

fn main() -> ExitCode {
    let Command::Serve(arguments) = Arguments::parse().command;
    match serve(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // nothing is left to be done about a closed stderr
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(arguments: Serve) -> Result<(), Error> {
    let (snapshot, dns) = read(arguments.state.as_deref())?.split();
    let world = World::from(snapshot);
    let zones = dns.zones.into_iter().chain(arguments.zone.into_iter().map(Zone::new)).collect();
    let mut keys = dns.keys;
    for file in &arguments.key_file {
        keys.push(key(file)?);
    }
    let zones = Zones::new(zones).map_err(Error::Zone)?;
    let name_servers = NameServers::new(zones, keys, world.faults().clone());
    let servers = arguments.dns.into_iter().map(|(addr, role)| name_servers.start(addr, role));
    let servers = servers.collect::<io::Result<Vec<_>>>().map_err(Error::Start)?;
    let holes = arguments.black_hole.into_iter().map(|addr| name_servers.start_black_hole(addr));
    let holes = holes.collect::<io::Result<Vec<_>>>().map_err(Error::Start)?;
    let listen =
        Listen { imds: arguments.imds, aws: Some(arguments.aws), control: Some(arguments.control) };
    let running = Running::start_with(world, listen, name_servers).map_err(Error::Start)?;
    let ready = json!({
        "imds": running.imds(),
        "aws": running.aws(),
        "control": running.control(),
        "dns": servers,
        "black_holes": holes,
    });
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Start)?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).map_err(Error::Start)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Start)?;
        // only now: whoever has read the line may send a signal at once
        let mut stdout = io::stdout();
        writeln!(stdout, "{ready}").and_then(|()| stdout.flush()).map_err(Error::Print)?;
        tokio::select! {
            _ = terminate.recv() => (),
            _ = interrupt.recv() => (),
        }
        Ok(())
    })
}

fn read(path: Option<&Path>) -> Result<StateFile, Error> {
    let Some(path) = path else { return Ok(StateFile::default()) };
    let text =
        fs::read_to_string(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
    serde_json::from_str(&text).map_err(|source| Error::State { path: path.to_owned(), source })
}

/// The key in the file, or a new one that is in the file then, for nobody else to read.
fn key(path: &Path) -> Result<Key, Error> {
    match fs::read_to_string(path) {
        Ok(text) => {
            Key::from_key_file(&text).map_err(|source| Error::Key { path: path.to_owned(), source })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let key = Key::generate(KEY_NAME);
            let file = File::options().write(true).create_new(true).mode(0o600).open(path);
            file.and_then(|mut file| file.write_all(key.to_key_file().as_bytes()))
                .map_err(|source| Error::Write { path: path.to_owned(), source })?;
            Ok(key)
        }
        Err(source) => Err(Error::Read { path: path.to_owned(), source }),
    }
}

fn imds_listener(text: &str) -> Result<(SocketAddr, Whom), String> {
    let (address, whom) = match text.split_once('=') {
        Some((address, id)) => (address, Whom::Instance(id.to_owned())),
        None => (text, Whom::BySource),
    };
    Ok((listener(address)?, whom))
}

fn dns_listener(text: &str) -> Result<(SocketAddr, Role), String> {
    match text.split_once('=') {
        None => Ok((listener(text)?, Role::Primary)),
        Some((address, "replica")) => Ok((listener(address)?, Role::Replica)),
        Some((_, other)) => Err(format!("{other:?} is not `replica`")),
    }
}

fn listener(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| format!("{text:?} is not an address with a port"))
}

fn loopback() -> SocketAddr {
    SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0).into()
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("can't read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("can't write {}: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    // serde_json's words end in "at line L column C"; the colons let an editor jump there
    #[error("{}:{}:{}: {source}", path.display(), source.line(), source.column())]
    State { path: PathBuf, source: serde_json::Error },
    #[error("{}: {source}", path.display())]
    Key { path: PathBuf, source: KeyError },
    #[error("--zone: {0}")]
    Zone(ZoneError),
    #[error("can't start: {0}")]
    Start(io::Error),
    #[error("can't print the addresses: {0}")]
    Print(io::Error),
}

/// The name of a key that is made here.
const KEY_NAME: &str = "sandbox.";

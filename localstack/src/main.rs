//! The program `sandbox`: serves the stand-ins from a state file until it is told to end.

use std::{
    fs,
    io::{self, Write},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use sandbox::{
    imds::Whom,
    running::{Listen, Running},
    world::{Snapshot, World},
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
    /// Account, instances and zones, in JSON; `{}` is an empty account.
    #[arg(long, value_name = "FILE")]
    state: PathBuf,
    /// Serve IMDS here, as `ADDR` (each client sees the instance that has its address) or `ADDR=INSTANCE`.
    #[arg(long, value_name = "ADDR[=INSTANCE]", value_parser = imds_listener)]
    imds: Vec<(SocketAddr, Whom)>,
    /// Serve EC2, STS and Route 53 here.
    #[arg(long, value_name = "ADDR", default_value_t = loopback())]
    aws: SocketAddr,
    /// Serve the control API here.
    #[arg(long, value_name = "ADDR", default_value_t = loopback())]
    control: SocketAddr,
    // DNS: the options of `dns::Server` and `black_hole` go here
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
    let world = read(&arguments.state)?;
    let listen =
        Listen { imds: arguments.imds, aws: Some(arguments.aws), control: Some(arguments.control) };
    let running = Running::start(world, listen).map_err(Error::Start)?;
    // DNS: start the servers here, on `running.runtime()` or threads of their own, and add their addresses below
    let ready = json!({"imds": running.imds(), "aws": running.aws(), "control": running.control()});
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

fn read(path: &Path) -> Result<World, Error> {
    let text =
        fs::read_to_string(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
    let snapshot: Snapshot = serde_json::from_str(&text)
        .map_err(|source| Error::State { path: path.to_owned(), source })?;
    Ok(World::from(snapshot))
}

fn imds_listener(text: &str) -> Result<(SocketAddr, Whom), String> {
    let (address, whom) = match text.split_once('=') {
        Some((address, id)) => (address, Whom::Instance(id.to_owned())),
        None => (text, Whom::BySource),
    };
    let address =
        address.parse().map_err(|_| format!("{address:?} is not an address with a port"))?;
    Ok((address, whom))
}

fn loopback() -> SocketAddr {
    SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0).into()
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("can't read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    // serde_json's words end in "at line L column C"; the colons let an editor jump there
    #[error("{}:{}:{}: {source}", path.display(), source.line(), source.column())]
    State { path: PathBuf, source: serde_json::Error },
    #[error("can't start: {0}")]
    Start(io::Error),
    #[error("can't print the addresses: {0}")]
    Print(io::Error),
}

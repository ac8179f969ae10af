//! Asks the runtimes that are installed here which address of a name they put first.

use std::{
    collections::BTreeMap,
    io,
    net::IpAddr,
    process::{Output, Stdio},
    time::Duration,
};

use tokio::{io::AsyncWriteExt as _, process::Command, time::timeout};

use crate::core::callers::Caller;

/// What became of looking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Measured {
    /// How often each address came first.
    Firsts(BTreeMap<IpAddr, usize>),
    /// It was not measured, and why not.
    Not(&'static str),
}

/// How often each runtime looks the name up.
pub(super) const LOOKUPS: usize = 10;

/// Looks `name` up as `caller` does; a runtime gets [`LIMIT`] for all its lookups, and is ended then.
pub(super) async fn measure(caller: Caller, name: &str) -> Measured {
    let lookups = async {
        match caller {
            // `getent hosts` is another: it asks for IPv6 addresses before.
            Caller::Gethostbyname => run("python3", &["-I", "-c", GETHOSTBYNAME, name], "").await,
            Caller::GetaddrinfoInet => each("getent", &["ahostsv4", name]).await,
            Caller::GetaddrinfoUnspec => each("getent", &["ahosts", name]).await,
            Caller::Python => run("python3", &["-I", "-c", PYTHON, name], "").await,
            Caller::Node => run("node", &["-e", NODE, name], "").await,
            Caller::Java => java(&[], name).await,
            Caller::JavaIpv4 => java(&["-Djava.net.preferIPv4Stack=true"], name).await,
            Caller::SystemdResolved => each("resolvectl", &["--legend=no", "query", name]).await,
            Caller::Go | Caller::GoCgo | Caller::Musl => {
                Err(Measured::Not("it is built into programs, and none of them can be asked"))
            }
        }
    };
    match timeout(LIMIT, lookups).await {
        Ok(Ok(firsts)) if firsts.is_empty() => Measured::Not("installed; it found no address"),
        Ok(Ok(firsts)) => Measured::Firsts(firsts),
        Ok(Err(why)) => why,
        Err(_) => Measured::Not("installed; it took longer than 2 s"),
    }
}

type Firsts = Result<BTreeMap<IpAddr, usize>, Measured>;

/// A program that looks the name up once: the first address that it says.
async fn each(program: &str, arguments: &[&str]) -> Firsts {
    let mut firsts = BTreeMap::new();
    for _ in 0..LOOKUPS {
        let output = output(program, arguments, "").await?;
        let first = output.split_whitespace().find_map(|word| word.parse().ok());
        if let Some(first) = first {
            *firsts.entry(first).or_insert(0) += 1;
        }
    }
    Ok(firsts)
}

/// A single file of source on standard input: a runtime without the compiler refuses it.
async fn java(options: &[&str], name: &str) -> Firsts {
    let quick = ["-Xshare:auto", "-XX:TieredStopAtLevel=1", "-Dsun.net.inetaddr.ttl=0"];
    let source = ["--source", "11", "/dev/stdin", name];
    run("java", &[&quick, options, &source].concat(), JAVA).await
}

async fn run(program: &str, arguments: &[&str], input: &str) -> Firsts {
    let mut firsts = BTreeMap::new();
    for first in
        output(program, arguments, input).await?.lines().filter_map(|line| line.trim().parse().ok())
    {
        *firsts.entry(first).or_insert(0) += 1;
    }
    Ok(firsts)
}

async fn output(program: &str, arguments: &[&str], input: &str) -> Result<String, Measured> {
    let told = |result: io::Result<Output>| match result {
        Ok(output) => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(Measured::Not("not installed"))
        }
        Err(_) => Err(Measured::Not("installed; it cannot be run")),
    };
    let mut command = Command::new(program);
    command.args(arguments).current_dir("/").kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return told(Err(error)),
    };
    if let Some(mut stdin) = child.stdin.take() {
        // Whoever does not read it says in its own way that it failed.
        let _ = stdin.write_all(input.as_bytes()).await;
    }
    told(child.wait_with_output().await)
}

const LIMIT: Duration = Duration::from_secs(2);

const GETHOSTBYNAME: &str = "
import socket, sys
for _ in range(10):
    print(socket.gethostbyname(sys.argv[1]))
";

const PYTHON: &str = "
import socket, sys
for _ in range(10):
    print(socket.getaddrinfo(sys.argv[1], 80, type=socket.SOCK_STREAM)[0][4][0])
";

const NODE: &str = "
const { lookup } = require('dns').promises;
(async () => {
  for (let i = 0; i < 10; i++) console.log((await lookup(process.argv[1])).address);
})();
";

const JAVA: &str = "
import java.net.InetAddress;
class Lookup {
    public static void main(String[] name) throws Exception {
        for (int i = 0; i < 10; i++) System.out.println(InetAddress.getAllByName(name[0])[0].getHostAddress());
    }
}
";

//! `CloudFormation` by moto, and user data that are run as a shell would run them, in a directory in place of a machine.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::SocketAddr,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    authority::{free_port, tsig_keygen},
    bind::Process,
    localstack::{LIST, python, repository},
    support::{Run, Started, own_address, until},
};

/// moto's server; it ends with this.
pub(super) struct Moto {
    pub(super) endpoint: String,
    child: Child,
}

impl Moto {
    pub(super) fn start() -> Self {
        let addr = free_port([127, 0, 0, 1].into());
        let mut command = python();
        command.arg(repository("localstack/moto_server.py"));
        command.args(["-H", "127.0.0.1", "-p", &addr.port().to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let mut lines = log.lines().map_while(Result::ok);
        let said =
            lines.by_ref().take_while(|line| !line.contains("Running on")).collect::<Vec<_>>();
        // It writes a line for each request.
        std::thread::spawn(move || lines.for_each(drop));
        let moto = Self { endpoint: format!("http://{addr}"), child };
        until(&format!("moto serves {said:?}"), || std::net::TcpStream::connect(addr).is_ok());
        moto
    }

    /// The stack that `localstack/deploy.py` says it has made.
    pub(super) fn deploy(&self, template: &str, stack: &str, parameters: &[&str]) -> Value {
        deploy(python(), &self.endpoint, template, stack, parameters)
    }

    pub(super) fn boto3(&self, script: &str, arguments: &[&str]) -> Run {
        boto3(&self.endpoint, script, arguments)
    }

    /// The instances that carry a tag.
    pub(super) fn tagged(&self, key: &str) -> Vec<String> {
        self.boto3(TAGGED, &[key]).stdout.lines().map(str::to_owned).collect()
    }

    /// All that stands in a zone beside SOA and NS: name, type, TTL and values, sorted.
    pub(super) fn records(&self, zone: &str) -> Vec<String> {
        let mut records =
            self.boto3(LIST, &[zone]).stdout.lines().map(str::to_owned).collect::<Vec<_>>();
        records.sort();
        records
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Makes a stack of a template of infra/, and gives what it made.
pub(super) fn deploy(
    mut python: Command,
    endpoint: &str,
    template: &str,
    stack: &str,
    parameters: &[&str],
) -> Value {
    python.arg(repository("localstack/deploy.py")).arg(endpoint);
    python.arg(repository("infra/cloudformation").join(template)).arg(stack).args(parameters);
    Started::of(python).finish().expect_code(0).json()
}

/// Runs a script, whose first argument is where AWS is.
pub(super) fn boto3(endpoint: &str, script: &str, arguments: &[&str]) -> Run {
    run(python(), endpoint, script, arguments)
}

/// The same, by a Python that may be elsewhere.
pub(super) fn run(mut command: Command, endpoint: &str, script: &str, arguments: &[&str]) -> Run {
    command.args(["-c", script, endpoint]).args(arguments);
    Started::of(command).finish().expect_code(0)
}

/// Where user data are run: with the AWS CLI's stand-in, and without what changes the machine itself.
pub(super) struct Shell {
    dir: TempDir,
    endpoint: String,
    pub(super) key: String,
}

impl Shell {
    pub(super) fn new(moto: &Moto) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let shell = Self {
            dir,
            endpoint: moto.endpoint.clone(),
            key: tsig_keygen("hmac-sha256", "agent-key"),
        };
        let python = python();
        let interpreter = python.get_program().to_string_lossy().into_owned();
        let (stub, localstack) = (repository("tests/it/infra/aws"), repository("localstack"));
        shell.stub(
            "aws",
            &format!(
                "PYTHONPATH={} exec {interpreter} -B {} \"$@\"",
                localstack.display(),
                stub.display()
            ),
        );
        for nothing in ["apt-get", "chown", "systemctl", "tagalong"] {
            shell.stub(nothing, ":");
        }
        // The package; metadata are really asked.
        let package = shell.dir.path().join("package");
        shell.stub(
            "curl",
            &format!(
                "case \"$*\" in *--output*) while [ \"$1\" != --output ]; do shift; done; exec cp {} \"$2\" ;; esac\nexec /usr/bin/curl \"$@\"",
                package.display()
            ),
        );
        shell
    }

    fn stub(&self, name: &str, script: &str) {
        let path = self.file(&format!("bin/{name}"), &format!("#!/bin/sh\n{script}\n"));
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(path, executable).unwrap();
    }

    pub(super) fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// What the AWS CLI was called with.
    pub(super) fn calls(&self) -> String {
        fs::read_to_string(self.dir.path().join("calls")).unwrap()
    }

    /// Runs user data to their end, in a directory that stands for the machine.
    pub(super) fn play(&self, user_data: &str) -> PathBuf {
        let machine = tempfile::tempdir_in(self.dir.path()).unwrap().keep();
        for folder in [
            "etc/bind",
            "etc/systemd/system",
            "var/lib/bind",
            "var/cache/bind",
            "usr/local/sbin",
            "root",
            "dev",
        ] {
            fs::create_dir_all(machine.join(folder)).unwrap();
        }
        let here = machine.display().to_string();
        let mut script = user_data.replace("--owner=bind --group=bind ", "");
        for folder in ["etc", "root", "usr", "var", "dev"] {
            for before in [" ", ">", "\"", "'"] {
                let absolute = format!("{before}/{folder}/");
                script = script.replace(&absolute, &format!("{before}{here}/{folder}/"));
            }
        }
        script = script
            .replace(&format!("{here}/dev/stdin"), "/dev/stdin")
            .replace(&format!("{here}/dev/null"), "/dev/null");
        let path = machine.join("user-data");
        fs::write(&path, script).unwrap();
        Started::of(self.bash(&path)).finish().expect_code(0);
        machine
    }

    fn bash(&self, script: &Path) -> Command {
        let mut command = Command::new("bash");
        let bin = self.dir.path().join("bin");
        command.arg(script).env_clear().env("ENDPOINT", &self.endpoint);
        command.env("LOG", self.dir.path().join("calls"));
        command.env("PATH", format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", bin.display()));
        command
    }
}

/// What tags a server, at work; it ends with this.
pub(super) struct Life(Child);

impl Life {
    /// Waits until it has come to its own end.
    pub(super) fn ends_well(mut self) {
        let mut status = None;
        until("the server's life comes to its end", || {
            status = self.0.try_wait().unwrap();
            status.is_some()
        });
        assert!(status.unwrap().success(), "{status:?}");
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A network of this thread's own, and of all that it starts: real servers listen only at addresses that an interface has.
pub(super) struct Network(String);

impl Network {
    /// Nothing where that takes rights that we do not have; says so.
    pub(super) fn enter(test: &str) -> Option<Self> {
        let name = format!("tagalong-it-{}", std::process::id());
        let ip = |arguments: &[&str]| {
            let output = Command::new("ip").args(arguments).output();
            output.is_ok_and(|output| output.status.success())
        };
        if !ip(&["netns", "add", &name]) {
            let _ =
                writeln!(std::io::stderr(), "NOT RUN: {test} needs root, and network namespaces");
            return None;
        }
        let network = Self(name);
        let file = fs::File::open(format!("/run/netns/{}", network.0)).unwrap();
        let kind = rustix::thread::LinkNameSpaceType::Network;
        rustix::thread::move_into_link_name_space(file.as_fd(), Some(kind)).unwrap();
        assert!(ip(&["link", "set", "lo", "up"]));
        Some(network)
    }

    pub(super) fn add(&self, address: &str) {
        let output = Command::new("ip")
            .args(["addr", "add", &format!("{address}/32"), "dev", "lo"])
            .output();
        assert!(output.unwrap().status.success(), "{address} in {}", self.0);
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "delete", &self.0]).status();
    }
}

/// A machine of a DNS server after its user data have run; named does not run on it yet.
pub(super) struct Machine {
    addr: SocketAddr,
    dir: PathBuf,
}

/// A `named` with the configuration that user data wrote, at its instance's address; it ends with this.
pub(super) struct Server {
    pub(super) addr: SocketAddr,
    _process: Process,
}

impl Machine {
    pub(super) fn play(shell: &Shell, user_data: &str, addr: SocketAddr) -> Self {
        Self { addr, dir: shell.play(user_data) }
    }

    /// Starts its server.
    pub(super) fn serve(&self) -> Server {
        let (nobody, port) = (own_address(), self.addr.port());
        let read = |name: &str| fs::read_to_string(self.dir.join("etc/bind").join(name)).unwrap();
        let here = self.dir.display();
        let listen = format!(
            "listen-on port {port} {{ {}; }}; listen-on-v6 {{ none; }}; pid-file \"{here}/pid\"; session-keyfile \"{here}/session.key\"",
            self.addr.ip()
        );
        let conf = format!("{}{}", read("named.conf.options"), read("named.conf.local"))
            .replace("listen-on { any; }; listen-on-v6 { any; }", &listen)
            .replace("primaries {", &format!("primaries port {port} {{"))
            .replace("169.254.169.253;", &format!("{} port {};", nobody.ip(), nobody.port()));
        let (process, ()) = Process::start(&self.dir, || {
            fs::write(self.dir.join("named.conf"), format!("{conf}\ncontrols {{ }};\n")).unwrap();
        });
        Server { addr: self.addr, _process: process }
    }

    /// Runs what tags the server, which user data have put beside it; the instance's metadata are at `imds`.
    pub(super) fn live(&self, shell: &Shell, imds: SocketAddr) -> Life {
        let script = self.dir.join("usr/local/sbin/dns-server-life");
        let text = fs::read_to_string(&script).unwrap();
        let (ip, port) = (self.addr.ip(), self.addr.port());
        let text = text
            .replace("169.254.169.254", &imds.to_string())
            .replace("@127.0.0.1", &format!("-p {port} @{ip}"))
            .replace("sleep 150", "sleep 0.1")
            .replace("sleep 5", "sleep 0.1")
            .replace("sleep 1\n", &format!("echo >>{}; sleep 0.1\n", self.waited().display()));
        fs::write(&script, text).unwrap();
        let mut command = shell.bash(&script);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Life(command.spawn().unwrap())
    }

    /// Where a line is written each time that its server was asked and did not answer.
    fn waited(&self) -> PathBuf {
        self.dir.join("waited")
    }

    /// Waits until its server was asked a few times, and did not answer.
    pub(super) fn waits(&self) {
        until("the server that does not serve is waited for", || {
            fs::read_to_string(self.waited()).is_ok_and(|text| text.lines().count() >= 3)
        });
    }
}

const TAGGED: &str = r#"
import sys, seed
endpoint, key = sys.argv[1:]
for it in seed.client("ec2", endpoint).describe_tags(Filters=[{"Name": "key", "Values": [key]}])["Tags"]:
    print(it["ResourceId"])
"#;

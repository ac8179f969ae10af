//! LocalStack and the sandbox as programs, in one network namespace, and the fleet that `seed.py` makes there: everything
//! is run through the `enter` of `localstack/start`.

use std::{
    env,
    fs::{self, File},
    io::{self, BufRead as _, BufReader, Write as _},
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    bind::missing,
    secrets,
    support::{Run, Started, ZONE},
};

/// A LocalStack of its own; it ends with this.
pub(crate) struct LocalStack {
    pub(crate) endpoint: String,
    /// `localstack 4.14.0`, or `moto 5.2.5` where Python is too old.
    pub(crate) server: String,
    /// What comes before a command that runs where LocalStack is.
    enter: Vec<String>,
    child: Child,
    _dir: TempDir,
}

impl LocalStack {
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let stderr = dir.path().join("stderr");
        let mut command = Command::new(repository("localstack/start"));
        // Any port: where there are no namespaces, two of them are on one host.
        command.args(["--foreground", "--port", "0", "--dir"]).arg(dir.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        command.stderr(File::create(&stderr).unwrap());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let line = first_line(&mut child, STARTING);
        tell(&fs::read_to_string(&stderr).unwrap());
        let Some(started) = line else {
            end(&mut child);
            panic!("localstack/start failed; why is above");
        };
        let text = |key: &str| started[key].as_str().unwrap().to_owned();
        let enter = started["enter"].as_array().unwrap().iter();
        let enter = enter.map(|word| word.as_str().unwrap().to_owned()).collect();
        Self { endpoint: text("endpoint"), server: text("server"), enter, child, _dir: dir }
    }

    /// Python with boto3, where LocalStack is.
    pub(crate) fn python(&self) -> Command {
        made_python(&self.enter)
    }
}

impl Drop for LocalStack {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let started = Instant::now();
        while started.elapsed() < ENDING {
            if let Ok(Some(status)) = self.child.try_wait() {
                assert!(status.success() || thread::panicking(), "LocalStack ended with {status}");
                return;
            }
            thread::sleep(Duration::from_millis(2));
        }
        end(&mut self.child);
        assert!(thread::panicking(), "LocalStack did not end when its stdin was closed");
    }
}

/// The program `sandbox`; it ends with this.
pub(super) struct Sandbox {
    /// The addresses that it printed.
    pub(super) ready: Value,
    child: Child,
    _dir: TempDir,
}

impl Sandbox {
    pub(super) fn start(enter: &[String], state: &Value, arguments: &[String]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("state.json");
        fs::write(&file, state.to_string()).unwrap();
        let program = env::current_exe().unwrap();
        let program = program.ancestors().nth(2).unwrap().join("sandbox");
        assert!(
            program.exists(),
            "{} is missing: cargo build --package sandbox",
            program.display()
        );
        let mut command = entering(enter, &program);
        command.args(["serve", "--state"]).arg(file).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| missing("nsenter", &error));
        let Some(ready) = first_line(&mut child, READY) else {
            end(&mut child);
            panic!(
                "{command:?} does not serve: if it is out of date, cargo build --package sandbox"
            );
        };
        Self { ready, child, _dir: dir }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// The fleet of `seed.py`, with the instance `web-1` as this host.
pub(super) struct Fleet<'a> {
    localstack: &'a LocalStack,
    seeded: Value,
    sandbox: Option<Sandbox>,
    /// What `web-1` has as its role's credentials.
    secrets: Vec<String>,
    address: String,
    has_tags: bool,
    zone_id: Option<String>,
    dir: TempDir,
}

impl<'a> Fleet<'a> {
    /// Seeds it at `network` (`127.20`), where its DNS servers can listen.
    pub(super) fn seed(localstack: &'a LocalStack, network: &str) -> Self {
        let mut seed = localstack.python();
        seed.arg(repository("localstack/seed.py"));
        seed.args(["--endpoint", &localstack.endpoint, "--network", network]);
        let seeded = Started::of(seed).finish().expect_code(0).json();
        let address = seeded["instances"]["web-1"]["address"].as_str().unwrap().to_owned();
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("root/etc")).unwrap();
        Self {
            localstack,
            seeded,
            sandbox: None,
            secrets: Vec::new(),
            address,
            has_tags: true,
            zone_id: None,
            dir,
        }
    }

    pub(super) fn zone_id(&self, name: &str) -> String {
        self.seeded["zones"][name].as_str().unwrap().to_owned()
    }

    /// `InstanceMetadataTags=disabled`.
    pub(super) fn hide_tags(&mut self) {
        self.has_tags = false;
    }

    /// Starts what surrounds `web-1`; its name is published in this zone, or in the one that is found.
    pub(super) fn publish_in(&mut self, zone_id: Option<String>) {
        self.zone_id = zone_id;
        self.restart();
    }

    /// Gives `web-1` another address, as a replaced interface does.
    pub(super) fn move_to(&mut self, address: &str) {
        address.clone_into(&mut self.address);
        self.restart();
    }

    fn restart(&mut self) {
        self.sandbox = None; // before the next one takes its addresses
        let web = &self.seeded["instances"]["web-1"];
        let state = json!({
            "instances": [{
                "id": web["id"],
                "availability_zone": web["availability_zone"],
                "vpc_id": self.seeded["vpc_id"],
                "role": "dns-agent",
                "metadata_tags": self.has_tags,
                "tags": {"Name": "web-1"},
                "interfaces": [{"private_ipv4s": [self.address]}],
            }],
        });
        let hosts = self.seeded["instances"].as_object().unwrap().values();
        let servers = hosts.filter(|host| host["role"] == "dns").map(|host| {
            let address: IpAddr = host["address"].as_str().unwrap().parse().unwrap();
            format!("--dns={}", SocketAddr::new(address, PORT))
        });
        let imds = format!("--imds=127.0.0.1:0={}", web["id"].as_str().unwrap());
        let arguments = servers.chain([imds, format!("--zone={ZONE}")]).collect::<Vec<_>>();
        let sandbox = Sandbox::start(&self.localstack.enter, &state, &arguments);
        let metadata = sandbox.ready["imds"][0].as_str().unwrap();
        let endpoint = &self.localstack.endpoint;
        let zone = self.zone_id.as_ref().map(|id| format!("zone_id = \"{id}\"\n"));
        let zone = zone.unwrap_or_default();
        let config = format!(
            "version = 1\n[metadata]\nendpoint = \"http://{metadata}\"\n[aws]\nendpoint = \"{endpoint}\"\n\
             [[record]]\nname = \"{{tag:Name}}.{ZONE}\"\nreverse = true\n\
             [backend.aws]\nkind = \"route53\"\n{zone}\
             [discovery]\nvalue = \"{ZONE}\"\nport = {PORT}\n[resolver]\nmanager = \"resolv-conf\"\n"
        );
        fs::write(self.path("config.toml"), config).unwrap();
        let role = self.boto3(ROLE, [format!("http://{metadata}").as_str()]);
        self.secrets = role.stdout.lines().map(str::to_owned).collect();
        self.sandbox = Some(sandbox);
    }

    /// Runs the program on `web-1`.
    pub(super) fn tagalong(&self, arguments: &[&str]) -> Run {
        let program = Path::new(env!("CARGO_BIN_EXE_tagalong"));
        let mut command = entering(&self.localstack.enter, program);
        for (option, place) in [
            ("--config", "config.toml"),
            ("--state-dir", "state"),
            ("--run-dir", "run"),
            ("--root", "root"),
        ] {
            command.arg(option).arg(self.path(place));
        }
        command.args(arguments);
        let run = Started::of(command).finish();
        secrets::are_kept(self.dir.path(), &self.secrets);
        run
    }

    /// `once`, which must do all that it is asked to.
    pub(super) fn once(&self) -> Run {
        self.tagalong(&["once", "--deadline", "20s"]).expect_code(0)
    }

    pub(super) fn resolv_conf(&self) -> String {
        fs::read_to_string(self.path("root/etc/resolv.conf")).unwrap()
    }

    /// The servers of resolv.conf, in order.
    pub(super) fn nameservers(&self) -> Vec<String> {
        let text = self.resolv_conf();
        let servers = text.lines().filter_map(|line| line.strip_prefix("nameserver "));
        servers.map(str::to_owned).collect()
    }

    /// What `web-1` has in both zones when it is at `address`, whose reverse name begins with `reversed`.
    pub(super) fn ours(&self, address: &str, reversed: &str) -> Vec<String> {
        let name = format!("web-1.{ZONE}.");
        let reverse = format!("{reversed}.in-addr.arpa.");
        let id = self.seeded["instances"]["web-1"]["id"].as_str().unwrap();
        let marker = format!("TXT 60 \"tagalong-owner={id}\" \"home=123456789012/us-east-1\"");
        let mut ours = vec![
            format!("{name} A 60 {address}"),
            format!("{name} {marker}"),
            format!("{reverse} PTR 60 {name}"),
            format!("{reverse} {marker}"),
        ];
        ours.sort();
        ours
    }

    /// All that stands in both zones beside SOA and NS, by boto3: name, type, TTL and values, sorted.
    pub(super) fn records(&self) -> Vec<String> {
        let zones = self.seeded["zones"].as_object().unwrap().values();
        let zones = zones.map(|id| id.as_str().unwrap());
        let listed = self.boto3(LIST, zones);
        let mut records = listed.stdout.lines().map(str::to_owned).collect::<Vec<_>>();
        records.sort();
        records
    }

    /// Records that are not ours: another instance's, and some without an owner, in both zones. As [`Self::records`].
    pub(super) fn plant_others(&self) -> Vec<String> {
        let (mut planted, mut arguments) = (Vec::new(), Vec::new());
        for (zone, id) in self.seeded["zones"].as_object().unwrap() {
            let (name, kind, value) = if zone.ends_with(".arpa.") {
                (format!("13.1.{zone}"), "PTR", format!("web-3.{ZONE}."))
            } else {
                (format!("web-3.{zone}"), "A", "10.9.9.9".to_owned())
            };
            for (name, kind, value) in [
                (name.clone(), kind, value.as_str()),
                (name, "TXT", "\"tagalong-owner=i-0ffffffffffffffff\""),
                (format!("web-10.{zone}"), "TXT", "\"by hand\""),
            ] {
                planted.push(format!("{name} {kind} 300 {value}"));
                arguments.push(json!([id, name, kind, value]).to_string());
            }
        }
        self.boto3(PLANT, arguments.iter().map(String::as_str));
        planted.sort();
        assert_eq!(self.records(), planted);
        planted
    }

    fn boto3<'b>(&self, script: &str, arguments: impl IntoIterator<Item = &'b str>) -> Run {
        let mut command = self.localstack.python();
        command.args(["-c", script, &self.localstack.endpoint]).args(arguments);
        Started::of(command).finish().expect_code(0)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

/// Python with boto3 on the host; makes `.venv` if need be, as `localstack/start` does by itself.
pub(crate) fn python() -> Command {
    let setup = Started::of(Command::new(repository("localstack/setup")));
    tell(&setup.finish_within(STARTING).expect_code(0).stderr);
    made_python(&[])
}

fn made_python(enter: &[String]) -> Command {
    let mut command = entering(enter, &repository(".venv/bin/python"));
    command.arg("-B").env("PYTHONPATH", repository("localstack"));
    command
}

pub(crate) fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A command that runs `program` there, with nothing of this process's environment but where programs are.
fn entering(enter: &[String], program: &Path) -> Command {
    let mut command = match enter.split_first() {
        Some((first, more)) => {
            let mut command = Command::new(first);
            command.args(more).arg(program);
            command
        }
        None => Command::new(program),
    };
    command.env_clear().envs(env::var_os("PATH").map(|path| ("PATH", path)));
    command
}

/// The first line that a program prints, in JSON; `None` when it ends, or `limit` does, before that.
fn first_line(child: &mut Child, limit: Duration) -> Option<Value> {
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut line = String::new();
        let _ = stdout.read_line(&mut line);
        let _ = sender.send(line);
        let _ = stdout.read_line(&mut String::new()); // until it ends: it may print more
    });
    serde_json::from_str(&receiver.recv_timeout(limit).ok()?).ok()
}

/// Passes on what was said, past the capture of tests that succeed: that it is not LocalStack, for one.
fn tell(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// Prints what stands in zones beside SOA and NS: name, type, TTL and values.
pub(crate) const LIST: &str = r#"
import sys, seed
endpoint, *zones = sys.argv[1:]
for zone in zones:
    for found in seed.client("route53", endpoint).list_resource_record_sets(HostedZoneId=zone)["ResourceRecordSets"]:
        if found["Type"] not in ("NS", "SOA"):
            print(found["Name"], found["Type"], found["TTL"], *(record["Value"] for record in found["ResourceRecords"]))
"#;
const PLANT: &str = r#"
import json, sys, seed
endpoint, *records = sys.argv[1:]
for zone, name, kind, value in map(json.loads, records):
    found = {"Name": name, "Type": kind, "TTL": 300, "ResourceRecords": [{"Value": value}]}
    batch = {"Changes": [{"Action": "CREATE", "ResourceRecordSet": found}]}
    seed.client("route53", endpoint).change_resource_record_sets(HostedZoneId=zone, ChangeBatch=batch)
"#;
/// Prints what is secret of a role's credentials.
const ROLE: &str = r#"
import sys
from botocore.utils import InstanceMetadataFetcher
endpoint, metadata = sys.argv[1:]
role = InstanceMetadataFetcher(timeout=10, base_url=metadata).retrieve_iam_role_credentials()
print(role["secret_key"], role["token"], sep="\n")
"#;
/// Where the fleet's DNS servers listen: below the ports that the system gives to clients.
const PORT: u16 = 10_054;
/// LocalStack takes some seconds, and `setup` half a minute before the first one.
const STARTING: Duration = Duration::from_secs(420);
const READY: Duration = Duration::from_secs(20);
const ENDING: Duration = Duration::from_secs(30);

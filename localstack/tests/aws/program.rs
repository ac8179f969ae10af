//! The program `sandbox`.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::{client::Ask, name_servers::query, stage::signed};

const STATE: &str = r#"{
  "account": {"region": "eu-west-1"},
  "instances": [{
    "id": "i-0aaaaaaaaaaaaaaa1", "availability_zone": "eu-west-1a", "metadata_tags": true,
    "tags": {"Role": "web"}, "interfaces": [{"private_ipv4s": ["127.0.0.1"]}]
  }],
  "zones": [{"id": "Z1", "name": "corp.test"}],
  "dns": {
    "keys": [{"name": "agents.", "algorithm": "hmac-sha512", "secret": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"}],
    "zones": [{"name": "corp.test", "records": ["web 60 A 10.0.0.1"]}]
  }
}"#;

fn state_file(name: &str, text: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("{name}-{}.json", std::process::id()));
    fs::write(&path, text).unwrap();
    path
}

/// The program, which does not outlive the test.
struct Program(Child);

impl Program {
    /// Starts it and reads its first line.
    fn start(state: &PathBuf) -> (Self, Value) {
        let imds = ["--imds", "127.0.0.1:0", "--imds", "127.0.0.1:0=i-0aaaaaaaaaaaaaaa1"];
        Self::start_with(|command| command.args(imds).arg("--state").arg(state))
    }

    fn start_with(options: impl FnOnce(&mut Command) -> &mut Command) -> (Self, Value) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sandbox"));
        let mut child = options(command.arg("serve")).stdout(Stdio::piped()).spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        let program = Self(child);
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        let ready = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
        (program, ready)
    }

    fn ends(&mut self, signal: Signal) -> ExitStatus {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
        let sent = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status;
            }
            assert!(sent.elapsed() < Duration::from_secs(20), "it goes on after {signal:?}");
            thread::yield_now();
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // it may have ended as it should
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn address(text: &Value) -> SocketAddr {
    text.as_str().unwrap().parse().unwrap()
}

#[test]
fn it_says_where_it_listens_and_ends_on_a_signal() {
    let state = state_file("good", STATE);
    for signal in [Signal::TERM, Signal::INT] {
        let (mut program, ready) = Program::start(&state);
        for imds in ready["imds"].as_array().unwrap() {
            let token = Ask::new("PUT", "/latest/api/token")
                .header("X-aws-ec2-metadata-token-ttl-seconds", "60");
            let token = token.to(address(imds)).body;
            let role = Ask::new("GET", "/latest/meta-data/tags/instance/Role")
                .header("X-aws-ec2-metadata-token", token);
            assert_eq!(role.to(address(imds)).body, "web");
        }
        let zones =
            signed(Ask::new("GET", "/2013-04-01/hostedzone"), "route53").to(address(&ready["aws"]));
        assert_eq!(zones.text("Name").as_deref(), Some("corp.test."));
        let state = Ask::new("GET", "/state").to(address(&ready["control"]));
        assert!(state.body.contains("eu-west-1"), "{}", state.body);
        assert!(program.ends(signal).success());
    }
    fs::remove_file(state).unwrap();
}

#[test]
fn it_serves_dns() {
    let state = state_file("dns", STATE);
    let key = state.with_extension("key");
    for round in ["made", "read"] {
        let (mut program, ready) = Program::start_with(|command| {
            command.args(["--dns", "127.0.0.1:0", "--dns", "127.0.0.1:0=replica"]);
            command.args(["--black-hole", "127.0.0.1:0", "--zone", "10.in-addr.arpa"]);
            command.arg("--state").arg(&state).arg("--key-file").arg(&key)
        });
        let [primary, replica] = [0, 1].map(|place| address(&ready["dns"][place]));
        assert!(query(primary, "web.corp.test").is_fine());
        assert!(query(replica, "web.corp.test").is_fine());
        assert!(query(address(&ready["black_holes"][0]), "web.corp.test").is_silence());
        assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
        let from_state = ["-y", "hmac-sha512:agents.:c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"].map(PathBuf::from);
        let from_file = ["-k".into(), key.clone()];
        for (name, key) in [("a", from_state), ("b", from_file)] {
            let update = format!("add {name}-{round}.10.in-addr.arpa. 60 PTR web.corp.test.");
            assert_eq!(nsupdate(primary, &key, &update), "");
            assert_eq!(nsupdate(replica, &key, &update), "update failed: NOTAUTH");
        }
        let control = address(&ready["control"]);
        let records: Value =
            serde_json::from_str(&Ask::new("GET", "/dns/records").to(control).body).unwrap();
        let reverse = records["10.in-addr.arpa."].as_array().unwrap();
        assert!(
            reverse.contains(&format!("a-{round}.10.in-addr.arpa. 60 PTR web.corp.test.").into())
        );
        assert!(
            reverse.contains(&format!("b-{round}.10.in-addr.arpa. 60 PTR web.corp.test.").into())
        );
        assert!(program.ends(Signal::TERM).success());
    }
    fs::remove_file(key).unwrap();
    fs::remove_file(state).unwrap();
}

/// What `nsupdate` has to say of an update.
fn nsupdate(server: SocketAddr, key: &[PathBuf], update: &str) -> String {
    let mut child = Command::new("nsupdate")
        .args(key)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("nsupdate, of bind9-dnsutils: {error}"));
    let script = format!("server {} {}\n{update}\nsend\n", server.ip(), server.port());
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap().trim().to_owned()
}

#[test]
fn a_bad_state_file_is_refused_by_name_line_and_column() {
    for (name, text, expect) in [
        (
            "unknown",
            STATE.replace("\"availability_zone\"", "\"zone\""),
            vec![":4:", "unknown field `zone`"],
        ),
        (
            "broken",
            STATE.replacen("\"zones\": [", "\"zones\": ,", 1),
            vec![":7:", "expected value"],
        ),
        ("hash", STATE.replace("sha512", "md5"), vec![":9:", "hmac-md5"]),
        ("secret", STATE.replace("c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0", "?"), vec![":9:", "`agents.` is not base64"]),
        ("record", STATE.replace("10.0.0.1\"]", "ten\"]"), vec![":10:", "`web 60 A ten` is not a record"]),
    ] {
        let state = state_file(name, &text);
        let output = Command::new(env!("CARGO_BIN_EXE_sandbox"))
            .args(["serve", "--state"])
            .arg(&state)
            .output()
            .unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(error.starts_with(&format!("error: {}", state.display())), "{error}");
        assert!(
            expect.iter().all(|part| error.contains(part)) && output.stdout.is_empty(),
            "{error}"
        );
        fs::remove_file(state).unwrap();
    }
    let mut missing = Command::new(env!("CARGO_BIN_EXE_sandbox"))
        .args(["serve", "--state", "/nonexistent/state.json"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    assert!(!missing.wait().unwrap().success());
    let mut error = String::new();
    missing.stderr.unwrap().read_to_string(&mut error).unwrap();
    assert!(error.contains("/nonexistent/state.json"), "{error}");
}

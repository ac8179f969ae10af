//! The program `sandbox`.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::{client::Ask, stage::signed};

const STATE: &str = r#"{
  "account": {"region": "eu-west-1"},
  "instances": [{
    "id": "i-0aaaaaaaaaaaaaaa1", "availability_zone": "eu-west-1a", "metadata_tags": true,
    "tags": {"Role": "web"}, "interfaces": [{"private_ipv4s": ["127.0.0.1"]}]
  }],
  "zones": [{"id": "Z1", "name": "corp.test"}]
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
        let mut child = Command::new(env!("CARGO_BIN_EXE_sandbox"))
            .args(["serve", "--imds", "127.0.0.1:0", "--imds", "127.0.0.1:0=i-0aaaaaaaaaaaaaaa1"])
            .arg("--state")
            .arg(state)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
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
fn a_bad_state_file_is_refused_by_name_line_and_column() {
    for (name, text, expect) in [
        (
            "unknown",
            STATE.replace("\"availability_zone\"", "\"zone\""),
            vec![":4:", "unknown field `zone`"],
        ),
        ("broken", STATE.replace("\"zones\": [", "\"zones\": ,"), vec![":7:", "expected value"]),
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

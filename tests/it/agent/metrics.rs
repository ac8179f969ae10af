//! What the agent tells Prometheus: in its file, by its listener, and in words that `promtool` takes.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::Path,
    process::{Command, Stdio},
};

use super::Home;
use crate::{
    authority::free_port,
    support::{US, until},
};

fn value(text: &str, sample: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    line.map(|value| value.parse().unwrap())
}

/// The answer to a request, head and body.
fn http(addr: SocketAddr, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect(addr).unwrap();
    write!(stream, "{request} HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

fn promtool(arguments: &[&str], input: &str) {
    let mut command = Command::new("promtool");
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| {
        panic!("cannot run `promtool` ({error}): these tests need the package prometheus (Debian)")
    });
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [&*output.stdout, &output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success() && !said.contains("lint"), "{arguments:?}: {said}\n{input}");
}

#[test]
fn metrics_are_in_a_file_and_at_the_listener_as_promtool_wants_them_and_go_with_the_agent() {
    let home = Home::new();
    let addr = free_port(Ipv4Addr::LOCALHOST.into());
    home.configure(&format!("[metrics]\nlisten = \"{addr}\"\n"));
    let agent = home.settled();
    let file = home.lab.path("run/metrics/tagalong.prom");
    let text = || fs::read_to_string(&file).unwrap_or_default();
    until("all is told", || {
        let text = text();
        value(&text, "tagalong_registered") == Some(1)
            && value(&text, "tagalong_dns_servers{state=\"in_use\"}") == Some(1)
            && value(&text, "tagalong_resolver_set") == Some(1)
            && value(&text, "tagalong_published_names{backend=\"internal\"}") == Some(2)
            && value(&text, "tagalong_tasks_total{task=\"probe\",outcome=\"done\"}") >= Some(1)
    });
    promtool(&["check", "metrics"], &text());
    let (head, body) = http(addr, "GET /metrics");
    assert!(
        head.starts_with("HTTP/1.1 200 ") && head.contains("text/plain; version=0.0.4"),
        "{head}"
    );
    assert_eq!(value(&body, "tagalong_registered"), Some(1), "{body}");
    assert!(http(addr, "GET /").0.starts_with("HTTP/1.1 404 "));
    assert!(http(addr, "POST /metrics").0.starts_with("HTTP/1.1 405 "));

    // A name that is another's.
    home.server.zones().add("taken.corp.internal. 60 A 10.9.9.9").unwrap();
    home.lab
        .world
        .update_instance(US, |us| drop(us.tags.insert("Name".to_owned(), "taken".to_owned())));
    until("the refusal is told", || {
        let text = text();
        value(&text, "tagalong_registered") == Some(0)
            && value(&text, "tagalong_refused_names{backend=\"internal\"}") == Some(1)
    });
    promtool(&["check", "metrics"], &text());
    agent.stop();
    assert!(!file.exists(), "what nobody keeps is not told");
}

#[test]
fn that_nobody_carries_the_tag_is_told_as_no_servers() {
    let home = Home::new();
    let config = fs::read_to_string(home.lab.path("config.toml")).unwrap();
    let elsewhere = "[discovery]\nvalue = \"elsewhere.internal\"\n";
    home.lab.file("config.toml", &config.replacen("[discovery]\n", elsewhere, 1));
    let agent = home.start();
    let file = home.lab.path("run/metrics/tagalong.prom");
    until("it is told", || {
        let text = fs::read_to_string(&file).unwrap_or_default();
        ["in_use", "reserve", "left_out"].iter().all(|state| {
            value(&text, &format!("tagalong_dns_servers{{state=\"{state}\"}}")) == Some(0)
        })
    });
    let sought =
        "no running instance carries the tag tagalong:dns-server=elsewhere.internal in vpc-";
    until("it is said", || agent.log().contains(sought));
}

#[test]
fn an_address_that_is_taken_keeps_no_agent_from_its_work() {
    let home = Home::new();
    let taken = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    home.configure(&format!("[metrics]\nlisten = \"{}\"\n", taken.local_addr().unwrap()));
    let agent = home.settled();
    until("it says so", || agent.log().contains("no metrics are answered at"));
    home.lab.configure("[metrics]\nlisten = \"9721\"\n[resolver]\nmanager = \"none\"\n");
    home.lab
        .tagalong(&["config", "check"])
        .expect_code(1)
        .says(&["`9721` is no address with a port"]);
}

#[test]
fn the_alerts_are_sound_and_fire_for_ill_hosts_alone() {
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("infra/prometheus");
    let path = |name: &str| rules.join(name).display().to_string();
    promtool(&["check", "rules", &path("alerts.yml")], "");
    promtool(&["test", "rules", &path("alerts_test.yml")], "");
    // Neither asks for what no agent tells.
    let known =
        tagalong::core::metrics::FAMILIES.iter().map(|family| family.name).collect::<Vec<_>>();
    for name in ["infra/prometheus/alerts.yml", "infra/grafana/tagalong.json"] {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap();
        let words = text.split(|c: char| !c.is_ascii_lowercase() && c != '_');
        let asked = words.filter(|word| word.starts_with("tagalong_")).collect::<Vec<_>>();
        assert!(asked.len() > 8, "{name}");
        assert!(asked.iter().all(|word| known.contains(word)), "{name}: {asked:?}");
    }
}

#[test]
fn prometheus_understands_what_each_panel_asks() {
    let dashboard = crate::pages::text("infra/grafana/tagalong.json");
    let dashboard: serde_json::Value = serde_json::from_str(&dashboard).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    // As Grafana fills them in.
    let asked = targets.map(|it| it["expr"].as_str().unwrap().replace("$__range", "3600s"));
    let rules = asked.map(|expr| serde_json::json!({"record": "a:panel", "expr": expr}));
    let rules = rules.collect::<Vec<_>>();
    assert!(rules.len() > 10, "{rules:?}");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rules.yml");
    let groups = serde_json::json!({"groups": [{"name": "dashboard", "rules": rules}]});
    fs::write(&path, groups.to_string()).unwrap();
    promtool(&["check", "rules", "--lint=none", path.to_str().unwrap()], "");
}

#[test]
fn each_alert_leads_to_a_section_of_the_manual() {
    let rules = crate::pages::text("infra/prometheus/alerts.yml");
    let page_of_metrics = crate::pages::text("docs/metrics.md");
    let mut led = 0;
    for rule in rules.split("- alert: ").skip(1) {
        let name = rule.lines().next().unwrap();
        let url = rule.split("runbook_url: \"").nth(1).and_then(|rest| rest.split('"').next());
        let target = url.and_then(|url| url.strip_prefix(MANUAL)?.split_once('#'));
        let Some((page, anchor)) = target else { panic!("{name} leads to {url:?}") };
        assert!(crate::docs::anchors(page).contains(anchor), "{name} leads to {url:?}");
        assert!(page_of_metrics.contains(&format!("| `{name}`")), "{name} is not on the page");
        led += 1;
    }
    assert!(led > 8, "{led} alerts");
    assert_eq!(page_of_metrics.matches("| `Tagalong").count(), led, "and no other is");
}

const MANUAL: &str = concat!(env!("CARGO_PKG_REPOSITORY"), "/blob/main/");

//! `doctor`: each thing that can be wrong is found, with its reason and its remedy, in text and in JSON; it changes nothing,
//! and it is over in time whatever is dead.

mod affinity;
mod publishing;
mod resolver;

use std::{
    fs::{self, File, Permissions},
    os::unix::fs::PermissionsExt as _,
    time::Duration,
};

use sandbox::{
    black_hole::BlackHole,
    dns::{Server, Zone, Zones},
    fault::{Fault, Service},
};
use serde_json::Value;

use crate::{
    authority::{parsed, tsig_keygen},
    support::{DNS_PORT, Lab, Run, US, ZONE, fleet_zones, own_address},
};

/// A host on which all is well: its name is published, its resolver has two servers, and its agent runs.
struct Host {
    lab: Lab,
    servers: [Server; 2],
    key: String,
    _vpc: Server,
    agent: File,
}

/// The host before its first pass.
fn fresh() -> Host {
    let key = tsig_keygen("hmac-sha256", "agent-key");
    let zones = Zones::new(fleet_zones()).unwrap();
    let servers =
        [(); 2].map(|()| Server::primary(own_address(), &zones, vec![parsed(&key)]).unwrap());
    let vpc = Server::start(own_address(), vec![Zone::new(".")], vec![]).unwrap();
    let mut lab = Lab::new();
    lab.vpc_resolver = vpc.addr();
    servers.iter().for_each(|server| lab.list_server(server.addr(), "us-east-1a"));
    let file = lab.file("tsig.key", &key);
    fs::set_permissions(file, Permissions::from_mode(0o600)).unwrap();
    let lock = lab.file("run/agent.lock", "");
    let agent = File::open(lock).unwrap();
    agent.lock().unwrap();
    let host = Host { lab, servers, key, _vpc: vpc, agent };
    host.configure("");
    host
}

fn healthy() -> Host {
    let host = fresh();
    host.lab.once();
    host
}

impl Host {
    fn configure(&self, more: &str) {
        self.publish_at("\"discovered\"", more);
    }

    fn publish_at(&self, servers: &str, more: &str) {
        self.lab.configure(&format!(
            "[[record]]\nname = \"{{tag:Name}}.{ZONE}\"\n\
             [backend.internal]\nkind = \"rfc2136\"\nservers = {servers}\nkey_file = \"{}\"\n\
             [discovery]\nport = {DNS_PORT}\n[resolver]\nsearch = [\"{ZONE}\"]\n{more}",
            self.lab.path("tsig.key").display()
        ));
    }
}

/// The findings of one check in JSON.
fn of_check(run: &Run, check: &str) -> Vec<Value> {
    let findings = run.json()["findings"].as_array().unwrap().clone();
    findings.into_iter().filter(|finding| finding["check"] == check).collect()
}

/// Holds `doctor` to what it must find: in JSON `check` with this verdict, and in text the same; each holds all of `words`.
#[track_caller]
fn finds(lab: &Lab, code: i32, check: &str, verdict: &str, words: &[&str]) {
    let json = lab.tagalong(&["doctor", "--json"]).expect_code(code);
    for finding in json.json()["findings"].as_array().unwrap() {
        let see = finding["see"].as_str().unwrap_or_default();
        let place = see.split_once("/docs/troubleshooting.md#").map(|(_, place)| place);
        assert_eq!(place.is_some_and(|it| !it.is_empty()), finding["verdict"] != "fine", "{json}");
        let has_remedy = !finding["remedy"].as_array().unwrap().is_empty();
        assert_eq!(has_remedy, finding["verdict"] != "fine", "{finding}");
    }
    let found = of_check(&json, check);
    let is_found = found.iter().any(|finding| {
        let text = finding.to_string().replace("\\\"", "\"");
        finding["verdict"] == verdict && words.iter().all(|word| text.contains(word))
    });
    assert!(is_found, "no {verdict} {check} with {words:?} in {json}");
    assert_eq!(json.json()["ok"], code == 0, "{json}");
    let text = lab.tagalong(&["doctor"]).expect_code(code);
    let head = if verdict == "fine" { String::new() } else { format!("{verdict}: ") };
    let lines = text.stdout.lines().collect::<Vec<_>>();
    let begin = lines.iter().position(|line| {
        line.starts_with(&format!("{check:14}{head}"))
            && words.first().is_none_or(|word| line.contains(word))
    });
    let begin = begin.unwrap_or_else(|| panic!("no `{check} {head}` with {words:?} in {text}"));
    let more = lines[begin + 1..].iter().take_while(|line| line.starts_with("  "));
    let whole = [lines[begin]].into_iter().chain(more.copied()).collect::<Vec<_>>().join("\n");
    for word in words {
        assert!(whole.contains(word), "`{word}` is missing in\n{whole}");
    }
    assert_eq!(whole.contains("  hint: "), verdict != "fine", "{whole}");
}

fn set(lab: &Lab, service: Service, fault: Fault) {
    lab.world.faults().set(service, fault);
}

#[test]
fn on_a_healthy_host_nothing_is_wrong_and_nothing_is_changed() {
    let host = healthy();
    let lab = &host.lab;
    let before = (lab.resolv_conf(), lab.state(), host.servers[0].updates());
    let serial = host.servers[0].serial(ZONE);
    let run = lab.tagalong(&["doctor"]).expect_code(0).prints(&[
        "agent         it runs\n",
        "metadata      i-0aaaaaaaaaaaaaaa1 in us-east-1a because: version 2 answers at http://127.",
        "tags          from instance metadata\n",
        "ec2           ec2:DescribeInstances lists 2 server(s) because: the tag tagalong:dns-server in vpc-",
        "vpc_resolver  it answers because: ",
        "owner         resolv-conf because: resolv.conf is a plain file · it carries our marker\n",
        " in use because: answered in ",
        "first_server  ",
        " answers; if it were dead, each look-up would wait: glibc 1 s, musl 0 s, Go 1 s because: timeout:1 attempts:2, 2 server(s)",
        "overwritten   by no other program since the boot\n",
        "names         23.1.0.10.in-addr.arpa., web-1.corp.internal. as they should be\n",
        "zone          corp.internal. at ",
        " holds web-1.corp.internal. (backend `internal`)",
        "tsig          agent-key. (hmac-sha256) is good for what ",
        "\n0 wrong, 0 to note, ",
    ]);
    assert_eq!(run.stderr, "");
    assert_eq!(run.stdout.lines().filter(|line| line.starts_with("tsig ")).count(), 2, "{run}");
    let json = lab.tagalong(&["doctor", "--json"]).expect_code(0);
    let value = json.json();
    assert_eq!(
        (&value["ok"], &value["wrong"], &value["notes"]),
        (&true.into(), &0.into(), &0.into())
    );
    let findings = value["findings"].as_array().unwrap();
    assert!(findings.iter().all(|finding| finding["verdict"] == "fine"), "{json}");
    assert_eq!(before, (lab.resolv_conf(), lab.state(), host.servers[0].updates()));
    assert_eq!(host.servers[0].serial(ZONE), serial);
}

#[test]
fn a_dead_world_does_not_hold_it_up() {
    let host = healthy();
    let dead = Fault { drop: true, ..Fault::default() };
    set(&host.lab, Service::Imds, dead.clone());
    set(&host.lab, Service::Ec2, dead.clone());
    host.servers.iter().for_each(|server| server.fault(dead.clone()));
    let slack = Duration::from_secs(2);
    let run = host.lab.start(&["doctor"]).finish_within(Duration::from_secs(10) + slack);
    run.expect_code(1).prints(&[
        "metadata      wrong: the instance metadata service at",
        "first_server  wrong: ",
        "zone          wrong: ",
        "and then it fails",
    ]);
    // The metadata lives, and EC2 does not: the servers that are known are looked at.
    host.lab.world.faults().clear();
    set(&host.lab, Service::Ec2, dead);
    let run = host.lab.start(&["doctor", "--deadline", "6s"]);
    run.finish_within(Duration::from_secs(6) + slack).expect_code(1).prints(&[
        "ec2           wrong: ",
        "server        wrong: ",
        "zone          wrong: ",
    ]);
}

#[test]
fn errors_of_the_configuration_are_told_with_where_they_are() {
    let host = healthy();
    let file = host.lab.file("config.toml", "version = 1\n[discovery]\nport = \"x\"\n");
    finds(
        &host.lab,
        1,
        "configuration",
        "wrong",
        &["`discovery.port` is not a whole number", &format!("{}:3:8", file.display())],
    );
    host.configure("");
    host.lab.world.update_instance(US, |us| {
        us.tags.insert("tagalong:discovery.refresh".into(), "soon".into());
    });
    finds(&host.lab, 1, "configuration", "wrong", &["tagalong:discovery.refresh"]);
}

#[test]
fn a_key_file_that_cannot_be_used_or_that_others_can_read_is_told() {
    let host = healthy();
    let file = host.lab.path("tsig.key");
    fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    finds(&host.lab, 0, "key_file", "note", &["can be read by everybody", "chmod 600"]);
    host.lab.file("tsig.key", "nonsense");
    finds(
        &host.lab,
        1,
        "key_file",
        "wrong",
        &["holds no usable key", "`tsig-keygen`", "backend.internal.key_file"],
    );
    fs::remove_file(&file).unwrap();
    finds(&host.lab, 1, "key_file", "wrong", &["there is no key file"]);
    let text = fs::read_to_string(host.lab.path("config.toml")).unwrap();
    let unsigned = text.lines().filter(|line| !line.starts_with("key_file")).collect::<Vec<_>>();
    host.lab.file("config.toml", &unsigned.join("\n"));
    finds(&host.lab, 0, "key_file", "note", &["backend `internal` has no key"]);
}

#[test]
fn whether_the_agent_runs_and_how_its_last_pass_went() {
    let host = fresh();
    finds(&host.lab, 0, "last_pass", "note", &["none since the boot"]);
    host.agent.unlock().unwrap();
    finds(
        &host.lab,
        1,
        "agent",
        "wrong",
        &["it ran in this boot, and does not run now", "systemctl"],
    );
    fs::remove_file(host.lab.path("run/agent.lock")).unwrap();
    finds(&host.lab, 0, "agent", "note", &["it has not run in this boot"]);
    assert!(!host.lab.path("run/agent.lock").exists(), "looking makes no lock");
    host.lab.once();
    finds(&host.lab, 0, "last_pass", "fine", &[" s ago: internal: published"]);
    host.lab.file("tsig.key", "nonsense");
    host.lab.once_fails();
    finds(
        &host.lab,
        1,
        "last_pass",
        "wrong",
        &[" s ago, failed", "internal: failed", "holds no usable key"],
    );
}

#[test]
fn a_real_agent_is_seen_and_not_disturbed() {
    let host = fresh();
    host.agent.unlock().unwrap();
    let agent = host.lab.start(&["run"]);
    crate::support::until("it has made a pass", || host.lab.path("run/last-pass.json").exists());
    finds(&host.lab, 0, "agent", "fine", &["it runs"]);
    agent.kill();
    finds(&host.lab, 1, "agent", "wrong", &["does not run now"]);
}

#[test]
fn a_memory_that_cannot_be_read_is_told() {
    let host = healthy();
    host.lab.file("state/state.json", "{");
    finds(&host.lab, 1, "state", "wrong", &["cannot be read", "it is left as it is"]);
    assert_eq!(host.lab.state(), "{");
}

#[test]
fn who_overwrote_the_resolver_is_told_by_the_lines_that_it_wrote() {
    let host = healthy();
    let trampled = |held: bool| {
        host.lab.file(
            "run/trampled.json",
            &format!("{{\"at\": 7, \"times\": 12, \"held\": {held}, \"difference\": [\"-nameserver 10.0.0.2\", \"+# dhclient was here\"]}}"),
        );
    };
    trampled(false);
    let words = ["12 time(s)", "it was put back", "+# dhclient was here"];
    finds(&host.lab, 0, "overwritten", "note", &words);
    trampled(true);
    let words = ["it is left to that program for now", "-nameserver 10.0.0.2"];
    finds(&host.lab, 1, "overwritten", "wrong", &words);
}

#[test]
fn a_metadata_service_that_does_not_answer_refuses_or_fails() {
    let host = healthy();
    let fault = Fault::default;
    for (fault, words) in [
        (
            Fault { drop: true, ..fault() },
            &[
                "does not answer",
                "a connection is made",
                "a hop limit of 1",
                "--http-put-response-hop-limit 2",
            ][..],
        ),
        (
            Fault { fail: Some(403), ..fault() },
            &["refuses a session token (HTTP 403)", "is the metadata endpoint disabled"],
        ),
        (Fault { fail: Some(500), ..fault() }, &["answered 500 for"]),
    ] {
        set(&host.lab, Service::Imds, fault.clone());
        let run = host.lab.tagalong(&["doctor"]).expect_code(1);
        let begin = run.stdout.find("metadata      wrong: ").unwrap_or_else(|| panic!("{run}"));
        words.iter().for_each(|word| assert!(run.stdout[begin..].contains(word), "{word}: {run}"));
        let json = host.lab.tagalong(&["doctor", "--json"]).expect_code(1);
        let found = of_check(&json, "metadata");
        assert!(found.len() == 1 && found[0]["verdict"] == "wrong", "{json}");
        words
            .iter()
            .for_each(|word| assert!(found[0].to_string().contains(word), "{word}: {json}"));
    }
    let mut host = host;
    host.lab.metadata = "http://127.0.0.1:9".to_owned();
    host.configure("");
    finds(&host.lab, 1, "metadata", "wrong", &["does not answer", "no connection can be made"]);
}

#[test]
fn tags_that_the_metadata_lack_are_told_with_what_turns_them_on() {
    let host = healthy();
    host.lab.world.update_instance(US, |us| us.metadata_tags = false);
    let turn_on = "--instance-metadata-tags enabled";
    finds(&host.lab, 0, "tags", "note", &["from DescribeTags", turn_on]);
    host.lab.world.set_denied_actions(["ec2:DescribeTags"]);
    let words =
        ["neither in its metadata nor to be had from EC2", turn_on, "allow ec2:DescribeTags"];
    finds(&host.lab, 1, "tags", "wrong", &words);
    finds(&host.lab, 1, "metadata", "fine", &["in us-east-1a"]);
}

#[test]
fn an_ec2_that_denies_throttles_or_has_no_credentials_for_is_told() {
    let host = healthy();
    host.lab.world.set_denied_actions(["ec2:DescribeInstances"]);
    let words = [
        "EC2 does not let this instance call ec2:DescribeInstances",
        "allow ec2:DescribeInstances to the instance's role",
    ];
    finds(&host.lab, 1, "ec2", "wrong", &words);
    host.lab.world.set_denied_actions([""; 0]);
    set(&host.lab, Service::Ec2, Fault { throttle: true, ..Fault::default() });
    let run = host.lab.tagalong(&["doctor"]).expect_code(1);
    run.prints(&["ec2           wrong: EC2 throttles ec2:DescribeInstances"]);
    host.lab.world.faults().clear();
    host.lab.world.update_instance(US, |us| us.role = None);
    finds(&host.lab, 1, "ec2", "wrong", &["there are no AWS credentials", "instance profile"]);
}

#[test]
fn a_fleet_without_a_tagged_server_is_told_the_tag() {
    let host = healthy();
    let text = fs::read_to_string(host.lab.path("config.toml")).unwrap();
    host.lab.file("config.toml", &text.replace("[discovery]", "[discovery]\nvalue = \"other\""));
    let words =
        ["no running instance carries the tag tagalong:dns-server=other", "create-tags", "vpc-"];
    finds(&host.lab, 1, "ec2", "wrong", &words);
}

#[test]
fn a_vpc_resolver_that_does_not_answer_is_wrong_where_it_is_needed() {
    let mut host = healthy();
    let hole = BlackHole::start(own_address()).unwrap();
    host.lab.vpc_resolver = hole.addr();
    host.configure("");
    let words = ["it does not answer", "is silent to 2 queries", "takes over", "enableDnsSupport"];
    finds(&host.lab, 1, "vpc_resolver", "wrong", &words);
    host.configure("fallback = \"none\"\n");
    finds(&host.lab, 0, "vpc_resolver", "note", &["it does not answer"]);
}

//! Where TSIG keys are kept, which of them signs what, and what becomes of one that is rotated.

use std::{fs, net::SocketAddr, os::unix::fs::PermissionsExt as _, process::Command};

use sandbox::fault::{Fault, Service};

use crate::{
    authority::{Named, ZoneFile, dig, fleet, free_port, tsig_keygen},
    support::{Lab, NAME, REVERSE, Started, US, ZONE, until},
};

const PARAMETER: &str = "key_parameter = \"/tagalong/tsig\"\n";
const SECRET: &str = "key_secret = \"tagalong/tsig\"\n";

fn publish(lab: &Lab, server: SocketAddr, keys: &str) {
    lab.configure(&format!(
        "[[record]]\nname = \"{{tag:Name}}.{ZONE}\"\n[backend.internal]\nkind = \"rfc2136\"\nservers = [\"{server}\"]\n{keys}\
         [resolver]\nmanager = \"none\"\n"
    ));
}

fn reads(lab: &Lab, service: Service) -> usize {
    lab.world.requests(service).len()
}

#[test]
fn a_key_is_read_wherever_it_is_kept() {
    let key = tsig_keygen("hmac-sha512", "agent-key");
    for keys in ["key_file = \"tsig.key\"\n", "key_credential = \"tsig.key\"\n", PARAMETER, SECRET]
    {
        let named = Named::primary(&fleet(), &key);
        let lab = Lab::new();
        let keys = keys.replace(
            "key_file = \"tsig.key\"",
            &format!("key_file = \"{}\"", lab.path("tsig.key").display()),
        );
        let file = lab.file("tsig.key", &key);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        lab.world.put_parameter("/tagalong/tsig", &key);
        lab.world.put_secret("tagalong/tsig", &key);
        publish(&lab, named.addr, &keys);
        let mut command = lab.command(&["once"]);
        command.env("CREDENTIALS_DIRECTORY", lab.path(""));
        Started::of(command).finish().expect_code(0);
        assert_eq!(dig(named.addr, NAME, "A"), ["10.0.1.23"], "{keys}");
        let doctor = lab.tagalong(&["doctor", "--json"]).json();
        let check =
            doctor["findings"].as_array().unwrap().iter().find(|it| it["check"] == "key_file");
        if !keys.starts_with("key_credential") {
            let finding = check.unwrap()["finding"].as_str().unwrap().to_owned();
            assert!(finding.ends_with("has agent-key. (hmac-sha512)"), "{finding}");
        }
    }
}

#[test]
#[should_panic(expected = "told.log holds a secret")]
fn a_key_that_a_run_tells_is_seen_at_the_end_of_its_test() {
    let lab = Lab::new();
    let key = lab.file("tsig.key", &tsig_keygen("hmac-sha256", "agent-key"));
    let mut leak = Command::new("sh");
    leak.args(["-c", "cat \"$0\""]).arg(key).arg("--config").arg(lab.path("config.toml"));
    Started::of(leak).finish();
}

#[test]
fn a_key_that_is_not_to_be_had_is_said_with_its_place_and_what_to_do() {
    let named = Named::primary(&fleet(), &tsig_keygen("hmac-sha256", "agent-key"));
    let check = |keys: &str, denied: &str, expect: &[&str]| {
        let lab = Lab::new();
        publish(&lab, named.addr, keys);
        lab.world.set_denied_actions([denied]);
        lab.once_fails().says(expect);
    };
    check(PARAMETER, "", &["there is no parameter /tagalong/tsig"]);
    check(SECRET, "", &["there is no secret tagalong/tsig"]);
    check(
        "key_credential = \"tsig\"\n",
        "",
        &[
            "there is no systemd credential tsig in /run/credentials/tagalong.service",
            "LoadCredential=",
        ],
    );
    check(
        PARAMETER,
        "ssm:GetParameter",
        &[
            "AWS does not let this instance call ssm:GetParameter on the parameter /tagalong/tsig",
            "kms:Decrypt",
        ],
    );
    check(
        SECRET,
        "secretsmanager:GetSecretValue",
        &[
            "AWS does not let this instance call secretsmanager:GetSecretValue on the secret tagalong/tsig",
        ],
    );
    let lab = Lab::new();
    lab.world.put_parameter("/tagalong/tsig", "hunter2");
    publish(&lab, named.addr, PARAMETER);
    let run =
        lab.once_fails().says(&["the parameter /tagalong/tsig holds no usable key", "no `key"]);
    assert!(!run.stderr.contains("hunter2"));
}

#[test]
fn a_throttled_call_is_made_again() {
    let key = tsig_keygen("hmac-sha256", "agent-key");
    let named = Named::primary(&fleet(), &key);
    for (keys, service) in [(PARAMETER, Service::Ssm), (SECRET, Service::SecretsManager)] {
        let lab = Lab::new();
        lab.world.put_parameter("/tagalong/tsig", &key);
        lab.world.put_secret("tagalong/tsig", &key);
        publish(&lab, named.addr, keys);
        let fault = Fault { throttle: true, requests: Some(4), ..Fault::default() };
        lab.world.faults().set(service, fault);
        lab.once();
        assert_eq!(reads(&lab, service), 5);
    }
}

#[test]
fn the_agent_reads_a_key_once_and_again_when_a_server_does_not_take_it() {
    let old = tsig_keygen("hmac-sha256", "agent-key");
    // Another secret under the same name (BADSIG), and another name (BADKEY).
    for name in ["agent-key", "other-key"] {
        let new = tsig_keygen("hmac-sha256", name);
        let mut zones = fleet();
        for zone in &mut zones {
            zone.policy = format!(
                "update-policy {{ grant {name} zonesub ANY; grant agent-key zonesub ANY; }};"
            );
        }
        let addr = free_port(std::net::Ipv4Addr::LOCALHOST.into());
        // A policy may not name a key that there is not.
        let both = |key: &str| match name {
            "agent-key" => key.to_owned(),
            _ if key == old => format!("{key}{}", tsig_keygen("hmac-sha1", name)),
            _ => format!("{key}{}", tsig_keygen("hmac-sha1", "agent-key")),
        };
        let named = Named::primary_at(addr, &zones, &both(&old));
        let lab = Lab::new();
        lab.world.put_parameter("/tagalong/tsig", &old);
        // For the search of the logs, when the parameter is another.
        lab.file("old.key", &old);
        publish(&lab, addr, PARAMETER);
        let config = fs::read_to_string(lab.path("config.toml")).unwrap();
        lab.file(
            "config.toml",
            &config.replacen("[metadata]\n", "[metadata]\nrefresh = \"1s\"\n", 1),
        );
        let agent = Agent::start(&lab);
        until("it is published", || dig(addr, NAME, "A") == ["10.0.1.23"]);
        lab.world.update_instance(US, |us| us.move_to([10, 0, 1, 24].into()));
        until("it has moved", || dig(addr, NAME, "A") == ["10.0.1.24"]);
        assert_eq!(reads(&lab, Service::Ssm), 1, "what was read is kept");
        drop(named);
        let _named = Named::primary_at(addr, &zones, &both(&new));
        lab.world.put_parameter("/tagalong/tsig", &new);
        lab.world.update_instance(US, |us| us.move_to([10, 0, 1, 25].into()));
        until("the new key signs", || dig(addr, NAME, "A") == ["10.0.1.25"]);
        assert_eq!(reads(&lab, Service::Ssm), 2);
        drop(agent);
    }
}

/// An agent that ends with the test.
struct Agent(std::process::Child);

impl Agent {
    fn start(lab: &Lab) -> Self {
        let mut command: Command = lab.command(&["run"]);
        let log = fs::File::create(lab.path("agent.log")).unwrap();
        Self(command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn of_several_keys_the_first_that_the_server_takes_signs() {
    let old = tsig_keygen("hmac-sha256", "agent-key");
    let new = tsig_keygen("hmac-sha256", "agent-key-2027");
    let named = Named::primary(&fleet(), &old);
    let lab = Lab::new();
    lab.world.put_secret("tagalong/tsig", &format!("{new}{old}"));
    publish(&lab, named.addr, SECRET);
    lab.once();
    assert_eq!(dig(named.addr, NAME, "A"), ["10.0.1.23"]);
    assert_eq!(reads(&lab, Service::SecretsManager), 1, "the next key is at hand");
    lab.file("old.key", &old);
    // None is taken: what is said is of the first, and the text was read once more.
    lab.world.put_secret("tagalong/tsig", &new);
    lab.world.clear_requests();
    lab.once_fails().says(&["does not know TSIG key agent-key-2027. with hmac-sha256 (BADKEY)"]);
    assert_eq!(reads(&lab, Service::SecretsManager), 2);
}

#[test]
fn each_zone_has_its_own_key_where_one_is_given() {
    let forward = tsig_keygen("hmac-sha256", "forward");
    let backward = tsig_keygen("hmac-sha384", "backward");
    let zone = |origin: &str, key: &str| ZoneFile {
        policy: format!("update-policy {{ grant {key} zonesub ANY; }};"),
        ..ZoneFile::new(origin)
    };
    let zones = [zone(ZONE, "forward"), zone("10.in-addr.arpa", "backward")];
    let named = Named::primary(&zones, &format!("{forward}{backward}"));
    let lab = Lab::new();
    let file = lab.file("tsig.key", &format!("{forward}{backward}"));
    let keys = format!("key_file = \"{}\"\n", file.display());
    publish(&lab, named.addr, &keys);
    lab.tagalong(&["once"])
        .expect_code(1)
        .says(&["refused the update of 10.in-addr.arpa. (REFUSED)"]);
    publish(&lab, named.addr, &format!("{keys}zone_keys = [\"10.in-addr.arpa backward\"]\n"));
    lab.once();
    assert_eq!(dig(named.addr, NAME, "A"), ["10.0.1.23"]);
    assert_eq!(dig(named.addr, REVERSE, "PTR"), [NAME]);
    lab.tagalong(&["withdraw"]).expect_code(0);
    assert_eq!(dig(named.addr, REVERSE, "PTR"), [""; 0]);
    publish(&lab, named.addr, &format!("{keys}zone_keys = [\"10.in-addr.arpa third\"]\n"));
    let file = file.display();
    lab.once_fails().says(&[&format!(
        "the key file {file} has no key `third.`, which `zone_keys` gives to 10.in-addr.arpa."
    )]);
    lab.tagalong(&["config", "check"]).expect_code(1).says(&[
        "config.toml",
        "has no key `third.`",
        "troubleshooting.md#keys",
    ]);
}

#[test]
fn the_role_needs_the_secret_and_nothing_else_of_it() {
    let key = tsig_keygen("hmac-sha256", "agent-key");
    let named = Named::primary(&fleet(), &key);
    for (keys, service) in [(PARAMETER, Service::Ssm), (SECRET, Service::SecretsManager)] {
        let lab = Lab::new();
        lab.world.put_parameter("/tagalong/tsig", &key);
        lab.world.put_secret("tagalong/tsig", &key);
        publish(&lab, named.addr, keys);
        let policy = lab.tagalong(&["config", "iam-policy"]).expect_code(0).stdout;
        lab.world.set_policy(&policy).unwrap();
        lab.once();
        assert_eq!(reads(&lab, service), 1);
        publish(&lab, named.addr, &keys.replace("tsig", "other"));
        lab.once_fails().says(&["AWS does not let this instance call"]);
    }
}

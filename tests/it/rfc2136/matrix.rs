//! One fault, and what each kind of server makes of it: the codes differ, and what the operator is told does not.

use std::net::SocketAddr;

use crate::{
    authority::{Named, fleet, tsig_keygen},
    peers::Peer,
    support::{Lab, Run, ZONE},
};

/// A server of one of the kinds; it ends with this.
enum Server {
    Bind(Named),
    Other(Box<Peer>),
}

impl Server {
    fn addr(&self) -> SocketAddr {
        match self {
            Self::Bind(named) => named.addr,
            Self::Other(peer) => peer.addr,
        }
    }
}

/// BIND, Knot and `PowerDNS`, open to the key.
fn open_to(key: &str) -> [(&'static str, Server); 3] {
    [
        ("BIND", Server::Bind(Named::primary(&fleet(), key))),
        ("Knot", Server::Other(Box::new(Peer::knot(key)))),
        ("PowerDNS", Server::Other(Box::new(Peer::powerdns(key)))),
    ]
}

/// A pass with this key, or with none.
fn once(server: &Server, key: Option<&str>) -> Run {
    let lab = Lab::new();
    lab.publish_at(&[server.addr()], key.unwrap_or_default(), "reverse = false");
    if key.is_none() {
        let config = std::fs::read_to_string(lab.path("config.toml")).unwrap();
        let lines = config.lines().filter(|line| !line.starts_with("key_file"));
        lab.file("config.toml", &lines.collect::<Vec<_>>().join("\n"));
    }
    lab.once_fails()
}

fn key() -> String {
    tsig_keygen("hmac-sha256", "agent-key")
}

#[test]
fn what_the_policy_forbids_is_refused_and_the_hint_says_what_each_servers_policy_needs() {
    let key = key();
    let mut zones = fleet();
    for zone in &mut zones {
        "update-policy { grant agent-key zonesub TXT; };".clone_into(&mut zone.policy);
    }
    let servers = [
        Server::Bind(Named::primary(&zones, &key)),
        // It says BADKEY of a key that may not do this.
        Server::Other(Box::new(Peer::knot_that_takes(&key, "    update-type: [ TXT ]\n"))),
        Server::Other(Box::new(Peer::powerdns_that_takes(&key, "another-key"))),
    ];
    for server in servers {
        once(&server, Some(&key)).says(&[
            &format!("{} refused the update of {ZONE}. (REFUSED)", server.addr()),
            "`update-policy { grant KEY wildcard *.corp.internal. A AAAA TXT; };`",
            "on Knot an `acl` of the key with `action: update`",
            "TSIG-ALLOW-DNSUPDATE KEY",
        ]);
    }
}

#[test]
fn an_update_that_nobody_signed_asks_for_a_key() {
    for (kind, server) in open_to(&key()) {
        let code = if kind == "Knot" { "(NOTAUTH)" } else { "(REFUSED)" };
        once(&server, None).says(&[code, "set `key_file` of the backend"]);
    }
}

#[test]
fn another_secret_another_algorithm_and_an_unknown_name_are_told_as_far_as_the_server_tells() {
    let key = key();
    let wrong = [
        (
            tsig_keygen("hmac-sha256", "agent-key"),
            "(BADSIG)",
            "compare the secrets of `agent-key.`",
        ),
        (
            tsig_keygen("hmac-sha512", "agent-key"),
            "agent-key. with hmac-sha512 (BADKEY)",
            "put the same `key \"agent-key.\" { algorithm hmac-sha512; … }`",
        ),
        (
            tsig_keygen("hmac-sha256", "other-key"),
            "other-key. with hmac-sha256 (BADKEY)",
            "put the same `key \"other-key.\" { algorithm hmac-sha256; … }`",
        ),
    ];
    for (kind, server) in open_to(&key) {
        for (wrong, error, hint) in &wrong {
            let run = once(&server, Some(wrong));
            if kind == "PowerDNS" {
                run.says(&["refused the query", "`pdnsutil list-tsig-keys`"]);
            } else {
                run.says(&[error, hint]);
            }
        }
    }
}

#[test]
fn a_name_in_no_zone_of_the_server_is_left_alone() {
    let key = key();
    for (_, server) in open_to(&key) {
        let lab = Lab::new();
        lab.publish_at(&[server.addr()], &key, "reverse = false");
        let config = std::fs::read_to_string(lab.path("config.toml")).unwrap();
        lab.file("config.toml", &config.replace(".corp.internal\"", ".elsewhere.test\""));
        lab.once_fails().says(&[
            "web-1.elsewhere.test. is left alone: no zone that the backend serves holds it",
        ]);
    }
}

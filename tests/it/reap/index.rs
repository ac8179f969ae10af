//! Zones that nobody may transfer: `reap` finds what is left by the index that is kept with the markers.

use std::process::Command;

use sandbox::instance::{Instance, InstanceState};

use super::{AT_ONCE, GONE};
use crate::{
    authority::{Named, dig as read, fleet, tsig_keygen},
    peers::Peer,
    support::{Lab, NAME, REVERSE},
};

/// Publishes `web-1` at `server` for a host, with an index if `index` says so.
fn publish(lab: &Lab, server: std::net::SocketAddr, key: &str, index: &str) {
    lab.publish_at(&[server], key, "reverse = true\n");
    let path = lab.path("config.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("\nkey_file", &format!("\n{index}key_file"))).unwrap();
}

/// The names that a zone's index has.
fn index(server: std::net::SocketAddr, zone: &str) -> Vec<String> {
    let mut dig = Command::new("dig");
    dig.args([&format!("@{}", server.ip()), "-p", &server.port().to_string(), "+short"]);
    for shard in 0..=255 {
        dig.args([&format!("{shard:02x}._tagalong.{zone}"), "PTR"]);
    }
    let output = dig.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let mut entries = text.lines().map(str::to_owned).collect::<Vec<_>>();
    entries.sort();
    entries
}

fn named_that_gives_nothing(key: &str) -> Named {
    let mut zones = fleet();
    zones.iter_mut().for_each(|zone| "none".clone_into(&mut zone.transfer));
    Named::primary(&zones, key)
}

fn is_reaped_by_index(server: std::net::SocketAddr, key: &str) {
    let lab = Lab::new();
    let gone = Instance::new(GONE, "us-east-1a", [10, 0, 2, 2].into()).tag("Name", "web-2");
    let other = Lab::beside(&lab.world, gone.metadata_tags().role("dns-agent"));
    // One was published before there was an index.
    publish(&lab, server, key, "");
    lab.once();
    assert_eq!(index(server, "corp.internal"), [""; 0]);
    publish(&lab, server, key, "index = true\n");
    lab.once().prints(&["sent again"]);
    lab.once().prints(&["unchanged"]);
    publish(&other, server, key, "index = true\n");
    other.once().prints(&["published"]);
    assert_eq!(index(server, "corp.internal"), [NAME, "web-2.corp.internal."]);

    lab.world.update_instance(GONE, |host| host.state = InstanceState::Terminated);
    lab.tagalong(&AT_ONCE).expect_code(0).prints(&[
        "- web-2.corp.internal. A 10.0.2.2  its owner i-0bbbbbbbbbbbbbbb2 is gone",
        "- 2.2.0.10.in-addr.arpa. PTR web-2.corp.internal.",
        "2 name(s) would be removed",
    ]);
    lab.tagalong(&[&AT_ONCE[..], &["--yes"]].concat())
        .expect_code(0)
        .prints(&["2 name(s) removed"]);
    assert_eq!(read(server, "web-2.corp.internal", "A"), [""; 0]);
    assert_eq!(index(server, "corp.internal"), [NAME]);
    assert_eq!(index(server, "10.in-addr.arpa"), [REVERSE]);
    lab.tagalong(&["withdraw"]).expect_code(0);
    assert_eq!(index(server, "corp.internal"), [""; 0]);
    assert_eq!(index(server, "10.in-addr.arpa"), [""; 0]);
}

#[test]
fn a_zone_of_named_that_is_not_given_is_reaped_by_its_index() {
    let key = tsig_keygen("hmac-sha256", "agent-key");
    let named = named_that_gives_nothing(&key);
    is_reaped_by_index(named.addr, &key);
}

#[test]
fn a_zone_of_knot_that_is_not_given_is_reaped_by_its_index() {
    let key = tsig_keygen("hmac-sha256", "agent-key");
    let knot = Peer::knot_that_gives_nothing(&key);
    is_reaped_by_index(knot.addr, &key);
}

#[test]
fn a_zone_that_is_not_given_and_has_no_index_says_what_each_servers_policy_needs() {
    let key = tsig_keygen("hmac-sha256", "agent-key");
    let named = named_that_gives_nothing(&key);
    let knot = Peer::knot_that_gives_nothing(&key);
    let powerdns = Peer::powerdns_that_gives_nothing(&key);
    for (server, code) in
        [(named.addr, "(REFUSED)"), (knot.addr, "(REFUSED)"), (powerdns.addr, "(NOTAUTH)")]
    {
        let lab = Lab::new();
        publish(&lab, server, &key, "");
        lab.once();
        lab.tagalong(&AT_ONCE).expect_code(1).says(&[
            code,
            "`allow-transfer { key KEY; };`",
            "`action: transfer`",
            "TSIG-ALLOW-AXFR KEY",
            "(`index = true`)",
        ]);
    }
}

#[test]
fn an_index_of_names_that_nobody_can_reap_is_an_error() {
    let lab = Lab::new();
    lab.configure("[backend.a]\nkind = \"rfc2136\"\nmarker = \"dhcid\"\nindex = true\n");
    lab.tagalong(&["config", "check"]).expect_code(1).says(&["cannot be reaped"]);
}

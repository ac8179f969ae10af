//! The resolver: its owner, its servers, its file, and what a dead first server costs.

use std::{fs, os::unix::fs::PermissionsExt as _, process::Command};

use sandbox::{
    black_hole::BlackHole,
    dns::{Server, Zone},
    fault::{Fault, Service},
};

use super::{finds, healthy};
use crate::support::{own_address, resolv_conf};

#[test]
fn a_dead_first_server_is_wrong_and_its_cost_is_told_in_seconds() {
    let host = healthy();
    let (living, hole) = (host.servers[0].addr(), BlackHole::start(own_address()).unwrap());
    host.lab.file("root/etc/resolv.conf", &resolv_conf(&[hole.addr(), living]));
    let dead = hole.addr().ip().to_string();
    let silent = format!("{dead} is silent; each look-up waits: glibc 5 s, musl 0 s, Go 5 s");
    finds(&host.lab, 1, "first_server", "wrong", &[&silent, "timeout:1", "tagalong once"]);
    let words =
        [&*format!("{dead} in use, and does not serve"), "silent to 2 queries", "no tag lists it"];
    finds(&host.lab, 1, "server", "wrong", &words);
    finds(&host.lab, 1, "resolv_conf", "note", &["would be ", "tagalong plan"]);

    // A host that says that nobody listens costs nothing.
    let closed = own_address();
    host.lab.file("root/etc/resolv.conf", &resolv_conf(&[closed, living]));
    let closed = format!("{} has nobody listening; each look-up waits: glibc 0 s", closed.ip());
    finds(&host.lab, 1, "first_server", "wrong", &[&closed]);

    let file = format!("{}options rotate timeout:2\n", resolv_conf(&[hole.addr(), living]));
    host.lab.file("root/etc/resolv.conf", &file);
    finds(&host.lab, 1, "first_server", "wrong", &["glibc 2 s in 1 of 2 (`rotate`)"]);
}

#[test]
fn what_the_death_of_the_first_server_would_cost_is_told_before_it_dies() {
    let host = healthy();
    let addresses = [host.servers[0].addr(), host.servers[1].addr()];
    host.lab.file("root/etc/resolv.conf", &resolv_conf(&addresses));
    let words = ["answers; if it were dead, each look-up would wait: glibc 5 s", "timeout:1"];
    finds(&host.lab, 0, "first_server", "note", &words);
    host.lab.file("root/etc/resolv.conf", &resolv_conf(&addresses[..1]));
    let words = ["glibc 10 s, and then it fails", "let there be a second server"];
    finds(&host.lab, 0, "first_server", "note", &words);
}

#[test]
fn lines_that_waste_a_place_are_told() {
    let host = healthy();
    let [one, two] = [host.servers[0].addr(), host.servers[1].addr()];
    host.lab.file("root/etc/resolv.conf", &resolv_conf(&[one, one, two]));
    finds(&host.lab, 1, "resolv_conf", "wrong", &[&format!("{} is named twice", one.ip())]);
    let more = (0..2).map(|_| own_address()).collect::<Vec<_>>();
    host.lab.file("root/etc/resolv.conf", &resolv_conf(&[one, two, more[0], more[1]]));
    finds(&host.lab, 1, "resolv_conf", "note", &[&format!("{} is never asked", more[1].ip())]);
    host.lab.file("root/etc/resolv.conf", "nameserver ns1.corp.internal\n");
    finds(&host.lab, 1, "resolv_conf", "wrong", &["`nameserver ns1.corp.internal` is no address"]);
}

#[test]
fn each_listed_server_is_told_with_why_it_stands_where_it_stands() {
    let host = healthy();
    let hole = BlackHole::start(own_address()).unwrap();
    host.lab.list_server(hole.addr(), "us-east-1b");
    let stranger = Server::start(own_address(), vec![Zone::new("other.example")], vec![]).unwrap();
    host.lab.list_server(stranger.addr(), "us-east-1a");
    let silent = format!("{} not in use, and does not serve", hole.addr());
    let words = [&*silent, "silent to 2 queries", "zone us-east-1b", "security group"];
    finds(&host.lab, 0, "server", "note", &words);
    let refusing = format!("{} not in use, and does not serve", stranger.addr());
    finds(&host.lab, 0, "server", "note", &[&refusing, "answered REFUSED"]);

    // The same of a server in use is wrong.
    host.servers[0].fault(Fault { fail: Some(500), ..Fault::default() });
    let failing = format!("{} in use, and does not serve", host.servers[0].addr());
    finds(&host.lab, 1, "server", "wrong", &[&failing, "answered SERVFAIL"]);
    let lives = format!("{} in use", host.servers[1].addr());
    finds(&host.lab, 1, "server", "fine", &[&lives, "same zone us-east-1a"]);
}

#[test]
fn a_server_that_is_in_use_and_not_listed_is_told() {
    let host = healthy();
    let other = crate::support::fleet_server(Vec::new());
    host.lab.file("root/etc/resolv.conf", &resolv_conf(&[other.addr(), host.servers[0].addr()]));
    let words = [&*format!("{} in use, and not listed", other.addr().ip()), "tagalong once"];
    finds(&host.lab, 0, "server", "note", &words);
}

#[test]
fn what_a_resolver_that_is_left_alone_costs_is_told_without_remedies_that_are_ours() {
    let host = healthy();
    host.configure("manager = \"none\"\n");
    let stranger = Server::start(own_address(), vec![Zone::new(".")], vec![]).unwrap();
    let file = resolv_conf(&[stranger.addr(), host.servers[0].addr()]);
    host.lab.file("root/etc/resolv.conf", &file);
    let words =
        [&*format!("{} in use, and does not know ", stranger.addr().ip()), "let the resolver ask"];
    finds(&host.lab, 0, "server", "note", &words);
    let words = ["answers; if it were dead", "`options timeout:1 attempts:2` in resolv.conf"];
    finds(&host.lab, 0, "first_server", "note", &words);
}

#[test]
fn servers_that_are_all_dead_are_wrong() {
    let host = healthy();
    host.servers.iter().for_each(|server| server.fault(Fault { drop: true, ..Fault::default() }));
    host.configure("fallback = \"none\"\n");
    finds(&host.lab, 1, "resolv_conf", "wrong", &["no DNS server answers"]);
    finds(&host.lab, 1, "first_server", "wrong", &["glibc 4 s, and then it fails"]);
}

#[test]
fn a_region_that_does_not_tell_is_named_with_what_is_kept_of_it() {
    let host = healthy();
    let config = fs::read_to_string(host.lab.path("config.toml")).unwrap();
    let regions = "[discovery]\nregions = [\"us-east-1\", \"eu-west-1\"]\n";
    host.lab.file("config.toml", &config.replace("[discovery]\n", regions));
    finds(&host.lab, 0, "ec2", "fine", &["lists 2 server(s)", "of us-east-1, eu-west-1"]);
    let only = Some("DescribeInstances@eu-west-1".to_owned());
    host.lab.world.faults().set(Service::Ec2, Fault { fail: Some(500), only, ..Fault::default() });
    let words =
        ["lists 2 server(s), not all of them now", "eu-west-1: ec2:DescribeInstances failed"];
    finds(&host.lab, 1, "ec2", "wrong", &words);
}

#[test]
fn the_owner_is_told_with_its_clues_and_with_what_keeps_us_from_it() {
    let host = healthy();
    let plain = resolv_conf(&[host.servers[0].addr(), host.servers[1].addr()]);
    host.lab.file("root/etc/resolv.conf", &format!("# Generated by dhcpcd\n{plain}"));
    let words = ["a comment in it says that dhcpcd wrote it", "keep that program away"];
    finds(&host.lab, 0, "owner", "note", &words);
    host.configure("manager = \"none\"\n");
    finds(&host.lab, 0, "owner", "fine", &["left alone", "is \"none\""]);
    finds(&host.lab, 0, "ec2", "fine", &["lists 2 server(s)"]);
    host.configure("manager = \"systemd-resolved\"\n");
    let words = [
        "systemd-resolved cannot be asked over D-Bus",
        "the configuration says so",
        "`[resolver] manager`",
    ];
    finds(&host.lab, 1, "owner", "wrong", &words);
    host.configure("");
    let path = host.lab.path("root/etc/resolv.conf");
    host.lab.file("root/etc/resolv.conf", &plain);
    let words =
        ["has a DNS server on this host", "`[resolver] manager = \"none\"` leaves it in use"];
    finds(&host.lab, 0, "owner", "note", &words);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    finds(
        &host.lab,
        1,
        "owner",
        "wrong",
        &["other users than root cannot read it", "mode 0600", "chmod 644"],
    );
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let chattr = |change: &str| Command::new("chattr").arg(change).arg(&path).status();
    // As root, and where the file system knows of it.
    if chattr("+i").is_ok_and(|status| status.success()) {
        let run = host.lab.tagalong(&["doctor"]);
        let planned = host.lab.tagalong(&["plan"]);
        assert!(chattr("-i").unwrap().success());
        planned.expect_code(1).says(&["cannot write /etc/resolv.conf", "lsattr"]);
        run.expect_code(1).prints(&[
            "it cannot be written",
            "it is immutable (chattr +i)",
            "`chattr -i` the file",
        ]);
    }
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    finds(&host.lab, 1, "owner", "wrong", &["cannot read"]);
}

#[test]
fn a_file_that_cannot_be_written_is_wrong() {
    let host = healthy();
    let etc = host.lab.path("root/etc");
    let script = "mount --bind \"$1\" \"$1\" && mount -o remount,bind,ro \"$1\"";
    let mounted =
        |verb| crate::support::mounted(&host.lab, script, &[etc.to_str().unwrap()], &[verb]);
    host.lab.file("root/etc/resolv.conf", &resolv_conf(&[own_address()]));
    mounted("plan").expect_code(1).says(&["cannot write /etc/resolv.conf", "read-only filesystem"]);
    mounted("doctor").expect_code(1).prints(&[
        "owner         wrong: resolv-conf, and it cannot be written",
        "because: its file system is read-only",
        "hint: let the file be on a file system that can be written",
    ]);
}

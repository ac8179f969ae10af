//! `doctor --affinity`: what each kind of program will use of a shared name, measured with those that are installed.

use std::{fs, io::Write as _, net::SocketAddr, path::Path};

use sandbox::dns::{Server, Zone};
use serde_json::Value;

use crate::support::{DNS_PORT, Lab, Run, ZONE, own_address, resolv_conf};

/// A lab whose resolver is a server of `pool.corp.internal`, with members in the host's subnet, in its VPC and elsewhere.
fn pool(at: SocketAddr, files: &str) -> (Lab, Server) {
    let zone = ["10.0.1.5", "10.0.2.5", "10.9.0.5"]
        .iter()
        .fold(Zone::new(ZONE), |zone, member| zone.record(format!("pool.{ZONE}. 60 A {member}")));
    let server = Server::start(at, vec![zone], vec![]).unwrap();
    let lab = Lab::new();
    lab.configure(&format!("[discovery]\nport = {}\n[resolver]\nmanager = \"none\"\n", at.port()));
    lab.file("root/etc/resolv.conf", &format!("{}search {ZONE}\n{files}", resolv_conf(&[at])));
    (lab, server)
}

fn caller<'a>(report: &'a Value, name: &str) -> &'a Value {
    let callers = report["callers"].as_array().unwrap();
    callers.iter().find(|caller| caller["caller"] == name).unwrap_or_else(|| panic!("{report}"))
}

const ALL: [&str; 11] = [
    "gethostbyname",
    "getaddrinfo_inet",
    "getaddrinfo_unspec",
    "java",
    "java_ipv4",
    "node",
    "python",
    "go",
    "go_cgo",
    "musl",
    "systemd_resolved",
];

#[test]
fn the_members_are_ordered_by_nearness_and_each_caller_is_told_with_its_reason() {
    let (lab, server) = pool(own_address(), "sortlist 10.0.2.0/255.255.255.0\n");
    for name in ["pool", "pool.corp.internal", "pool.corp.internal."] {
        let run = lab.tagalong(&["doctor", "--affinity", name]).expect_code(0).prints(&[
            &format!("name               pool.corp.internal. at {}\n", server.addr()),
            "member             10.0.1.5: same subnet 10.0.1.0/24\nmember             10.0.2.5: same VPC 10.0.0.0/16\nmember             10.9.0.5: elsewhere\n",
            "sortlist           10.0.2.0/255.255.255.0\ngai.conf           has no block of ours\n",
            "gethostbyname      not measured under another --root; known: 10.0.2.5 (not the nearest first) because: sortlist 10.0.2.0/255.255.255.0\n",
            "getaddrinfo_unspec not measured under another --root; known: 10.0.1.5 (nearest first) because: it is in this host's own subnet",
            "go                 not measured under another --root; known: 10.0.1.5 or 10.0.2.5 or 10.9.0.5 (not the nearest first) because: sortlist has no effect on it",
        ]);
        assert_eq!(run.stdout.lines().count(), 6 + ALL.len(), "{run}");
    }
    let report = lab.tagalong(&["doctor", "--affinity", "pool", "--json"]).expect_code(0).json();
    assert_eq!(report["members"][0]["address"], "10.0.1.5");
    assert_eq!(report["members"][0]["nearness"], "same subnet");
    for name in ALL {
        let one = caller(&report, name);
        assert!(one["measured"].is_null() && one["not_measured"].is_string(), "{one}");
    }
    let one = caller(&report, "gethostbyname");
    assert_eq!((&one["expected"][0], &one["nearest_first"]), (&"10.0.2.5".into(), &false.into()));

    lab.file(
        "root/etc/gai.conf",
        "precedence ::ffff:0:0/96 10\nprecedence ::ffff:10.0.2.0/120 15\n",
    );
    let report = lab.tagalong(&["doctor", "--affinity", "pool", "--json"]).expect_code(0).json();
    let one = caller(&report, "java");
    assert_eq!(one["expected"][0], "10.0.2.5", "{one}");
    assert_eq!(one["because"][0], "gai.conf gives it precedence 15");
}

#[test]
fn each_preferred_name_is_told_with_its_members_and_whether_the_files_put_the_nearest_first() {
    let (mut lab, server) = pool(own_address(), "sortlist 10.9.0.0/255.255.0.0\n");
    let more = format!(
        "[discovery]\nport = {DNS_PORT}\n[resolver]\nmanager = \"none\"\nprefer = [\"pool.{ZONE}\", \"nobody.{ZONE}\"]\n"
    );
    lab.configure(&more);
    let members = [
        "10.0.1.5: same subnet 10.0.1.0/24\",\"10.0.2.5: same VPC 10.0.0.0/16\",\"10.9.0.5: elsewhere",
    ];
    let finds = |lab: &Lab, verdict: &str, words: &[&str]| {
        let run = lab.tagalong(&["doctor", "--json"]);
        let found = super::of_check(&run, "affinity");
        let is_found = found.iter().any(|finding| {
            let text = finding.to_string();
            finding["verdict"] == verdict && words.iter().all(|word| text.contains(word))
        });
        assert!(is_found, "no {verdict} with {words:?} in {run}");
        found.len()
    };
    let text = "gethostbyname may not use the nearest of pool.corp.internal.";
    assert_eq!(finds(&lab, "note", &[text, members[0], "doctor --affinity pool"]), 2);
    finds(&lab, "wrong", &["knows an address of nobody.corp.internal"]);

    let set = format!("{}sortlist 10.0.1.0/255.255.255.0\n", resolv_conf(&[server.addr()]));
    lab.file("root/etc/resolv.conf", &set);
    let text = "the nearest of pool.corp.internal. is used first";
    finds(&lab, "fine", &[text, members[0]]);
    lab.file("root/etc/gai.conf", "precedence ::ffff:10.9.0.0/112 55\n");
    finds(&lab, "note", &["getaddrinfo_unspec may not use the nearest", members[0]]);

    lab.metadata = "http://127.0.0.1:9".to_owned();
    lab.configure(&more);
    assert_eq!(finds(&lab, "note", &["near is not known", "of `metadata`"]), 1);
}

#[test]
fn a_name_that_no_server_knows_is_a_failure_that_says_who_was_asked() {
    let (lab, server) = pool(own_address(), "");
    let asked = format!("(asked: {})", server.addr());
    lab.tagalong(&["doctor", "--affinity", "nobody"])
        .expect_code(1)
        .says(&["no DNS server of this host knows an address of nobody", &asked]);
    server.stop();
    lab.tagalong(&["doctor", "--affinity", "pool"]).expect_code(1).says(&[&asked]);
}

#[test]
fn a_metadata_service_that_is_silent_leaves_the_nearness_open() {
    let (mut lab, server) = pool(own_address(), "");
    lab.metadata = "http://127.0.0.1:9".to_owned();
    lab.configure(&format!("[discovery]\nport = {DNS_PORT}\n[resolver]\nmanager = \"none\"\n"));
    let run = lab.tagalong(&["doctor", "--affinity", "pool"]).expect_code(0);
    run.says(&["note: where this host stands is not known"]).prints(&["10.0.1.5: elsewhere"]);
    assert!(server.queries() > 0);
}

/// Runs it on this very host, with a resolv.conf and a gai.conf of its own.
fn on_this_host(lab: &Lab, gai: &str) -> Run {
    let resolv = lab.path("root/etc/resolv.conf");
    let gai = lab.file("gai.conf", gai);
    let nsswitch = lab.file("nsswitch.conf", "hosts: dns\n");
    let script = "mount --bind \"$1\" /etc/resolv.conf; mount --bind \"$2\" /etc/gai.conf; mount --bind \"$3\" /etc/nsswitch.conf";
    let files = [&resolv, &gai, &nsswitch].map(|path| path.to_str().unwrap());
    crate::support::mounted(
        lab,
        script,
        &files,
        &["doctor", "--affinity", "pool", "--json", "--root", "/"],
    )
}

#[test]
fn the_runtimes_that_are_installed_are_measured() {
    // resolv.conf knows no port but 53, which is root's to take; gai.conf must be there to be mounted over.
    if !rustix::process::geteuid().is_root() || !Path::new("/etc/gai.conf").exists() {
        let text = "NOT RUN: the runtimes that are installed need root, and an /etc/gai.conf";
        return writeln!(std::io::stderr(), "{text}").unwrap();
    }
    let at = SocketAddr::new(own_address().ip(), 53);
    let (lab, _server) = pool(at, "sortlist 10.0.2.0/255.255.255.0\n");
    let run = on_this_host(&lab, "precedence ::ffff:0:0/96 10\n").expect_code(0);
    let report = run.json();
    let all = serde_json::json!({ "10.0.2.5": 10 });
    for name in ["gethostbyname", "getaddrinfo_inet"] {
        assert_eq!(caller(&report, name)["measured"], all, "{run}");
    }
    let table = "precedence ::1/128 50\nprecedence ::/0 40\nprecedence ::ffff:0:0/96 10\nprecedence ::ffff:10.9.0.0/112 15\n";
    let run = on_this_host(&lab, table).expect_code(0);
    let report = run.json();
    let all = serde_json::json!({ "10.9.0.5": 10 });
    for name in ["getaddrinfo_inet", "getaddrinfo_unspec", "python", "node", "java", "java_ipv4"] {
        let one = caller(&report, name);
        assert_eq!(one["expected"][0], "10.9.0.5", "{one}");
        // What is not installed, or too slow on a machine that is busy, is said.
        let is_measured = one["measured"] == all;
        let is_slow = one["not_measured"].as_str().is_some_and(|why| why.contains("installed"));
        assert!(is_measured || (is_slow && !name.starts_with("getaddrinfo")), "{one}");
    }
    assert!(fs::read_to_string("/etc/resolv.conf").is_ok());
}

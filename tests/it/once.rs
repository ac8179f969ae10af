//! `once`: over by its deadline whatever hangs, each part failing alone, and converging from wherever it was killed.

mod crash;
mod verbs;

use std::{fs, path::Path, time::Duration};

use sandbox::{
    black_hole::BlackHole,
    dns::Server,
    fault::{Fault, Service},
    instance::DEFAULT_VPC,
    zone::Zone,
};

use crate::{
    authority::{dig, parsed, tsig_keygen},
    support::{
        DNS_PORT, Lab, NAME, Run, US, ZONE, fleet_server, mounted, own_address, resolv_conf,
    },
};

/// A host that publishes at a living server, and whose resolver shall use a tagged one.
struct Whole {
    lab: Lab,
    /// The authority of the names, and the fleet's DNS server.
    server: Server,
    silent: BlackHole,
}

fn whole() -> Whole {
    let key = tsig_keygen("hmac-sha256", "agent-key");
    let server = fleet_server(vec![parsed(&key)]);
    let lab = Lab::new();
    lab.list_server(server.addr(), "us-east-1a");
    lab.file("tsig.key", &key);
    let silent = BlackHole::start(own_address()).unwrap();
    lab.file("root/etc/resolv.conf", &resolv_conf(&[silent.addr()]));
    let whole = Whole { lab, server, silent };
    whole.publish_at(&format!("[\"{}\"]", whole.server.addr()), "tsig.key");
    whole
}

impl Whole {
    fn publish_at(&self, servers: &str, key_file: &str) {
        self.lab.configure(&format!(
            "[[record]]\nname = \"{{tag:Name}}.{ZONE}\"\n\
             [backend.internal]\nkind = \"rfc2136\"\nservers = {servers}\nkey_file = \"{}\"\n\
             [discovery]\nport = {DNS_PORT}\n[resolver]\nsearch = [\"{ZONE}\"]\nfallback = \"none\"\n",
            self.lab.path(key_file).display()
        ));
    }

    fn publish_in_route53(&self) {
        self.lab.world.put_zone(Zone::new("Z0CORP", ZONE).vpc("us-east-1", DEFAULT_VPC));
        self.lab.configure(&format!(
            "[[record]]\nname = \"{{tag:Name}}.{ZONE}\"\n[backend.aws]\nkind = \"route53\"\n\
             [discovery]\nport = {DNS_PORT}\n[resolver]\nsearch = [\"{ZONE}\"]\nfallback = \"none\"\n"
        ));
    }

    fn record_without_backend(&self) {
        self.lab.configure(&format!(
            "[[record]]\nname = \"{{tag:Name}}.{ZONE}\"\n[discovery]\nport = {DNS_PORT}\n\
             [resolver]\nsearch = [\"{ZONE}\"]\nfallback = \"none\"\n"
        ));
    }

    fn tag(&self, key: &str, value: &str) {
        self.lab.world.update_instance(US, |host| {
            host.tags.insert(key.into(), value.into());
        });
    }

    fn is_published(&self) -> bool {
        dig(self.server.addr(), NAME, "A") == ["10.0.1.23"]
    }

    fn is_resolving(&self) -> bool {
        self.lab.resolv_conf().contains(&format!("nameserver {}\n", self.server.addr().ip()))
    }
}

fn fifo(path: &Path) {
    use rustix::fs::{CWD, Mode, mkfifoat};
    let _ = fs::remove_file(path);
    mkfifoat(CWD, path, Mode::RUSR | Mode::WUSR).unwrap();
}

/// Takes the lock of the state file for as long as this process lives.
fn hold_state(whole: &Whole) {
    let lock = whole.lab.file("state/state.lock", "");
    let file = fs::OpenOptions::new().write(true).open(lock).unwrap();
    file.lock().unwrap();
    std::mem::forget(file);
}

const DROP: Fault = Fault {
    delay_ms: 0,
    drop: true,
    fail: None,
    throttle: false,
    malformed: false,
    requests: None,
    only: None,
    skip: 0,
};

#[test]
fn both_parts_are_done_in_one_pass_and_told_in_one_line() {
    let whole = whole();
    let run = whole.lab.once();
    assert!(whole.is_published() && whole.is_resolving());
    assert_eq!(run.stdout.lines().count(), 1, "{run}");
    let expect = format!(
        "internal: published web-1.corp.internal. A 10.0.1.23, 23.1.0.10.in-addr.arpa. PTR web-1.corp.internal. · \
         resolvers {} set\n",
        whole.server.addr().ip()
    );
    assert_eq!(run.stdout, expect);
    assert_eq!(run.stderr, "");
}

type Breakage = (&'static str, fn(&Whole));

/// Everything that can hang, each with how to make it hang.
const HANGS: [Breakage; 13] = [
    ("metadata", |whole| whole.lab.world.faults().set(Service::Imds, DROP)),
    ("metadata, which answers in an hour", |whole| {
        let delay_ms = 3_600_000;
        whole.lab.world.faults().set(Service::Imds, Fault { delay_ms, ..Fault::default() });
    }),
    ("EC2", |whole| whole.lab.world.faults().set(Service::Ec2, DROP)),
    ("EC2, of which the backend's servers come", |whole| {
        whole.lab.world.faults().set(Service::Ec2, DROP);
        whole.publish_at("\"discovered\"", "tsig.key");
    }),
    ("the backend's server", |whole| {
        whole.publish_at(&format!("[\"{}\"]", whole.silent.addr()), "tsig.key");
    }),
    ("every server", |whole| {
        whole.server.fault(DROP);
        whole.publish_at(&format!("[\"{}\"]", whole.silent.addr()), "tsig.key");
    }),
    ("Route 53", |whole| {
        whole.publish_in_route53();
        whole.lab.world.faults().set(Service::Route53, DROP);
    }),
    ("the VPC's resolver, which AWS's names are looked up at", |whole| {
        whole.publish_in_route53();
        let text = fs::read_to_string(whole.lab.path("config.toml")).unwrap();
        let named = text.replace(&whole.lab.aws, "http://aws.example:80");
        let resolver = whole.lab.vpc_resolver.to_string();
        let silent = named.replace(&resolver, &whole.silent.addr().to_string());
        assert_eq!(silent.matches("aws.example").count(), 1, "{silent}");
        whole.lab.file("config.toml", &silent);
    }),
    ("the key file", |whole| fifo(&whole.lab.path("tsig.key"))),
    ("resolv.conf", |whole| fifo(&whole.lab.path("root/etc/resolv.conf"))),
    ("the state file", |whole| {
        fs::create_dir_all(whole.lab.path("state")).unwrap();
        fifo(&whole.lab.path("state/state.json"));
    }),
    ("whoever has the lock of the state file", |whole| hold_state(whole)),
    ("the tag's DescribeTags", |whole| {
        whole.lab.world.update_instance(US, |host| host.metadata_tags = false);
        whole.lab.world.faults().set(Service::Ec2, DROP);
    }),
];

#[test]
fn a_pass_is_over_by_its_deadline_whatever_hangs() {
    for (what, hang) in HANGS {
        let whole = whole();
        hang(&whole);
        let run = whole.lab.tagalong(&["once", "--deadline", "2s"]);
        // A debug build on a busy machine is given as much again; a hang has no end.
        assert!(run.elapsed < Duration::from_secs(4), "{what}: {run}");
        assert!(run.code == 0 || run.stderr.contains("error: "), "{what}: {run}");
        assert!(!run.stderr.contains("the system kept the pass waiting"), "{what}: {run}");
        assert_eq!(run.stdout.lines().count(), 1, "one summary line, {what}: {run}");
    }
}

#[test]
fn a_pass_says_who_did_not_answer_when_its_deadline_came() {
    for (service, words) in [
        (
            Service::Imds,
            "error: the deadline came before the instance metadata service at http://127.0.0.1",
        ),
        (Service::Ec2, "the deadline came before ec2:DescribeInstances answered"),
    ] {
        let whole = whole();
        whole.lab.world.faults().set(service, DROP);
        whole.lab.tagalong(&["once", "--deadline", "2s"]).expect_code(1).says(&[words]);
    }
}

/// What breaks registration alone.
const UNREGISTERED: [Breakage; 11] = [
    ("a key that is not there", |whole| fs::remove_file(whole.lab.path("tsig.key")).unwrap()),
    ("a silent server", |whole| {
        whole.publish_at(&format!("[\"{}\"]", whole.silent.addr()), "tsig.key");
    }),
    ("a foreign name", |whole| {
        whole.server.zones().add("web-1.corp.internal. 60 A 10.0.9.9").unwrap();
    }),
    ("a tag that is missing", |whole| {
        whole.lab.world.update_instance(US, |host| host.tags.clear());
    }),
    ("a tag that cannot be a name", |whole| {
        whole.lab.world.update_instance(US, |host| {
            host.tags.insert("Name".into(), "web!".into());
        });
    }),
    ("tags that are refused", |whole| {
        whole.lab.world.update_instance(US, |host| host.metadata_tags = false);
        whole.lab.world.set_denied_actions(["ec2:DescribeTags"]);
    }),
    ("a backend that only refused tags know", |whole| {
        whole.lab.world.update_instance(US, |host| host.metadata_tags = false);
        whole.lab.world.set_denied_actions(["ec2:DescribeTags"]);
        whole.record_without_backend();
    }),
    ("a tag that has not its key's form", |whole| {
        whole.lab.resolve_only("fallback = \"none\"");
        whole.tag("tagalong:record.ttl", "x");
    }),
    ("a tag that names no kind of backend", |whole| whole.tag("tagalong:backend.other.kind", "x")),
    ("a backend that a tag makes wrong", |whole| {
        whole.record_without_backend();
        whole.tag("tagalong:backend.internal.kind", "x");
    }),
    ("a wrong secret", |whole| {
        whole.lab.file("tsig.key", &tsig_keygen("hmac-sha256", "agent-key"));
    }),
];

#[test]
fn a_tag_that_is_wrong_leaves_the_other_tags_in_force_for_the_resolver() {
    let whole = whole();
    whole.lab.resolve_only("fallback = \"none\"");
    whole.tag("tagalong:record.ttl", "x");
    whole.tag("tagalong:resolver.options", "timeout:3");
    let run = whole.lab.once_fails().says(&["tag tagalong:record.ttl: `x` is not"]);
    assert!(whole.is_resolving(), "{run}");
    let file = whole.lab.resolv_conf();
    assert!(file.contains("options timeout:3\n"), "{file}");
}

#[test]
fn a_registration_that_fails_does_not_stop_the_resolver() {
    for (what, breakage) in UNREGISTERED {
        let whole = whole();
        breakage(&whole);
        let run = whole.lab.once_fails();
        assert!(whole.is_resolving(), "{what}: {run}");
        assert!(!whole.is_published(), "{what}: {run}");
    }
}

/// What breaks the resolver alone.
const UNRESOLVED: [Breakage; 5] = [
    ("EC2 is silent", |whole| whole.lab.world.faults().set(Service::Ec2, DROP)),
    ("EC2 refuses", |whole| whole.lab.world.set_denied_actions(["ec2:*"])),
    ("the resolver is another's", |whole| {
        whole
            .lab
            .file("root/etc/resolv.conf", "# Generated by NetworkManager\nnameserver 127.0.0.1\n");
    }),
    ("resolv.conf is a directory", |whole| {
        fs::remove_file(whole.lab.path("root/etc/resolv.conf")).unwrap();
        fs::create_dir(whole.lab.path("root/etc/resolv.conf")).unwrap();
    }),
    ("all tagged servers are dead", |whole| {
        for instance in whole.lab.world.snapshot().instances {
            if instance.id != US {
                whole.lab.world.remove_instance(&instance.id);
            }
        }
        whole.lab.list_server(whole.silent.addr(), "us-east-1a");
    }),
];

#[test]
fn a_resolver_that_fails_does_not_stop_the_registration() {
    for (what, breakage) in UNRESOLVED {
        let whole = whole();
        breakage(&whole);
        let run = whole.lab.once_fails();
        assert!(whole.is_published(), "{what}: {run}");
        assert!(run.stdout.contains("published"), "{what}: {run}");
    }
}

#[test]
fn a_memory_that_cannot_be_kept_stops_the_registration_and_not_the_resolver() {
    let unreadable: fn(&Whole) -> Run = |whole| {
        // A directory cannot be made below a file, not even by root.
        whole.lab.file("state", "");
        whole.lab.once_fails()
    };
    let read_only: fn(&Whole) -> Run = |whole| {
        whole.lab.once();
        whole.lab.tagalong(&["withdraw"]).expect_code(0);
        whole.lab.file("root/etc/resolv.conf", &resolv_conf(&[whole.silent.addr()]));
        let state = whole.lab.path("state");
        let script = "mount --bind \"$1\" \"$1\"; mount -o remount,ro,bind \"$1\"";
        let once = ["once", "--deadline", "4s"];
        mounted(&whole.lab, script, &[state.to_str().unwrap()], &once).expect_code(1)
    };
    let locked: fn(&Whole) -> Run = |whole| {
        hold_state(whole);
        whole.lab.once_fails().says(&["state.lock is held by another pass"])
    };
    for break_and_run in [unreadable, read_only, locked] {
        let whole = whole();
        let run = break_and_run(&whole).says(&["error: cannot ", "state.json"]);
        // A name that could be forgotten is one that nobody would ever take back.
        assert!(!whole.is_published(), "{run}");
        assert!(whole.is_resolving(), "{run}");
    }
}

#[test]
fn a_broken_state_file_is_set_aside_with_a_message_and_the_pass_goes_on() {
    for broken in ["", "{", "{\"version\": 99}", "\u{0}\u{0}\u{0}"] {
        let whole = whole();
        whole.lab.file("state/state.json", broken);
        whole.lab.once().says(&["note: the state file", "it is set aside as", "state.json.broken"]);
        assert!(whole.is_published() && whole.is_resolving());
        assert_eq!(fs::read_to_string(whole.lab.path("state/state.json.broken")).unwrap(), broken);
        let again = whole.lab.once();
        assert_eq!(again.stderr, "", "it is said once");
    }
}

#[test]
fn a_memory_that_came_with_a_machine_image_is_not_taken_for_ours() {
    let whole = whole();
    whole.lab.once();
    let foreign = whole.lab.state().replace(US, "i-0ccccccccccccccc3");
    let foreign = foreign.replace("web-1.corp", "web-9.corp");
    whole.lab.file("state/state.json", &foreign);
    whole.server.zones().add("web-9.corp.internal. 60 A 10.0.9.9").unwrap();
    whole.lab.once();
    assert_eq!(dig(whole.server.addr(), "web-9.corp.internal.", "A"), ["10.0.9.9"]);
    assert!(whole.lab.state().contains(US));
}

#[test]
fn servers_that_are_remembered_publish_while_ec2_fails_but_not_those_of_a_machine_image() {
    let whole = whole();
    whole.publish_at("\"discovered\"", "tsig.key");
    whole.lab.once();
    let state = whole.lab.state();
    whole.lab.world.faults().set(Service::Ec2, Fault { fail: Some(503), ..Fault::default() });
    whole.lab.world.update_instance(US, |host| host.move_to([10, 0, 1, 99].into()));
    let run = whole.lab.once();
    assert_eq!(dig(whole.server.addr(), NAME, "A"), ["10.0.1.99"]);
    run.says(&["backend `internal` uses the list of "]);

    // Nor is all the time spent on waiting for it.
    whole.lab.world.faults().set(Service::Ec2, DROP);
    whole.lab.world.update_instance(US, |host| host.move_to([10, 0, 1, 97].into()));
    let run = whole.lab.tagalong(&["once", "--deadline", "8s"]).expect_code(0);
    assert_eq!(dig(whole.server.addr(), NAME, "A"), ["10.0.1.97"]);
    run.says(&["EC2 has not listed the DNS servers yet; backend `internal` uses the list of "]);
    whole.lab.world.faults().set(Service::Ec2, Fault { fail: Some(503), ..Fault::default() });

    whole.lab.file("state/state.json", &state.replace(US, "i-0ccccccccccccccc3"));
    whole.lab.world.update_instance(US, |host| host.move_to([10, 0, 1, 98].into()));
    whole.lab.once_fails().says(&["ec2:DescribeInstances failed"]);
    assert_eq!(dig(whole.server.addr(), NAME, "A"), ["10.0.1.97"]);

    // Nor does the resolver use them, though no name can be made yet.
    whole.lab.file("state/state.json", &state.replace(US, "i-0ccccccccccccccc3"));
    whole.lab.world.update_instance(US, |host| host.tags.clear());
    let dead = resolv_conf(&[whole.silent.addr()]);
    whole.lab.file("root/etc/resolv.conf", &dead);
    whole.lab.once_fails().says(&["the instance has no tag `Name`"]);
    assert_eq!(whole.lab.resolv_conf(), dead);
}

#[test]
fn an_address_that_a_lease_has_lost_is_not_published_though_the_metadata_still_list_it() {
    let whole = whole();
    whole.lab.once();
    assert!(whole.is_published());
    let report = |reason: &str, word: &str| {
        let mut command = whole.lab.command(&["hook"]);
        command.env("reason", reason).env("interface", "ens5").env(word, "10.0.1.23");
        assert!(command.status().unwrap().success());
    };
    report("EXPIRE", "old_ip_address");
    assert!(whole.lab.tagalong(&["plan"]).stdout.contains("- web-1.corp.internal. A 10.0.1.23"));
    whole.lab.once();
    assert!(dig(whole.server.addr(), NAME, "A").is_empty());
    report("BOUND", "new_ip_address");
    whole.lab.once();
    assert!(whole.is_published());
}

#[test]
fn a_pass_is_over_by_its_deadline_even_if_nobody_reads_what_it_says() {
    let whole = whole();
    let (reader, mut full) = std::io::pipe().unwrap();
    std::io::Write::write_all(&mut full, &vec![b'x'; 64 << 10]).unwrap();
    let mut command = whole.lab.command(&["once", "--deadline", "2s"]);
    let mut child = command.stdout(full).stderr(std::process::Stdio::null()).spawn().unwrap();
    let started = std::time::Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if started.elapsed() > Duration::from_secs(20) {
            child.kill().unwrap();
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    assert_eq!(status.code(), Some(1));
    assert!(whole.is_published() && whole.is_resolving());
    drop(reader);
}

#[test]
fn a_record_of_a_fleet_is_configured_by_tags_alone() {
    let whole = whole();
    let key_file = whole.lab.path("tsig.key").display().to_string();
    whole.lab.world.update_instance(US, |host| {
        for (key, value) in [
            ("tagalong:record.name", "{tag:Name}.corp.internal"),
            ("tagalong:backend.internal.kind", "rfc2136"),
            ("tagalong:backend.internal.key_file", key_file.as_str()),
            ("tagalong:resolver.search", "corp.internal"),
        ] {
            host.tags.insert(key.into(), value.into());
        }
    });
    whole.lab.configure(&format!("[discovery]\nport = {DNS_PORT}\n"));
    whole.lab.once();
    assert!(whole.is_published() && whole.is_resolving());
}

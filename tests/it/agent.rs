//! `tagalong run`: the agent as it is started, woken, reloaded and stopped.

mod leases;
mod metrics;

use std::{
    fs,
    os::unix::net::{UnixDatagram, UnixListener},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use sandbox::{
    black_hole::BlackHole,
    dns::{Server, Zone},
    fault::{Fault, Service},
    instance::{Instance, Interface, SpotAction},
};

use crate::{
    authority::{dig, parsed, tsig_keygen},
    support::{
        DNS_PORT, Lab, NAME, Started, US, ZONE, fleet_server, own_address, resolv_conf, until,
    },
};

/// A host whose agent publishes at a server of the sandbox, and uses it.
struct Home {
    lab: Lab,
    server: Server,
    key: String,
}

/// An agent that runs until it is dropped.
struct Agent {
    child: Child,
    notify: UnixDatagram,
    log: PathBuf,
}

impl Home {
    fn new() -> Self {
        let key = tsig_keygen("hmac-sha256", "agent-key");
        let server = fleet_server(vec![parsed(&key)]);
        let lab = Lab::new();
        lab.list_server(server.addr(), "us-east-1a");
        lab.file("root/etc/resolv.conf", &resolv_conf(&[own_address()]));
        lab.file("tsig.key", &key);
        let home = Self { lab, server, key };
        home.configure("");
        home
    }

    /// The configuration, with `more` after it.
    fn configure(&self, more: &str) {
        self.lab.configure(&format!(
            "[[record]]\nname = \"{{tag:Name}}.{ZONE}\"\n\
             [backend.internal]\nkind = \"rfc2136\"\nservers = [\"{}\"]\nkey_file = \"{}\"\n\
             [discovery]\nport = {DNS_PORT}\nrefresh = \"2s\"\n\
             [resolver]\nsearch = [\"{ZONE}\"]\nfallback = \"none\"\nprobe = \"1s\"\n{more}",
            self.server.addr(),
            self.lab.path("tsig.key").display()
        ));
        let config = fs::read_to_string(self.lab.path("config.toml")).unwrap();
        self.lab.file(
            "config.toml",
            &config.replacen("[metadata]\n", "[metadata]\nrefresh = \"1s\"\n", 1),
        );
    }

    fn start(&self) -> Agent {
        self.start_with(&[])
    }

    fn start_with(&self, environment: &[(&str, &str)]) -> Agent {
        let log = self.lab.path("agent.log");
        let path = self.lab.path("notify");
        let _ = fs::remove_file(&path);
        let notify = UnixDatagram::bind(&path).unwrap();
        notify.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut command = self.lab.command(&["run"]);
        command.env("NOTIFY_SOCKET", &path).env("PATH", "/usr/bin:/bin");
        command.envs(environment.iter().copied());
        command.env("RUST_LOG", "warn,tagalong=info,tagalong::agent::daemon=debug");
        let file = fs::OpenOptions::new().create(true).append(true).open(&log).unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
        Agent { child: command.spawn().unwrap(), notify, log }
    }

    /// An agent that has done its first work.
    fn settled(&self) -> Agent {
        let agent = self.start();
        until("the name is published", || self.published() == ["10.0.1.23"]);
        until("the resolver is set", || self.uses(&self.server));
        agent
    }

    fn published(&self) -> Vec<String> {
        dig(self.server.addr(), NAME, "A")
    }

    fn uses(&self, server: &Server) -> bool {
        self.lab.resolv_conf().contains(&format!("nameserver {}\n", server.addr().ip()))
    }

    fn report(&self, report: &str) {
        let words = report.split(' ').collect::<Vec<_>>();
        let mut command = self.lab.command(&["hook"]);
        for pair in words {
            let (word, value) = pair.split_once('=').unwrap();
            command.env(word, value);
        }
        assert!(command.status().unwrap().success());
    }
}

impl Agent {
    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    /// SIGTERM, and the time that it took to end.
    fn stop(mut self) -> Duration {
        let began = Instant::now();
        self.signal("TERM");
        until("the agent ends", || self.child.try_wait().unwrap().is_some());
        let took = began.elapsed();
        assert!(self.child.wait().unwrap().success());
        took
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Waits until no job is under way.
    fn idle(&self) {
        until("all jobs are done", || {
            let log = self.log();
            log.matches("begins job=").count() == log.matches("ends job=").count()
        });
    }

    /// Waits for a message to the service manager that `is_it`.
    fn told(&self, is_it: impl Fn(&str) -> bool) -> String {
        let mut buffer = [0; 4096];
        loop {
            let length = self.notify.recv(&mut buffer).expect("a message to the service manager");
            let message = String::from_utf8_lossy(&buffer[..length]).trim_end().to_owned();
            if is_it(&message) {
                return message;
            }
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn of(lab: &Lab, service: Service) -> usize {
    lab.world.requests(service).len()
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
fn the_agent_publishes_sets_the_resolver_and_tells_the_service_manager_how_it_stands() {
    let home = Home::new();
    let agent = home.settled();
    agent.told(|message| message == "READY=1");
    let status =
        agent.told(|text| text.starts_with("STATUS=published") && text.contains("resolvers"));
    let expect = format!("published {NAME} · resolvers {}", home.server.addr().ip());
    assert!(status.contains(&expect), "{status}");
    let took = agent.stop();
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert_eq!(home.published(), ["10.0.1.23"], "a stop keeps the records");
}

#[test]
fn ready_is_told_before_anybody_has_answered() {
    let home = Home::new();
    home.lab.world.faults().set(Service::Imds, DROP);
    let agent = home.start();
    agent.told(|message| message == "READY=1");
    home.lab.world.faults().clear();
    until("the metadata answer late, and the name is there", || home.published() == ["10.0.1.23"]);
}

#[test]
fn an_outage_of_the_metadata_is_told_once_whichever_part_of_the_agent_meets_it() {
    let home = Home::new();
    home.lab.world.faults().set(Service::Imds, Fault { fail: Some(500), ..Fault::default() });
    let agent = home.start();
    let sample = "tagalong_tasks_total{task=\"register\",outcome=\"failed\"} ";
    until("a registration has failed too", || {
        let text =
            fs::read_to_string(home.lab.path("run/metrics/tagalong.prom")).unwrap_or_default();
        text.lines().any(|line| line.strip_prefix(sample).is_some_and(|count| count != "0"))
    });
    let told = |start: &str| {
        let log = agent.log();
        let lines = log.lines().filter(|line| line.contains(start));
        lines.filter(|line| line.contains("the instance metadata service at")).count()
    };
    assert_eq!(told("WARN"), 1, "{}", agent.log());
    home.lab.world.faults().clear();
    until("the name is there", || home.published() == ["10.0.1.23"]);
    until("it is over", || told("over: ") > 0);
    assert_eq!((told("WARN"), told("over: ")), (1, 1), "{}", agent.log());
}

#[test]
fn a_lease_with_a_new_address_is_followed_at_once_and_a_renewal_costs_nothing() {
    let home = Home::new();
    // Looks are rare: it is the hook that wakes the agent.
    let config = fs::read_to_string(home.lab.path("config.toml")).unwrap();
    home.lab.file(
        "config.toml",
        &config.replace("[metadata]\nrefresh = \"1s\"", "[metadata]\nrefresh = \"1h\""),
    );
    let _agent = home.settled();
    home.lab.world.update_instance(US, |host| host.move_to([10, 0, 1, 99].into()));
    home.report("reason=BOUND interface=eth0 new_ip_address=10.0.1.99");
    until("the name follows", || home.published() == ["10.0.1.99"]);
    let before = home.server.updates();
    let asked = of(&home.lab, Service::Imds);
    home.report("reason=RENEW interface=eth0 new_ip_address=10.0.1.99 old_ip_address=10.0.1.99");
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!((home.server.updates(), of(&home.lab, Service::Imds)), (before, asked));
}

#[test]
fn an_event_that_was_reported_while_no_agent_ran_is_seen_at_its_start() {
    let home = Home::new();
    let agent = home.settled();
    agent.stop();
    home.report("reason=RELEASE interface=eth0 old_ip_address=10.0.1.23");
    let _agent = home.start();
    until("the address that was given back is published no more", || home.published().is_empty());
}

#[test]
fn an_address_that_a_lease_has_lost_is_withdrawn_and_comes_back_with_the_next() {
    let home = Home::new();
    let _agent = home.settled();
    home.report("reason=EXPIRE interface=eth0 old_ip_address=10.0.1.23");
    until("the name goes", || home.published().is_empty());
    home.report("reason=BOUND interface=eth0 new_ip_address=10.0.1.23");
    until("the name comes back", || home.published() == ["10.0.1.23"]);
}

#[test]
fn what_changes_in_the_metadata_is_followed_without_any_hook() {
    let home = Home::new();
    let _agent = home.settled();
    let calls = of(&home.lab, Service::Ec2);
    home.lab.world.update_instance(US, |host| {
        host.tags.insert("Name".into(), "web-2".into());
    });
    until("the new name is there", || {
        dig(home.server.addr(), "web-2.corp.internal.", "A") == ["10.0.1.23"]
    });
    until("the old name is gone", || home.published().is_empty());
    home.lab.world.update_instance(US, |host| host.move_to([10, 0, 1, 99].into()));
    until("the address follows", || {
        dig(home.server.addr(), "web-2.corp.internal.", "A") == ["10.0.1.99"]
    });
    // The list of servers is read on by its timer; looking costs no call.
    assert!(of(&home.lab, Service::Ec2) - calls < 60);
}

#[test]
fn a_respawned_server_is_used_and_a_dead_one_is_left_within_two_probes() {
    let home = Home::new();
    let config = fs::read_to_string(home.lab.path("config.toml")).unwrap();
    // The tag is far away: it is the probe that finds the dead server out.
    home.lab.file("config.toml", &config.replace("refresh = \"2s\"", "refresh = \"1h\""));
    let second = fleet_server(vec![parsed(&home.key)]);
    home.lab.list_server(second.addr(), "us-east-1b");
    let agent = home.settled();
    until("both are in use", || home.uses(&second));
    second.fault(DROP);
    let before = agent.log().len();
    until("the dead one is out", || !home.uses(&second));
    let log = agent.log().split_off(before);
    let (until_found, _) = log.split_once("events=[ServerSilent]").expect("a probe finds it out");
    assert!(until_found.matches("begins job=Probe").count() <= 2, "{log}");
    assert!(home.uses(&home.server));
    // Else that would find it; one that began before the server fell silent may end only now.
    until("the list is read anew for it", || {
        let log = agent.log().split_off(before);
        let after = log.split_once("events=[ServerSilent]").map(|(_, after)| after);
        after
            .and_then(|after| after.split_once("begins job=List"))
            .is_some_and(|(_, after)| after.contains("ends job=List"))
    });
    second.fault(Fault::default());
    until("it is used again as soon as it answers", || home.uses(&second));
    assert!(agent.log().contains("events=[ServerBack]"), "{}", agent.log());
}

fn agent_log_length(home: &Home) -> usize {
    fs::read(home.lab.path("agent.log")).unwrap().len()
}

#[test]
fn where_the_metadata_are_silent_from_the_start_dead_servers_are_left_and_tramples_are_counted() {
    let home = Home::new();
    let second = fleet_server(vec![parsed(&home.key)]);
    home.lab.list_server(second.addr(), "us-east-1a");
    let agent = home.settled();
    until("both are in use", || home.uses(&second));
    agent.stop();
    home.lab.world.faults().set(Service::Imds, DROP);
    home.lab.world.faults().set(Service::Ec2, DROP);
    home.lab.file("root/etc/resolv.conf", &resolv_conf(&[own_address()]));
    let since = agent_log_length(&home);
    let agent = home.start();
    until("the last good servers are in use", || home.uses(&home.server) && home.uses(&second));
    // What is overwritten while it is set is not known to be another program's doing.
    let settled = |job: &str| agent.log()[since..].contains(&format!("ends job={job} outcome="));
    until("it has set them", || settled("Rank") && settled("List"));
    home.lab.file("root/etc/resolv.conf", "nameserver 10.9.9.9\n");
    until("it is said", || agent.log().contains("another program changed the resolver"));
    until("they are back", || home.uses(&home.server) && home.uses(&second));
    second.fault(DROP);
    until("the dead one is out", || !home.uses(&second));
    assert!(home.uses(&home.server));
    let silent = "the instance metadata service at";
    agent.told(|text| text.starts_with("STATUS=") && text.contains(silent));
    home.lab.world.faults().clear();
    agent.told(|text| text.starts_with("STATUS=published") && !text.contains(silent));
}

#[test]
fn the_service_manager_hears_as_often_as_it_wants_to_that_an_idle_agent_lives() {
    let home = Home::new();
    let config = fs::read_to_string(home.lab.path("config.toml")).unwrap();
    let idle = ["1s", "2s"].iter().fold(config, |text, time| text.replace(time, "1h"));
    home.lab.file("config.toml", &idle);
    let [watched, left_alone] = [&[("WATCHDOG_USEC", "500000")][..], &[]].map(|environment| {
        let agent = home.start_with(environment);
        agent.told(|message| message.contains("resolvers") && message.contains("published"));
        agent.idle();
        let patience = Some(Duration::from_secs(3));
        agent.notify.set_read_timeout(patience).unwrap();
        // What the last job had to say may come after it has ended.
        let mut heard = 0;
        let mut buffer = [0; 4096];
        for _ in 0..20 {
            let Ok(length) = agent.notify.recv(&mut buffer) else { break };
            heard += usize::from(buffer[..length].starts_with(b"WATCHDOG=1"));
            if heard == 10 {
                break;
            }
        }
        heard
    });
    assert_eq!((watched, left_alone), (10, 0));
}

#[test]
fn a_resolver_that_is_to_be_left_alone_is_given_back_and_clients_are_not_kept_away_any_more() {
    let home = Home::new();
    let found = home.lab.resolv_conf();
    let agent = home.settled();
    let stamp = home.lab.path("run/resolver");
    until("the clients' hooks keep away", || stamp.exists());
    home.lab.world.faults().set(Service::Ec2, Fault { fail: Some(500), ..Fault::default() });
    until("a trouble of the resolver is told", || agent.log().contains("DescribeInstances failed"));
    home.configure("manager = \"none\"\n");
    agent.signal("HUP");
    until("it is given back", || home.lab.resolv_conf() == found);
    until("the trouble goes with it", || {
        agent
            .log()
            .lines()
            .any(|line| line.contains("over: ") && line.contains("DescribeInstances failed"))
    });
    home.lab.world.faults().clear();
    home.lab.world.update_instance(US, |host| host.move_to([10, 0, 1, 77].into()));
    until("the name follows", || home.published() == ["10.0.1.77"]);
    let passes = || agent.log().matches("job=Register outcome=").count();
    let before = passes();
    home.report("reason=BOUND interface=eth0 new_ip_address=10.0.1.77");
    until("one more pass", || passes() > before);
    assert!(!stamp.exists(), "{}", agent.log());
    assert_eq!(home.lab.resolv_conf(), found);
}

#[test]
fn keys_of_the_agents_rhythm_and_of_its_end_may_be_tags() {
    let home = Home::new();
    let config = fs::read_to_string(home.lab.path("config.toml")).unwrap();
    home.lab.file(
        "config.toml",
        &config.replace("refresh = \"2s\"\n", "").replace("probe = \"1s\"\n", ""),
    );
    home.lab.world.update_instance(US, |host| {
        for (key, value) in [("discovery.refresh", "1s"), ("lifecycle.withdraw", "stop")] {
            host.tags.insert(format!("tagalong:{key}"), value.to_owned());
        }
    });
    let agent = home.settled();
    let second = fleet_server(Vec::new());
    home.lab.list_server(second.addr(), "us-east-1a");
    until("the list is read again soon", || home.uses(&second));
    agent.stop();
    assert!(home.published().is_empty());
}

#[test]
fn a_server_that_is_tagged_while_the_agent_runs_is_used() {
    let home = Home::new();
    let _agent = home.settled();
    let second = fleet_server(Vec::new());
    let last_pass = || fs::read_to_string(home.lab.path("run/last-pass.json")).unwrap_or_default();
    home.lab.list_server(second.addr(), "us-east-1a");
    until("the new one is in use", || home.uses(&second));
    // What this pass did, and not what one before it has done.
    until("the pass is over", || last_pass().contains("internal: 2 unchanged"));
}

#[test]
fn an_agent_whose_listing_is_throttled_says_so_keeps_the_servers_and_lists_again_when_it_may() {
    let home = Home::new();
    let agent = home.settled();
    home.lab.world.faults().set(Service::Ec2, Fault { throttle: true, ..Fault::default() });
    until("it is throttled", || agent.log().contains("job=List outcome=Throttled"));
    assert!(home.uses(&home.server), "{}", home.lab.resolv_conf());
    assert!(agent.log().contains("EC2 throttles ec2:DescribeInstances"), "{}", agent.log());
    agent.told(|text| text.starts_with("STATUS=published") && text.contains("EC2 throttles"));
    let second = fleet_server(Vec::new());
    home.lab.list_server(second.addr(), "us-east-1a");
    home.lab.world.faults().clear();
    until("the new one is in use", || home.uses(&second));
}

#[test]
fn a_file_that_another_program_overwrites_is_put_back_and_the_difference_kept() {
    let home = Home::new();
    // Neither a listing nor a probe puts it back: the watch on the file does.
    let config = fs::read_to_string(home.lab.path("config.toml")).unwrap();
    let config = config.replace("refresh = \"2s\"", "refresh = \"1h\"");
    home.lab.file("config.toml", &config.replace("probe = \"1s\"", "probe = \"1h\""));
    let agent = home.settled();
    let ours = home.lab.resolv_conf();
    // At once: the agent may be looking at its own last write at this moment.
    let theirs = "# Generated by dhcpcd from eth0.dhcp\nnameserver 10.9.9.9\n";
    let theirs = home.lab.file("root/etc/theirs", theirs);
    fs::rename(theirs, home.lab.path("root/etc/resolv.conf")).unwrap();
    until("it is put back", || home.uses(&home.server));
    let text = home.lab.resolv_conf();
    assert!(text.contains("# Generated by dhcpcd"), "their lines stay: {text}");
    assert!(!text.contains("10.9.9.9") && ours.lines().all(|line| text.contains(line)));
    until("it is said", || agent.log().contains("another program changed the resolver"));
    home.lab.tagalong(&["status"]).prints(&[
        "+# Generated by dhcpcd from eth0.dhcp",
        &format!("-nameserver {}", home.server.addr().ip()),
        "+nameserver 10.9.9.9",
    ]);
    home.lab.tagalong(&["doctor"]).prints(&["dhcpcd, by its comment,", "+nameserver 10.9.9.9"]);

    // The same servers with nothing of what else we set are no less another program's doing.
    fs::write(home.lab.path("root/etc/resolv.conf"), resolv_conf(&[home.server.addr()])).unwrap();
    until("all of it is put back", || home.lab.resolv_conf().contains("options timeout:1"));
    let tramples = || agent.log().matches("another program changed the resolver").count();
    until("it is counted", || tramples() == 2);

    // A file that cannot be written is told once, and put back as soon as it can be.
    let path = home.lab.path("root/etc/resolv.conf");
    let chattr = |change: &str| Command::new("chattr").arg(change).arg(&path).status();
    agent.signal("STOP");
    fs::write(&path, "nameserver 10.9.9.9\n").unwrap();
    let is_immutable = chattr("+i").is_ok_and(|status| status.success());
    agent.signal("CONT");
    if is_immutable {
        let tries = || agent.log().matches("job=Guard outcome=Failed").count();
        until("it has tried twice", || tries() >= 2);
        let log = agent.log();
        assert_eq!(log.matches("they cannot be put back").count(), 1, "{log}");
        home.lab.tagalong(&["status"]).prints(&["3 time(s)", "; it could not be put back: "]);
        agent.told(|text| text.contains("cannot ") && text.contains("etc/resolv.conf"));
        assert!(chattr("-i").unwrap().success());
    }
    until("it is put back at last", || home.uses(&home.server));
    until("it is not held against anybody any more", || {
        !home.lab.tagalong(&["status"]).stdout.contains("could not be put back")
    });
}

#[test]
fn the_vpcs_resolver_serves_while_no_listed_server_answers_and_no_longer() {
    let mut home = Home::new();
    let vpc = Server::start(own_address(), vec![Zone::new(".")], vec![]).unwrap();
    home.lab.vpc_resolver = vpc.addr();
    home.configure("");
    let config = fs::read_to_string(home.lab.path("config.toml")).unwrap();
    home.lab.file("config.toml", &config.replace("fallback = \"none\"\n", ""));
    let agent = home.settled();
    assert!(!home.uses(&vpc));
    home.server.fault(Fault { drop: true, ..Fault::default() });
    until("the VPC's resolver serves", || home.uses(&vpc));
    assert!(!home.uses(&home.server), "{}", agent.log());
    home.server.fault(Fault::default());
    until("the fleet's server is back", || home.uses(&home.server));
    assert!(!home.uses(&vpc), "{}", agent.log());
}

#[test]
fn a_pass_without_an_agent_keeps_no_client_away_and_takes_away_what_a_dead_agent_left() {
    let home = Home::new();
    let stamp = home.lab.path("run/resolver");
    home.lab.once();
    assert!(home.uses(&home.server) && !stamp.exists(), "nobody would follow the servers");
    let agent = home.settled();
    until("the clients' hooks keep away", || stamp.exists());
    drop(agent);
    assert!(stamp.exists(), "killed, it could not");
    home.lab.once();
    assert!(!stamp.exists());
}

#[test]
fn a_notice_of_the_end_is_heard_although_the_rest_of_the_metadata_cannot_be_read() {
    let home = Home::new();
    let _agent = home.settled();
    let broken =
        Fault { fail: Some(500), only: Some("meta-data/network".to_owned()), ..Fault::default() };
    home.lab.world.faults().set(Service::Imds, broken);
    home.lab.world.update_instance(US, |host| host.spot_action = Some(spot()));
    until("the name goes", || home.published().is_empty());
}

#[test]
fn what_another_program_wrote_stays_while_none_of_our_servers_answers() {
    let home = Home::new();
    let config = fs::read_to_string(home.lab.path("config.toml")).unwrap();
    let config = config.replace("refresh = \"2s\"", "refresh = \"1h\"");
    home.lab.file("config.toml", &config.replace("probe = \"1s\"", "probe = \"1h\""));
    let agent = home.settled();
    let living = fleet_server(Vec::new());
    home.server.fault(Fault { drop: true, ..Fault::default() });
    let text = resolv_conf(&[living.addr()]);
    let theirs = home.lab.file("root/etc/theirs", &text);
    fs::rename(theirs, home.lab.path("root/etc/resolv.conf")).unwrap();
    until("the guard has looked", || agent.log().contains("events=[ServerSilent]"));
    let since = agent.log().len();
    until("the servers are ranked again", || agent.log()[since..].contains("job=Rank outcome="));
    assert_eq!(home.lab.resolv_conf(), text);
}

/// Another program writes a server of its own, which answers, until the agent leaves the file alone: that server, and the file.
fn fight(home: &Home, agent: &Agent) -> (Server, String) {
    let stranger = fleet_server(Vec::new());
    let theirs = resolv_conf(&[stranger.addr()]);
    for _ in 0..40 {
        home.lab.file("root/etc/resolv.conf", &theirs);
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(200) && home.lab.resolv_conf() == theirs {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    until("the hold is said", || {
        agent.log().contains("another program keeps changing resolv.conf")
    });
    assert_eq!(agent.log().matches("keeps changing").count(), 1);
    agent.told(|message| message.contains("resolv.conf is left to another program"));
    assert_eq!(home.lab.resolv_conf(), theirs, "it is left to the other program");
    (stranger, theirs)
}

#[test]
fn a_fight_over_the_file_that_is_over_is_said_to_be_once() {
    let home = Home::new();
    let agent = home.settled();
    let _stranger = fight(&home, &agent);
    agent.notify.set_read_timeout(Some(Duration::from_secs(150))).unwrap();
    agent.told(|text| text.starts_with("STATUS=") && !text.contains("left to another program"));
    assert_eq!(agent.log().matches("nobody changes resolv.conf any more").count(), 1);
    assert!(home.uses(&home.server));
    assert!(!home.lab.tagalong(&["status"]).stdout.contains("left to another program"));
}

#[test]
fn a_fight_over_the_file_is_given_up_and_said_once() {
    let home = Home::new();
    let agent = home.settled();
    let (stranger, theirs) = fight(&home, &agent);
    assert!(home.lab.tagalong(&["status"]).stdout.contains("left to another program"));
    // What becomes of the fleet meanwhile is learnt all the same.
    let second = fleet_server(Vec::new());
    home.lab.list_server(second.addr(), "us-east-1a");
    until("the new server is remembered", || {
        home.lab.state().contains(&second.addr().ip().to_string())
    });
    assert_eq!(home.lab.resolv_conf(), theirs);
    // Dead servers are left to nobody, in a fight either.
    stranger.fault(DROP);
    until("living servers take their place", || home.uses(&home.server));
    // Nothing is held by an agent that is gone.
    drop(agent);
    for verb in ["status", "doctor"] {
        let run = home.lab.tagalong(&[verb]);
        assert!(!run.stdout.contains("left to"), "{run}");
    }
    // One that begins anew sets it.
    let _agent = home.start();
    until("it is set", || home.uses(&home.server) && home.uses(&second));
    assert!(!home.lab.tagalong(&["status"]).stdout.contains("left to another program"));
}

#[test]
fn a_configuration_that_is_read_again_is_in_force_and_a_broken_one_is_refused() {
    let home = Home::new();
    let agent = home.settled();
    let good = fs::read_to_string(home.lab.path("config.toml")).unwrap();
    home.lab.file("config.toml", "version = 1\n[resolver]\nserach = []\n");
    agent.signal("HUP");
    until("the refusal is said", || agent.log().contains("the old configuration stays in force"));
    let counts = |outcome: &str, count: u8| {
        let text =
            fs::read_to_string(home.lab.path("run/metrics/tagalong.prom")).unwrap_or_default();
        let sample =
            format!("tagalong_tasks_total{{task=\"reload\",outcome=\"{outcome}\"}} {count}\n");
        text.contains(&sample)
    };
    until("the refusal is counted", || counts("failed", 1) && counts("done", 0));
    let status = agent.told(|text| text.contains("the old configuration stays in force"));
    assert!(status.starts_with("STATUS=published web-1.corp.internal."), "{status}");
    assert!(agent.log().contains("serach"), "{}", agent.log());
    home.lab.world.update_instance(US, |host| host.move_to([10, 0, 1, 99].into()));
    until("the old one is in force", || home.published() == ["10.0.1.99"]);
    home.lab.file("config.toml", &good.replace("{tag:Name}", "other"));
    agent.signal("HUP");
    until("the new one is in force", || {
        dig(home.server.addr(), "other.corp.internal.", "A") == ["10.0.1.99"]
    });
    until("the old name is gone", || home.published().is_empty());
    until("it is counted", || counts("failed", 1) && counts("done", 1));
    agent.told(|text| {
        text.starts_with("STATUS=published other.") && !text.contains("old configuration")
    });
}

#[test]
fn records_go_when_the_end_of_the_instance_is_announced_and_stay_gone() {
    let home = Home::new();
    let agent = home.settled();
    home.lab.world.update_instance(US, |host| host.spot_action = Some(spot()));
    until("the name goes", || home.published().is_empty());
    let status = agent.told(|text| text.starts_with("STATUS=nothing published"));
    assert!(status.contains("resolvers"), "{status}");
    home.report("reason=BOUND interface=eth0 new_ip_address=10.0.1.23");
    home.lab.world.update_instance(US, |host| {
        host.tags.insert("Name".into(), "web-2".into());
    });
    std::thread::sleep(Duration::from_millis(1500));
    assert!(dig(home.server.addr(), "web-2.corp.internal.", "A").is_empty(), "{}", agent.log());
}

#[test]
fn records_go_when_the_auto_scaling_group_ends_the_instance_and_are_not_made_by_an_agent_that_starts_then()
 {
    let home = Home::new();
    let agent = home.settled();
    home.lab.world.update_instance(US, |host| {
        host.target_lifecycle_state = Some("Terminated".to_owned());
    });
    until("the name goes", || home.published().is_empty());
    agent.stop();
    let agent = home.start();
    until("it has withdrawn", || agent.log().matches("ends job=Withdraw").count() == 2);
    assert!(home.published().is_empty(), "{}", agent.log());
    home.lab.world.update_instance(US, |host| host.target_lifecycle_state = None);
    until("it is published again", || home.published() == ["10.0.1.23"]);
}

#[test]
fn an_end_that_is_announced_counts_from_when_a_tag_lets_the_records_go() {
    let home = Home::new();
    let withdraw = |occasion: &'static str| {
        home.lab.world.update_instance(US, |host| {
            host.tags.insert("tagalong:lifecycle.withdraw".into(), occasion.into());
        });
    };
    withdraw("stop");
    home.lab.world.update_instance(US, |host| host.spot_action = Some(spot()));
    let agent = home.settled();
    until("the end is seen", || agent.log().contains("announces the end of this instance"));
    until("it has looked again", || agent.log().matches("ends job=Look").count() > 2);
    assert_eq!(home.published(), ["10.0.1.23"]);
    assert!(!agent.log().contains("begins job=Withdraw"), "{}", agent.log());
    withdraw("terminate");
    until("the name goes", || home.published().is_empty());
    withdraw("stop");
    until("the name is back", || home.published() == ["10.0.1.23"]);
}

fn spot() -> SpotAction {
    SpotAction { action: "terminate".to_owned(), time: "2026-11-24T12:00:00Z".to_owned() }
}

#[test]
fn records_go_with_the_agent_where_that_is_configured_and_within_two_seconds() {
    let home = Home::new();
    home.configure("[lifecycle]\nwithdraw = [\"stop\"]\n");
    let agent = home.settled();
    agent.stop();
    assert!(home.published().is_empty());
    // With the server silent it ends all the same. What else runs on this machine may hold it up, but not each time.
    let mut took = [0; 3].map(|_| {
        home.server.fault(Fault::default());
        let agent = home.settled();
        home.server.fault(DROP);
        agent.stop()
    });
    took.sort();
    assert!(took[0] < Duration::from_secs(2), "{took:?}");
}

#[test]
fn there_is_one_agent_at_a_time_and_a_pass_beside_it_does_no_harm() {
    let home = Home::new();
    let agent = home.settled();
    home.lab.tagalong(&["run"]).expect_code(1).says(&["the agent runs already"]);
    for last in 30..40 {
        home.lab.world.update_instance(US, |host| host.move_to([10, 0, 1, last].into()));
        home.lab.once();
    }
    until("the last address is there", || home.published() == ["10.0.1.39"]);
    let config = fs::read_to_string(home.lab.path("config.toml")).unwrap();
    home.lab.file("config.toml", &config.replace("refresh = \"2s\"", "refresh = \"1h\""));
    let listed = |agent: &Agent| agent.log().matches("begins job=List").count();
    let before = listed(&agent);
    agent.signal("HUP");
    // A listing that is under way knows nothing of a server that is tagged then.
    until("it lists by what it read", || listed(&agent) > before);
    agent.idle();
    for _ in 0..3 {
        let second = fleet_server(Vec::new());
        home.lab.list_server(second.addr(), "us-east-1a");
        home.lab.once();
        assert!(home.uses(&second));
        until("the agent has looked", || {
            let log = agent.log();
            let after = log.rsplit_once("event=Some(ResolverTouched)").map(|(_, after)| after);
            after.is_some_and(|after| after.contains("job=Guard outcome="))
        });
        until("it stays", || home.uses(&second));
    }
    assert!(!agent.log().contains("another program changed"), "{}", agent.log());
}

#[test]
fn an_agent_without_anybody_who_answers_ends_when_it_is_told_to() {
    let home = Home::new();
    let silent = BlackHole::start(own_address()).unwrap();
    home.lab.world.faults().set(Service::Imds, DROP);
    home.lab.world.faults().set(Service::Ec2, DROP);
    home.lab.file("root/etc/resolv.conf", &resolv_conf(&[silent.addr()]));
    let agent = home.start();
    agent.told(|message| message == "READY=1");
    assert!(agent.stop() < Duration::from_secs(2));
    assert_eq!(home.lab.resolv_conf(), resolv_conf(&[silent.addr()]), "nothing better was known");
}

#[test]
fn an_agent_whose_message_bus_is_mute_ends_when_it_is_told_to() {
    let home = Home::new();
    fs::create_dir_all(home.lab.path("root/run/dbus")).unwrap();
    // Whoever connects waits for ever.
    let _bus = UnixListener::bind(home.lab.path("root/run/dbus/system_bus_socket")).unwrap();
    // Of the two seconds most are for the records. What else runs on this machine may hold it up, but not each time.
    let mut took = [0, 1, 2].map(|round| {
        let agent = home.settled();
        until("it knows that the resolver is its own", || {
            agent.log().matches("ends job=List outcome=Done").count() > round
        });
        agent.stop()
    });
    took.sort();
    assert!(took[0] < Duration::from_millis(900), "{took:?}");
}

#[test]
fn restore_gives_back_what_was_found() {
    let home = Home::new();
    let found = home.lab.resolv_conf();
    home.settled().stop();
    assert_ne!(home.lab.resolv_conf(), found);
    home.lab.tagalong(&["restore"]).expect_code(0).prints(&["as it was found"]);
    assert_eq!(home.lab.resolv_conf(), found);
}

#[test]
fn an_agent_that_is_killed_at_any_moment_leaves_all_whole_and_the_next_makes_it_good() {
    let home = Home::new();
    let agent = home.settled();
    drop(agent);
    let ours = home.lab.resolv_conf();
    let second = fleet_server(vec![parsed(&home.key)]);
    let theirs = "nameserver 10.9.9.9\n";
    for round in 0..200_u32 {
        let last = u8::try_from(round % 200).unwrap();
        home.lab.world.update_instance(US, |host| {
            host.move_to([10, 0, 2, last].into());
            host.tags.insert("Name".into(), format!("web-{}", round % 3));
        });
        match round % 4 {
            0 => home.lab.list_server(second.addr(), "us-east-1a"),
            1 => home.lab.list_server(home.server.addr(), "us-east-1a"),
            2 => drop(home.lab.file("root/etc/resolv.conf", theirs)),
            _ => home.report(&format!("reason=BOUND interface=eth0 new_ip_address=10.0.2.{last}")),
        }
        let agent = home.start();
        // The moments are spread over the agent's first work.
        std::thread::sleep(Duration::from_millis(u64::from(round * 7 % 61)));
        drop(agent);
        let text = home.lab.resolv_conf();
        let is_whole = text == theirs
            || (text.starts_with(ours.lines().next().unwrap()) && text.ends_with("attempts:2\n"));
        assert!(is_whole, "half a resolv.conf: {text}");
        if let Ok(state) = fs::read_to_string(home.lab.path("state/state.json")) {
            serde_json::from_str::<serde_json::Value>(&state).expect("a loadable state file");
        }
    }
    home.lab.world.update_instance(US, |host| {
        host.move_to([10, 0, 1, 23].into());
        host.tags.insert("Name".into(), "web-1".into());
    });
    let _agent = home.settled();
    for name in ["web-0", "web-2"] {
        until("no orphan is left", || {
            dig(home.server.addr(), &format!("{name}.corp.internal."), "A").is_empty()
        });
    }
    let left = |zone: &str| {
        home.server.zones().all(zone).into_iter().filter(|line| line.contains("PTR")).count()
    };
    until("one reverse name is left", || left("10.in-addr.arpa.") == 1);
}

#[test]
fn the_zone_follows_interfaces_and_addresses_that_are_plugged_assigned_and_moved() {
    let home = Home::new();
    home.configure(&format!(
        "[[record]]\nname = \"all.{ZONE}\"\nreverse = false\naddresses = [\"10.0.0.0/16\", \"elastic-ipv4\"]\n"
    ));
    let _agent = home.settled();
    let shows = |what: &str, expect: &[&str]| {
        until(what, || {
            let mut found = dig(home.server.addr(), &format!("all.{ZONE}"), "A");
            found.sort();
            found == expect
        });
    };
    let change = |change: &dyn Fn(&mut Instance)| {
        home.lab.world.update_instance(US, change);
    };
    let second = || Interface { device_number: 1, ..Interface::new([10, 0, 2, 23].into()) };
    let elastic = [198, 51, 100, 7].into();
    shows("the first address", &["10.0.1.23"]);
    change(&|us| us.interfaces.push(second()));
    shows("an interface that is plugged in", &["10.0.1.23", "10.0.2.23"]);
    change(&|us| us.interfaces[1].private_ipv4s.push([10, 0, 2, 24].into()));
    shows("an address that is assigned", &["10.0.1.23", "10.0.2.23", "10.0.2.24"]);
    change(&|us| *us = us.clone().elastic_ipv4(elastic));
    shows("an Elastic address", &["10.0.1.23", "10.0.2.23", "10.0.2.24", "198.51.100.7"]);
    // It moves to another instance.
    change(&|us| {
        us.interfaces[0].public_ipv4s.clear();
        us.interfaces[0].elastic_ipv4s.clear();
        us.interfaces[1].private_ipv4s.pop();
    });
    shows("what was taken away", &["10.0.1.23", "10.0.2.23"]);
    change(&|us| drop(us.interfaces.pop()));
    shows("an interface that is unplugged", &["10.0.1.23"]);
}

#[test]
fn the_log_is_json_where_it_is_asked_for_and_has_the_journals_priorities_where_that_reads_it() {
    let home = Home::new();
    let agent = home.start_with(&[("TAGALONG_LOG_FORMAT", "json")]);
    until("the name is published", || home.published() == ["10.0.1.23"]);
    for said in ["\"resolver set\"", ": published "] {
        until("it is said", || agent.log().contains(said));
    }
    let log = agent.log();
    agent.stop();
    let lines = log.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let lines = lines.collect::<Vec<_>>();
    let set = lines.iter().find(|line| line["message"] == "resolver set").unwrap();
    assert_eq!(set["level"], "INFO");
    assert!(set["because"].as_str().is_some_and(|why| why.contains("answered in")), "{set}");
    assert!(set["timestamp"].is_string(), "{set}");
    // One line of each decision.
    let messages = lines.iter().map(|line| line["message"].as_str().unwrap());
    let again = |message: &str| message == "published" || message.starts_with("resolvers ");
    assert!(!messages.into_iter().any(again), "{log}");

    // As systemd says which file the journal reads.
    let path = home.lab.path("agent.log");
    fs::write(&path, "").unwrap();
    let file = std::os::unix::fs::MetadataExt::ino(&fs::metadata(&path).unwrap());
    let device = std::os::unix::fs::MetadataExt::dev(&fs::metadata(&path).unwrap());
    // Without a list to fall back to, that is a failure.
    fs::remove_dir_all(home.lab.path("state")).unwrap();
    home.lab.world.set_denied_actions(["ec2:DescribeInstances"]);
    let stream = format!("{device}:{file}");
    let agent = home.start_with(&[("JOURNAL_STREAM", &stream)]);
    until("a failure is told", || agent.log().contains("docs/troubleshooting.md#ec2"));
    let log = agent.log();
    assert!(log.contains("<6>the agent begins"), "{log}");
    let warned = log.lines().find(|line| line.contains("troubleshooting.md#ec2")).unwrap();
    assert!(warned.starts_with("<4>EC2 does not let this instance call"), "{warned}");
    // What only inherits the variable writes for people.
    let mut command = home.lab.command(&["config", "show"]);
    command.env("JOURNAL_STREAM", &stream);
    let run = Started::of(command).finish();
    assert!(!run.stderr.starts_with('<'), "{run}");
}

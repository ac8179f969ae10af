//! The three acts, from top to bottom. Each says what happens outside, lets the agent see to it, and checks what came of it.

use std::{
    collections::BTreeSet,
    fs,
    net::Ipv4Addr,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use tagalong::{
    core::{name::Name, rrset::RrType},
    wire::message::Question,
};

use crate::{
    Outcome,
    host::{Child, Host},
    lookups::{Count, Lookups, ask},
    screen::{self, Screen},
    stage::{DNS_1, DNS_2, DNS_3, DnsServer, FIRST_ADDRESS, HOST, Stage},
};

/// Tells it; gives the last line, for when everything is cleared away.
pub(crate) fn tell(screen: &Screen, directory: &Path, agent: &Child) -> Outcome<String> {
    let mut stage = Stage::set()?;
    let dhcp = format!("nameserver {}\nsearch ec2.internal\n", DNS_1.address);
    let host = Host::new(directory, &stage, &dhcp, agent)?;
    let lookups = Lookups::start(PROBED.parse()?, host.resolv_conf(), stage.port())?;
    let play = Play { screen, host, lookups };

    screen::text(&format!(
        "The real agent on a host in a temporary directory; EC2, its metadata and DNS are \
         stand-ins on loopback. Ten times a second a name is looked up through the host's \
         resolv.conf as a libc does, at port {}, which that file cannot say:",
        stage.port()
    ));
    play.host.config(&stage)?.lines().for_each(|line| screen::text(&format!("  {line}")));
    play.boot(&stage)?;
    play.moves(&stage)?;
    play.respawn(&mut stage)?;
    play.dies(&mut stage)?;
    play.end()
}

/// What all acts need.
struct Play<'a> {
    screen: &'a Screen,
    host: Host,
    lookups: Lookups,
}

impl Play<'_> {
    fn boot(&self, stage: &Stage) -> Outcome<()> {
        let begun = Instant::now();
        screen::heading("1. A host boots, and its name appears.");
        self.screen.event(&format!("{HOST} boots: {FIRST_ADDRESS}, tag Name=web-1"));
        let before = fs::read_to_string(self.host.resolv_conf())?;
        self.pass("boot")?;
        self.answers(stage, DNS_2, FIRST_ADDRESS)?;
        self.servers_are(&[DNS_1, DNS_2])?;
        let after = fs::read_to_string(self.host.resolv_conf())?;
        screen::beside(("resolv.conf by DHCP", &before), ("by tagalong", &after));
        thread::sleep(A_WHILE);
        self.show_lookups(begun).map(drop)
    }

    fn moves(&self, stage: &Stage) -> Outcome<()> {
        let begun = Instant::now();
        screen::heading("2. Its address changes, and the name follows.");
        stage.move_host(SECOND_ADDRESS);
        self.screen.event(&format!("web-1 moves from {FIRST_ADDRESS} to {SECOND_ADDRESS}"));
        self.pass("hook")?;
        self.answers(stage, DNS_1, SECOND_ADDRESS)?;
        let old = Name::reverse(FIRST_ADDRESS.into());
        let left = ask(stage.socket(DNS_1), &old, Question::Type(RrType::Ptr), PATIENCE)?;
        ensure(left.answers.is_empty(), || format!("{old} still has its PTR"))?;
        thread::sleep(A_WHILE);
        self.show_lookups(begun).map(drop)
    }

    /// The orderly way: the new one is there before the old one goes.
    fn respawn(&self, stage: &mut Stage) -> Outcome<()> {
        let begun = Instant::now();
        screen::heading(
            "3. A DNS server is respawned, and resolv.conf follows. (Timer: every second)",
        );
        stage.start(DNS_3)?;
        self.screen.event(&format!(
            "{} at {} ({}) is started, and tagged",
            DNS_3.name, DNS_3.address, DNS_3.zone
        ));
        self.timer(&[DNS_1, DNS_3, DNS_2])?;
        stage.terminate(DNS_1);
        self.screen.event(&format!(
            "{} at {} is terminated: shutting-down, says EC2",
            DNS_1.name, DNS_1.address
        ));
        self.timer(&[DNS_3, DNS_2])?;
        stage.silence(DNS_1)?;
        self.screen.event(&format!("{} is gone: its address is a black hole now", DNS_1.name));
        thread::sleep(A_WHILE);
        let count = self.show_lookups(begun)?;
        ensure(count.slowest < PATIENCE, || {
            "a lookup met the server that was terminated".to_owned()
        })
    }

    /// The harsh way: the first server of resolv.conf is dead, and nobody has said so.
    fn dies(&self, stage: &mut Stage) -> Outcome<()> {
        let died = Instant::now();
        stage.silence(DNS_3)?;
        self.screen.event(&format!(
            "{} dies without notice: a black hole, and running, says EC2",
            DNS_3.name
        ));
        self.timer(&[DNS_2])?;
        let left = Instant::now();
        // those that were begun before may take a second yet
        thread::sleep(PATIENCE + A_WHILE);
        let until = self.lookups.count(died, left);
        let since = self.lookups.count(left, Instant::now());
        self.screen.event(&format!(
            "{} lookups by then, {} failed, slowest {} ms; {} since, {} failed, {} ms",
            until.all,
            until.failed,
            until.slowest.as_millis(),
            since.all,
            since.failed,
            since.slowest.as_millis()
        ));
        ensure(since.slowest < PATIENCE, || "a lookup met the server that died".to_owned())
    }

    fn end(self) -> Outcome<String> {
        let all = self.lookups.stop();
        ensure(all.all > 0, || "nothing was looked up".to_owned())?;
        none_failed(&all)?;
        Ok(format!("{} lookups in all, 0 failed", all.all))
    }

    /// Runs the agent, and shows what it says.
    fn pass(&self, why: &str) -> Outcome<()> {
        let pass = self.host.once()?;
        self.screen.event(&format!("{why}, {} ms: {}", pass.took.as_millis(), pass.summary));
        Ok(())
    }

    /// Runs the agent at the next whole second, and again until resolv.conf names `servers`; shows what it changes.
    fn timer(&self, servers: &[DnsServer]) -> Outcome<()> {
        for _ in 0..MOST_PASSES {
            let elapsed = self.screen.elapsed();
            let next = Duration::from_secs(elapsed.as_secs() + 1);
            thread::sleep(next.saturating_sub(elapsed));
            let pass = self.host.once()?;
            let changes = pass.summary.split(" · ").filter(|part| !part.ends_with("unchanged"));
            let changes = changes.collect::<Vec<_>>().join(" · ");
            if !changes.is_empty() {
                self.screen.event(&format!("timer, {} ms: {changes}", pass.took.as_millis()));
            }
            if self.servers_are(servers).is_ok() {
                return Ok(());
            }
        }
        self.servers_are(servers)
    }

    /// The servers in resolv.conf must be these; the order of equals differs from host to host.
    fn servers_are(&self, servers: &[DnsServer]) -> Outcome<()> {
        let wanted = servers.iter().map(|server| server.address.to_string());
        let wanted = wanted.collect::<BTreeSet<_>>();
        let found = self.host.servers()?.into_iter().collect::<BTreeSet<_>>();
        ensure(found == wanted, || format!("resolv.conf has {found:?} in place of {wanted:?}"))
    }

    /// Asks `server` for the host's name and address, and shows what it answers.
    fn answers(&self, stage: &Stage, server: DnsServer, address: Ipv4Addr) -> Outcome<()> {
        let name: Name = NAME.parse()?;
        let reverse = Name::reverse(address.into());
        let mut shown = Vec::new();
        for (at, kind, wanted) in
            [(&name, RrType::A, address.to_string()), (&reverse, RrType::Ptr, name.to_string())]
        {
            let response = ask(stage.socket(server), at, Question::Type(kind), PATIENCE)?;
            let values = response.answers.values().flat_map(|set| &set.values);
            let found: Vec<_> = values.map(ToString::to_string).collect();
            shown.push(format!("{kind} {}", found.join(" ")));
            ensure(found == [wanted], || format!("{} has {found:?} at {at} {kind}", server.name))?;
        }
        self.screen.event(&format!("asked, {} answers: {}", server.name, shown.join(", and ")));
        Ok(())
    }

    /// Shows the lookups of an act; none may have failed.
    fn show_lookups(&self, since: Instant) -> Outcome<Count> {
        let count = self.lookups.count(since, Instant::now());
        self.screen.event(&format!(
            "{} lookups, {} failed, slowest {} ms",
            count.all,
            count.failed,
            count.slowest.as_millis()
        ));
        none_failed(&count)?;
        Ok(count)
    }
}

fn none_failed(count: &Count) -> Outcome<()> {
    match &count.failure {
        None => Ok(()),
        Some(failure) => Err(format!("{} lookups failed: {failure}", count.failed).into()),
    }
}

fn ensure(is_kept: bool, otherwise: impl FnOnce() -> String) -> Outcome<()> {
    if is_kept { Ok(()) } else { Err(otherwise().into()) }
}

const NAME: &str = "web-1.corp.internal.";
/// A name that is there from the start, and does not change.
const PROBED: &str = "puppet.corp.internal.";
const SECOND_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 23);
/// What a resolver waits for one server (`timeout:1`).
const PATIENCE: Duration = Duration::from_secs(1);
/// Time for a few lookups.
const A_WHILE: Duration = Duration::from_millis(500);
/// A slow machine may need more than one.
const MOST_PASSES: usize = 3;

//! What dead servers, and slips in `resolv.conf`, cost whoever looks a name up.
//!
//! The cost follows the programs' own rules: glibc `resolv/res_send.c` (servers in turn, the wait of a later one longer and
//! shared out), musl `src/network/res_msend.c` (all at once), Go `net/dnsclient_unix.go` (servers in turn, each as long),
//! systemd-resolved (a server that is silent for 5 s is left, and
//! not gone back to).

use std::{collections::BTreeSet, fmt, net::IpAddr, ops::Range, time::Duration};

use super::{
    finding::{Check, Finding, Verdict},
    resolv_conf::{MAXNS, ResolvConf},
};

/// What a server does about a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// It answers, whatever that is.
    Answers,
    /// Nobody listens, and its host says so at once.
    Closed,
    /// Nothing comes.
    Silent,
}

/// What comes of a look-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wait {
    /// An answer, after a wait for servers that give none.
    Answered(Duration),
    /// None, after this time.
    Unanswered(Duration),
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answered(time) => write!(f, "{} s", time.as_secs()),
            Self::Unanswered(time) => write!(f, "{} s, and then it fails", time.as_secs()),
        }
    }
}

/// The options of resolv.conf(5) that decide how long a dead server is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    timeout: u64,
    attempts: u64,
    /// Whether look-ups begin with each server in turn.
    pub rotates: bool,
}

impl Options {
    /// What `options` says; the last word of a kind counts.
    #[must_use]
    pub fn of(options: &[String]) -> Self {
        let number = |stem: &str| {
            let mut latest = options.iter().rev().filter_map(|option| option.strip_prefix(stem));
            latest.find_map(|value| value.parse().ok())
        };
        Self {
            timeout: number("timeout:").unwrap_or(5),
            attempts: number("attempts:").unwrap_or(2),
            rotates: options.iter().any(|option| option == "rotate"),
        }
    }

    /// What a look-up by glibc comes to, for each server that it may begin with.
    #[must_use]
    pub fn glibc(self, servers: &[Reach]) -> Vec<Wait> {
        let servers = servers.get(..MAXNS).unwrap_or(servers);
        self.starts(servers).map(|start| self.glibc_from(servers, start)).collect()
    }

    /// The servers that a look-up may begin with.
    fn starts(self, servers: &[Reach]) -> Range<usize> {
        if self.rotates { 0..servers.len() } else { 0..1.min(servers.len()) }
    }

    fn glibc_from(self, servers: &[Reach], start: usize) -> Wait {
        let (timeout, attempts) = (self.timeout.min(30), self.attempts.min(5));
        let mut waited = 0;
        for _ in 0..attempts {
            let indices = (start..servers.len()).chain(0..start);
            for (index, reach) in indices.filter_map(|index| Some((index, servers.get(index)?))) {
                match reach {
                    Reach::Answers => return Wait::Answered(Duration::from_secs(waited)),
                    Reach::Closed => {}
                    Reach::Silent => {
                        let share = if index > 0 { servers.len() as u64 } else { 1 };
                        waited += ((timeout << index) / share).max(1);
                    }
                }
            }
        }
        Wait::Unanswered(Duration::from_secs(waited))
    }

    /// What a look-up by Go's own resolver comes to, for each server that it may begin with.
    #[must_use]
    pub fn go(self, servers: &[Reach]) -> Vec<Wait> {
        let servers = servers.get(..MAXNS).unwrap_or(servers);
        let from = |start: usize| {
            let (before, after) = servers.split_at(start);
            let mut waited = 0_u64;
            for reach in after.iter().chain(before) {
                match reach {
                    Reach::Answers => return Wait::Answered(Duration::from_secs(waited)),
                    Reach::Closed => {}
                    Reach::Silent => waited = waited.saturating_add(self.timeout.max(1)),
                }
            }
            // Each attempt is like the first.
            Wait::Unanswered(Duration::from_secs(waited.saturating_mul(self.attempts.max(1))))
        };
        self.starts(servers).map(from).collect()
    }

    /// What a look-up by musl comes to.
    #[must_use]
    pub fn musl(self, servers: &[Reach]) -> Wait {
        let servers = servers.get(..MAXNS).unwrap_or(servers);
        if servers.contains(&Reach::Answers) {
            Wait::Answered(Duration::ZERO)
        } else {
            Wait::Unanswered(Duration::from_secs(self.timeout.min(60)))
        }
    }
}

/// Who looks names up with the servers of a resolver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readers {
    /// Programs themselves, which read resolv.conf.
    Programs,
    /// systemd-resolved, which programs ask.
    SystemdResolved,
}

/// Who sets the servers and options of a resolver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setter {
    /// The agent.
    Agent,
    /// Somebody else, by `[resolver] manager = "none"`.
    Other,
}

/// What it costs whoever looks a name up that the first server is dead, or would be.
pub fn first_server(
    servers: &[(IpAddr, Reach)],
    options: Options,
    readers: Readers,
    setter: Setter,
    search: &[String],
) -> Option<Finding> {
    let servers = servers.get(..MAXNS).unwrap_or(servers);
    let (first, reach) = servers.first()?;
    let is_dead = *reach != Reach::Answers;
    let mut reaches = servers.iter().map(|(_, reach)| *reach).collect::<Vec<_>>();
    // What is dead is taken as it is: a host that says so costs less. What answers is thought away.
    if !is_dead && let Some(first) = reaches.first_mut() {
        *first = Reach::Silent;
    }
    let costs = costs(&reaches, options, readers, search.len());
    let lives_on = reaches.contains(&Reach::Answers);
    let costs_much = costs.worst > Wait::Answered(Duration::from_secs(DEAR)) && !costs.is_once;
    let text =
        format!("each look-up {}: {}", if is_dead { "waits" } else { "would wait" }, costs.text);
    let finding = if is_dead {
        let how = if *reach == Reach::Closed { "has nobody listening" } else { "is silent" };
        Finding::wrong(Check::FirstServer, format!("{first} {how}; {text}"))
    } else {
        let verdict = if costs_much || !lives_on { Verdict::Note } else { Verdict::Fine };
        let finding = format!("{first} answers; if it were dead, {text}");
        Finding::of(Check::FirstServer, verdict, finding)
    };
    let (replace, shorter) = match setter {
        Setter::Agent => (
            "`tagalong once` puts the servers that live into the resolver, and `tagalong run` keeps them there",
            "`[resolver] options = [\"timeout:1\", \"attempts:2\"]` makes each wait as short as it can be",
        ),
        Setter::Other => (
            "let whoever sets the resolver put a server that lives there; `[resolver] manager = \"auto\"` lets the agent do it",
            "`options timeout:1 attempts:2` in resolv.conf makes each wait as short as it can be; `[resolver] manager = \"none\"` leaves that to whoever sets it",
        ),
    };
    let second = "let there be a second server: nothing is answered without one";
    let remedies = [
        (is_dead, replace),
        (!lives_on, second),
        (costs_much && readers == Readers::Programs && options.timeout > 1, shorter),
    ];
    Some(
        finding
            .because(costs.because)
            .remedy(remedies.into_iter().filter_map(|(applies, text)| applies.then_some(text))),
    )
}

struct Costs {
    worst: Wait,
    /// Whether it is only paid until the server is left.
    is_once: bool,
    text: String,
    because: Vec<String>,
}

fn costs(reaches: &[Reach], options: Options, readers: Readers, domains: usize) -> Costs {
    if readers == Readers::SystemdResolved {
        let lives_on = reaches.contains(&Reach::Answers);
        let time = Duration::from_secs(RESOLVED_PATIENCE);
        let worst = if lives_on { Wait::Answered(time) } else { Wait::Unanswered(time) };
        return Costs {
            worst,
            is_once: lives_on,
            text: format!("systemd-resolved {worst}"),
            because: vec!["systemd-resolved leaves a server that is silent for 5 s, and stays with the next one".to_owned()],
        };
    }
    let worst_of = |waits: &[Wait]| {
        let worst = waits.iter().max().copied().unwrap_or(Wait::Unanswered(Duration::ZERO));
        let slow = waits.iter().filter(|wait| **wait == worst).count();
        let share = if slow == waits.len() {
            String::new()
        } else {
            format!(" in {slow} of {} (`rotate`)", waits.len())
        };
        (worst, share)
    };
    let (worst, share) = worst_of(&options.glibc(reaches));
    let (go, go_share) = worst_of(&options.go(reaches));
    let Options { timeout, attempts, .. } = options;
    let mut because = vec![
        format!("timeout:{timeout} attempts:{attempts}, {} server(s)", reaches.len()),
        "glibc and Go's own resolver ask one server after another, musl all at once".to_owned(),
    ];
    if domains > 0 {
        because.push(format!(
            "a name that is not whole is tried with each domain of the search list too: up to {} times that",
            domains + 1
        ));
    }
    let musl = options.musl(reaches);
    let text = format!("glibc {worst}{share}, musl {musl}, Go {go}{go_share}");
    Costs { worst, is_once: false, text, because }
}

/// What is unwise about the servers that a resolv.conf names.
pub fn lines_of(file: &ResolvConf) -> Vec<Finding> {
    let words = file.words_of("nameserver");
    let mut seen = BTreeSet::new();
    let twice = words.iter().filter(|word| !seen.insert(word.as_str())).collect::<BTreeSet<_>>();
    let beyond = words.get(MAXNS..).unwrap_or_default();
    let valid = |word: &str| word.split('%').next().is_some_and(|it| it.parse::<IpAddr>().is_ok());
    let invalid = words.iter().filter(|word| !valid(word));
    let mut findings = Vec::new();
    findings.extend(twice.into_iter().map(|word| {
        Finding::wrong(Check::ResolvConf, format!("{word} is named twice"))
            .because(["it takes one of three places, and is waited for twice when it is dead"])
            .remedy(["take one of its lines out, or let `tagalong once` write the servers"])
    }));
    findings.extend(invalid.map(|word| {
        Finding::wrong(Check::ResolvConf, format!("`nameserver {word}` is no address"))
            .because(["resolvers pass the line over"])
            .remedy(["write an address"])
    }));
    if !beyond.is_empty() {
        let beyond = beyond.join(", ");
        findings.push(
            Finding::note(Check::ResolvConf, format!("{beyond} is never asked"))
                .because([format!("glibc and musl read {MAXNS} servers, and no more")])
                .remedy(["take out those that are not to be used"]),
        );
    }
    findings
}

/// A wait longer than this is worth a word, in seconds.
const DEAR: u64 = 2;
/// How long systemd-resolved waits for a server (`DNS_TIMEOUT_USEC`: 120 s for 24 attempts).
const RESOLVED_PATIENCE: u64 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    fn options(text: &str) -> Options {
        Options::of(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    /// `a` answers, `c` is closed, `.` is silent.
    fn reaches(text: &str) -> Vec<Reach> {
        let reach = |letter| match letter {
            'a' => Reach::Answers,
            'c' => Reach::Closed,
            _ => Reach::Silent,
        };
        text.chars().map(reach).collect()
    }

    fn servers(text: &str) -> Vec<(IpAddr, Reach)> {
        let reaches = reaches(text).into_iter().zip(2_u8..);
        reaches.map(|(reach, last)| (IpAddr::from([10, 0, 0, last]), reach)).collect()
    }

    #[test]
    fn glibc_waits_as_long_as_was_measured_with_the_real_one() {
        let check = |servers: &str, text: &str, expect: &[Wait]| {
            assert_eq!(options(text).glibc(&reaches(servers)), expect, "{servers} {text}");
        };
        let answered = |seconds| Wait::Answered(Duration::from_secs(seconds));
        let unanswered = |seconds| Wait::Unanswered(Duration::from_secs(seconds));
        // measured with glibc 2.36, packets dropped
        check(".a", "", &[answered(5)]);
        check("..a", "", &[answered(8)]);
        check("...", "", &[unanswered(28)]);
        check("...a", "", &[unanswered(28)]);
        check("...", "timeout:1 attempts:1", &[unanswered(3)]);
        check("..a", "timeout:1 attempts:2", &[answered(2)]);
        // by its source
        check("a..", "", &[answered(0)]);
        check("c.a", "timeout:1", &[answered(1)]);
        check("c", "", &[unanswered(0)]);
        check(".", "", &[unanswered(10)]);
        check(".a", "timeout:99 attempts:99", &[answered(30)]);
        check(".", "timeout:0 attempts:9", &[unanswered(5)]);
        check(".a", "timeout:1 timeout:3", &[answered(3)]);
        check(".aa", "rotate", &[answered(5), answered(0), answered(0)]);
        check("..a", "rotate timeout:3", &[answered(5), answered(2), answered(0)]);
        check("", "", &[]);
        check("", "rotate", &[]);
    }

    #[test]
    fn go_waits_for_each_server_in_turn_as_long() {
        let check = |servers: &str, text: &str, expect: &[Wait]| {
            assert_eq!(options(text).go(&reaches(servers)), expect, "{servers} {text}");
        };
        let answered = |seconds| Wait::Answered(Duration::from_secs(seconds));
        let unanswered = |seconds| Wait::Unanswered(Duration::from_secs(seconds));
        // by its source
        check(".a", "", &[answered(5)]);
        check("..a", "timeout:1", &[answered(2)]);
        check("...", "", &[unanswered(30)]);
        check("c.a", "timeout:0", &[answered(1)]);
        check("...a", "timeout:1 attempts:2", &[unanswered(6)]);
        check("..", "timeout:18446744073709551615 attempts:99999999999", &[unanswered(u64::MAX)]);
        check(".aa", "rotate", &[answered(5), answered(0), answered(0)]);
        check("", "rotate", &[]);
    }

    #[test]
    fn musl_asks_all_at_once_and_gives_up_after_its_timeout() {
        let check = |servers: &str, text: &str, expect: Wait| {
            assert_eq!(options(text).musl(&reaches(servers)), expect, "{servers} {text}");
        };
        check(".a", "", Wait::Answered(Duration::ZERO));
        check("..a", "timeout:9", Wait::Answered(Duration::ZERO));
        check("...", "", Wait::Unanswered(Duration::from_secs(5)));
        check("...a", "timeout:1", Wait::Unanswered(Duration::from_secs(1)));
        check("c", "timeout:99", Wait::Unanswered(Duration::from_secs(60)));
    }

    #[test]
    fn the_first_server_is_judged_by_what_its_death_costs() {
        let check = |text: &str, set: &str, readers: Readers, verdict: Verdict, words: &str| {
            let finding =
                first_server(&servers(text), options(set), readers, Setter::Agent, &[]).unwrap();
            assert_eq!(finding.verdict, verdict, "{finding:?}");
            assert!(finding.finding.contains(words), "{words}: {finding:?}");
            assert_eq!(finding.remedy.is_empty(), verdict == Verdict::Fine, "{finding:?}");
        };
        let (programs, resolved) = (Readers::Programs, Readers::SystemdResolved);
        let quick = "timeout:1 attempts:2";
        check(
            "aa",
            quick,
            programs,
            Verdict::Fine,
            "if it were dead, each look-up would wait: glibc 1 s, musl 0 s",
        );
        check("aa", "", programs, Verdict::Note, "glibc 5 s, musl 0 s");
        check("aaa", "timeout:1 rotate", programs, Verdict::Fine, "glibc 1 s in 1 of 3 (`rotate`)");
        check(
            "a",
            quick,
            programs,
            Verdict::Note,
            "glibc 2 s, and then it fails, musl 1 s, and then it fails, Go 2 s, and then it fails",
        );
        check(
            ".a",
            quick,
            programs,
            Verdict::Wrong,
            "10.0.0.2 is silent; each look-up waits: glibc 1 s",
        );
        check(
            "ca",
            quick,
            programs,
            Verdict::Wrong,
            "10.0.0.2 has nobody listening; each look-up waits: glibc 0 s",
        );
        check("...", "", programs, Verdict::Wrong, "glibc 28 s, and then it fails, musl 5 s, and");
        check("a.", quick, programs, Verdict::Note, "and then it fails");
        check("aa", "", resolved, Verdict::Fine, "would wait: systemd-resolved 5 s");
        check("a", "", resolved, Verdict::Note, "systemd-resolved 5 s, and then it fails");
        check(".a", "", resolved, Verdict::Wrong, "systemd-resolved 5 s");
        let agent = Setter::Agent;
        assert_eq!(first_server(&[], options(""), programs, agent, &[]), None);
        let search = ["corp.internal".to_owned(), "ec2.internal".to_owned()];
        let finding =
            first_server(&servers(".a"), options(quick), programs, agent, &search).unwrap();
        assert!(finding.because.iter().any(|it| it.ends_with("up to 3 times that")));
        // What somebody else sets is not changed by our verbs and keys.
        let finding =
            first_server(&servers(".a"), options(""), programs, Setter::Other, &[]).unwrap();
        let is_ours = |remedy: &String| {
            remedy.contains("tagalong once") || remedy.contains("[resolver] options")
        };
        assert!(finding.remedy.len() == 2 && !finding.remedy.iter().any(is_ours), "{finding:?}");
    }

    #[test]
    fn lines_that_waste_a_place_or_are_never_read_are_told() {
        let check = |text: &str, expect: &[(Verdict, &str)]| {
            let findings = lines_of(&ResolvConf::parse(text.as_bytes()));
            let told = findings.iter().map(|it| (it.verdict, it.finding.as_str()));
            assert_eq!(told.collect::<Vec<_>>(), expect, "{text}");
        };
        check("", &[]);
        check("nameserver 10.0.0.2\nnameserver 10.0.0.3\nsearch a.b\n", &[]);
        check("nameserver fe80::1%eth0\n#nameserver 10.0.0.2\nnameserver 10.0.0.2\n", &[]);
        check(
            "nameserver 10.0.0.2\nnameserver 10.0.0.2\nnameserver 10.0.0.2\n",
            &[(Verdict::Wrong, "10.0.0.2 is named twice")],
        );
        check(
            "nameserver 10.0.0.2\nnameserver ns1.corp\n",
            &[(Verdict::Wrong, "`nameserver ns1.corp` is no address")],
        );
        check(
            "nameserver 10.0.0.2\nnameserver 10.0.0.3\nnameserver 10.0.0.4\nnameserver 10.0.0.5\nnameserver 10.0.0.6\n",
            &[(Verdict::Note, "10.0.0.5, 10.0.0.6 is never asked")],
        );
    }
}

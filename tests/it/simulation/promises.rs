//! What one pass may and must have done, judged by what the servers answered while it ran.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use tagalong::{
    agent::resolution::{Action, Resolved},
    core::{
        resolv_conf::{MARKER, ResolverPolicy},
        servers::{Health, NameServer},
    },
};

use super::{history::Kind, world::Pass};

/// Fails with a sentence when a promise is broken.
macro_rules! must {
    ($holds:expr, $($why:tt)*) => {
        if !$holds {
            return Err(format!($($why)*));
        }
    };
}
pub(super) use must;

/// One pass and all that it could know.
#[derive(Clone, Copy)]
pub(super) struct Seen<'a> {
    pub(super) kind: Kind,
    /// The servers to choose from.
    pub(super) list: &'a [NameServer],
    pub(super) fallback: &'a [NameServer],
    /// This host's zone; empty when it is not known.
    pub(super) zone: &'a str,
    pub(super) policy: &'a ResolverPolicy,
    /// Since when servers had been behind, before the pass.
    pub(super) behind: &'a BTreeMap<SocketAddr, u64>,
    /// The file before and after.
    pub(super) before: &'a [u8],
    pub(super) after: &'a [u8],
    /// Whether whoever owns the file did what it was told, and nobody else wrote meanwhile.
    pub(super) undisturbed: bool,
    pub(super) pass: &'a Pass,
    /// `None` when it was killed.
    pub(super) outcome: Option<&'a Resolved>,
}

/// A server's place: what speaks against it, whether it stands in another zone. The order of equals is the ranking's own affair.
type Place = (u8, bool);

/// What the servers' answers call for.
#[derive(Debug)]
pub(super) enum Call {
    /// The best of these, which serve.
    Serving(Vec<(Place, IpAddr)>),
    /// What stands there answers, and nothing serves.
    Leave,
    /// These are used until one serves.
    Fallback(Vec<IpAddr>),
    /// Nobody answers but by refusing or failing.
    Unwilling(Vec<IpAddr>),
    /// Nothing is better than what stands there.
    Nothing,
}

/// How long a server may be behind.
pub(super) const STALE: Duration = Duration::from_secs(600);

impl Seen<'_> {
    /// Judges the pass, and says which promise it broke.
    pub(super) fn judge(&self) -> Result<(), String> {
        let Some(read) = &self.pass.read else {
            must!(self.pass.replaced.is_none(), "what could not be read was replaced");
            return Ok(());
        };
        let in_use = nameservers(read);
        let call = self.call(read, &in_use);
        if let Some((before, after)) = &self.pass.replaced {
            let may = self.applies(read, &in_use);
            must!(may, "it wrote, and was asked only to say what it would write");
            let set = nameservers(after);
            self.is_no_worse(read, &in_use, &set)?;
            keeps_lines(before, after, self.policy)?;
            fits(&set, &call).map_err(|why| format!("it wrote {set:?}: {why}; {call:?}"))?;
        } else if self.undisturbed {
            must!(self.before == self.after, "the file changed, and nobody wrote it");
        }
        let Some(outcome) = self.outcome else { return Ok(()) };
        if self.undisturbed {
            self.did_what_was_called_for(outcome, &in_use, &call)?;
        }
        if self.applies(read, &in_use) && matches!(outcome.action, Action::Written { .. }) {
            let stands = nameservers(self.after);
            must!(stands == outcome.in_use, "it says that it was set, and {stands:?} stands there");
        }
        if outcome.action == Action::Failed {
            must!(!outcome.failures.is_empty(), "it failed, and says no word of why");
        }
        if outcome.is_managed() {
            let lives = outcome.in_use.iter().any(|address| self.answers(address));
            must!(lives, "it keeps other programs away from servers of which none answers");
        }
        Ok(())
    }

    /// Whether it may set the resolver: in a fight only where none of the other's servers lives.
    fn applies(&self, read: &[u8], in_use: &[IpAddr]) -> bool {
        let lives = || is_scoped(read) || in_use.iter().any(|one| self.answered_first(one));
        self.kind.applies() || (self.kind == Kind::Learn && !lives())
    }

    /// The broad promises about what was written, whatever led to it.
    fn is_no_worse(&self, read: &[u8], in_use: &[IpAddr], set: &[IpAddr]) -> Result<(), String> {
        let written = self.pass.replaced.iter().flat_map(|(_, after)| words(after)).count();
        must!((1..=3).contains(&written), "{written} servers were written");
        must!(written == set.len(), "what was written is not what is read");
        let distinct = set.iter().collect::<BTreeSet<_>>().len();
        must!(distinct == set.len(), "a server was written twice: {set:?}");
        let from_fallback = set.iter().filter(|address| holds(self.fallback, address)).count();
        must!(
            from_fallback == 0 || from_fallback == set.len(),
            "the fallback was mixed with others: {set:?}"
        );
        let lives = set.iter().any(|address| self.answers(address));
        let was_alive = in_use.iter().any(|address| self.answered_first(address));
        must!(lives || !(was_alive || is_scoped(read)), "a living list was replaced by {set:?}");
        let might = self.list.iter().any(|server| self.serves(&server.address.ip(), in_use))
            || self.fallback.iter().any(|server| self.answers(&server.address.ip()));
        must!(lives || !might, "a server lived, and {set:?} was written");
        Ok(())
    }

    fn did_what_was_called_for(
        &self,
        outcome: &Resolved,
        in_use: &[IpAddr],
        call: &Call,
    ) -> Result<(), String> {
        let after = nameservers(self.after);
        match &outcome.action {
            Action::Written { .. }
                if self.pass.read.as_ref().is_some_and(|read| self.applies(read, in_use)) =>
            {
                must!(self.pass.replaced.is_some(), "it says that it wrote, and did not");
            }
            // It only says what it would do.
            Action::Written { .. } => {
                let wanted = outcome.wanted.as_ref().map(|wanted| wanted.nameservers.clone());
                fits(&wanted.unwrap_or_else(|| outcome.in_use.clone()), call)?;
            }
            Action::Unchanged => {
                fits(&after, call).map_err(|why| format!("it did not write: {why}; {call:?}"))?;
                must!(self.after.starts_with(MARKER.as_bytes()), "nothing says whose the file is");
            }
            Action::Kept("a better order must be wanted twice") => {
                must!(self.kind.follows(), "it waits for what it will not remember");
                let Call::Serving(ranked) = call else {
                    return Err(format!("it waits, and nothing serves: {call:?}"));
                };
                must!(is_mere_order(in_use, ranked), "it waits with {in_use:?}; {ranked:?}");
            }
            Action::Kept("another program keeps changing it") => {
                must!(self.kind == Kind::Learn, "nobody said that it is left to another program");
                let read = self.pass.read.as_deref().unwrap_or_default();
                let could = outcome.wanted.is_some() && self.applies(read, in_use);
                must!(!could, "dead servers were left to another program");
            }
            Action::Kept(why) => must!(
                matches!(call, Call::Leave | Call::Nothing),
                "it kept the file, `{why}`; {call:?}"
            ),
            Action::Failed | Action::Unmanaged => {
                return Err(format!("it failed: {:?}", outcome.failures));
            }
        }
        Ok(())
    }

    /// What the answers call for.
    pub(super) fn call(&self, read: &[u8], in_use: &[IpAddr]) -> Call {
        let mut ranked = Vec::new();
        for server in self.list {
            let address = server.address.ip();
            if self.serves(&address, in_use) && ranked.iter().all(|(_, known)| *known != address) {
                ranked.push((self.place(server, in_use), address));
            }
        }
        ranked.sort();
        if !ranked.is_empty() {
            return Call::Serving(ranked);
        }
        // Those in use are asked once more before they are left.
        let answered =
            |address: &IpAddr| self.answers_of(address).iter().take(2).any(Health::answers);
        if is_scoped(read) || in_use.iter().any(answered) {
            return Call::Leave;
        }
        let living = |servers: &[NameServer], fits: &dyn Fn(&IpAddr) -> bool| {
            let all = servers.iter().map(|server| server.address.ip());
            all.filter(fits).collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>()
        };
        let fallback = living(self.fallback, &|address| self.answers(address));
        if !fallback.is_empty() {
            return Call::Fallback(fallback);
        }
        let unwilling = living(self.list, &|address| {
            matches!(self.judged(address, in_use), Some(Health::Unwilling { .. }))
        });
        if unwilling.is_empty() { Call::Nothing } else { Call::Unwilling(unwilling) }
    }

    fn place(&self, server: &NameServer, in_use: &[IpAddr]) -> Place {
        let address = server.address.ip();
        let Some(Health::Alive(answer)) = self.judged(&address, in_use) else {
            return (u8::MAX, true);
        };
        let is_stale = self.is_behind(&address, in_use) && {
            // From when it was first seen, but for a clock that was set back.
            let told = self.pass.told;
            let since = self.behind.get(&server.address).map_or(told, |since| told.min(*since));
            told - since >= STALE.as_secs()
        };
        let is_impaired = is_stale || !answer.is_authoritative || answer.over_tcp == Some(false);
        let burden = if server.is_draining { 2 } else { u8::from(is_impaired) };
        let is_elsewhere = server.availability_zone.as_deref() != Some(self.zone);
        (burden, is_elsewhere)
    }

    /// Whether another authority has a newer serial (RFC 1982 section 3.2).
    fn is_behind(&self, address: &IpAddr, in_use: &[IpAddr]) -> bool {
        let serial = |address: &IpAddr| match self.judged(address, in_use) {
            Some(Health::Alive(answer)) if answer.is_authoritative => Some(answer.serial),
            _ => None,
        };
        let Some(ours) = serial(address) else { return false };
        let asked = self.list.iter().map(|server| server.address.ip());
        let mut others = asked.chain(in_use.iter().copied()).filter_map(|other| serial(&other));
        others.any(|other| other.wrapping_sub(ours).cast_signed() > 0)
    }

    /// A server that is new must have answered twice.
    fn serves(&self, address: &IpAddr, in_use: &[IpAddr]) -> bool {
        let answers = self.answers_of(address);
        let needed = if in_use.contains(address) { 1 } else { 2 };
        answers.len() >= needed
            && answers[..needed].iter().all(|health| matches!(health, Health::Alive(_)))
    }

    /// What an address is taken for after it was asked once, or twice.
    fn judged(&self, address: &IpAddr, in_use: &[IpAddr]) -> Option<&Health> {
        match self.answers_of(address) {
            [first, second, ..] if !in_use.contains(address) => {
                Some(if matches!(second, Health::Alive(_)) { first } else { second })
            }
            answers => answers.first(),
        }
    }

    fn answered_first(&self, address: &IpAddr) -> bool {
        self.answers_of(address).first().is_some_and(Health::answers)
    }

    /// Whether it answered when it was asked last.
    fn answers(&self, address: &IpAddr) -> bool {
        self.answers_of(address).last().is_some_and(Health::answers)
    }

    fn answers_of(&self, address: &IpAddr) -> &[Health] {
        self.pass.answers.get(address).map_or(&[], Vec::as_slice)
    }
}

/// Whether a list is what is called for.
fn fits(set: &[IpAddr], call: &Call) -> Result<(), String> {
    let all_of = |all: &[IpAddr]| {
        let known = set.iter().all(|address| all.contains(address));
        known && set.len() == all.len().min(3)
    };
    match call {
        Call::Serving(ranked) => best_of(set, ranked),
        Call::Fallback(all) if all_of(all) => Ok(()),
        Call::Unwilling(all) if all_of(all) => Ok(()),
        _ => Err("that is not called for".to_owned()),
    }
}

/// Whether a list has the best of those that serve, at most three, in order; equals may stand in any order.
pub(super) fn best_of<K: Ord + Copy>(set: &[IpAddr], ranked: &[(K, IpAddr)]) -> Result<(), String> {
    must!(set.len() == ranked.len().min(3), "not all that serve are there");
    let key = |address| ranked.iter().find(|(_, known)| known == address).map(|(key, _)| *key);
    let keys = set.iter().map(key).collect::<Option<Vec<_>>>().ok_or("one does not serve")?;
    must!(keys.is_sorted(), "the order is wrong");
    let mut left = ranked.iter().filter(|(_, address)| !set.contains(address));
    must!(left.all(|(key, _)| Some(key) >= keys.last()), "a better one was left out");
    Ok(())
}

/// Whether the servers in use are the best already, none before a sounder one.
pub(super) fn is_mere_order(in_use: &[IpAddr], ranked: &[(Place, IpAddr)]) -> bool {
    let mut best = in_use.iter().copied().collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>();
    let place = |address: &IpAddr| ranked.iter().find(|(_, known)| known == address).map(|it| it.0);
    best.sort_by_key(place);
    let places = in_use.iter().map(place).collect::<Option<Vec<_>>>();
    best_of(&best, ranked).is_ok()
        && places.is_some_and(|places| places.is_sorted_by_key(|(burden, _)| *burden))
}

/// Lines that are not ours stand in the new file as in the old one, and so do options that the policy does not set.
pub(super) fn keeps_lines(
    before: &[u8],
    after: &[u8],
    policy: &ResolverPolicy,
) -> Result<(), String> {
    let others = |content: &[u8]| {
        let ours = |line: &[u8]| {
            let keyword = line.split(|octet| b" \t".contains(octet)).next().unwrap_or_default();
            let is_setting = keyword.len() < line.len();
            line == MARKER.as_bytes()
                || is_setting
                    && match keyword {
                        b"nameserver" => true,
                        b"search" | b"domain" => !policy.search.is_empty(),
                        b"options" => !policy.options.is_empty(),
                        _ => false,
                    }
        };
        let content = content.strip_suffix(b"\n").unwrap_or(content);
        let lines = content.split(|octet| *octet == b'\n').filter(|line| !ours(line));
        lines.map(<[u8]>::to_vec).collect::<Vec<_>>()
    };
    let kept = others(after);
    let due = if before.is_empty() { Vec::new() } else { others(before) };
    must!(kept == due, "lines of others were lost: {due:?} became {kept:?}");
    let options = |content: &[u8]| {
        let text = String::from_utf8_lossy(content).into_owned();
        let lines = text.lines().filter_map(|line| line.strip_prefix("options "));
        lines.flat_map(|line| line.split(' ').map(str::to_owned).collect::<Vec<_>>()).collect()
    };
    let (was, is): (BTreeSet<String>, BTreeSet<String>) = (options(before), options(after));
    let stem = |option: &str| option.split(':').next().unwrap_or_default().to_owned();
    let set = policy.options.iter().map(|option| stem(option)).collect::<BTreeSet<_>>();
    for option in was.iter().filter(|option| !set.contains(&stem(option))) {
        let is_comment = option.contains(['#', ';']);
        must!(is_comment || is.contains(option), "the option {option} of others was lost");
    }
    Ok(())
}

/// The servers that resolv.conf(5) makes of a file.
pub(super) fn nameservers(content: &[u8]) -> Vec<IpAddr> {
    words(content).filter_map(|word| word.split('%').next()?.parse().ok()).take(3).collect()
}

/// Whether there is a server that only the resolver itself can ask.
fn is_scoped(content: &[u8]) -> bool {
    words(content).any(|word| {
        word.split_once('%').is_some_and(|(address, _)| address.parse::<IpAddr>().is_ok())
    })
}

fn words(content: &[u8]) -> impl Iterator<Item = String> {
    content.split(|octet| *octet == b'\n').filter_map(|line| {
        let rest = line.strip_prefix(b"nameserver")?;
        rest.first().filter(|octet| b" \t".contains(octet))?;
        let text = String::from_utf8_lossy(rest).into_owned();
        let text = text.split(['#', ';']).next().unwrap_or_default();
        text.split_ascii_whitespace().next().map(str::to_owned)
    })
}

fn holds(servers: &[NameServer], address: &IpAddr) -> bool {
    servers.iter().any(|server| server.address.ip() == *address)
}

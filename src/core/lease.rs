//! What a DHCP client says about a lease, in dhclient-script(8)'s words. A lease says when to look, never what is true:
//! addresses come from the metadata service.

use std::{fmt, net::IpAddr, str::FromStr};

/// Why the client called its script (dhclient-script(8), "OPERATION"; the IPv6 forms end in `6`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// A new binding.
    Bound,
    /// The binding was renewed by its server.
    Renew,
    /// The binding was renewed by another server.
    Rebind,
    /// The old binding is good after a reboot.
    Reboot,
    /// The binding ended without renewal.
    Expire,
    /// No server could be found, and no recorded lease is good.
    Fail,
    /// The binding was given back.
    Release,
    /// The client stops without giving the binding back.
    Stop,
    /// No server could be found; a recorded lease is tried.
    Timeout,
}

impl Reason {
    /// What it says about the interface's address.
    #[must_use]
    pub fn meaning(self) -> Meaning {
        match self {
            Self::Bound | Self::Rebind | Self::Reboot | Self::Timeout => Meaning::Held,
            Self::Renew => Meaning::Renewed,
            Self::Expire | Self::Fail | Self::Release | Self::Stop => Meaning::Lost,
        }
    }
}

/// What a reason says about the interface's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// The interface has the new address.
    Held,
    /// The interface keeps its address; only if it changed all the same is there anything to do.
    Renewed,
    /// The interface has lost the old address.
    Lost,
}

impl FromStr for Reason {
    type Err = UnknownReason;

    fn from_str(text: &str) -> Result<Self, UnknownReason> {
        let known = |(word, _): &&(&str, Self)| *word == text.strip_suffix('6').unwrap_or(text);
        REASONS.iter().find(known).map(|(_, reason)| *reason).ok_or(UnknownReason)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = REASONS.iter().find(|(_, reason)| reason == self);
        f.write_str(word.map_or("", |(word, _)| word))
    }
}

/// A reason that has nothing to do with an address that is held or lost: `PREINIT`, `MEDIUM`, `ARPSEND`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownReason;

/// One call of the client's script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Why.
    pub reason: Reason,
    /// The kernel's name of the interface.
    pub interface: String,
    /// `new_ip_address`, `new_ip6_address`
    pub new_address: Option<IpAddr>,
    /// `old_ip_address`, `old_ip6_address`
    pub old_address: Option<IpAddr>,
}

impl Lease {
    /// The address that the interface has by it.
    #[must_use]
    pub fn held(&self) -> Option<IpAddr> {
        match self.reason.meaning() {
            Meaning::Held | Meaning::Renewed => self.new_address,
            Meaning::Lost => None,
        }
    }

    /// The address that the interface had, and has no more.
    #[must_use]
    pub fn lost(&self) -> Option<IpAddr> {
        match self.reason.meaning() {
            Meaning::Lost => self.old_address,
            Meaning::Held | Meaning::Renewed => {
                self.old_address.filter(|old| self.new_address.is_some_and(|new| new != *old))
            }
        }
    }

    /// The address of an earlier lease that was tried: the interface has it only if it works there.
    #[must_use]
    pub fn tried(&self) -> Option<IpAddr> {
        self.new_address.filter(|_| self.reason == Reason::Timeout)
    }

    /// This end of all attempts, which names no address, after what was reported before: what the interface had is lost.
    #[must_use]
    pub fn after(self, before: &Self) -> Self {
        let old_address = self.old_address.or(before.new_address).or(before.old_address);
        Self { old_address, ..self }
    }

    /// Whether nothing can have changed: a renewal of the same address.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.reason.meaning() == Meaning::Renewed && self.lost().is_none()
    }

    /// Reads what a hook left: lines `word=value`, the last of them `end`. `None` for half a report, and for one that is
    /// about no address.
    #[must_use]
    pub fn parse(report: &str) -> Option<Self> {
        let lines = report.strip_suffix("end\n")?.lines();
        let pairs = lines.filter_map(|line| line.split_once('=')).collect::<Vec<_>>();
        let word =
            |name: &str| pairs.iter().find(|(word, _)| *word == name).map(|(_, value)| *value);
        let interface = word("interface").filter(|name| is_interface(name))?;
        Some(Self {
            reason: word("reason")?.parse().ok()?,
            interface: interface.to_owned(),
            new_address: word("new").and_then(|text| text.parse().ok()),
            old_address: word("old").and_then(|text| text.parse().ok()),
        })
    }

    /// What [`parse`](Self::parse) reads.
    #[must_use]
    pub fn render(&self) -> String {
        let text = |address: Option<IpAddr>| address.map(|one| one.to_string()).unwrap_or_default();
        let Self { reason, interface, new_address, old_address } = self;
        let (new, old) = (text(*new_address), text(*old_address));
        format!("reason={reason}\ninterface={interface}\nnew={new}\nold={old}\nend\n")
    }
}

impl fmt::Display for Lease {
    /// `BOUND of eth0: 10.0.1.23`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.reason, self.interface)?;
        match (self.held(), self.lost()) {
            (Some(new), Some(old)) => write!(f, ": {old} → {new}"),
            (Some(new), None) => write!(f, ": {new}"),
            (None, Some(old)) => write!(f, ": {old} is lost"),
            (None, None) => Ok(()),
        }
    }
}

/// Whether the kernel would take it as the name of an interface (`dev_valid_name`).
fn is_interface(name: &str) -> bool {
    !name.is_empty()
        && name.len() < 16
        && !matches!(name, "." | "..")
        && !name.contains(|c: char| c == '/' || c == ':' || c.is_whitespace())
}

const REASONS: [(&str, Reason); 9] = [
    ("BOUND", Reason::Bound),
    ("RENEW", Reason::Renew),
    ("REBIND", Reason::Rebind),
    ("REBOOT", Reason::Reboot),
    ("EXPIRE", Reason::Expire),
    ("FAIL", Reason::Fail),
    ("RELEASE", Reason::Release),
    ("STOP", Reason::Stop),
    ("TIMEOUT", Reason::Timeout),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(reason: &str, new: &str, old: &str) -> Lease {
        Lease::parse(&format!("reason={reason}\ninterface=eth0\nnew={new}\nold={old}\nend\n"))
            .unwrap()
    }

    fn check(reason: &str, new: &str, old: &str, held: &str, lost: &str) {
        let lease = lease(reason, new, old);
        let text = |address: Option<IpAddr>| address.map(|one| one.to_string()).unwrap_or_default();
        assert_eq!(
            (text(lease.held()).as_str(), text(lease.lost()).as_str()),
            (held, lost),
            "{reason}"
        );
    }

    #[test]
    fn a_report_says_which_address_is_held_and_which_is_lost() {
        check("BOUND", "10.0.0.2", "", "10.0.0.2", "");
        check("BOUND", "10.0.0.2", "10.0.0.1", "10.0.0.2", "10.0.0.1");
        check("REBOOT", "10.0.0.2", "", "10.0.0.2", "");
        check("RENEW", "10.0.0.2", "10.0.0.2", "10.0.0.2", "");
        check("EXPIRE", "", "10.0.0.1", "", "10.0.0.1");
        check("RELEASE", "", "10.0.0.1", "", "10.0.0.1");
        check("STOP", "", "10.0.0.1", "", "10.0.0.1");
        check("FAIL", "", "", "", "");
        check("BOUND6", "2001:db8::2", "", "2001:db8::2", "");
        check("EXPIRE6", "", "2001:db8::2", "", "2001:db8::2");
    }

    #[test]
    fn only_a_renewal_of_the_same_address_is_idle() {
        assert!(lease("RENEW", "10.0.0.2", "10.0.0.2").is_idle());
        assert!(!lease("RENEW", "10.0.0.2", "10.0.0.1").is_idle());
        assert!(!lease("REBIND", "10.0.0.2", "10.0.0.2").is_idle());
        assert!(!lease("BOUND", "10.0.0.2", "").is_idle());
    }

    #[test]
    fn half_a_report_and_nonsense_are_none() {
        for text in [
            "",
            "reason=BOUND\ninterface=eth0\n",
            "reason=PREINIT\ninterface=eth0\nend\n",
            "reason=BOUND\ninterface=../x\nend\n",
            "reason=BOUND\nend\n",
            "interface=eth0\nend\n",
        ] {
            assert_eq!(Lease::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn what_is_rendered_is_parsed() {
        let lease = lease("EXPIRE", "", "10.0.0.1");
        assert_eq!(Lease::parse(&lease.render()), Some(lease));
    }
}

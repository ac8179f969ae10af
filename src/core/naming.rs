//! Which names this host should have: facts and policy to wanted records, with reasons.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
};

use super::{
    address::{AddressKind, AddressSelector},
    facts::{Details, Facts, TagSource},
    name::{Name, NameError},
    reason::Reason,
    rrset::Rdata,
    template::Template,
};

/// What one `[[record]]` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordPolicy {
    /// The name's template.
    pub name: Template,
    /// Which of the instance's addresses the name stands for.
    pub addresses: Vec<AddressSelector>,
    /// Seconds.
    pub ttl: u32,
    /// Whether PTR records are written as well.
    pub reverse: Reverse,
    /// What is done where the name is not ours to take.
    pub conflict: Conflict,
    /// Whether many hosts have the name, each for its own addresses.
    pub shared: bool,
    /// The backend that the record is published by.
    pub backend: String,
}

/// What is done where a name is another instance's, or somebody's whom we do not know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Conflict {
    /// It is left alone.
    #[default]
    Refuse,
    /// It is taken over from an instance that EC2 says is gone.
    TakeOverIfGone,
    /// The next free one of `web-1-2`, `web-1-3`, … is taken in its place.
    Suffix,
}

/// When PTR records are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reverse {
    /// Always; a reverse zone that nobody serves is a failure.
    Always,
    /// Where a zone of the backend holds the reverse name; otherwise it is said, and it is no failure.
    IfServed,
    /// Never.
    Never,
}

/// What should stand at one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Seconds.
    pub ttl: u32,
    /// A and AAAA records, or PTR records.
    pub values: BTreeSet<Rdata>,
    /// Whether it is a failure that no zone holds the name.
    pub reverse: Reverse,
    /// What is done where it is not ours to take.
    pub conflict: Conflict,
    /// Whether others add their own values.
    pub shared: bool,
    /// Why.
    pub because: Vec<Reason>,
}

/// Wanted names of each backend.
pub type Desired = BTreeMap<String, BTreeMap<Name, Wish>>;

/// What a host should have, as far as it can be said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// The names that can be made, each whole.
    pub desired: Desired,
    /// The records that cannot, or not yet.
    pub failed: Vec<NamingError>,
}

/// Works out the names that a host with these facts should have. A record that cannot be made stands in no other's way; a
/// name that another record would add to is left out with it, since half of it is not what was asked for.
#[must_use]
pub fn desire(policies: &[RecordPolicy], facts: &Facts) -> Wishes {
    let mut wishes = Wishes::default();
    let mut has_ptr = BTreeSet::new();
    let mut halves = Vec::new();
    for policy in policies {
        let name = match policy.name.render(facts) {
            Ok(name) => name,
            Err(error) => {
                // What its addresses point back to is not known, either: no other record's name takes that place meanwhile.
                let chosen = choose(policy, facts, &mut Vec::new());
                has_ptr.extend(
                    chosen.into_iter().map(|(address, _)| (policy.backend.clone(), address)),
                );
                wishes.failed.push(error);
                continue;
            }
        };
        if policy.addresses.iter().any(AddressSelector::needs_details)
            && !matches!(facts.details, Details::Told(_))
        {
            halves.push((policy.backend.as_str(), name.clone()));
            wishes.failed.push(NamingError::NoDetails { name });
            continue;
        }
        let mut because = vec![Reason::Template(policy.name.to_string())];
        let mut chosen = choose(policy, facts, &mut because);
        let selected = chosen.len();
        chosen.retain(|(address, _)| !facts.lost.contains(address));
        if selected > 0 && chosen.is_empty() {
            // A name stands for no address that nobody answers at.
            continue;
        }
        if chosen.iter().any(|(address, _)| !facts.discouraged.contains(address)) {
            chosen.retain(|(address, _)| !facts.discouraged.contains(address));
        }
        if chosen.is_empty() {
            halves.push((policy.backend.as_str(), name.clone()));
            let selectors = policy.addresses.clone();
            wishes.failed.push(NamingError::NoAddress { name, selectors });
            continue;
        }
        let names = wishes.desired.entry(policy.backend.clone()).or_default();
        for (address, public) in &chosen {
            let reversible = policy.reverse != Reverse::Never && !public;
            if reversible && has_ptr.insert((policy.backend.clone(), *address)) {
                let wish = Wish {
                    ttl: policy.ttl,
                    values: BTreeSet::from([Rdata::Ptr(name.clone())]),
                    reverse: policy.reverse,
                    conflict: policy.conflict,
                    shared: false,
                    because: because.clone(),
                };
                names.insert(Name::reverse(*address), wish);
            }
        }
        let values = chosen.iter().map(|(address, _)| Rdata::address(*address));
        let wish = names.entry(name).or_insert_with(|| Wish {
            ttl: policy.ttl,
            values: BTreeSet::new(),
            reverse: Reverse::Never,
            conflict: policy.conflict,
            shared: policy.shared,
            because: Vec::new(),
        });
        wish.ttl = wish.ttl.min(policy.ttl);
        // Of two records of one name the more careful one counts.
        wish.conflict = wish.conflict.min(policy.conflict);
        wish.shared &= policy.shared;
        wish.values.extend(values);
        wish.because.extend(because);
    }
    for (backend, name) in halves {
        if let Some(names) = wishes.desired.get_mut(backend) {
            let pointer = Rdata::Ptr(name.clone());
            names.retain(|other, wish| *other != name && !wish.values.contains(&pointer));
        }
    }
    wishes
}

/// The addresses that a policy selects, each once, and whether it is a public one.
fn choose(policy: &RecordPolicy, facts: &Facts, because: &mut Vec<Reason>) -> Vec<(IpAddr, bool)> {
    let mut chosen = Vec::new();
    for selector in &policy.addresses {
        let found = selector.select(facts);
        if found.is_empty() {
            because.push(Reason::NothingSelected { selector: selector.to_string() });
        }
        for (address, device_number) in found {
            because.push(Reason::Selected {
                selector: selector.to_string(),
                address,
                device_number,
            });
            let public =
                matches!(selector.kind(), AddressKind::PublicIpv4 | AddressKind::ElasticIpv4);
            if chosen.iter().all(|(known, _)| *known != address) {
                chosen.push((address, public));
            }
        }
    }
    chosen
}

/// Why a name cannot be made. Nothing is published for a record that fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamingError {
    /// The template names a tag that the instance does not have (yet).
    MissingTag {
        /// The tag's key.
        tag: String,
        /// The template.
        template: String,
        /// Where tags were looked for.
        source: TagSource,
    },
    /// A tag's value has a character that no host name can hold.
    BadCharacter {
        /// The tag's key, or the placeholder.
        source: String,
        /// The whole value.
        value: String,
        /// The character.
        character: char,
    },
    /// A tag's value breaks another rule of host names.
    BadValue {
        /// The tag's key, or the placeholder.
        source: String,
        /// The whole value.
        value: String,
        /// The rule.
        why: LabelFault,
    },
    /// The whole name breaks a limit of the DNS.
    BadName {
        /// The template.
        template: String,
        /// What it became.
        text: String,
        /// The limit.
        why: NameError,
    },
    /// The fact that a placeholder stands for is not known.
    NoFact {
        /// The placeholder.
        placeholder: &'static str,
        /// The template.
        template: String,
    },
    /// What only EC2 tells of the interfaces decides, and EC2 has not told.
    NoDetails {
        /// The name.
        name: Name,
    },
    /// No address of the instance matches any selector.
    NoAddress {
        /// The name.
        name: Name,
        /// The selectors.
        selectors: Vec<AddressSelector>,
    },
}

/// A rule of host names that a value breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LabelFault {
    /// Nothing is left of it, or nothing stands between two dots.
    Empty,
    /// A label begins or ends with a hyphen.
    Hyphen(String),
    /// A label is longer than 63 octets.
    TooLong(String),
}

impl fmt::Display for LabelFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("a label would be empty"),
            Self::Hyphen(label) => write!(f, "label `{label}` begins or ends with a hyphen"),
            Self::TooLong(label) => {
                write!(f, "label `{label}` is {} octets long; 63 is the limit", label.len())
            }
        }
    }
}

impl fmt::Display for NamingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MissingTag { tag, template, source } => {
                write!(
                    f,
                    "the instance has no tag `{tag}`, which `{template}` needs (tags come from {source})"
                )
            }
            Self::BadCharacter { source, value, character } => write!(
                f,
                "the value `{}` of {source} cannot be part of a host name: character `{}` (U+{:04X})",
                value.escape_debug(),
                character.escape_debug(),
                u32::from(*character)
            ),
            Self::BadValue { source, value, why } => {
                write!(
                    f,
                    "the value `{}` of {source} cannot be part of a host name: {why}",
                    value.escape_debug()
                )
            }
            Self::BadName { template, text, why } => {
                write!(f, "`{template}` gives `{text}`, which is no domain name: {why}")
            }
            Self::NoFact { placeholder, template } => {
                write!(f, "`{{{placeholder}}}` of `{template}` is not known on this instance")
            }
            Self::NoDetails { name } => {
                write!(f, "EC2 has not told what the addresses of {name} hang on")
            }
            Self::NoAddress { name, selectors } => {
                let selectors = selectors.iter().map(ToString::to_string).collect::<Vec<_>>();
                write!(
                    f,
                    "the instance has no address for {name}: nothing matches `{}`",
                    selectors.join("`, `")
                )
            }
        }
    }
}

impl std::error::Error for NamingError {}

impl NamingError {
    /// Whether waiting can help: tags, and addresses, arrive late.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::MissingTag { .. }
                | Self::NoDetails { .. }
                | Self::NoAddress { .. }
                | Self::NoFact { .. }
        )
    }

    /// What the operator can do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::MissingTag { source: TagSource::Unavailable, .. } => {
                "turn on tags in instance metadata (`aws ec2 modify-instance-metadata-options \
                 --instance-id INSTANCE --instance-metadata-tags enabled`), or let the instance's role call ec2:DescribeTags"
            }
            Self::MissingTag { .. } => {
                "set the tag on the instance, or change the record's `name`; keys of tags are case sensitive"
            }
            Self::BadCharacter { .. } | Self::BadValue { .. } => {
                "a host name is made of letters, digits and hyphens; spaces and underscores become hyphens by themselves"
            }
            Self::BadName { .. } => "shorten the tag or the template",
            Self::NoFact { .. } => "use another placeholder",
            Self::NoDetails { .. } => "let the instance's role call ec2:DescribeNetworkInterfaces",
            Self::NoAddress { .. } => {
                "change the record's `addresses`, or give the instance such an address"
            }
        }
    }
}

#[cfg(test)]
#[path = "naming_tests.rs"]
mod tests;

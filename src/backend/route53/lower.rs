//! A change to a Route 53 `ChangeBatch`, and Route 53's record sets to records.
//!
//! Route 53 has no prerequisites. But a batch is a transaction, DELETE fails unless values and TTL are exactly those that
//! stand, and CREATE fails if anything does. So DELETE of what was read followed by CREATE of what is wanted is a compare
//! and swap, and the guards become:
//!
//! | guard          | in a batch                                                              |
//! |----------------|-------------------------------------------------------------------------|
//! | `NameNotInUse` | the swaps' own CREATEs: two hosts that race both create the marker      |
//! | `Unchanged`    | DELETE and CREATE of the same set                                       |
//! | `Absent`       | nothing: the only one is CNAME, which Route 53 itself never lets beside others |
//! | `Exists`       | nothing: a set of another routing policy beside ours is refused, and a simple one is read and swapped whole |
//!
//! Values of a shared set are swapped in the multivalue answer set that holds them, each host's its own; or, where all share one
//! simple set, in that, whole.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_route53::{
    error::BuildError,
    types::{Change, ChangeAction, ChangeBatch, ResourceRecord, ResourceRecordSet, RrType as Type},
};

use crate::core::{
    name::Name,
    plan::{Guard, RrsetSwap, Scope, ZoneChange},
    rrset::{Rdata, RrType, Rrset, RrsetKey},
};

/// The batch that carries out `change`; `put` is how it puts a set in the place of one that it deletes: CREATE, or UPSERT.
///
/// # Errors
/// A record set cannot be built; every one that a plan holds can.
pub(super) fn lower(
    change: &ZoneChange,
    put: &ChangeAction,
    shares: Option<Shares<'_>>,
) -> Result<ChangeBatch, BuildError> {
    let kept = change.guards.iter().filter_map(|guard| match guard {
        Guard::Unchanged(key, set) => Some((key, None, Some(set.clone()), Some(set.clone()))),
        Guard::NameNotInUse(_) | Guard::Absent(_) | Guard::Exists(_) => None,
    });
    let swapped = change.swaps.iter().flat_map(|swap| match (&swap.scope, shares) {
        (Scope::Values { remove, add }, Some(shares)) => shares.swaps(swap, remove, add),
        _ => vec![(&swap.key, None, swap.before.clone(), swap.after.clone())],
    });
    let mut batch = ChangeBatch::builder().comment("tagalong");
    for (key, member, before, after) in kept.chain(swapped) {
        // Where nothing stood, only CREATE sees whoever was faster.
        let put = if before.is_some() { put } else { &ChangeAction::Create };
        for (action, set) in [(&ChangeAction::Delete, before), (put, after)] {
            if let Some(set) = set {
                batch = batch.changes(
                    Change::builder()
                        .action(action.clone())
                        .resource_record_set(record_set(key, &set, member.as_deref())?)
                        .build()?,
                );
            }
        }
    }
    batch.build()
}

/// Multivalue answer sets, by name, type and identifier.
pub(super) type Groups = BTreeMap<(RrsetKey, String), Rrset>;

/// Who we are among hosts that share a name, and what each of them has there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shares<'a> {
    pub(super) member: &'a str,
    pub(super) groups: &'a Groups,
}

/// A set, whose it is in a multivalue group, and what it was and shall be.
type Part<'a> = (&'a RrsetKey, Option<String>, Option<Rrset>, Option<Rrset>);

impl Shares<'_> {
    /// The swaps of the sets that hold what goes, and of our own with what comes.
    fn swaps<'s>(
        self,
        swap: &'s RrsetSwap,
        remove: &BTreeSet<Rdata>,
        add: &BTreeSet<Rdata>,
    ) -> Vec<Part<'s>> {
        let ttl = swap.after.as_ref().map_or(0, |set| set.ttl);
        let ours = (swap.key.clone(), self.member.to_owned());
        let mut sets = self.groups.iter().filter(|((key, _), _)| *key == swap.key);
        let sets: BTreeMap<_, _> = sets.by_ref().map(|(group, set)| (group, Some(set))).collect();
        let mut sets = sets;
        sets.entry(&ours).or_insert(None);
        let parts = sets.into_iter().filter_map(|((_, member), before)| {
            let mut after = before.cloned().unwrap_or_else(|| Rrset::new(ttl, []));
            after.values.retain(|value| !remove.contains(value));
            if member == self.member {
                after.values.extend(add.iter().cloned());
            }
            let after = Some(after).filter(|set| !set.values.is_empty());
            let is_changed = before != after.as_ref();
            is_changed.then(|| (&swap.key, Some(member.clone()), before.cloned(), after))
        });
        parts.collect()
    }
}

fn record_set(
    key: &RrsetKey,
    set: &Rrset,
    member: Option<&str>,
) -> Result<ResourceRecordSet, BuildError> {
    let mut built = ResourceRecordSet::builder()
        .name(route53_name(&key.name))
        .r#type(Type::from(key.rtype.to_string().as_str()))
        .set_set_identifier(member.map(str::to_owned))
        .set_multi_value_answer(member.map(|_| true))
        .ttl(i64::from(set.ttl));
    for value in &set.values {
        built = built.resource_records(ResourceRecord::builder().value(value.to_string()).build()?);
    }
    built.build()
}

/// A name with its octets outside letters, digits, `-` and `_` as octal escapes, which is how Route 53 writes them.
#[must_use]
pub(super) fn route53_name(name: &Name) -> String {
    let labels = name.wire_labels().map(|label| {
        label.iter().fold(String::new(), |text, octet| match octet {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => format!("{text}{}", char::from(*octet)),
            _ => format!("{text}\\{octet:03o}"),
        })
    });
    labels.fold(String::new(), |text, label| format!("{text}{label}."))
}

/// A name as Route 53 writes it; `None` when it is none.
#[must_use]
pub(super) fn name_of(text: &str) -> Option<Name> {
    let mut labels = Vec::new();
    for label in text.trim_end_matches('.').split('.') {
        let mut octets = Vec::new();
        let mut rest = label;
        while let Some(first) = rest.chars().next() {
            let octal = rest
                .strip_prefix('\\')
                .and_then(|escape| u8::from_str_radix(escape.get(..3)?, 8).ok());
            let taken = if let Some(octet) = octal {
                octets.push(octet);
                4
            } else {
                octets.extend(first.to_string().bytes());
                first.len_utf8()
            };
            rest = rest.get(taken..).unwrap_or_default();
        }
        labels.push(octets);
    }
    Name::from_labels(labels).ok()
}

/// What stands at a name, as far as it is an ordinary record set; anything else (an alias target, a routing policy) becomes
/// a value of a type that we do not know, so that the name counts as somebody's. Of a set in a multivalue group its identifier too.
#[must_use]
pub(super) fn rrset_of(set: &ResourceRecordSet) -> Option<(RrsetKey, Rrset, Option<String>)> {
    let name = name_of(set.name())?;
    let rtype = set.r#type().as_str();
    let is_member = set.multi_value_answer() == Some(true) && set.health_check_id().is_none();
    let member = set.set_identifier().filter(|_| is_member).map(str::to_owned);
    let plain =
        set.alias_target().is_none() && (member.is_some() || set.set_identifier().is_none());
    let values = set.resource_records().iter().map(|record| rdata(rtype, record.value()));
    let values = if plain { values.collect::<Option<Vec<_>>>() } else { None };
    let ttl = set.ttl().and_then(|ttl| u32::try_from(ttl).ok()).unwrap_or_default();
    let values =
        values.filter(|values| !values.is_empty()).unwrap_or_else(|| vec![unknown(rtype, set)]);
    let key = RrsetKey::new(name, values.first().map_or(RrType::Other(0), Rdata::rtype));
    let member = member.filter(|_| plain);
    Some((key, Rrset::new(ttl, values), member))
}

fn rdata(rtype: &str, value: &str) -> Option<Rdata> {
    match rtype {
        "A" => value.parse().ok().map(Rdata::A),
        "AAAA" => value.parse().ok().map(Rdata::Aaaa),
        "PTR" => name_of(value).map(Rdata::Ptr),
        "CNAME" => name_of(value).map(Rdata::Cname),
        "TXT" => strings(value).map(Rdata::Txt),
        _ => None,
    }
}

/// A set of a type or a form that we do not write: opaque, under a number that no plan touches.
fn unknown(rtype: &str, set: &ResourceRecordSet) -> Rdata {
    let number = match rtype {
        "CNAME" => 5,
        "MX" => 15,
        "NS" => 2,
        "SOA" => 6,
        "SRV" => 33,
        "CAA" => 257,
        _ => PRIVATE_TYPE,
    };
    let text = format!("{rtype} {:?}", set.set_identifier());
    Rdata::Other { rtype: number, octets: text.into_bytes() }
}

/// The character strings of a TXT value: quoted, `\"` and `\\` and `\ooo` inside.
fn strings(value: &str) -> Option<Vec<Vec<u8>>> {
    let mut strings = Vec::new();
    let mut rest = value.trim();
    while let Some(mut inner) = rest.strip_prefix('"') {
        let mut octets = Vec::new();
        loop {
            let first = inner.chars().next()?;
            inner = inner.get(first.len_utf8()..)?;
            match first {
                '"' => break,
                '\\' => {
                    if let Some(octet) =
                        inner.get(..3).and_then(|octal| u8::from_str_radix(octal, 8).ok())
                    {
                        octets.push(octet);
                        inner = inner.get(3..)?;
                    } else {
                        let escaped = inner.chars().next()?;
                        octets.extend(escaped.to_string().bytes());
                        inner = inner.get(escaped.len_utf8()..)?;
                    }
                }
                other => octets.extend(other.to_string().bytes()),
            }
        }
        strings.push(octets);
        rest = inner.trim_start();
    }
    (rest.is_empty() && !strings.is_empty()).then_some(strings)
}

/// From the range for private use (RFC 6895 section 3.1).
const PRIVATE_TYPE: u16 = 65280;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::reason::Reason;

    fn set(last: u8) -> Rrset {
        Rrset::new(60, [Rdata::A([10, 0, 0, last].into())])
    }

    #[test]
    fn a_swap_is_delete_exact_and_create_under_the_marker() {
        let expected = [
            r#"DELETE a.x. TXT 30 "m \"1\"""#,
            r#"CREATE a.x. TXT 30 "m \"1\"""#,
            "DELETE a.x. A 60 10.0.0.1",
            "CREATE a.x. A 60 10.0.0.2",
            "CREATE b.x. A 60 10.0.0.2",
        ];
        assert_eq!(told(&ChangeAction::Create), expected);
        let put = |line: &str| line.replace("CREATE a.x.", "UPSERT a.x.");
        let vacant_stays = expected.map(put);
        assert_eq!(told(&ChangeAction::Upsert), vacant_stays);
    }

    /// The batch that moves the address at `a.x` under our marker, and makes `b.x`.
    fn told(put: &ChangeAction) -> Vec<String> {
        let [moved, made]: [Name; 2] = ["a.x", "b.x"].map(|name| name.parse().unwrap());
        let marker = Rrset::new(30, [Rdata::Txt(vec![b"m \"1\"".to_vec()])]);
        let swap = |name: &Name, before| RrsetSwap {
            key: RrsetKey::new(name.clone(), RrType::A),
            before,
            after: Some(set(2)),
            scope: Scope::Whole,
            because: Reason::Ours,
        };
        let change = ZoneChange {
            zone: "x".parse().unwrap(),
            guards: vec![Guard::Unchanged(RrsetKey::new(moved.clone(), RrType::Txt), marker)],
            swaps: vec![swap(&moved, Some(set(1))), swap(&made, None)],
        };
        lines(&lower(&change, put, None).unwrap())
    }

    fn lines(batch: &ChangeBatch) -> Vec<String> {
        let told = batch.changes().iter().map(|change| {
            let set = change.resource_record_set().unwrap();
            let values = set.resource_records().iter().map(ResourceRecord::value);
            let values = values.collect::<Vec<_>>().join(",");
            let (name, rtype, ttl) = (set.name(), set.r#type(), set.ttl().unwrap());
            let member = set.set_identifier().map(|member| format!(" of {member}"));
            let member = member.unwrap_or_default();
            format!("{} {name} {rtype} {ttl} {values}{member}", change.action())
        });
        told.collect()
    }

    #[test]
    fn of_a_shared_name_each_hosts_set_is_swapped_by_itself() {
        let key = RrsetKey::new("a.x".parse().unwrap(), RrType::A);
        let group = |member: &str, last| ((key.clone(), member.to_owned()), set(last));
        let groups = Groups::from([group("i-gone", 9), group("i-other", 8), group("i-us", 1)]);
        let swap = |remove: &[u8], add: &[u8]| {
            let values = |all: &[u8]| all.iter().flat_map(|last| set(*last).values).collect();
            RrsetSwap {
                key: key.clone(),
                before: Some(set(1)),
                after: Some(set(2)),
                scope: Scope::Values { remove: values(remove), add: values(add) },
                because: Reason::Shared,
            }
        };
        let told = |remove: &[u8], add: &[u8], shares| {
            let swaps = vec![swap(remove, add)];
            let change = ZoneChange { zone: "x".parse().unwrap(), guards: Vec::new(), swaps };
            lines(&lower(&change, &ChangeAction::Create, shares).unwrap())
        };
        let shares = Some(Shares { member: "i-us", groups: &groups });
        let expect = ["DELETE a.x. A 60 10.0.0.1 of i-us", "CREATE a.x. A 60 10.0.0.2 of i-us"];
        assert_eq!(told(&[1], &[2], shares), expect);
        assert_eq!(told(&[9], &[], shares), ["DELETE a.x. A 60 10.0.0.9 of i-gone"]);
        let new = Some(Shares { member: "i-new", groups: &groups });
        assert_eq!(told(&[], &[7], new), ["CREATE a.x. A 60 10.0.0.7 of i-new"]);
        let whole = ["DELETE a.x. A 60 10.0.0.1", "CREATE a.x. A 60 10.0.0.2"];
        assert_eq!(told(&[1], &[2], None), whole, "one simple set for all");
    }

    #[test]
    fn names_survive_route_53s_octal_escapes() {
        let name: Name = r"*.a\047b\032.x".parse().unwrap();
        assert_eq!(route53_name(&name), r"\052.a\057b\040.x.");
        assert_eq!(name_of(&route53_name(&name)), Some(name));
        assert_eq!(name_of("Web.X.").unwrap().to_string(), "web.x.");
    }

    #[test]
    fn text_is_read_as_it_is_written() {
        assert_eq!(
            strings(r#""a \"b\" \\ \377" "c""#),
            Some(vec![b"a \"b\" \\ \xff".to_vec(), b"c".to_vec()])
        );
        assert_eq!(strings("bare"), None);
        assert_eq!(strings("\"open"), None);
    }
}

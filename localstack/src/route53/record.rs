//! Applies a change batch to a zone's record sets by Route 53's rules: all of it, or nothing and every problem.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    name,
    rest_error::Error,
    zone::{self, RecordSet, Records, Routing, Zone},
};

use super::{
    invalid_input,
    request::{Action, Change},
    value,
};

/// The record sets after `changes`, which are seen one after another: a DELETE makes room for the CREATE after it.
pub(super) fn apply(zone: &Zone, changes: &[Change]) -> Result<Records, Error> {
    check_size(changes)?;
    changes.iter().try_for_each(check_shape)?;
    let mut problems = Vec::new();
    let mut canonical = Vec::new();
    for change in changes {
        match name::canonical(&change.record.name) {
            Ok(name) => canonical.push(Change {
                action: change.action,
                record: RecordSet { name, ..change.record.clone() },
            }),
            Err(problem) => problems.push(problem.to_string()),
        }
    }
    problems.extend(contradictions(&canonical));
    let mut records = zone.records.clone();
    for change in &canonical {
        match check(zone, &records, change) {
            Ok(()) if change.action == Action::Delete => {
                records.remove(&change.record);
            }
            Ok(()) => records.insert(change.record.clone()),
            Err(found) => problems.extend(found),
        }
    }
    if problems.is_empty() {
        problems.extend(broken_groups(&records, &canonical));
    }
    if problems.is_empty() { Ok(records) } else { Err(invalid_batch(problems)) }
}

fn invalid_batch(problems: Vec<String>) -> Error {
    let message = format!("[{}]", problems.join(", "));
    Error { messages: problems, ..Error::new(400, "InvalidChangeBatch", message) }
}

/// Quotas of a request: 1000 `ResourceRecord` elements and 32,000 characters of values, where UPSERT counts twice.
fn check_size(changes: &[Change]) -> Result<(), Error> {
    let weigh = |measure: fn(&RecordSet) -> usize| {
        changes
            .iter()
            .map(|change| {
                measure(&change.record) * if change.action == Action::Upsert { 2 } else { 1 }
            })
            .sum::<usize>()
    };
    if weigh(|record| record.values.len().max(1)) > 1000 {
        return Err(invalid_batch(vec!["Number of records limit of 1000 exceeded.".to_owned()]));
    }
    if weigh(|record| record.values.iter().map(|value| value.chars().count()).sum()) > 32_000 {
        return Err(invalid_batch(vec![
            "Number of characters limit of 32000 exceeded.".to_owned(),
        ]));
    }
    Ok(())
}

/// A record set has TTL and values, or an alias target, never parts of both.
fn check_shape(change: &Change) -> Result<(), Error> {
    let record = &change.record;
    let found = match (record.alias.is_some(), record.ttl.is_some(), !record.values.is_empty()) {
        (true, false, false) | (false, true, true) => return Ok(()),
        (false, false, false) => "found none",
        (false, true, false) | (false, false, true) => "found an incomplete one",
        (true, ..) => "more than one",
    };
    Err(invalid_input(format!(
        "Invalid request: Expected exactly one of [AliasTarget, all of [TTL, and ResourceRecords], or \
         TrafficPolicyInstanceId], but {found} in Change with [Action={}, Name={}, Type={}, SetIdentifier={}]",
        change.action.name(),
        record.name,
        record.kind,
        record.set_identifier.as_deref().unwrap_or("null"),
    )))
}

/// A batch may name a record set once, or twice to replace it: DELETE, then CREATE or UPSERT.
fn contradictions(changes: &[Change]) -> Vec<String> {
    let mut actions = BTreeMap::<_, (Vec<Action>, &RecordSet)>::new();
    for change in changes {
        let entry = actions
            .entry(zone::key_of(&change.record))
            .or_insert_with(|| (Vec::new(), &change.record));
        entry.0.push(change.action);
    }
    let wrong = actions.into_values().filter(|(actions, _)| {
        !matches!(actions[..], [_] | [Action::Delete, Action::Create | Action::Upsert])
    });
    wrong
        .map(|(_, RecordSet { kind, name, .. })| {
            format!("The request contains an invalid set of changes for a resource record set '{kind} {name}'")
        })
        .collect()
}

fn check(zone: &Zone, records: &Records, change: &Change) -> Result<(), Vec<String>> {
    let record = &change.record;
    if !name::is_within(&record.name, &zone.name) {
        return Err(vec![format!(
            "RRSet with DNS name {} is not permitted in zone {}",
            record.name, zone.name
        )]);
    }
    let current = records.get(&record.name, &record.kind, record.set_identifier.as_deref());
    let tried = |verb: &str, but: &str| {
        let identifier =
            record.set_identifier.as_ref().map(|id| format!(", set-identifier='{id}'"));
        let identifier = identifier.unwrap_or_default();
        let (name, kind) = (&record.name, &record.kind);
        Err(vec![format!(
            "Tried to {verb} resource record set [name='{name}', type='{kind}'{identifier}] but {but}"
        )])
    };
    match (change.action, current) {
        (Action::Create, Some(_)) => tried("create", "it already exists"),
        (Action::Delete, None) => tried("delete", "it was not found"),
        (Action::Delete, Some(current)) if !current.matches(record) => {
            tried("delete", "the values provided do not match the current values")
        }
        (Action::Delete, Some(_)) => check_apex(zone, record),
        (Action::Create | Action::Upsert, _) => {
            check_values(record)?;
            check_routing(record)?;
            check_neighbours(zone, records, record)
        }
    }
}

/// The apex keeps its SOA and NS.
fn check_apex(zone: &Zone, record: &RecordSet) -> Result<(), Vec<String>> {
    match record.kind.as_str() {
        "SOA" => Err(vec!["A HostedZone must contain exactly one SOA record".to_owned()]),
        "NS" if record.name == zone.name => Err(vec![
            "A HostedZone must contain at least one NS record for the zone itself.".to_owned(),
        ]),
        _ => Ok(()),
    }
}

fn check_values(record: &RecordSet) -> Result<(), Vec<String>> {
    let mut problems = Vec::new();
    let mut seen = BTreeSet::new();
    for value in &record.values {
        if let Some(problem) = value::problem(&record.kind, value) {
            problems.push(format!("Invalid Resource Record: '{problem}'"));
        }
        if !seen.insert(value) {
            problems.push(format!("Duplicate Resource Record: '{value}'"));
        }
    }
    if record.values.len() > 400 {
        problems.push("Number of values limit of 400 per record exceeded.".to_owned());
    }
    if record.kind == "CNAME" && record.values.len() > 1 {
        problems.push(format!(
            "RRSet of type CNAME with DNS name {} must have exactly one value",
            record.name
        ));
    }
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

fn check_routing(record: &RecordSet) -> Result<(), Vec<String>> {
    let policies = [
        record.weight.is_some(),
        record.multi_value_answer == Some(true),
        record.region.is_some(),
        record.failover.is_some(),
    ];
    let chosen = policies.into_iter().filter(|is_chosen| *is_chosen).count();
    let (name, kind) = (&record.name, &record.kind);
    let problem = match (chosen, &record.set_identifier) {
        (0, None) | (1, Some(_)) => return Ok(()),
        (0, Some(_)) => format!(
            "Invalid set of parameters: SetIdentifier requires a routing policy in RRSet with DNS name {name}, type {kind}"
        ),
        (1, None) => {
            format!("Missing field 'SetIdentifier' in RRSet with DNS name {name}, type {kind}")
        }
        _ => format!("RRSet with DNS name {name}, type {kind} has more than one routing policy"),
    };
    Err(vec![problem])
}

/// What else the name may hold: no CNAME beside another type, and one routing policy per type.
fn check_neighbours(zone: &Zone, records: &Records, record: &RecordSet) -> Result<(), Vec<String>> {
    let (name, kind) = (&record.name, &record.kind);
    if kind == "CNAME" && *name == zone.name {
        let problem = format!(
            "RRSet of type CNAME with DNS name {name} is not permitted at apex in zone {}",
            zone.name
        );
        return Err(vec![problem]);
    }
    let identifier = record
        .set_identifier
        .as_ref()
        .map(|id| format!(", SetIdentifier {id}"))
        .unwrap_or_default();
    for other in records.of_name(name) {
        if other.kind != *kind {
            if kind == "CNAME" {
                return Err(vec![format!(
                    "RRSet of type CNAME with DNS name {name} is not permitted as it conflicts with other records \
                     with the same DNS name in zone {}",
                    zone.name
                )]);
            }
            if other.kind == "CNAME" {
                return Err(vec![format!(
                    "RRSet of type {kind} with DNS name {name} is not permitted because a conflicting RRSet of type \
                     CNAME with the same DNS name already exists in zone {}",
                    zone.name
                )]);
            }
            continue;
        }
        if other.set_identifier == record.set_identifier {
            continue;
        }
        if other.routing() != record.routing() {
            let reason = match record.routing() {
                Routing::Simple => "other RRSets exist with the same name and type.".to_owned(),
                policy => {
                    format!("a non-{} set exists with the same name and type.", policy.name())
                }
            };
            return Err(vec![format!(
                "RRSet with DNS name {name}, type {kind}{identifier} cannot be created as {reason}"
            )]);
        }
    }
    Ok(())
}

/// Rules about whole groups, which hold once the batch is through: one TTL in a weighted group, at most 100 members.
fn broken_groups(records: &Records, changes: &[Change]) -> Vec<String> {
    let touched: BTreeSet<_> =
        changes.iter().map(|change| (&change.record.name, &change.record.kind)).collect();
    let mut problems = Vec::new();
    for (name, kind) in touched {
        let group: Vec<_> = records.of_name(name).filter(|record| record.kind == *kind).collect();
        let ttls: BTreeSet<_> = group
            .iter()
            .filter(|record| record.weight.is_some())
            .map(|record| record.ttl)
            .collect();
        if ttls.len() > 1 {
            let mut latest = changes.iter().rev().map(|change| &change.record);
            let last = latest.find(|record| record.name == *name && record.kind == *kind);
            let identifier =
                last.and_then(|record| record.set_identifier.as_deref()).unwrap_or_default();
            problems.push(format!(
                "RRSet with DNS name {name}, type {kind}, SetIdentifier {identifier} cannot be created as weighted sets \
                 must contain the same TTL."
            ));
        }
        if group.len() > 100 {
            problems.push(format!(
                "RRSet with DNS name {name}, type {kind} exceeds the limit of 100 sets"
            ));
        }
    }
    problems
}

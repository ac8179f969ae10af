//! A Route 53 hosted zone and its record sets, kept in Route 53's own order.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::name;

/// One hosted zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Zone {
    /// `Z…`, without `/hostedzone/`.
    pub id: String,
    /// The apex, canonical: `corp.test.`
    pub name: String,
    /// What the creator sent to tell repeated requests apart.
    #[serde(default)]
    pub caller_reference: String,
    /// Free text.
    #[serde(default)]
    pub comment: String,
    /// The VPCs that it answers in; a zone is private when there is one.
    #[serde(default)]
    pub vpcs: Vec<Vpc>,
    /// The record sets, always with the apex's SOA and NS.
    #[serde(default)]
    pub records: Records,
}

impl Zone {
    /// A public zone with nothing but its SOA and NS.
    #[must_use]
    pub fn new(id: &str, name: &str) -> Self {
        let mut zone = Self {
            id: id.to_owned(),
            name: name.to_owned(),
            caller_reference: id.to_owned(),
            comment: String::new(),
            vpcs: Vec::new(),
            records: Records::default(),
        };
        zone.complete();
        zone
    }

    /// Private to one more VPC.
    #[must_use]
    pub fn vpc(mut self, region: &str, id: &str) -> Self {
        self.vpcs.push(Vpc { region: region.to_owned(), id: id.to_owned() });
        self
    }

    /// With one more record set.
    #[must_use]
    pub fn record(mut self, record: RecordSet) -> Self {
        self.records.insert(record);
        self
    }

    /// Whether it is private.
    #[must_use]
    pub fn is_private(&self) -> bool {
        !self.vpcs.is_empty()
    }

    /// Makes the name canonical and gives the apex its SOA and NS when they are missing.
    pub(crate) fn complete(&mut self) {
        if let Ok(canonical) = name::canonical(&self.name) {
            self.name = canonical;
        }
        let soa = RecordSet::new(&self.name, "SOA", 900, &[SOA]);
        let ns = RecordSet::new(&self.name, "NS", 172_800, &NAME_SERVERS);
        for record in [soa, ns] {
            if self.records.get(&record.name, &record.kind, None).is_none() {
                self.records.insert(record);
            }
        }
    }
}

/// A VPC that a private zone answers in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vpc {
    /// `us-east-1`.
    pub region: String,
    /// `vpc-…`.
    pub id: String,
}

/// One resource record set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordSet {
    /// Canonical.
    pub name: String,
    /// `A`, `AAAA`, `TXT`, …
    #[serde(rename = "type")]
    pub kind: String,
    /// Seconds; absent only beside `alias`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u32>,
    /// The values as text, quoted where the type wants it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
    /// Tells the members of a weighted, latency, failover, geolocation or multivalue group apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set_identifier: Option<String>,
    /// Weighted routing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u8>,
    /// Multivalue answer routing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multi_value_answer: Option<bool>,
    /// Latency routing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Failover routing: `PRIMARY` or `SECONDARY`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failover: Option<String>,
    /// The health check that decides whether it is answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check_id: Option<String>,
    /// In place of TTL and values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<Alias>,
}

impl RecordSet {
    /// A simple record set.
    #[must_use]
    pub fn new(name: &str, kind: &str, ttl: u32, values: &[&str]) -> Self {
        Self {
            name: name::canonical(name).unwrap_or_else(|_| name.to_owned()),
            kind: kind.to_owned(),
            ttl: Some(ttl),
            values: values.iter().map(|&value| value.to_owned()).collect(),
            ..Self::default()
        }
    }

    /// A member of a multivalue answer group.
    #[must_use]
    pub fn multivalue(mut self, set_identifier: &str) -> Self {
        self.set_identifier = Some(set_identifier.to_owned());
        self.multi_value_answer = Some(true);
        self
    }

    /// A member of a weighted group.
    #[must_use]
    pub fn weighted(mut self, set_identifier: &str, weight: u8) -> Self {
        self.set_identifier = Some(set_identifier.to_owned());
        self.weight = Some(weight);
        self
    }

    /// How Route 53 chooses among the sets of one name and type.
    #[must_use]
    pub fn routing(&self) -> Routing {
        if self.weight.is_some() {
            Routing::Weighted
        } else if self.multi_value_answer == Some(true) {
            Routing::Multivalue
        } else if self.region.is_some() {
            Routing::Latency
        } else if self.failover.is_some() {
            Routing::Failover
        } else {
            Routing::Simple
        }
    }

    /// Whether a DELETE that names `other` removes this one: everything equal, the values in any order.
    pub(crate) fn matches(&self, other: &Self) -> bool {
        let sorted = |record: &Self| {
            let mut record = record.clone();
            record.values.sort();
            // `false` and absent are one state
            record.multi_value_answer = record.multi_value_answer.filter(|answer| *answer);
            record
        };
        sorted(self) == sorted(other)
    }
}

/// What an alias record set points at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alias {
    /// The zone of the target.
    pub hosted_zone_id: String,
    /// The target.
    pub dns_name: String,
    /// Whether the target's health counts.
    #[serde(default)]
    pub evaluate_target_health: bool,
}

/// Routing policies, as far as this stand-in knows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Routing {
    /// The only set of its name and type.
    Simple,
    /// By weight.
    Weighted,
    /// Up to eight healthy ones.
    Multivalue,
    /// By latency to a Region.
    Latency,
    /// Primary and secondary.
    Failover,
}

impl Routing {
    /// The adjective in Route 53's messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Simple => "simple",
            Self::Weighted => "weighted",
            Self::Multivalue => "multivalue answer",
            Self::Latency => "latency",
            Self::Failover => "failover",
        }
    }
}

/// Record sets in the order in which Route 53 lists them: name by reversed labels, then type, then set identifier.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<RecordSet>", into = "Vec<RecordSet>")]
pub struct Records(BTreeMap<Key, RecordSet>);

pub(crate) type Key = (Vec<u8>, String, String);

impl Records {
    /// All, in order.
    pub fn iter(&self) -> impl Iterator<Item = &RecordSet> {
        self.0.values()
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The set with exactly this name, type and identifier; the name in any spelling.
    #[must_use]
    pub fn get(&self, name: &str, kind: &str, set_identifier: Option<&str>) -> Option<&RecordSet> {
        self.0.get(&key(name, kind, set_identifier.unwrap_or_default()))
    }

    /// Puts `record` in, in place of one with the same name, type and identifier.
    pub fn insert(&mut self, mut record: RecordSet) {
        if let Ok(canonical) = name::canonical(&record.name) {
            record.name = canonical;
        }
        self.0.insert(key_of(&record), record);
    }

    /// Takes the set with this name, type and identifier out.
    pub fn remove(&mut self, record: &RecordSet) -> Option<RecordSet> {
        self.0.remove(&key_of(record))
    }

    /// All from the given name, type and identifier on.
    pub(crate) fn starting_at(&self, start: Key) -> impl Iterator<Item = &RecordSet> {
        self.0.range(start..).map(|(_, record)| record)
    }

    /// All sets of one name.
    pub(crate) fn of_name(&self, name: &str) -> impl Iterator<Item = &RecordSet> {
        let order = name::order(name);
        self.0
            .range((order.clone(), String::new(), String::new())..)
            .take_while(move |((name, ..), _)| *name == order)
            .map(|(_, record)| record)
    }
}

impl From<Vec<RecordSet>> for Records {
    fn from(records: Vec<RecordSet>) -> Self {
        let mut sorted = Self::default();
        for record in records {
            sorted.insert(record);
        }
        sorted
    }
}

impl From<Records> for Vec<RecordSet> {
    fn from(records: Records) -> Self {
        records.0.into_values().collect()
    }
}

pub(crate) fn key(name: &str, kind: &str, set_identifier: &str) -> Key {
    (name::order(name), kind.to_owned(), set_identifier.to_owned())
}

pub(crate) fn key_of(record: &RecordSet) -> Key {
    key(&record.name, &record.kind, record.set_identifier.as_deref().unwrap_or_default())
}

pub(crate) const NAME_SERVERS: [&str; 4] = [
    "ns-0.awsdns-00.com.",
    "ns-512.awsdns-00.net.",
    "ns-1024.awsdns-00.org.",
    "ns-1536.awsdns-00.co.uk.",
];
const SOA: &str = "ns-0.awsdns-00.com. awsdns-hostmaster.amazon.com. 1 7200 900 1209600 86400";

//! The zones that servers answer from: written as in a zone file, held in memory, shared by any number of servers.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use hickory_proto::rr::{
    LowerName, Name, RData, RecordType,
    rdata::{NS, NULL, SOA},
};
use serde::Deserialize;

/// A zone as one writes it: the lines of a zone file. It is read when it becomes one of the `Zones`.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Written")]
pub struct Zone {
    origin: String,
    records: Vec<String>,
}

/// A zone in JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    #[serde(default)]
    records: Vec<String>,
}

impl TryFrom<Written> for Zone {
    type Error = ZoneError;

    /// Reads it at once, so that the error comes with its line and column.
    fn try_from(Written { name, records }: Written) -> Result<Self, ZoneError> {
        let zone = Self { origin: name, records };
        Contents::read(zone.clone()).map(|_| zone)
    }
}

impl Zone {
    /// The zone with the apex `origin`, with an SOA and an NS made up (`ns1.ORIGIN`) unless `record` brings them.
    #[must_use]
    pub fn new(origin: impl Into<String>) -> Self {
        Self { origin: origin.into(), records: Vec::new() }
    }

    /// Adds a line `NAME TTL [IN] TYPE DATA`; `@` is the apex, and a name without a dot at its end is below the apex.
    #[must_use]
    pub fn record(mut self, line: impl Into<String>) -> Self {
        self.records.push(line.into());
        self
    }
}

/// Why a zone could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ZoneError {
    /// Not a domain name.
    #[error("`{name}` is not a domain name")]
    NotAName {
        /// What stands there.
        name: String,
    },
    /// Not `NAME TTL [IN] TYPE DATA`.
    #[error("`{line}` is not a record: {why}")]
    NotARecord {
        /// What stands there.
        line: String,
        /// Which part is wrong.
        why: &'static str,
    },
    /// A record that none of the zones holds.
    #[error("`{line}` is in none of the zones")]
    OutOfZone {
        /// What stands there.
        line: String,
    },
}

/// Zones that servers answer from. Clones are the same zones: an update through one server is seen through all.
#[derive(Clone, Debug, Default)]
pub struct Zones(Arc<Mutex<BTreeMap<LowerName, Contents>>>);

impl Zones {
    /// Reads `zones`.
    ///
    /// # Errors
    /// A name or a record that is none, or one outside its zone.
    pub fn new(zones: Vec<Zone>) -> Result<Self, ZoneError> {
        let contents = zones.into_iter().map(Contents::read).collect::<Result<Vec<_>, _>>()?;
        Ok(Self(Arc::new(Mutex::new(
            contents.into_iter().map(|zone| (zone.origin.clone(), zone)).collect(),
        ))))
    }

    /// What stands at `name`: type, TTL and data, as `dig` shows them, sorted.
    #[must_use]
    pub fn records(&self, name: &str) -> Vec<(String, u32, String)> {
        let Ok(name) = absolute(name, &Name::root()) else { return Vec::new() };
        let name = LowerName::from(name);
        let zones = self.lock();
        let Some(node) = enclosing(&zones, &name).and_then(|zone| zone.nodes.get(&name)) else {
            return Vec::new();
        };
        lines(node)
    }

    /// All of a zone: name, TTL, type and data, as `dig` shows them, in canonical order.
    #[must_use]
    pub fn all(&self, zone: &str) -> Vec<String> {
        let Ok(origin) = absolute(zone, &Name::root()) else { return Vec::new() };
        let zones = self.lock();
        let nodes = zones.get(&LowerName::from(origin)).into_iter().flat_map(|zone| &zone.nodes);
        nodes
            .flat_map(|(name, node)| {
                lines(node)
                    .into_iter()
                    .map(move |(kind, ttl, data)| format!("{name} {ttl} {kind} {data}"))
            })
            .collect()
    }

    /// The names of the zones.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.lock().keys().map(ToString::to_string).collect()
    }

    /// The serial number of a zone.
    #[must_use]
    pub fn serial(&self, zone: &str) -> Option<u32> {
        let origin = absolute(zone, &Name::root()).ok()?;
        Some(self.lock().get(&LowerName::from(origin))?.soa()?.serial)
    }

    /// Adds a record as somebody else would behind tagalong's back; the line is as for `Zone::record`, with a whole name.
    ///
    /// # Errors
    /// No record, or one in none of the zones.
    pub fn add(&self, line: &str) -> Result<(), ZoneError> {
        let (name, ttl, data) = parse(line, &Name::root())?;
        let mut zones = self.lock();
        let origin = enclosing(&zones, &LowerName::new(&name)).map(|zone| zone.origin.clone());
        let zone = origin.and_then(|origin| zones.get_mut(&origin));
        let zone = zone.ok_or_else(|| ZoneError::OutOfZone { line: line.to_owned() })?;
        zone.add(&name, ttl, data);
        zone.increment_serial();
        Ok(())
    }

    /// Deletes what stands at `name` (but never an apex), or its records of one type.
    pub fn delete(&self, name: &str, kind: Option<&str>) {
        let Ok(name) = absolute(name, &Name::root()) else { return };
        let name = LowerName::from(name);
        let mut zones = self.lock();
        let origin = enclosing(&zones, &name).map(|zone| zone.origin.clone());
        let Some(zone) =
            origin.filter(|origin| *origin != name).and_then(|origin| zones.get_mut(&origin))
        else {
            return;
        };
        match kind.map(str::parse::<RecordType>) {
            None => drop(zone.nodes.remove(&name)),
            Some(Ok(kind)) => zone.delete(&name, kind),
            Some(Err(_)) => return,
        }
        zone.increment_serial();
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, BTreeMap<LowerName, Contents>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The zone that holds `name`: the one with the longest apex above it.
pub(super) fn enclosing<'z>(
    zones: &'z BTreeMap<LowerName, Contents>,
    name: &LowerName,
) -> Option<&'z Contents> {
    zones
        .values()
        .filter(|zone| zone.origin.zone_of(name))
        .max_by_key(|zone| zone.origin.num_labels())
}

/// The records of one name and type. Never empty; they share one TTL (RFC 2181 §5.2).
#[derive(Clone, Debug, PartialEq)]
pub(super) struct RrSet {
    /// The name as first written: answers show it so, as BIND's do, however the question writes it.
    pub(super) owner: Name,
    pub(super) ttl: u32,
    pub(super) data: Vec<RData>,
}

/// What stands at one name. Never empty.
pub(super) type Node = BTreeMap<RecordType, RrSet>;

/// A zone. Two are equal when they hold the same records.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Contents {
    pub(super) origin: LowerName,
    pub(super) nodes: BTreeMap<LowerName, Node>,
}

impl Contents {
    fn read(zone: Zone) -> Result<Self, ZoneError> {
        let origin = absolute(&zone.origin, &Name::root())?;
        let mut contents = Self { origin: LowerName::new(&origin), nodes: BTreeMap::new() };
        for line in zone.records {
            let (name, ttl, data) = parse(&line, &origin)?;
            if !contents.origin.zone_of(&LowerName::new(&name)) {
                return Err(ZoneError::OutOfZone { line });
            }
            contents.add(&name, ttl, data);
        }
        let apex = contents.origin.clone();
        let server = match contents.rrset(&apex, RecordType::NS).and_then(|set| set.data.first()) {
            Some(RData::NS(server)) => server.0.clone(),
            _ => absolute("ns1", &origin)?,
        };
        if contents.rrset(&apex, RecordType::NS).is_none() {
            contents.add(&origin, APEX_TTL, RData::NS(NS(server.clone())));
        }
        if contents.soa().is_none() {
            let soa = SOA::new(server, absolute("hostmaster", &origin)?, 1, 3600, 600, 86_400, 60);
            contents.add(&origin, APEX_TTL, RData::SOA(soa));
        }
        Ok(contents)
    }

    pub(super) fn rrset(&self, name: &LowerName, kind: RecordType) -> Option<&RrSet> {
        self.nodes.get(name)?.get(&kind)
    }

    pub(super) fn soa(&self) -> Option<&SOA> {
        match self.rrset(&self.origin, RecordType::SOA)?.data.first()? {
            RData::SOA(soa) => Some(soa),
            _ => None,
        }
    }

    pub(super) fn increment_serial(&mut self) {
        let soa = self.nodes.get_mut(&self.origin).and_then(|apex| apex.get_mut(&RecordType::SOA));
        if let Some(RData::SOA(soa)) = soa.and_then(|set| set.data.first_mut()) {
            // RFC 1982 and RFC 2136 §7.11: nought is not used
            soa.serial = soa.serial.wrapping_add(1).max(1);
        }
    }

    /// Adds a record: a duplicate and the one SOA or CNAME are replaced, the RRset takes its TTL.
    pub(super) fn add(&mut self, owner: &Name, ttl: u32, data: RData) {
        let kind = data.record_type();
        let node = self.nodes.entry(LowerName::new(owner)).or_default();
        let set = node.entry(kind).or_insert_with(|| RrSet {
            owner: owner.clone(),
            ttl,
            data: Vec::new(),
        });
        set.ttl = ttl;
        if matches!(kind, RecordType::SOA | RecordType::CNAME) {
            set.data.clear();
        }
        if !set.data.contains(&data) {
            set.data.push(data);
        }
    }

    /// Deletes an RRset, and the name with its last.
    pub(super) fn delete(&mut self, name: &LowerName, kind: RecordType) {
        self.retain(name, |set, _| set != kind);
    }

    /// Deletes what `keep` does not hold on to.
    pub(super) fn retain(&mut self, name: &LowerName, keep: impl Fn(RecordType, &RData) -> bool) {
        let Some(node) = self.nodes.get_mut(name) else { return };
        for (kind, set) in node.iter_mut() {
            set.data.retain(|data| keep(*kind, data));
        }
        node.retain(|_, set| !set.data.is_empty());
        if node.is_empty() {
            self.nodes.remove(name);
        }
    }
}

/// Reads `NAME TTL [IN] TYPE DATA`.
fn parse(line: &str, origin: &Name) -> Result<(Name, u32, RData), ZoneError> {
    let wrong = |why| ZoneError::NotARecord { line: line.to_owned(), why };
    let (name, rest) = word(line).ok_or_else(|| wrong("it is empty"))?;
    let (ttl, rest) = word(rest).ok_or_else(|| wrong("it has no TTL"))?;
    let ttl = ttl.parse().map_err(|_| wrong("the second word is not a TTL"))?;
    let (mut kind, mut rest) = word(rest).ok_or_else(|| wrong("it has no type"))?;
    if kind.eq_ignore_ascii_case("IN") {
        (kind, rest) = word(rest).ok_or_else(|| wrong("it has no type"))?;
    }
    let name = absolute(name, origin)?;
    let kind = kind.to_ascii_uppercase();
    if let Some(code) = kind.strip_prefix("TYPE").and_then(|code| code.parse::<u16>().ok()) {
        let data = octets(rest).ok_or_else(|| wrong("its data are not `\\# LENGTH HEX`"))?;
        return Ok((name, ttl, RData::Unknown { code: code.into(), rdata: NULL::with(data) }));
    }
    let kind: RecordType = kind.parse().map_err(|_| wrong("its type is unknown"))?;
    let data = match kind {
        RecordType::NS | RecordType::CNAME | RecordType::PTR => absolute(rest, origin)?.to_ascii(),
        _ => rest.to_owned(),
    };
    let data =
        RData::try_from_str(kind, &data).map_err(|_| wrong("its data do not fit its type"))?;
    Ok((name, ttl, data))
}

/// Data of any type, `\# LENGTH HEX` (RFC 3597 section 5).
fn octets(text: &str) -> Option<Vec<u8>> {
    let (length, hex) = word(text.strip_prefix("\\#")?)?;
    let digits = hex.split_whitespace().collect::<String>();
    let pairs = (0..digits.len()).step_by(2).map(|at| digits.get(at..at + 2));
    let octets = pairs.map(|pair| u8::from_str_radix(pair?, 16).ok());
    let octets = octets.collect::<Option<Vec<_>>>()?;
    (Some(octets.len()) == length.parse().ok()).then_some(octets)
}

fn word(text: &str) -> Option<(&str, &str)> {
    let text = text.trim();
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    (!word.is_empty()).then(|| (word, rest.trim()))
}

fn absolute(text: &str, origin: &Name) -> Result<Name, ZoneError> {
    if text == "@" {
        return Ok(origin.clone());
    }
    let wrong = |_| ZoneError::NotAName { name: text.to_owned() };
    let name = Name::from_ascii(text).map_err(wrong)?;
    if name.is_fqdn() { Ok(name) } else { name.append_domain(origin).map_err(wrong) }
}

fn lines(node: &Node) -> Vec<(String, u32, String)> {
    let sets = node.iter();
    let mut lines: Vec<_> = sets
        .flat_map(|(kind, set)| set.data.iter().map(|data| (kind.to_string(), set.ttl, text(data))))
        .collect();
    lines.sort();
    lines
}

/// The data as `dig` shows them: hickory shows a TXT record without its quotes.
fn text(data: &RData) -> String {
    let RData::TXT(strings) = data else { return data.to_string() };
    let mut text = String::new();
    for part in &strings.txt_data {
        let space = if text.is_empty() { "" } else { " " };
        let _ = write!(text, "{space}\"");
        for byte in part {
            let _ = match byte {
                b'"' | b'\\' => write!(text, "\\{}", char::from(*byte)),
                b' '..=b'~' => write!(text, "{}", char::from(*byte)),
                _ => write!(text, "\\{byte:03}"),
            };
        }
        text.push('"');
    }
    text
}

const APEX_TTL: u32 = 300;

//! Version 1 of the state file: the serde twin of the ledger.

use std::{collections::BTreeMap, net::SocketAddr};

use serde::{Deserialize, Serialize};

use crate::core::{
    affinity::Subnet,
    ledger::{KnownServers, KnownSubnets, KnownZones, Ledger, Published},
    name::{Name, NameError},
    ownership::OwnerId,
    refresh::{Kept, Lease},
    servers::NameServer,
};

/// Reads a state file.
///
/// # Errors
/// It is not JSON, of another version, or says what no ledger can.
pub fn parse(content: &[u8]) -> Result<Ledger, ParseError> {
    let file: File = serde_json::from_slice(content)?;
    if file.version != VERSION {
        return Err(ParseError::Version(file.version));
    }
    let published = file.published.into_iter().map(|(backend, names)| {
        let names = names.into_iter().map(|(name, entry)| {
            Ok::<_, NameError>((
                name.parse::<Name>()?,
                Published {
                    at: entry.at,
                    confirmed: entry.confirmed,
                    kept: Kept {
                        lease: match entry.lease {
                            None => Lease::Unasked,
                            Some(0) => Lease::Ungranted,
                            Some(seconds) => Lease::Granted(seconds.min(u32::MAX.into())),
                        },
                        indexed: entry.indexed,
                    },
                },
            ))
        });
        Ok::<_, NameError>((backend, names.collect::<Result<_, _>>()?))
    });
    let zones = file.zone_ids.into_iter().map(|(backend, by_id)| {
        let at = file.zones_at.get(&backend).copied().unwrap_or_default();
        let by_id = by_id.into_iter().map(|(id, zone)| Ok((id, zone.parse::<Name>()?)));
        Ok::<_, NameError>((backend, KnownZones { by_id: by_id.collect::<Result<_, _>>()?, at }))
    });
    Ok(Ledger {
        owner: file.owner.map(OwnerId::new),
        published: published.collect::<Result<_, _>>()?,
        servers: file.servers.map(|known| KnownServers {
            servers: known.servers.into_iter().map(Into::into).collect(),
            at: known.at,
        }),
        behind: file.behind,
        gone: file.gone,
        subnets: file.subnets.map(Into::into),
        availability_zone: file.availability_zone,
        macs: file.macs,
        role: file.role,
        zones: zones.collect::<Result<_, _>>()?,
    })
}

/// Writes a state file.
///
/// # Errors
/// Never in practice: every value has a JSON form.
pub fn render(ledger: &Ledger) -> Result<Vec<u8>, serde_json::Error> {
    let published = ledger.published.iter().map(|(backend, names)| {
        let names = names.iter().map(|(name, published)| {
            let lease = match published.kept.lease {
                Lease::Unasked => None,
                Lease::Ungranted => Some(0),
                Lease::Granted(seconds) => Some(seconds),
            };
            let Published { at, confirmed, kept } = *published;
            (name.to_string(), Entry { at, confirmed, lease, indexed: kept.indexed })
        });
        (backend.clone(), names.collect())
    });
    let file = File {
        version: VERSION,
        owner: ledger.owner.as_ref().map(ToString::to_string),
        published: published.collect(),
        servers: ledger.servers.as_ref().map(|known| Servers {
            at: known.at,
            servers: known.servers.iter().cloned().map(Into::into).collect(),
        }),
        behind: ledger.behind.clone(),
        gone: ledger.gone.clone(),
        subnets: ledger.subnets.clone().map(Into::into),
        availability_zone: ledger.availability_zone.clone(),
        macs: ledger.macs.clone(),
        role: ledger.role.clone(),
        zone_ids: ledger
            .zones
            .iter()
            .map(|(backend, known)| {
                let by_id = known.by_id.iter().map(|(id, zone)| (id.clone(), zone.to_string()));
                (backend.clone(), by_id.collect())
            })
            .collect(),
        zones_at: ledger.zones.iter().map(|(backend, known)| (backend.clone(), known.at)).collect(),
    };
    let mut content = serde_json::to_vec_pretty(&file)?;
    content.push(b'\n');
    Ok(content)
}

/// Why a state file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ParseError {
    /// It is not the JSON of a ledger.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// It is of a version that this program does not know.
    #[error("it is of version {0}, and this program knows version {VERSION}")]
    Version(u32),
    /// A name in it is none.
    #[error("a name in it is no domain name: {0}")]
    Name(#[from] NameError),
}

const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct File {
    version: u32,
    #[serde(default)]
    owner: Option<String>,
    #[serde(default)]
    published: BTreeMap<String, BTreeMap<String, Entry>>,
    #[serde(default)]
    servers: Option<Servers>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    behind: BTreeMap<SocketAddr, u64>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    gone: BTreeMap<String, u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    subnets: Option<Subnets>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    availability_zone: Option<String>,
    #[serde(default)]
    macs: Vec<String>,
    #[serde(default)]
    role: Option<String>,
    #[serde(default)]
    zone_ids: BTreeMap<String, BTreeMap<String, String>>,
    #[serde(default)]
    zones_at: BTreeMap<String, u64>,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    at: u64,
    #[serde(default)]
    confirmed: bool,
    /// Seconds; nought for one that was asked for, and not granted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lease: Option<u64>,
    #[serde(default, skip_serializing_if = "is_false")]
    indexed: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_false(flag: &bool) -> bool {
    !flag
}

#[derive(Serialize, Deserialize)]
struct Servers {
    at: u64,
    servers: Vec<Server>,
}

#[derive(Serialize, Deserialize)]
struct Server {
    address: SocketAddr,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    instance_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    availability_zone: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    is_draining: bool,
}

#[derive(Serialize, Deserialize)]
struct Subnets {
    vpc_id: String,
    until: u64,
    /// Block and Availability Zone.
    blocks: Vec<(String, String)>,
}

impl From<Subnets> for KnownSubnets {
    /// A block that cannot be read is left out: the next list has them all again.
    fn from(Subnets { vpc_id, until, blocks }: Subnets) -> Self {
        let subnets = blocks.into_iter().filter_map(|(block, availability_zone)| {
            Some(Subnet { cidr: block.parse().ok()?, availability_zone, vpc_id: vpc_id.clone() })
        });
        Self { subnets: subnets.collect(), vpc_id, until }
    }
}

impl From<KnownSubnets> for Subnets {
    fn from(KnownSubnets { vpc_id, subnets, until }: KnownSubnets) -> Self {
        let blocks = subnets.into_iter().map(|one| (one.cidr.to_string(), one.availability_zone));
        Self { vpc_id, until, blocks: blocks.collect() }
    }
}

impl From<Server> for NameServer {
    fn from(server: Server) -> Self {
        let Server { address, instance_id, availability_zone, is_draining } = server;
        Self { address, instance_id, availability_zone, is_draining }
    }
}

impl From<NameServer> for Server {
    fn from(server: NameServer) -> Self {
        let NameServer { address, instance_id, availability_zone, is_draining } = server;
        Self { address, instance_id, availability_zone, is_draining }
    }
}

//! The metadata service's documents to facts.
//!
//! Everything is asked for side by side: first the identity, the lists and what can be guessed from them (tags by the keys
//! that names need, interfaces by the hardware addresses that the kernel or the last pass knows), then what the lists hold
//! beyond that. On a host whose interfaces are known it takes one round trip after the token.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    str::FromStr,
};

use async_trait::async_trait;
use serde::Deserialize;

use super::{
    imds::{Imds, Item},
    tags::DescribeTags,
};
use crate::{
    config::settings::TAG_PREFIX,
    core::facts::{Asked, Cidr, Details, Facts, Identity, Interface, TagSource, Tags, Unread},
    ports::{
        Disposition, FactSource, Failure, Situation as _,
        error::{DirectoryError, FactError},
    },
};

/// Facts from the metadata service, and tags from EC2 when it has none.
#[derive(Debug)]
pub struct MetadataFacts<'a> {
    /// The metadata service.
    pub imds: &'a Imds,
    /// The keys of tags that names need.
    pub tags: Vec<String>,
    /// Whether any other tag may matter too, since tags may have to say what is to be published.
    pub any_tag: bool,
    /// Hardware addresses that are worth asking for before the list of them is there.
    pub expected_macs: Vec<String>,
    /// Who gives tags when the metadata service does not.
    pub describe_tags: Option<&'a DescribeTags>,
}

#[async_trait]
impl FactSource for MetadataFacts<'_> {
    async fn read(&self) -> Result<Facts, FactError> {
        let expected = self.expected_macs.iter().flat_map(|mac| interface_paths(mac));
        let tag_paths =
            self.tags.iter().filter(|key| is_offered(key)).map(|key| format!("{TAGS}{key}"));
        let paths: Vec<String> =
            FIXED.iter().map(|path| (*path).to_owned()).chain(expected).chain(tag_paths).collect();
        let items = self.imds.get_all(&paths).await?;
        let mut known: BTreeMap<String, Item> = paths.into_iter().zip(items).collect();

        let identity = self.identity(&mut known)?;
        let macs = take(&mut known, MACS).lines();
        let macs = macs.iter().map(|mac| mac.trim_end_matches('/').to_owned()).collect::<Vec<_>>();
        let listed_tags = take(&mut known, TAGS).lines();
        let mut more = macs
            .iter()
            .filter(|mac| !self.expected_macs.contains(mac))
            .flat_map(|mac| interface_paths(mac))
            .collect::<Vec<_>>();
        // Tags may configure us, and then any tag may be part of a name.
        if listed_tags.iter().any(|key| key.starts_with(TAG_PREFIX)) {
            more.extend(
                listed_tags
                    .iter()
                    .map(|key| format!("{TAGS}{key}"))
                    .filter(|path| !known.contains_key(path)),
            );
        }
        if !more.is_empty() {
            let items = self.imds.get_all(&more).await?;
            known.extend(more.into_iter().zip(items));
        }
        let mut interfaces = macs
            .iter()
            .map(|mac| self.interface(mac, &mut known))
            .collect::<Result<Vec<_>, _>>()?;
        interfaces.sort_by_key(|interface| interface.device_number);
        let tags = self.tags(&identity, &listed_tags, &known).await;
        Ok(Facts {
            identity,
            hostname: hostname(),
            interfaces,
            tags,
            lost: BTreeSet::new(),
            discouraged: BTreeSet::new(),
            details: Details::NotAsked,
        })
    }
}

impl MetadataFacts<'_> {
    fn identity(&self, known: &mut BTreeMap<String, Item>) -> Result<Identity, FactError> {
        let document = take(known, DOCUMENT).text().ok_or_else(|| self.unusable(DOCUMENT))?;
        let document: Document =
            serde_json::from_str(&document).map_err(|_| self.unusable(DOCUMENT))?;
        if document.instance_id.is_empty() || document.region.is_empty() {
            return Err(self.unusable(DOCUMENT));
        }
        Ok(Identity {
            instance_id: document.instance_id,
            account_id: document.account_id,
            region: document.region,
            availability_zone: document.availability_zone,
            partition: take(known, PARTITION).text().unwrap_or_else(|| "aws".to_owned()),
            services_domain: take(known, DOMAIN)
                .text()
                .unwrap_or_else(|| "amazonaws.com".to_owned()),
        })
    }

    fn interface(
        &self,
        mac: &str,
        known: &mut BTreeMap<String, Item>,
    ) -> Result<Interface, FactError> {
        let mut item = |word: &str| take(known, &format!("{MACS}{mac}/{word}"));
        let device_number = item("device-number").text();
        let device_number = device_number.and_then(|text| text.trim().parse().ok());
        let text = |item: Item| item.text().unwrap_or_default();
        let interface_id = text(item("interface-id"));
        let subnet_id = text(item("subnet-id"));
        let vpc_id = text(item("vpc-id"));
        let subnet_cidrs = [item("subnet-ipv4-cidr-block"), item("subnet-ipv6-cidr-blocks")];
        let vpc_cidrs = [item("vpc-ipv4-cidr-blocks"), item("vpc-ipv6-cidr-blocks")];
        Ok(Interface {
            mac: mac.to_owned(),
            device_number: device_number
                .ok_or_else(|| self.unusable(&format!("{MACS}{mac}/device-number")))?,
            interface_id,
            subnet_id,
            vpc_id,
            local_ipv4s: self.parsed(mac, "local-ipv4s", item("local-ipv4s"))?,
            public_ipv4s: self.parsed(mac, "public-ipv4s", item("public-ipv4s"))?,
            ipv6s: self.parsed(mac, "ipv6s", item("ipv6s"))?,
            subnet_cidrs: self.blocks(mac, subnet_cidrs)?,
            vpc_cidrs: self.blocks(mac, vpc_cidrs)?,
        })
    }

    fn blocks(&self, mac: &str, items: [Item; 2]) -> Result<Vec<Cidr>, FactError> {
        let [ipv4, ipv6] = items;
        let mut blocks = self.parsed(mac, "the CIDR blocks", ipv4)?;
        blocks.extend(self.parsed::<Cidr>(mac, "the CIDR blocks", ipv6)?);
        Ok(blocks)
    }

    fn parsed<T: FromStr>(&self, mac: &str, word: &str, item: Item) -> Result<Vec<T>, FactError> {
        let parsed = item.lines().iter().map(|line| line.parse().ok()).collect::<Option<Vec<_>>>();
        parsed.ok_or_else(|| self.unusable(&format!("{MACS}{mac}/{word}")))
    }

    async fn tags(
        &self,
        identity: &Identity,
        listed: &[String],
        known: &BTreeMap<String, Item>,
    ) -> Tags {
        let read = known.iter().filter_map(|(path, item)| match (path.strip_prefix(TAGS), item) {
            (Some(key), Item::Present(value)) => Some((key.to_owned(), value.clone())),
            _ => None,
        });
        let values: BTreeMap<_, _> = read.collect();
        // Where tags are off, `tags/instance` is an empty 200 as if there were none; only `tags` itself is a 404 then.
        let in_metadata = !listed.is_empty() || matches!(known.get(OFFER), Some(Item::Present(_)));
        let source = if in_metadata { TagSource::Metadata } else { TagSource::Unavailable };
        // A key that the metadata service cannot hold, such as one with a space, is only to be had from EC2.
        let needs_ec2 = if in_metadata {
            self.tags.iter().any(|key| !is_offered(key))
        } else {
            self.any_tag || !self.tags.is_empty()
        };
        let Some(api) = self.describe_tags.filter(|_| needs_ec2) else {
            return Tags { source, values, unread: None };
        };
        match api.of(&identity.instance_id, &identity.region).await {
            Ok(values) => Tags { source: TagSource::DescribeTags, values, unread: None },
            Err(error) => Tags { source, values, unread: Some(self.unread(error)) },
        }
    }

    fn unread(&self, error: DirectoryError) -> Unread {
        // A role may come late, but an instance that needs no tag for sure may well have none at all.
        let hopeless =
            matches!(error, DirectoryError::NoCredentials { .. }) && self.tags.is_empty();
        let error = FactError::NoTags(error);
        let may_pass = !hopeless
            && matches!(error.disposition(), Disposition::Retry { .. } | Disposition::Ease { .. });
        let Failure { texts, hints, .. } = Failure::of(&error);
        Unread { asked: Asked::Tags, texts, hints, may_pass }
    }

    fn unusable(&self, path: &str) -> FactError {
        FactError::Unusable { endpoint: self.imds.endpoint().to_owned(), path: path.to_owned() }
    }
}

/// Whether the metadata service can hold a tag with this key (EC2 User Guide, "View tags … using instance metadata").
fn is_offered(key: &str) -> bool {
    key.chars().all(|c| c.is_ascii_alphanumeric() || "+-=.,_:@".contains(c))
        && !matches!(key, "." | ".." | "_index")
}

/// The hardware address of one of the machine's interfaces, as the metadata service writes it.
#[must_use]
pub fn mac_of(interface: &str) -> Option<String> {
    let path = std::path::Path::new("/sys/class/net").join(interface).join("address");
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// The hardware addresses of the machine's own interfaces, as the metadata service writes them.
#[must_use]
pub fn kernel_macs() -> Vec<String> {
    let interfaces = fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
    let macs = interfaces
        .filter_map(|interface| fs::read_to_string(interface.path().join("address")).ok());
    // Loopback and tunnels have none, or zeroes.
    let macs = macs
        .map(|mac| mac.trim().to_owned())
        .filter(|mac| mac.len() == 17 && mac != "00:00:00:00:00:00");
    macs.take(MOST_GUESSES).collect()
}

fn hostname() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    name.split('.').next().unwrap_or_default().to_owned()
}

fn interface_paths(mac: &str) -> impl Iterator<Item = String> + use<> {
    let mac = mac.to_owned();
    INTERFACE.iter().map(move |word| format!("{MACS}{mac}/{word}"))
}

fn take(known: &mut BTreeMap<String, Item>, path: &str) -> Item {
    known.remove(path).unwrap_or(Item::Absent)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    instance_id: String,
    region: String,
    #[serde(default)]
    account_id: String,
    #[serde(default)]
    availability_zone: String,
}

const DOCUMENT: &str = "dynamic/instance-identity/document";
const PARTITION: &str = "meta-data/services/partition";
const DOMAIN: &str = "meta-data/services/domain";
const MACS: &str = "meta-data/network/interfaces/macs/";
const TAGS: &str = "meta-data/tags/instance/";
/// Present where the metadata service offers tags, be there any or none.
const OFFER: &str = "meta-data/tags/";
const FIXED: [&str; 6] = [DOCUMENT, PARTITION, DOMAIN, MACS, OFFER, TAGS];
const INTERFACE: [&str; 11] = [
    "device-number",
    "interface-id",
    "local-ipv4s",
    "public-ipv4s",
    "ipv6s",
    "subnet-id",
    "subnet-ipv4-cidr-block",
    "subnet-ipv6-cidr-blocks",
    "vpc-id",
    "vpc-ipv4-cidr-blocks",
    "vpc-ipv6-cidr-blocks",
];
/// A host has few interfaces of EC2's; one with many others (containers) should not ask for all of those.
const MOST_GUESSES: usize = 4;

//! The least that a configuration needs of the instance's role, as an IAM policy (IAM User Guide, "IAM JSON policy elements
//! reference"; Route 53 Developer Guide, "Using IAM policy conditions for fine-grained access control").

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{BackendConfig, Config, KeyPlace, Manager};
use crate::core::{
    address::{AddressKind, AddressSelector},
    facts::TagSource,
    naming::{Conflict, RecordPolicy, Reverse},
};

/// An identity-based policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Policy {
    version: &'static str,
    /// What is allowed. IAM takes no policy without any.
    pub statement: Vec<Statement>,
}

/// Actions that are allowed, and on what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Statement {
    sid: String,
    effect: &'static str,
    action: BTreeSet<&'static str>,
    resource: BTreeSet<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    condition: BTreeMap<&'static str, BTreeMap<&'static str, BTreeSet<String>>>,
}

impl Policy {
    /// What `config` needs in the partition (`aws`, `aws-cn`, `aws-us-gov`), where tags are read from `tags`.
    ///
    /// Hosted zones that are found by name or VPC, as reverse zones are, have no id to be named by: there the conditions on
    /// names, types and actions hold for every zone of the account.
    #[must_use]
    pub fn of(config: &Config, partition: &str, tags: TagSource) -> Self {
        let mut statement = Vec::new();
        let reads = reads(config, tags);
        if !reads.is_empty() {
            statement.push(Statement::new("ReadInstances", reads, ["*".to_owned()]));
        }
        let mut finds_zones = false;
        for (name, backend) in &config.backends {
            let BackendConfig::Route53 { zone_id, .. } = backend else { continue };
            let records = config.records.iter().filter(|record| record.backend == *name);
            let records = records.collect::<Vec<_>>();
            if records.is_empty() {
                continue;
            }
            let sid = name.chars().filter(char::is_ascii_alphanumeric).collect::<String>();
            let zone = |id: &str| format!("arn:{partition}:route53:::hostedzone/{id}");
            let own = zone(zone_id.as_deref().unwrap_or("*"));
            let reverse = reverse_names(&records);
            let mut zones = BTreeSet::from([own.clone()]);
            let names = records.iter().flat_map(|record| patterns(record)).collect();
            statement.push(publish(format!("Publish{sid}"), own, names, types(&records)));
            if !reverse.is_empty() {
                zones.insert(zone("*"));
                let types = ["PTR", "TXT"].map(str::to_owned).into();
                statement.push(publish(format!("PublishReverse{sid}"), zone("*"), reverse, types));
            }
            finds_zones |= zones.contains(&zone("*"));
            if zones.contains(&zone("*")) {
                zones = BTreeSet::from([zone("*")]);
            }
            // A zone that is found by its name is known by it.
            let names_zone = zone_id.iter().map(|_| GET_ZONE);
            let actions = names_zone.chain([LIST_RECORDS]).collect();
            statement.push(Statement::new(format!("Read{sid}"), actions, zones));
        }
        for place in key_places(config) {
            let arn = |service: &str, kind: &str, name: &str| match name.strip_prefix("arn:") {
                Some(_) => name.to_owned(),
                None => format!("arn:{partition}:{service}:*:*:{kind}{name}"),
            };
            let (action, resource, via) = match place {
                KeyPlace::File(_) | KeyPlace::Credential(_) => continue,
                KeyPlace::Parameter(name) => {
                    let name = name.strip_prefix('/').unwrap_or(name);
                    (GET_PARAMETER, arn("ssm", "parameter/", name), "ssm.*")
                }
                // The last part of a secret's ARN is a hyphen and six characters of Secrets Manager's own.
                KeyPlace::Secret(id) => {
                    let arn = arn("secretsmanager", "secret:", id);
                    let whole = if id.starts_with("arn:") { arn } else { format!("{arn}-??????") };
                    (GET_SECRET, whole, "secretsmanager.*")
                }
            };
            let number = statement.len();
            let actions = BTreeSet::from([action]);
            statement.push(Statement::new(format!("ReadKey{number}"), actions, [resource]));
            let keys = [format!("arn:{partition}:kms:*:*:key/*")];
            let decrypt = BTreeSet::from([DECRYPT]);
            let through = BTreeMap::from([(VIA, BTreeSet::from([via.to_owned()]))]);
            statement.push(Statement {
                condition: BTreeMap::from([("StringLike", through)]),
                ..Statement::new(format!("DecryptKey{number}"), decrypt, keys)
            });
        }
        if finds_zones {
            let actions = BTreeSet::from([LIST_VPC_ZONES, LIST_ZONES, DESCRIBE_VPCS]);
            statement.push(Statement::new("FindZones", actions, ["*".to_owned()]));
        }
        Self { version: "2012-10-17", statement }
    }
}

impl Statement {
    fn new(
        sid: impl Into<String>,
        action: BTreeSet<&'static str>,
        resource: impl IntoIterator<Item = String>,
    ) -> Self {
        let resource = resource.into_iter().collect();
        Self { sid: sid.into(), effect: "Allow", action, resource, condition: BTreeMap::new() }
    }
}

fn key_places(config: &Config) -> BTreeSet<&KeyPlace> {
    let places = config.backends.values().filter_map(|backend| match backend {
        BackendConfig::Rfc2136 { keys, .. } => keys.as_ref(),
        BackendConfig::Route53 { .. } => None,
    });
    places.collect()
}

/// EC2's actions, none of which can be narrowed to resources.
fn reads(config: &Config, tags: TagSource) -> BTreeSet<&'static str> {
    let mut actions = BTreeSet::new();
    let sets_resolver = config.resolver.manager != Manager::None;
    let is_discovered =
        |backend: &BackendConfig| matches!(backend, BackendConfig::Rfc2136 { servers: None, .. });
    // Owners of names, that is, and what `reap` asks for.
    let looks_up_owners = !config.records.is_empty();
    if sets_resolver || looks_up_owners || config.backends.values().any(is_discovered) {
        actions.insert(DESCRIBE_INSTANCES);
    }
    if sets_resolver && !config.resolver.prefer.is_empty() {
        actions.insert(DESCRIBE_SUBNETS);
    }
    let mut selectors = config.records.iter().flat_map(|record| &record.addresses);
    if selectors.any(AddressSelector::needs_details) {
        actions.insert(DESCRIBE_INTERFACES);
    }
    if tags != TagSource::Metadata && !config.tags().is_empty() {
        actions.insert(DESCRIBE_TAGS);
    }
    actions
}

fn publish(
    sid: String,
    zone: String,
    names: BTreeSet<String>,
    types: BTreeSet<String>,
) -> Statement {
    let actions = ["CREATE", "DELETE"].map(str::to_owned).into();
    let exact = BTreeMap::from([(CHANGED_TYPES, types), (CHANGES, actions)]);
    let like = BTreeMap::from([(CHANGED_NAMES, names)]);
    let condition =
        BTreeMap::from([("ForAllValues:StringEquals", exact), ("ForAllValues:StringLike", like)]);
    Statement { condition, ..Statement::new(sid, BTreeSet::from([CHANGE]), [zone]) }
}

/// The names that a record can have, as conditions spell them: in lower case, without the last dot.
fn patterns(record: &RecordPolicy) -> Vec<String> {
    let pattern = record.name.pattern();
    let suffixed = match pattern.split_once('.') {
        Some((first, rest)) if record.conflict == Conflict::Suffix && !first.ends_with('*') => {
            Some(format!("{first}-*.{rest}"))
        }
        _ => None,
    };
    suffixed.into_iter().chain([pattern]).collect()
}

fn types(records: &[&RecordPolicy]) -> BTreeSet<String> {
    let kinds = records.iter().flat_map(|record| &record.addresses).map(AddressSelector::kind);
    let types = kinds.flat_map(|kind| match kind {
        AddressKind::PrivateIpv4
        | AddressKind::PublicIpv4
        | AddressKind::ElasticIpv4
        | AddressKind::Secondary => &["A"][..],
        AddressKind::Ipv6 => &["AAAA"],
        AddressKind::Any => &["A", "AAAA"],
    });
    types.chain(&["TXT"]).map(|rtype| (*rtype).to_owned()).collect()
}

fn reverse_names(records: &[&RecordPolicy]) -> BTreeSet<String> {
    let reversed = records.iter().filter(|record| record.reverse == Reverse::Always);
    let types = types(&reversed.copied().collect::<Vec<_>>());
    let domains = [("A", "*.in-addr.arpa"), ("AAAA", "*.ip6.arpa")];
    let domains = domains.into_iter().filter(|(rtype, _)| types.contains(*rtype));
    domains.map(|(_, domain)| domain.to_owned()).collect()
}

const DESCRIBE_INSTANCES: &str = "ec2:DescribeInstances";
const DESCRIBE_INTERFACES: &str = "ec2:DescribeNetworkInterfaces";
const DESCRIBE_SUBNETS: &str = "ec2:DescribeSubnets";
const DESCRIBE_TAGS: &str = "ec2:DescribeTags";
/// Not called: what `ListHostedZonesByVPC` needs beside its own permission.
const DESCRIBE_VPCS: &str = "ec2:DescribeVpcs";
const CHANGE: &str = "route53:ChangeResourceRecordSets";
const GET_ZONE: &str = "route53:GetHostedZone";
const LIST_RECORDS: &str = "route53:ListResourceRecordSets";
const LIST_VPC_ZONES: &str = "route53:ListHostedZonesByVPC";
const LIST_ZONES: &str = "route53:ListHostedZonesByName";
const GET_PARAMETER: &str = "ssm:GetParameter";
const GET_SECRET: &str = "secretsmanager:GetSecretValue";
/// Not called: what both need where the key that encrypts is one of the account's own.
const DECRYPT: &str = "kms:Decrypt";
const VIA: &str = "kms:ViaService";
const CHANGES: &str = "route53:ChangeResourceRecordSetsActions";
const CHANGED_NAMES: &str = "route53:ChangeResourceRecordSetsNormalizedRecordNames";
const CHANGED_TYPES: &str = "route53:ChangeResourceRecordSetsRecordTypes";

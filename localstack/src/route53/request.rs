//! Reads the XML of `ChangeResourceRecordSets` and `CreateHostedZone`.

use roxmltree::{Document, Node};

use crate::{
    rest_error::Error,
    zone::{Alias, RecordSet, Vpc},
};

use super::{NAMESPACE, invalid_input};

/// What a change does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Create,
    Delete,
    Upsert,
}

impl Action {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Delete => "DELETE",
            Self::Upsert => "UPSERT",
        }
    }
}

/// One change; the record set's name is as it was sent.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) action: Action,
    pub(super) record: RecordSet,
}

/// A change batch.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) comment: Option<String>,
    pub(super) changes: Vec<Change>,
}

impl Batch {
    pub(super) fn parse(text: &str) -> Result<Self, Error> {
        let root_name = "ChangeResourceRecordSetsRequest";
        let document = Document::parse(text).map_err(|_| malformed("ChangeBatch", root_name))?;
        let root = root(&document, "ChangeBatch", root_name)?;
        let batch =
            child(root, "ChangeBatch").ok_or_else(|| malformed("ChangeBatch", root_name))?;
        let list = child(batch, "Changes").ok_or_else(|| malformed("ChangeBatch", root_name))?;
        let changes = elements(list, "Change").map(change).collect::<Result<Vec<_>, _>>()?;
        if changes.is_empty() {
            return Err(malformed("ChangeBatch", root_name));
        }
        Ok(Self { comment: text_of(batch, "Comment"), changes })
    }
}

/// A zone to be created.
#[derive(Debug)]
pub(super) struct NewZone {
    pub(super) name: String,
    pub(super) caller_reference: String,
    pub(super) comment: String,
    pub(super) vpc: Option<Vpc>,
    pub(super) is_private: bool,
}

impl NewZone {
    pub(super) fn parse(text: &str) -> Result<Self, Error> {
        let root_name = "CreateHostedZoneRequest";
        let document = Document::parse(text).map_err(|_| malformed("HostedZone", root_name))?;
        let root = root(&document, "HostedZone", root_name)?;
        let config = child(root, "HostedZoneConfig");
        let vpc = match child(root, "VPC") {
            None => None,
            Some(vpc) => Some(Vpc {
                region: text_of(vpc, "VPCRegion")
                    .ok_or_else(|| invalid_vpc("VPCRegion is missing"))?,
                id: text_of(vpc, "VPCId").ok_or_else(|| invalid_vpc("VPCId is missing"))?,
            }),
        };
        Ok(Self {
            name: text_of(root, "Name").ok_or_else(|| malformed("HostedZone", root_name))?,
            caller_reference: text_of(root, "CallerReference")
                .ok_or_else(|| malformed("HostedZone", root_name))?,
            comment: config.and_then(|config| text_of(config, "Comment")).unwrap_or_default(),
            is_private: config.and_then(|config| text_of(config, "PrivateZone")).as_deref()
                == Some("true"),
            vpc,
        })
    }
}

fn change(node: Node<'_, '_>) -> Result<Change, Error> {
    let action = match text_of(node, "Action").as_deref() {
        Some("CREATE") => Action::Create,
        Some("DELETE") => Action::Delete,
        Some("UPSERT") => Action::Upsert,
        other => {
            let message = format!(
                "Invalid XML ; cvc-enumeration-valid: Value '{}' is not facet-valid with respect to enumeration \
                 '[CREATE, DELETE, UPSERT]'. It must be a value from the enumeration.",
                other.unwrap_or_default()
            );
            return Err(invalid_input(message));
        }
    };
    let set = child(node, "ResourceRecordSet")
        .ok_or_else(|| malformed("ChangeBatch", "ResourceRecordSet"))?;
    Ok(Change { action, record: record(set)? })
}

fn record(set: Node<'_, '_>) -> Result<RecordSet, Error> {
    let values =
        child(set, "ResourceRecords").into_iter().flat_map(|list| elements(list, "ResourceRecord"));
    let kind = text_of(set, "Type").unwrap_or_default();
    if !TYPES.contains(&kind.as_str()) {
        let message = format!(
            "Invalid XML ; cvc-enumeration-valid: Value '{kind}' is not facet-valid with respect to enumeration \
             '[{}]'. It must be a value from the enumeration.",
            TYPES.join(", ")
        );
        return Err(invalid_input(message));
    }
    let multi_value_answer = match text_of(set, "MultiValueAnswer").as_deref() {
        None => None,
        Some("true" | "1") => Some(true),
        Some("false" | "0") => Some(false),
        Some(other) => {
            return Err(invalid_input(format!(
                "Invalid XML ; '{other}' is not a valid value for 'boolean'."
            )));
        }
    };
    let alias = child(set, "AliasTarget").map(|alias| Alias {
        hosted_zone_id: text_of(alias, "HostedZoneId").unwrap_or_default(),
        dns_name: text_of(alias, "DNSName").unwrap_or_default(),
        evaluate_target_health: text_of(alias, "EvaluateTargetHealth").as_deref() == Some("true"),
    });
    Ok(RecordSet {
        name: text_of(set, "Name").unwrap_or_default(),
        kind,
        ttl: number(set, "TTL", 2_147_483_647)?,
        values: values.map(|value| text_of(value, "Value").unwrap_or_default()).collect(),
        set_identifier: text_of(set, "SetIdentifier"),
        weight: number(set, "Weight", 255)?.and_then(|weight| u8::try_from(weight).ok()),
        multi_value_answer,
        region: text_of(set, "Region"),
        failover: text_of(set, "Failover"),
        health_check_id: text_of(set, "HealthCheckId"),
        alias,
    })
}

fn number(node: Node<'_, '_>, name: &str, most: u32) -> Result<Option<u32>, Error> {
    let Some(text) = text_of(node, name) else { return Ok(None) };
    match text.parse::<u32>() {
        Ok(number) if number <= most => Ok(Some(number)),
        _ => Err(invalid_input(format!(
            "Invalid XML ; value '{text}' of element '{name}' must be between 0 and {most}."
        ))),
    }
}

fn root<'a, 'i>(document: &'a Document<'i>, what: &str, name: &str) -> Result<Node<'a, 'i>, Error> {
    Some(document.root_element())
        .filter(|root| root.has_tag_name((NAMESPACE, name)))
        .ok_or_else(|| malformed(what, name))
}

fn elements<'a, 'i>(node: Node<'a, 'i>, name: &str) -> impl Iterator<Item = Node<'a, 'i>> {
    node.children().filter(move |child| child.has_tag_name((NAMESPACE, name)))
}

fn child<'a, 'i>(node: Node<'a, 'i>, name: &str) -> Option<Node<'a, 'i>> {
    elements(node, name).next()
}

fn text_of(node: Node<'_, '_>, name: &str) -> Option<String> {
    child(node, name).map(|child| child.text().unwrap_or_default().to_owned())
}

fn malformed(what: &str, expected: &str) -> Error {
    Error::new(400, "MalformedInput", format!("{what} is not valid, expected {expected}"))
}

fn invalid_vpc(message: &str) -> Error {
    Error::new(400, "InvalidVPCId", message)
}

const TYPES: [&str; 17] = [
    "A", "AAAA", "CAA", "CNAME", "DS", "HTTPS", "MX", "NAPTR", "NS", "PTR", "SOA", "SPF", "SRV",
    "SSHFP", "SVCB", "TLSA", "TXT",
];

//! `ChangeResourceRecordSets` and `GetChange`.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Instant, SystemTime},
};

use crate::{
    clock::iso8601,
    name,
    rest_error::Error,
    world::{State, Submitted},
    xml::Xml,
};

use super::{
    Reply, no_such_zone, record,
    request::{Batch, Change},
};

/// `ChangeResourceRecordSets`.
pub(super) fn change(state: &mut State, zone_id: &str, text: &str) -> Result<Reply, Error> {
    let batch = Batch::parse(text)?;
    let Some(zone) = state.zones.get_mut(zone_id) else { return Err(no_such_zone(zone_id)) };
    let now = Instant::now();
    let changes = &mut state.changes;
    if changes.refused > 0 {
        changes.refused -= 1;
        return Err(prior_request());
    }
    if changes.busy.get(zone_id).is_some_and(|until| now < *until) {
        return Err(prior_request());
    }
    zone.records = record::apply(zone, &batch.changes)?;
    changes.busy.insert(zone_id.to_owned(), now + changes.window);
    let info = submit(state, batch.comment);
    Ok(Reply::ok("ChangeResourceRecordSetsResponse", move |xml| info.write(xml)))
}

/// The condition keys of the call (Route 53 Developer Guide, "Using IAM policy conditions for fine-grained access control"):
/// names in lower case without the last dot, what is not `a-z 0-9 - _ .` as an octal escape.
pub(super) fn condition_keys(batch: &Batch) -> BTreeMap<String, BTreeSet<String>> {
    let keys = |of: fn(&Change) -> String| batch.changes.iter().map(of).collect();
    BTreeMap::from([
        (
            "route53:ChangeResourceRecordSetsActions".to_owned(),
            keys(|it| it.action.name().to_owned()),
        ),
        (
            "route53:ChangeResourceRecordSetsNormalizedRecordNames".to_owned(),
            keys(|it| {
                let name = name::canonical(&it.record.name).unwrap_or_default();
                name.trim_end_matches('.').to_owned()
            }),
        ),
        (
            "route53:ChangeResourceRecordSetsRecordTypes".to_owned(),
            keys(|it| it.record.kind.clone()),
        ),
    ])
}

/// `GetChange`.
pub(super) fn get(state: &State, id: &str) -> Result<Reply, Error> {
    let submitted = state.changes.submitted.get(id).ok_or_else(|| {
        Error::new(404, "NoSuchChange", format!("Could not find resource with ID: {id}"))
    })?;
    let info = ChangeInfo { id: id.to_owned(), submitted: submitted.clone() };
    Ok(Reply::ok("GetChangeResponse", move |xml| info.write(xml)))
}

/// Records a change that has been made.
pub(super) fn submit(state: &mut State, comment: Option<String>) -> ChangeInfo {
    let id = format!("C{:020}", state.next_serial());
    let insync = Instant::now() + state.changes.propagation;
    let submitted = Submitted { at: SystemTime::now(), insync, comment };
    if state.changes.submitted.len() >= REMEMBERED {
        state.changes.submitted.pop_first();
    }
    state.changes.submitted.insert(id.clone(), submitted.clone());
    ChangeInfo { id, submitted }
}

/// What became of a change.
pub(super) struct ChangeInfo {
    id: String,
    submitted: Submitted,
}

impl ChangeInfo {
    pub(super) fn write(&self, xml: &mut Xml) {
        let is_insync = self.submitted.insync <= Instant::now();
        xml.nest("ChangeInfo", |xml| {
            xml.leaf("Id", format!("/change/{}", self.id));
            xml.leaf("Status", if is_insync { "INSYNC" } else { "PENDING" });
            xml.leaf("SubmittedAt", iso8601(self.submitted.at));
            xml.leaf_if("Comment", self.submitted.comment.as_ref());
        });
    }
}

fn prior_request() -> Error {
    let message = "The request was rejected because Route 53 was still processing a prior request.";
    Error::new(400, "PriorRequestNotComplete", message)
}

/// How many changes `GetChange` still knows.
const REMEMBERED: usize = 10_000;

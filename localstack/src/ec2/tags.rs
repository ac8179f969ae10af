//! `CreateTags` and `DeleteTags`, which are all or nothing.

use std::collections::{BTreeMap, BTreeSet};

use crate::{form::Form, world::State};

use super::{Content, Error, is_instance_id, unknown};

/// `CreateTags`.
pub(super) fn create(state: &mut State, form: &Form) -> Result<Content, Error> {
    let resources = resources(state, form)?;
    let tags = parse(form)?;
    if tags.is_empty() {
        return Err(Error::missing("tagSet"));
    }
    for (key, value) in &tags {
        check_key(key)?;
        let value = value.unwrap_or_default();
        if value.chars().count() > 256 {
            return Err(Error::value("Tag value exceeds the maximum length of 256 characters"));
        }
    }
    for id in &resources {
        let Some(instance) = state.instances.get(*id) else { continue };
        if instance.metadata_tags
            && let Some((key, _)) = tags.iter().find(|(key, _)| !is_metadata_key(key))
        {
            return Err(Error::value(format!(
                "'{key}' is not a valid tag key. Tag keys must match pattern ([0-9a-zA-Z\\-_+=,.@:]{{1,255}}), \
                 and must not be a reserved name ('.', '..', '_index')"
            )));
        }
        let added = tags.iter().filter(|(key, _)| !instance.tags.contains_key(*key)).count();
        let own = instance.tags.keys().filter(|key| !is_reserved(key)).count();
        if own + added > 50 {
            return Err(Error::new(
                "TagLimitExceeded",
                "The maximum number of Tags for a resource has been reached.",
            ));
        }
    }
    for id in resources {
        let Some(instance) = state.instances.get_mut(id) else { continue };
        for (key, value) in &tags {
            instance.tags.insert((*key).to_owned(), value.unwrap_or_default().to_owned());
        }
    }
    Ok(Box::new(|xml| xml.leaf("return", true)))
}

/// `DeleteTags`: by key, or only when the value is the given one; without tags all of the user's own.
pub(super) fn delete(state: &mut State, form: &Form) -> Result<Content, Error> {
    let resources = resources(state, form)?;
    let tags = parse(form)?;
    for (key, _) in &tags {
        check_key(key)?;
    }
    for id in resources {
        let Some(instance) = state.instances.get_mut(id) else { continue };
        instance.tags.retain(|key, value| {
            if tags.is_empty() {
                return is_reserved(key);
            }
            !tags.iter().any(|(named, only)| named == key && only.is_none_or(|only| only == value))
        });
    }
    Ok(Box::new(|xml| xml.leaf("return", true)))
}

/// The condition keys of either call about one of its resources: the tags that this has, and those that the call names.
pub(super) fn condition_keys(
    state: &State,
    id: &str,
    form: &Form,
) -> BTreeMap<String, BTreeSet<String>> {
    let mut keys = BTreeMap::<_, BTreeSet<_>>::new();
    let mut put = |key: String, value: &str| {
        keys.entry(key).or_default().insert(value.to_owned());
    };
    for (key, value) in state.instances.get(id).into_iter().flat_map(|it| &it.tags) {
        put(format!("ec2:ResourceTag/{key}"), value);
    }
    for (key, value) in parse(form).unwrap_or_default() {
        put("aws:TagKeys".to_owned(), key);
        put(format!("aws:RequestTag/{key}"), value.unwrap_or_default());
    }
    keys
}

fn resources<'a>(state: &State, form: &'a Form) -> Result<Vec<&'a str>, Error> {
    let ids = form.list("ResourceId");
    if ids.is_empty() {
        return Err(Error::missing("resourceIdSet"));
    }
    if let Some(id) = ids.iter().find(|id| !is_instance_id(id)) {
        return Err(Error::new("InvalidID", format!("The ID '{id}' is not valid")));
    }
    unknown(state, &ids)?;
    Ok(ids)
}

/// Key and, where it is given, value.
fn parse(form: &Form) -> Result<Vec<(&str, Option<&str>)>, Error> {
    let members = form.members("Tag").into_values();
    members
        .map(|tag| {
            Ok((
                *tag.get("Key").ok_or_else(|| Error::missing("Tag.Key"))?,
                tag.get("Value").copied(),
            ))
        })
        .collect()
}

fn check_key(key: &str) -> Result<(), Error> {
    if is_reserved(key) {
        return Err(Error::value("Tag keys starting with 'aws:' are reserved for internal use"));
    }
    if key.is_empty() || key.chars().count() > 128 {
        return Err(Error::value("Tag key must be between 1 and 128 characters long"));
    }
    Ok(())
}

/// In any case of letters.
fn is_reserved(key: &str) -> bool {
    key.get(..4).is_some_and(|prefix| prefix.eq_ignore_ascii_case("aws:"))
}

/// What IMDS can show as a path (User Guide, "View tags for your EC2 instances using instance metadata").
fn is_metadata_key(key: &str) -> bool {
    let is_plain =
        key.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"+-=.,_:@".contains(&octet));
    is_plain && !matches!(key, "." | ".." | "_index")
}

//! Instance tags as settings: `tagalong:KEY` stands in for a key that no file sets.

use std::collections::BTreeMap;

use super::{ConfigError, Origin, Setting, Settings, Value};
use crate::config::schema::{self, Form};

impl Settings {
    /// Takes instance tags for keys that are not set: `tagalong:discovery.value`, `tagalong:record.name` (the first
    /// record), `tagalong:record.1.name`. A tag that names no key is left alone: `tagalong:dns-server` is one. See also
    /// [`keyless_tags`].
    ///
    /// # Errors
    /// A tag's value does not have its key's form.
    pub fn overlay_tags(
        &mut self,
        tags: &BTreeMap<String, String>,
    ) -> Result<(), Vec<ConfigError>> {
        let mut errors = Vec::new();
        // Records in files are a list of their own: tags make records only where the files have none.
        let take_records = self.records == 0;
        for (tag, text) in tags {
            let Some(key) = tag.strip_prefix(TAG_PREFIX) else { continue };
            let path = tag_path(key);
            let Some(found) = schema::find(&path).filter(|_| path != "version") else { continue };
            let is_record = path.starts_with("record[");
            if self.values.contains_key(&path) || (is_record && !take_records) {
                continue;
            }
            let origin = Origin::Tag(tag.clone());
            match from_text(found.form, text) {
                Some(value) => {
                    self.values.insert(path.clone(), Setting { value, origin });
                    let index = path
                        .strip_prefix("record[")
                        .and_then(|rest| rest.split(']').next()?.parse::<usize>().ok());
                    self.records =
                        self.records.max(index.map_or(0, |index| index.saturating_add(1)));
                }
                None => errors.push(ConfigError {
                    origin,
                    what: format!("`{text}` is not {}", found.form.words()),
                }),
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }
}

/// Of an instance's tags those that were meant to configure, by their look, and do not, since there is no such key. The tags that
/// `[discovery]` has for DNS servers may look so.
pub fn keyless_tags<'a>(
    tags: impl Iterator<Item = &'a String>,
    discovery: [&'a str; 2],
) -> impl Iterator<Item = &'a str> {
    tags.map(String::as_str).filter(move |tag| {
        let is_keyless = tag.strip_prefix(TAG_PREFIX).is_some_and(|key| {
            // All keys but `version` are in a table.
            key.contains('.') && schema::find(&tag_path(key)).is_none()
        });
        is_keyless && !discovery.contains(tag)
    })
}

/// What the keys of tags that configure begin with.
pub const TAG_PREFIX: &str = "tagalong:";

/// Index beyond which a tag's record is not one: 50 tags are all that an instance can have.
const MOST_RECORDS: usize = 50;

/// `record.name` and `record.1.name` as the paths of settings have them.
fn tag_path(key: &str) -> String {
    let Some(rest) = key.strip_prefix("record.") else { return key.to_owned() };
    match rest.split_once('.') {
        Some((index, word)) if index.parse::<usize>().is_ok_and(|index| index < MOST_RECORDS) => {
            format!("record[{index}].{word}")
        }
        _ => format!("record[0].{rest}"),
    }
}

/// A tag's text in the form that its key has; lists are parted by commas or white space.
fn from_text(form: Form, text: &str) -> Option<Value> {
    let list = || {
        let words = text.split([',', ' ', '\t']).map(str::trim).filter(|word| !word.is_empty());
        words.map(str::to_owned).collect::<Vec<_>>()
    };
    match form {
        Form::Text | Form::Time => Some(Value::Text(text.to_owned())),
        Form::Number => text.trim().parse().ok().map(Value::Number),
        Form::Flag => text.trim().parse().ok().map(Value::Flag),
        Form::TextOrList if text.trim() == "discovered" => {
            Some(Value::Text(text.trim().to_owned()))
        }
        Form::List | Form::TextOrList => Some(Value::List(list())),
    }
}

//! What is in force: each key with its value, and where that comes from.

use super::{
    backends::foreign,
    schema,
    settings::{Origin, Settings},
};

/// The effective value of every key, with where it comes from: what is set, then the defaults of what is not.
#[must_use]
pub fn effective(settings: &Settings) -> Vec<(String, String, Origin)> {
    let mut rows = Vec::new();
    for key in schema::KEYS {
        let paths = match key.path.split_once('.') {
            Some(("record[]", word)) => {
                (0..settings.records()).map(|index| format!("record[{index}].{word}")).collect()
            }
            Some(("backend", rest)) => {
                let word = rest.trim_start_matches("*.");
                let path = |name: &String, word: &str| format!("backend.{name}.{word}");
                let is_foreign = |name: &String| {
                    let kind = settings.text(&path(name, "kind"));
                    kind.is_some_and(|kind| foreign(kind).contains(&word))
                };
                let names = settings.backends().into_iter().filter(|name| !is_foreign(name));
                names.map(|name| path(&name, word)).collect()
            }
            _ => vec![key.path.to_owned()],
        };
        for path in paths {
            match settings.get(&path) {
                Some(setting) => {
                    rows.push((path, setting.value.to_string(), setting.origin.clone()));
                }
                None if !key.default.is_empty() => {
                    rows.push((path, key.default.to_owned(), Origin::Default));
                }
                None => {}
            }
        }
    }
    rows
}

//! Every key of the configuration: its form, its default, its meaning. Reading, `config show`, `default.toml` and the
//! README's table all come from here.

pub use super::table::KEYS;

/// What form a value has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A string.
    Text,
    /// A string that is a time, `5m`.
    Time,
    /// A whole number.
    Number,
    /// `true` or `false`.
    Flag,
    /// A list of strings.
    List,
    /// A string, or a list of strings.
    TextOrList,
}

impl Form {
    /// The form in words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Text => "a string",
            Self::Time => "a time",
            Self::Number => "a whole number",
            Self::Flag => "`true` or `false`",
            Self::List => "a list of strings",
            Self::TextOrList => "a string or a list of strings",
        }
    }
}

/// One key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Where it stands: `record[]` is one of several tables, `backend.*` a table with a name of the user's.
    pub path: &'static str,
    /// What form its value has.
    pub form: Form,
    /// What it is when nobody sets it, as TOML; empty for a key without a default.
    pub default: &'static str,
    /// An example, as TOML, for a key without a default.
    pub example: &'static str,
    /// What it means.
    pub meaning: &'static str,
}

pub(super) const fn key(
    path: &'static str,
    form: Form,
    default: &'static str,
    meaning: &'static str,
) -> Key {
    Key { path, form, default, example: "", meaning }
}

pub(super) const fn unset(
    path: &'static str,
    form: Form,
    example: &'static str,
    meaning: &'static str,
) -> Key {
    Key { path, form, default: "", example, meaning }
}

/// The key whose path, with indexes and names taken out, is `path`.
#[must_use]
pub fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| matches(key.path, path))
}

/// The keys right below `path`, for the error that says what could stand there.
#[must_use]
pub fn below(path: &str) -> Vec<&'static str> {
    let words = KEYS.iter().filter_map(|key| {
        let mut pattern = key.path.split('.');
        let is_below = path.is_empty()
            || path.split('.').all(|word| pattern.next().is_some_and(|p| is_segment(p, word)));
        is_below.then(|| pattern.next()).flatten().map(|word| word.trim_end_matches("[]"))
    });
    let mut known: Vec<&'static str> = Vec::new();
    for word in words {
        if !known.contains(&word) {
            known.push(word);
        }
    }
    known
}

/// Whether `path` may be a table.
#[must_use]
pub fn is_table(path: &str) -> bool {
    !below(path).is_empty()
}

fn matches(pattern: &str, path: &str) -> bool {
    let (mut pattern, mut path) = (pattern.split('.'), path.split('.'));
    loop {
        match (pattern.next(), path.next()) {
            (None, None) => return true,
            (Some(pattern), Some(word)) if is_segment(pattern, word) => {}
            _ => return false,
        }
    }
}

/// Whether `word` is what `pattern` stands for: itself, any name for `*`, `record[3]` for `record[]`.
fn is_segment(pattern: &str, word: &str) -> bool {
    match pattern.strip_suffix("[]") {
        Some(table) => word
            .strip_prefix(table)
            .is_some_and(|rest| rest.starts_with('[') && rest.ends_with(']')),
        None => pattern == "*" || pattern == word,
    }
}

/// The commented file that `default.toml` is: commented lines are the defaults, or examples where there is none.
#[must_use]
pub fn default_toml() -> String {
    let mut text = String::from(
        "# tagalong's configuration: every key. A line that begins with `#key` shows its default;\n\
         # one that begins with `#?key` has no default, and shows an example.\n",
    );
    let mut table = String::new();
    for key in KEYS {
        let (head, word) = key.path.rsplit_once('.').unwrap_or(("", key.path));
        if head != table {
            head.clone_into(&mut table);
            let header = match head.strip_suffix("[]") {
                Some(several) => format!("[[{several}]]"),
                None => format!("[{}]", head.replace('*', "NAME")),
            };
            text.push_str(&format!("\n#{header}\n"));
        }
        text.push_str(&format!("# {}\n", key.meaning));
        match (key.path, key.default) {
            ("version", _) => text.push_str("version = 1\n"),
            (_, "") => text.push_str(&format!("#?{word} = {}\n", key.example)),
            (_, default) => text.push_str(&format!("#{word} = {default}\n")),
        }
    }
    text
}

/// The keys as a table in Markdown: the README's.
#[must_use]
pub fn markdown() -> String {
    let mut text = String::from("| key | default | meaning |\n|---|---|---|\n");
    for key in KEYS {
        let default = match (key.path, key.default) {
            ("version", _) => "must be there".to_owned(),
            (_, "") => "unset".to_owned(),
            (_, default) => format!("`{default}`"),
        };
        text.push_str(&format!(
            "| `{}` | {default} | {} |\n",
            key.path.replace('*', "NAME"),
            key.meaning.replace('|', "\\|")
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_find_their_keys() {
        assert_eq!(find("record[2].ttl").unwrap().path, "record[].ttl");
        assert_eq!(find("backend.internal.kind").unwrap().path, "backend.*.kind");
        assert!(find("record.ttl").is_none());
        assert!(find("backend.kind").is_none());
        assert!(find("ttl").is_none());
        assert_eq!(
            below(""),
            [
                "version",
                "metadata",
                "aws",
                "record",
                "backend",
                "discovery",
                "resolver",
                "lifecycle",
                "metrics"
            ]
        );
        assert_eq!(
            below("backend.x"),
            [
                "kind",
                "servers",
                "key_file",
                "key_credential",
                "key_parameter",
                "key_secret",
                "zone_keys",
                "keytab",
                "principal",
                "lease",
                "index",
                "marker",
                "zone_id",
                "sharing",
                "endpoint"
            ]
        );
        assert!(is_table("backend") && is_table("backend.x") && !is_table("version"));
    }
}

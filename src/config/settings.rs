//! Settings as they were made: each value with where it comes from, before anything is checked against another.
//!
//! A later file wins over an earlier one, key by key; its `[[record]]` tables come after the earlier ones'. Instance tags
//! `tagalong:KEY` stand in for keys that no file sets.

mod tags;

use std::{collections::BTreeMap, fmt, path::PathBuf};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

pub use self::tags::{TAG_PREFIX, keyless_tags};
use super::schema::{self, Form};

/// A value in one of the forms that keys have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A string.
    Text(String),
    /// A whole number.
    Number(i64),
    /// A truth value.
    Flag(bool),
    /// A list of strings.
    List(Vec<String>),
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl fmt::Display for Value {
    /// As TOML.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
        match self {
            Self::Text(text) => f.write_str(&quoted(text)),
            Self::Number(number) => number.fmt(f),
            Self::Flag(flag) => flag.fmt(f),
            Self::List(list) => {
                write!(
                    f,
                    "[{}]",
                    list.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(", ")
                )
            }
        }
    }
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A line of a file.
    File {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// Counted from 1, in characters.
        column: usize,
    },
    /// An instance tag.
    Tag(String),
    /// An environment variable.
    Environment(&'static str),
    /// The key's default.
    Default,
}

impl Origin {
    /// Where in its file, the first being 1; 0 for what is in none.
    pub(super) fn line_and_column(&self) -> (usize, usize) {
        match self {
            Self::File { line, column, .. } => (*line, *column),
            Self::Tag(_) | Self::Environment(_) | Self::Default => (0, 0),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line, column } => write!(f, "{}:{line}:{column}", path.display()),
            Self::Tag(tag) => write!(f, "tag {tag}"),
            Self::Environment(variable) => write!(f, "environment {variable}"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// Something in the configuration that cannot be: where, what, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Where.
    pub origin: Origin,
    /// What.
    pub what: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.origin, self.what)
    }
}

impl std::error::Error for ConfigError {}

/// A value and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The value.
    pub value: Value,
    /// Where it comes from.
    pub origin: Origin,
}

/// Everything that was set, by path: `record[0].name`, `backend.internal.kind`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    values: BTreeMap<String, Setting>,
    records: usize,
}

impl Settings {
    /// The value at a path.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&Setting> {
        self.values.get(path)
    }

    /// The text at a path.
    #[must_use]
    pub fn text(&self, path: &str) -> Option<&str> {
        match &self.get(path)?.value {
            Value::Text(text) => Some(text),
            Value::Number(_) | Value::Flag(_) | Value::List(_) => None,
        }
    }

    /// Everything that was set, by path.
    pub fn iter(&self) -> impl Iterator<Item = (&String, &Setting)> {
        self.values.iter()
    }

    /// How many `[[record]]` tables there are.
    #[must_use]
    pub fn records(&self) -> usize {
        self.records
    }

    /// The names of `[backend.NAME]` tables.
    #[must_use]
    pub fn backends(&self) -> Vec<String> {
        let names =
            self.values.keys().filter_map(|path| path.strip_prefix("backend.")?.split('.').next());
        let mut names = names.map(str::to_owned).collect::<Vec<_>>();
        names.dedup();
        names
    }

    /// Sets a value, over what was set before.
    pub fn insert(&mut self, path: &str, setting: Setting) {
        self.values.insert(path.to_owned(), setting);
    }

    /// Sets a value from the environment, over anything else.
    pub fn set_from_environment(
        &mut self,
        path: &str,
        variable: &'static str,
        value: impl Into<Value>,
    ) {
        let setting = Setting { value: value.into(), origin: Origin::Environment(variable) };
        self.insert(path, setting);
    }

    /// Reads a file's text over what is set already.
    ///
    /// # Errors
    /// Everything that is wrong in it, each with its line and column; what is right is set all the same.
    pub fn read(&mut self, path: &std::path::Path, text: &str) -> Result<(), Vec<ConfigError>> {
        let mut reader =
            Reader { path, text, first_record: self.records, settings: self, errors: Vec::new() };
        match DeTable::parse(text) {
            Ok(document) => reader.table("", document.get_ref()),
            Err(error) => {
                let at = error.span().map_or(0, |span| span.start);
                reader.error(at, error.message().lines().collect::<Vec<_>>().join("; "));
            }
        }
        let mut errors = reader.errors;
        // What else is wrong with a file for another program is no error of that file.
        if let Some(Setting { value: Value::Number(version), origin }) = self.values.get("version")
            && *version != 1
            && matches!(origin, Origin::File { path: of, .. } if of == path)
        {
            let what = format!("`version = {version}` is not known; this program reads version 1");
            return Err(vec![ConfigError { origin: origin.clone(), what }]);
        }
        errors.sort_by_key(|error| error.origin.line_and_column());
        // Each key of a table without a name says the same.
        errors.dedup_by(|later, earlier| later.what == earlier.what);
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }
}

struct Reader<'a> {
    path: &'a std::path::Path,
    text: &'a str,
    first_record: usize,
    settings: &'a mut Settings,
    errors: Vec<ConfigError>,
}

impl Reader<'_> {
    fn table(&mut self, at: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            let word = key.get_ref().as_ref();
            let path = if at.is_empty() { word.to_owned() } else { format!("{at}.{word}") };
            let start = key.span().start;
            match value.get_ref() {
                DeValue::Array(tables) if path == "record" => {
                    for (index, table) in tables.iter().enumerate() {
                        let index = self.first_record + index;
                        match table.get_ref().as_table() {
                            Some(inner) => self.table(&format!("record[{index}]"), inner),
                            None => self.error(
                                table.span().start,
                                "`record` is not a list of tables; write `[[record]]`",
                            ),
                        }
                        self.settings.records = index + 1;
                    }
                }
                DeValue::Table(_) if path == "record" => {
                    self.error(start, "`[record]` is one of several; write `[[record]]`");
                }
                DeValue::Table(inner) if schema::is_table(&path) => self.table(&path, inner),
                _ => self.value(&path, at, start, value),
            }
        }
    }

    fn value(&mut self, path: &str, at: &str, start: usize, value: &Spanned<DeValue<'_>>) {
        let Some(key) = schema::find(path) else {
            let known = schema::below(at).join("`, `");
            let what = if at == "backend" {
                "`[backend]` needs a name of your choice: write `[backend.internal]`".to_owned()
            } else if schema::is_table(path) {
                format!("`{path}` is a table; write `[{path}]`")
            } else {
                format!("no such key `{path}`; here may stand `{known}`")
            };
            self.error(start, what);
            return;
        };
        match of_form(key.form, value.get_ref()) {
            Some(value) => {
                let setting = Setting { value, origin: self.origin(start) };
                self.settings.values.insert(path.to_owned(), setting);
            }
            None => {
                let such =
                    [key.example, key.default].into_iter().find(|text| !matches!(*text, "" | "[]"));
                let such = such.map(|such| format!(", such as {such}")).unwrap_or_default();
                let what = format!("`{path}` is not {}{such}", key.form.words());
                self.error(value.span().start, what);
            }
        }
    }

    fn error(&mut self, at: usize, what: impl Into<String>) {
        let origin = self.origin(at);
        self.errors.push(ConfigError { origin, what: what.into() });
    }

    fn origin(&self, at: usize) -> Origin {
        let before = self.text.get(..at).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Origin::File {
            path: self.path.to_path_buf(),
            line: before.matches('\n').count() + 1,
            column: before.get(line_start..).map_or(0, |line| line.chars().count()) + 1,
        }
    }
}

fn of_form(form: Form, value: &DeValue<'_>) -> Option<Value> {
    let list = || {
        let items = value.as_array()?.iter().map(|item| item.get_ref().as_str().map(str::to_owned));
        items.collect::<Option<Vec<_>>>().map(Value::List)
    };
    match form {
        Form::Text | Form::Time => value.as_str().map(|text| Value::Text(text.to_owned())),
        Form::Number => {
            let number = value.as_integer()?;
            i64::from_str_radix(number.as_str(), number.radix()).ok().map(Value::Number)
        }
        Form::Flag => value.as_bool().map(Value::Flag),
        Form::List => list(),
        Form::TextOrList => value.as_str().map(|text| Value::Text(text.to_owned())).or_else(list),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn read(text: &str) -> Result<Settings, Vec<String>> {
        let mut settings = Settings::default();
        match settings.read(Path::new("c.toml"), text) {
            Ok(()) => Ok(settings),
            Err(errors) => Err(errors.iter().map(ToString::to_string).collect()),
        }
    }

    #[test]
    fn every_value_knows_its_line_and_column() {
        let settings = read("version = 1\n\n[[record]]\nname = \"a\"\n  ttl = 30\n[backend.x]\nkind = \"rfc2136\"\n").unwrap();
        let told = settings
            .iter()
            .map(|(path, setting)| format!("{path} = {} {}", setting.value, setting.origin));
        assert_eq!(
            told.collect::<Vec<_>>(),
            [
                "backend.x.kind = \"rfc2136\" c.toml:7:1",
                "record[0].name = \"a\" c.toml:4:1",
                "record[0].ttl = 30 c.toml:5:3",
                "version = 1 c.toml:1:1",
            ]
        );
    }

    #[test]
    fn errors_say_where_and_what() {
        let check =
            |text: &str, expect: &[&str]| assert_eq!(read(text).unwrap_err(), expect, "{text}");
        check(
            "version = 1\n[discovery]\ntags = \"x\"\n",
            &[
                "c.toml:3:1: no such key `discovery.tags`; here may stand `tag`, `value`, `draining`, `vpcs`, `regions`, `refresh`, `port`",
            ],
        );
        check(
            "version = 2\nnew = 1",
            &["c.toml:1:1: `version = 2` is not known; this program reads version 1"],
        );
        let mut settings = Settings::default();
        settings.read(Path::new("c.toml"), "version = 2").unwrap_err();
        let beside = settings.read(Path::new("d.toml"), "new = 1").unwrap_err();
        assert!(beside.iter().all(|error| error.to_string().starts_with("d.toml:1:1: no such")));
        check("version = \"1\"", &["c.toml:1:11: `version` is not a whole number, such as 1"]);
        check(
            "[record]\nname = \"x\"",
            &["c.toml:1:2: `[record]` is one of several; write `[[record]]`"],
        );
        check(
            "record = [1]",
            &["c.toml:1:11: `record` is not a list of tables; write `[[record]]`"],
        );
        check("metadata = 1", &["c.toml:1:1: `metadata` is a table; write `[metadata]`"]);
        check(
            "[resolver]\nsearch = [1]\noptions = \"x\"",
            &[
                "c.toml:2:10: `resolver.search` is not a list of strings",
                "c.toml:3:11: `resolver.options` is not a list of strings, such as [\"timeout:1\", \"attempts:2\"]",
            ],
        );
        // Once for all of its keys.
        check(
            "[backend]\nkind = \"rfc2136\"\nkey_file = \"k\"",
            &["c.toml:2:1: `[backend]` needs a name of your choice: write `[backend.internal]`"],
        );
        let broken = read("version = 1\n[[record]\n").unwrap_err();
        assert!(broken[0].starts_with("c.toml:2:"), "{broken:?}");
    }

    #[test]
    fn a_later_file_wins_key_by_key_and_adds_its_records() {
        let mut settings = read(
            "version = 1\n[discovery]\ntag = \"a\"\nvalue = \"b\"\n[[record]]\nname = \"one\"",
        )
        .unwrap();
        settings
            .read(Path::new("d.toml"), "[discovery]\nvalue = \"c\"\n[[record]]\nname = \"two\"")
            .unwrap();
        let text = |path: &str| settings.get(path).map(|setting| setting.value.to_string());
        assert_eq!(text("discovery.tag").unwrap(), "\"a\"");
        assert_eq!(text("discovery.value").unwrap(), "\"c\"");
        assert_eq!(text("record[0].name").unwrap(), "\"one\"");
        assert_eq!(text("record[1].name").unwrap(), "\"two\"");
        assert_eq!(settings.records(), 2);
    }

    #[test]
    fn tags_stand_in_for_what_the_files_leave_out() {
        let mut settings = read("version = 1\n[discovery]\ntag = \"a\"").unwrap();
        let tags = [
            ("tagalong:discovery.tag", "from-a-tag"),
            ("tagalong:discovery.value", "corp.internal"),
            ("tagalong:record.name", "{tag:Name}.corp.internal"),
            ("tagalong:record.1.name", "b.corp.internal"),
            ("tagalong:record.ttl", "30"),
            ("tagalong:resolver.search", "corp.internal, x"),
            ("tagalong:dns-server", "corp.internal"),
            ("tagalong:version", "7"),
            ("Name", "web-1"),
        ];
        settings.overlay_tags(&tags.map(|(k, v)| (k.to_owned(), v.to_owned())).into()).unwrap();
        let text = |path: &str| {
            settings.get(path).map(|setting| format!("{} {}", setting.value, setting.origin))
        };
        assert_eq!(text("discovery.tag").unwrap(), "\"a\" c.toml:3:1");
        assert_eq!(
            text("discovery.value").unwrap(),
            "\"corp.internal\" tag tagalong:discovery.value"
        );
        assert_eq!(text("record[0].ttl").unwrap(), "30 tag tagalong:record.ttl");
        assert_eq!(
            text("resolver.search").unwrap(),
            "[\"corp.internal\", \"x\"] tag tagalong:resolver.search"
        );
        assert_eq!(settings.records(), 2);
        let wrong = BTreeMap::from([("tagalong:discovery.port".to_owned(), "dns".to_owned())]);
        let errors = settings.overlay_tags(&wrong).unwrap_err();
        assert_eq!(
            errors[0].to_string(),
            "tag tagalong:discovery.port: `dns` is not a whole number"
        );
    }

    #[test]
    fn a_tag_that_looks_like_a_key_and_is_none_is_told_from_the_others() {
        let tags = [
            "Name",
            "tagalong:dns-server",
            "tagalong:discovery.value",
            "tagalong:record.1.ttl",
            "tagalong:backend.internal.kind",
            "tagalong:resolver.serach",
            "tagalong:record.tll",
            "tagalong:dns.server",
            "tagalong:dns.leaves",
        ];
        let tags = tags.map(str::to_owned);
        let keyless = keyless_tags(tags.iter(), ["tagalong:dns.server", "tagalong:dns.leaves"]);
        assert_eq!(
            keyless.collect::<Vec<_>>(),
            ["tagalong:resolver.serach", "tagalong:record.tll"]
        );
    }

    #[test]
    fn records_of_files_are_not_mixed_with_those_of_tags() {
        let mut settings = read("version = 1\n[[record]]\nname = \"a\"").unwrap();
        let tags = BTreeMap::from([("tagalong:record.ttl".to_owned(), "30".to_owned())]);
        settings.overlay_tags(&tags).unwrap();
        assert!(settings.get("record[0].ttl").is_none());
    }
}

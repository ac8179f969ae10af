//! Texts that are made from the code, and kept where people read them. `UPDATE_GOLDEN=1` rewrites them.

use std::{fs, path::Path};

use tagalong::{cli::reference, config::schema, core::metrics};

#[test]
fn the_default_configuration_file_is_the_schemas() {
    check("src/config/default.toml", |_| schema::default_toml());
}

#[test]
fn the_documented_keys_are_the_schemas() {
    check("docs/reference/keys.md", |text| between(text, "keys", &schema::markdown()));
}

#[test]
fn the_documented_verbs_are_the_command_lines() {
    check("docs/reference/verbs.md", |text| between(text, "verbs", &reference::markdown()));
}

#[test]
fn the_documented_metrics_are_those_that_are_told() {
    check("docs/metrics.md", |text| between(text, "metrics", &metrics::markdown()));
}

/// The text with a table that is made from the code in its place.
fn between(text: &str, what: &str, table: &str) -> String {
    let begin = format!("<!-- {what}, made by `UPDATE_GOLDEN=1 cargo test` -->\n");
    let end = format!("<!-- end of {what} -->");
    let (head, rest) = text.split_once(&begin).expect("there is no place for the table");
    let (_, tail) = rest.split_once(&end).expect("the table has no end");
    format!("{head}{begin}{table}{end}{tail}")
}

/// Holds a file against what it should be, given what it is.
fn check(path: &str, wanted: impl Fn(&str) -> String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let text = fs::read_to_string(&path).unwrap_or_default();
    let wanted = wanted(&text);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &wanted).unwrap();
    }
    let text = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        text == wanted,
        "{} is out of date; run the tests with UPDATE_GOLDEN=1",
        path.display()
    );
}

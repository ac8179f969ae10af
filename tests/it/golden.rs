//! Texts that are made from the code, and kept where people read them. `UPDATE_GOLDEN=1` rewrites them.

use std::{fs, path::Path};

use tagalong::config::schema;

#[test]
fn the_default_configuration_file_is_the_schemas() {
    check("src/config/default.toml", |_| schema::default_toml());
}

#[test]
fn the_readmes_table_of_keys_is_the_schemas() {
    check("README.md", |text| {
        let (begin, end) =
            ("<!-- keys, made by `UPDATE_GOLDEN=1 cargo test` -->\n", "<!-- end of keys -->");
        let head = text.split_once(begin).expect("the README has no place for the keys").0;
        let tail = text.split_once(end).expect("the README's table of keys has no end").1;
        format!("{head}{begin}{}{end}{tail}", schema::markdown())
    });
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

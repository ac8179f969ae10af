//! The manual is true to the program: its links lead somewhere, its configurations are good, its commands say where they run, and every
//! message of the program is found in it.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use tagalong::ports::topic::Topic;

/// One fenced block of a page.
struct Block {
    /// `toml file=config.toml`
    info: String,
    text: String,
    /// `docs/servers/bind.md:12`
    place: String,
}

impl Block {
    fn language(&self) -> &str {
        self.info.split(' ').next().unwrap_or_default()
    }

    /// The other words of the info string.
    fn words(&self) -> impl Iterator<Item = &str> {
        self.info.split(' ').skip(1)
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// README, the manual, and what else is read on the way.
fn pages() -> Vec<PathBuf> {
    let mut pages = Vec::new();
    for name in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "localstack/README.md"] {
        pages.push(root().join(name));
    }
    let mut folders = vec![root().join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|it| it == "md") {
                pages.push(path);
            }
        }
    }
    pages.sort();
    pages
}

fn short(page: &Path) -> String {
    page.strip_prefix(root()).unwrap().display().to_string()
}

fn blocks(page: &Path) -> Vec<Block> {
    let text = fs::read_to_string(page).unwrap();
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (number, line) in text.lines().enumerate() {
        let place = format!("{}:{}", short(page), number + 1);
        match (&mut open, line.trim_start().strip_prefix("```")) {
            (None, Some(info)) => {
                open = Some(Block { info: info.trim().to_owned(), text: String::new(), place });
            }
            (Some(_), Some("")) => blocks.extend(open.take()),
            (Some(block), _) => block.text.push_str(&format!("{line}\n")),
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "{} has a block without an end", short(page));
    blocks
}

/// The text without its blocks.
fn prose(page: &Path) -> String {
    let text = fs::read_to_string(page).unwrap();
    let mut inside = false;
    let outside = text.lines().filter(|line| {
        let is_fence = line.trim_start().starts_with("```");
        inside ^= is_fence;
        !inside && !is_fence
    });
    outside.collect::<Vec<_>>().join("\n")
}

/// The anchors of a page's headings, as GitHub and mdBook make them.
fn anchors(page: &Path) -> BTreeSet<String> {
    let prose = prose(page);
    let headings = prose.lines().filter(|line| line.starts_with('#'));
    let slug = |heading: &str| {
        let heading = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = heading.chars().filter(|it| it.is_alphanumeric() || " -_".contains(*it));
        kept.collect::<String>().replace(' ', "-")
    };
    headings.map(slug).collect()
}

#[test]
fn every_link_leads_somewhere() {
    let mut broken = Vec::new();
    for page in pages() {
        for rest in prose(&page).split("](").skip(1) {
            let target = rest.split(')').next().unwrap();
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let file =
                if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            let is_there = file.exists() && (anchor.is_empty() || anchors(&file).contains(anchor));
            if !is_there {
                broken.push(format!("{}: {target}", short(&page)));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn the_book_has_every_page() {
    let summary = root().join("docs/SUMMARY.md");
    let listed = fs::read_to_string(&summary).unwrap();
    let missing = pages().into_iter().filter(|page| page.starts_with(root().join("docs")));
    let missing = missing.filter(|page| *page != summary).map(|page| short(&page));
    let missing =
        missing.filter(|page| !listed.contains(&format!("({})", page.trim_start_matches("docs/"))));
    assert_eq!(missing.collect::<Vec<_>>(), [""; 0]);
}

#[test]
fn every_configuration_that_is_shown_is_a_good_one() {
    let mut seen = 0;
    for page in pages() {
        for block in blocks(&page) {
            let is_whole = block.text.lines().any(|line| line.starts_with("version = 1"));
            if block.language() != "toml" || !is_whole {
                continue;
            }
            seen += 1;
            let lab = crate::support::Lab::new();
            let key = lab.file("tsig.key", KEY).display().to_string();
            let text = block.text.replace("/etc/tagalong/tsig.key", &key);
            lab.file(
                "config.toml",
                &format!("{text}[metadata]\nendpoint = \"{}\"\n", lab.metadata),
            );
            let run = lab.tagalong(&["config", "check"]);
            let is_without_kerberos = run.stderr.contains("gssapi");
            assert!(run.code == 0 || is_without_kerberos, "{}: {run}", block.place);
        }
    }
    assert!(seen > 5, "{seen} configurations");
}

/// Where a shell's commands of the manual can be run: on a host with the package, or at a DNS server (tests/system/manual.rs does); in a clone of the
/// repository (`tests/run` does what README says, builds and benches are for hands); with the internet, or an account of AWS, which no test has.
const PLACES: [&str; 5] = ["checkout", "host", "server", "web", "aws"];

#[test]
fn every_command_that_is_shown_says_where_it_runs() {
    let mut homeless = Vec::new();
    for page in pages() {
        for block in blocks(&page) {
            let is_shell = ["sh", "bash", "shell", "console"].contains(&block.language());
            if is_shell && !block.words().any(|word| PLACES.contains(&word)) {
                homeless.push(block.place);
            }
        }
    }
    assert!(homeless.is_empty(), "{homeless:#?}");
}

#[test]
fn every_message_is_found_under_troubleshooting() {
    let page = fs::read_to_string(root().join("docs/troubleshooting.md")).unwrap();
    let headings = anchors(&root().join("docs/troubleshooting.md"));
    for topic in Topic::ALL {
        assert!(headings.contains(topic.anchor()), "there is no section for {topic}");
    }
    // Lines are wrapped where they come to an end.
    let page = page.split_whitespace().collect::<Vec<_>>().join(" ");
    let messages = messages();
    assert!(messages.len() > 55, "{}", messages.len());
    let missing = messages.iter().filter(|it| !page.contains(it.as_str())).collect::<Vec<_>>();
    assert!(missing.is_empty(), "{missing:#?}");
}

/// The messages of all errors, with `…` for what differs.
fn messages() -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root().join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let source = fs::read_to_string(&path).unwrap();
            for start in ["#[error(", "Failure::told(", "print::notice(", "notices.push("] {
                for rest in source.split(start).skip(1) {
                    let rest = rest.trim_start().trim_start_matches("format!(").trim_start();
                    let Some(literal) = rest.strip_prefix('"').and_then(literal) else { continue };
                    let message = spread(&literal);
                    if message.chars().any(char::is_alphabetic) {
                        found.push(message);
                    }
                }
            }
        }
    }
    found
}

/// A string literal up to its closing quote, as it is once compiled.
fn literal(source: &str) -> Option<String> {
    let mut text = String::new();
    let mut letters = source.chars().peekable();
    loop {
        match letters.next()? {
            '"' => return Some(text),
            '\\' => match letters.next()? {
                '\n' => while letters.next_if(|it| it.is_whitespace()).is_some() {},
                other => text.push(other),
            },
            other => text.push(other),
        }
    }
}

/// A format string with `…` in the place of each placeholder.
fn spread(format: &str) -> String {
    let mut text = String::new();
    let mut letters = format.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '{' | '}' if letters.next_if_eq(&letter).is_some() => text.push(letter),
            '{' => {
                while letters.next().is_some_and(|it| it != '}') {}
                text.push('…');
            }
            other => text.push(other),
        }
    }
    text
}

#[test]
fn the_readmes_commands_are_those_that_set_everything_up() {
    let readme = blocks(&root().join("README.md"));
    let first = readme.iter().find(|block| block.words().any(|word| word == "checkout")).unwrap();
    for command in ["cargo demo", "tests/run"] {
        assert!(first.text.lines().any(|line| line.split('#').next().unwrap().trim() == command));
    }
    let ci = fs::read_to_string(root().join(".ci/run")).unwrap();
    assert!(ci.contains("tests/run"));
    let run = fs::read_to_string(root().join("tests/run")).unwrap();
    assert!(run.contains("step cargo demo"));
}

const KEY: &str = "key \"agent-key\" { algorithm hmac-sha256; secret \"ZXhhbXBsZSBvbmx5OiBtYWtlIHlvdXIgb3duIGtleSE=\"; };";

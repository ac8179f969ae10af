//! The manual is true to the program: its links lead somewhere, its configurations are good, its commands say where they run, and every
//! message of the program is found in it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use tagalong::ports::topic::Topic;

use crate::pages::{blocks, pages, root, text};

/// The text without its blocks.
fn prose(page: &str) -> String {
    let mut inside = false;
    let text = text(page);
    let outside = text.lines().filter(|line| {
        let is_fence = line.starts_with("```");
        inside ^= is_fence;
        !inside && !is_fence
    });
    outside.collect::<Vec<_>>().join("\n")
}

/// The anchors of a page's headings, as GitHub and mdBook make them.
pub(crate) fn anchors(page: &str) -> BTreeSet<String> {
    let prose = prose(page);
    prose.lines().filter(|line| line.starts_with('#')).map(slug).collect()
}

fn slug(heading: &str) -> String {
    let heading = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = heading.chars().filter(|it| it.is_alphanumeric() || " -_".contains(*it));
    kept.collect::<String>().replace(' ', "-")
}

#[test]
fn every_link_leads_somewhere() {
    let mut broken = Vec::new();
    for page in pages() {
        for rest in prose(&page).split("](").skip(1) {
            let target = rest.split(')').next().unwrap();
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let is_there = if let Some(ours) = file.strip_prefix(REPOSITORY) {
                let (kind, path) = ours.split_once("/main/").unwrap_or((ours, ""));
                let place = root().join(path);
                let exists = match kind {
                    "/blob" => place.is_file(),
                    "/tree" => place.is_dir(),
                    // releases, issues, and the repository itself
                    _ => true,
                };
                exists && (anchor.is_empty() || kind != "/blob" || anchors(path).contains(anchor))
            } else if target.contains("://") || target.starts_with("mailto:") {
                true
            } else {
                let beside = Path::new(&page).parent().unwrap().join(file);
                let file =
                    if file.is_empty() { page.clone() } else { beside.display().to_string() };
                root().join(&file).exists()
                    && (!page.starts_with("docs/") || is_carried(&file))
                    && (anchor.is_empty() || anchors(&file).contains(anchor))
            };
            if !is_there {
                broken.push(format!("{page}: {target}"));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

/// Whether a file is wherever the manual is: mdBook and the packages take what is in docs/, the packages pages and pictures alone.
fn is_carried(file: &str) -> bool {
    let place = root().join(file).canonicalize().unwrap();
    let extension = place.extension().and_then(|it| it.to_str()).unwrap_or_default();
    place.starts_with(root().join("docs").canonicalize().unwrap())
        && ["md", "png", "svg"].contains(&extension)
}

const REPOSITORY: &str = env!("CARGO_PKG_REPOSITORY");

#[test]
fn the_book_has_every_page() {
    let listed = text("docs/SUMMARY.md");
    let pages = pages();
    let chapters = pages.iter().filter_map(|page| page.strip_prefix("docs/"));
    let missing =
        chapters.filter(|page| *page != "SUMMARY.md" && !listed.contains(&format!("({page})")));
    assert_eq!(missing.collect::<Vec<_>>(), [""; 0]);
}

#[test]
fn every_configuration_that_is_shown_is_a_good_one() {
    let mut seen = 0;
    for page in pages() {
        for block in blocks(&page) {
            let is_whole = block.text.lines().any(|line| line.starts_with("version = 1"));
            if block.language != "toml" || !is_whole {
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
            if page == "docs/servers/active-directory.md" && !cfg!(feature = "gssapi") {
                run.expect_code(1).says(&["built without Kerberos"]);
            } else {
                run.expect_code(0);
            }
        }
    }
    assert!(seen > 5, "{seen} configurations");
}

/// Where a shell's commands of the manual can be run: on a host with the package, or at a DNS server (tests/system/manual.rs does); in a clone of the
/// repository (`tests/checkout` does, README's are `tests/run`'s own, tests/system/manual.rs does what localstack/README.md says); where a release is
/// fetched (tests/system/packages.rs does); with an account of AWS, which no test has.
const PLACES: [&str; 5] = ["checkout", "host", "server", "web", "aws"];

#[test]
fn every_command_that_is_shown_says_where_it_runs() {
    let mut homeless = Vec::new();
    for page in pages() {
        for block in blocks(&page) {
            // `sh` is what is looked for by those that run them
            let has_place = block.language == "sh" && PLACES.iter().any(|place| block.has(place));
            if block.is_shell() && !has_place {
                homeless.push(block.place.clone());
            }
            // What no test runs is no more than what takes an account.
            for line in block.text.lines().filter(|_| block.is_shell() && block.has("aws")) {
                let word = line.split(' ').next().unwrap();
                if !["", "aws", "terraform", "cd", "sleep"].contains(&word) && !word.contains('=') {
                    homeless.push(format!("{}: {line}", block.place));
                }
            }
        }
    }
    assert!(homeless.is_empty(), "{homeless:#?}");
}

#[test]
fn every_command_of_ours_in_a_sentence_is_one() {
    let lab = crate::support::Lab::new();
    let mut seen = BTreeSet::new();
    for page in pages() {
        let source = text(&page);
        // every second part of the prose is between backticks
        let prose = source.split("```").step_by(2).flat_map(|it| it.split('`').skip(1).step_by(2));
        for command in prose.filter(|it| it.starts_with("tagalong ") && !it.contains('[')) {
            let words = command.split_whitespace().skip(1).collect::<Vec<_>>();
            if seen.insert(words.join(" ")) {
                let run = lab.tagalong(&[words.as_slice(), &["--help"]].concat());
                assert!(run.code == 0, "{page}: `{command}`: {run}");
            }
        }
    }
    assert!(seen.len() > 15, "{seen:?}");
}

#[test]
fn every_message_is_found_under_troubleshooting() {
    let page = text("docs/troubleshooting.md");
    let headings = anchors("docs/troubleshooting.md");
    for topic in Topic::ALL {
        assert!(headings.contains(topic.anchor()), "there is no section for {topic}");
    }
    let page = flat(&page);
    let messages = messages();
    assert!(messages.len() > 160, "{}", messages.len());
    let missing = messages.iter().filter(|it| !page.contains(it.as_str())).collect::<Vec<_>>();
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn every_finding_of_doctor_is_found_in_the_section_of_its_check() {
    let page = text("docs/troubleshooting.md");
    let sections = page.split("\n## ").skip(1).map(|section| {
        let (heading, text) = section.split_once('\n').unwrap();
        (slug(heading), flat(text))
    });
    let sections = sections.collect::<BTreeMap<_, _>>();
    let whole = flat(&page);
    let findings = findings();
    assert!(findings.len() > 40, "{}", findings.len());
    let mut missing = Vec::new();
    for (check, finding) in findings {
        let finding = finding.trim_matches(|it: char| " …;,".contains(it));
        let is_there = if check.is_empty() {
            whole.contains(finding)
        } else {
            let cell = format!("`{check}`");
            let mut rows = page.lines().filter(|line| line.starts_with("| `"));
            let row = rows.find(|row| row.split(" | ").next().unwrap().contains(&cell));
            let row = row.unwrap_or_else(|| panic!("no section is named for {check}"));
            let mut named = row.split("](#").skip(1).map(|it| it.split(')').next().unwrap());
            named.any(|anchor| sections[anchor].contains(finding))
        };
        if !is_there {
            missing.push(format!("{check}: {finding}"));
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn the_page_of_logs_has_every_line_and_every_field_and_no_other() {
    let page = flat(&text("docs/logs.md"));
    let mut fields = BTreeSet::from(["timestamp", "level", "message", "target"].map(str::to_owned));
    let mut missing = Vec::new();
    for (_, source) in sources() {
        for level in ["trace!(", "debug!(", "info!(", "warn!(", "error!("] {
            for line in calls(&source, level) {
                fields_of(line, &mut fields);
                // Before it there may be one of a macro, among the fields.
                let message = literals(line, |_| true).pop().unwrap();
                let is_step = level == "trace!(" || level == "debug!(";
                if !is_step && message.chars().any(char::is_alphabetic) && !page.contains(&message)
                {
                    missing.push(message);
                }
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
    assert_eq!(cells("docs/logs.md", "JSON lines", 0), fields);
    let mut seen = 0;
    for block in blocks("docs/logs.md").iter().filter(|block| block.has("log")) {
        for line in block.text.lines() {
            let line: BTreeMap<String, serde_json::Value> = serde_json::from_str(line).unwrap();
            assert!(line.keys().all(|field| fields.contains(field)), "{line:?}");
            seen += 1;
        }
    }
    assert!(seen > 3, "{seen} lines");
}

/// Adds the fields of a line of the log, by what its macro is given: `backend = self.name, %error, "tried again"`.
fn fields_of(line: &str, fields: &mut BTreeSet<String>) {
    let given = line.split('"').next().unwrap();
    let names = given.split(',').map(|it| it.split('=').next().unwrap());
    let names = names.map(|it| it.trim().trim_start_matches(['?', '%']));
    fields.extend(names.filter(|it| !it.is_empty()).map(str::to_owned));
}

#[test]
fn the_page_of_logs_has_every_field_of_the_reports_and_no_other() {
    let mut fields = BTreeSet::new();
    for (_, source) in sources().into_iter().filter(|(path, _)| path.starts_with("src/cli")) {
        for part in source.split("#[derive(").skip(1) {
            let (derived, item) = part.split_once(")]").unwrap();
            if derived.split(", ").all(|it| it != "Serialize") {
                continue;
            }
            let (_, body) = item.split_once('{').unwrap();
            let lines = body.split('}').next().unwrap().lines().map(str::trim);
            for line in lines.filter(|line| !line.starts_with("//")) {
                if let Some((name, _)) = line.split_once(": ") {
                    fields.insert(name.trim_start_matches("r#").to_owned());
                }
            }
        }
    }
    assert_eq!(cells("docs/logs.md", "Reports as JSON", 1), fields);
}

/// The words in backticks of a column of the tables below a heading.
fn cells(page: &str, heading: &str, column: usize) -> BTreeSet<String> {
    let page = text(page);
    let (_, section) = page.split_once(&format!("\n## {heading}\n")).unwrap();
    let rows = section.split("\n## ").next().unwrap().lines().filter(|row| row.starts_with("| `"));
    let cells = rows.map(|row| row.split(" | ").nth(column).unwrap());
    cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).map(str::to_owned).collect()
}

/// A text without the breaks of its lines.
fn flat(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The program's sources, without their tests: paths below the repository, and what they say.
fn sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            if path.to_string_lossy().ends_with("_tests.rs") {
                continue;
            }
            let source = fs::read_to_string(&path).unwrap();
            let code = source.split("#[cfg(test)]").next().unwrap().to_owned();
            found.push((path.strip_prefix(root()).unwrap().display().to_string(), code));
        }
    }
    found
}

/// The messages of all errors and notes, and of the log's warnings, with `…` for what differs.
fn messages() -> Vec<String> {
    let mut found = Vec::new();
    for (path, source) in sources() {
        for start in FIRST_ARGUMENTS {
            for rest in source.split(start).skip(1) {
                let Some((before, rest)) = rest.split_once('"') else { continue };
                if !["", "format!("].contains(&before.trim()) {
                    continue;
                }
                let (literal, _) = literal(rest).unwrap();
                // one word is a name
                if start == "Err(" && !literal.contains(' ') {
                    continue;
                }
                let is_format = is_format(&format!("{start}{before}"));
                found.push(if is_format { spread(&literal) } else { literal });
            }
        }
        for rest in source.split("format!(\"").skip(1) {
            let (text, rest) = literal(rest).unwrap();
            if inside(rest).is_some_and(|more| rest[more.len()..].starts_with(").into()")) {
                found.push(spread(&text));
            }
        }
        for warning in ["warn!(", "error!("].iter().flat_map(|level| calls(&source, level)) {
            found.extend(literals(warning, |_| true));
        }
        // what begins or ends to be in the way, which the log has as a warning
        for condition in calls(&source, "say_conditions(") {
            found.extend(sentences(condition));
        }
        if JUDGES.iter().any(|judge| path.ends_with(judge)) {
            found.extend(sentences(&source));
        }
        // of `core`, which has no error type of its own making
        for display in source.split("fmt::Display for ").skip(1) {
            let name = display.split([' ', '<']).next().unwrap();
            if ["Error", "Fault", "Obstacle"].iter().any(|kind| name.ends_with(kind)) {
                found.extend(sentences(display.split("\n}\n").next().unwrap()));
            }
        }
    }
    found.retain(|message| message.chars().any(char::is_alphabetic));
    found
}

/// What is followed by a message at once.
const FIRST_ARGUMENTS: [&str; 9] = [
    "#[error(",
    "Failure::told(",
    "print::notice(",
    "notices.push(",
    "error(format!(",
    // causes, which stand behind another message
    "Err(",
    "Error::other(",
    "not_loaded(",
    "MessageError(",
];

/// What `doctor` finds where all is not well: the check, empty where the source has it elsewhere, and the finding.
fn findings() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (path, source) in sources() {
        let is_doctor = path.starts_with("src/cli/doctor");
        if !is_doctor && path != "src/core/diagnosis.rs" {
            continue;
        }
        for start in ["Finding::note(", "Finding::wrong(", "Finding::of("] {
            for call in calls(&source, start) {
                let check = call.trim_start().strip_prefix("Check::").unwrap_or_default();
                let check = snake(check.split(',').next().unwrap());
                let texts = literals(call, is_format).into_iter();
                found.extend(texts.map(|text| (check.clone(), text)));
            }
        }
        // what is put into words before
        for statement in source.split("let ").skip(1) {
            let statement = statement.split(";\n").next().unwrap();
            let Some((name, value)) = statement.split_once(" =") else { continue };
            let mut names = name.split(|it: char| !it.is_alphanumeric() && it != '_');
            if names.any(|it| it == "finding") || (is_doctor && name == "text") {
                let texts = literals(value, is_format).into_iter();
                found.extend(texts.map(|text| (String::new(), text)));
            }
        }
    }
    found.retain(|(_, finding)| finding.chars().any(char::is_alphabetic));
    found
}

/// `VpcResolver` as `vpc_resolver`
fn snake(word: &str) -> String {
    let mut text = String::new();
    for letter in word.chars() {
        if letter.is_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.extend(letter.to_lowercase());
    }
    text
}

/// Where it is judged whether a configuration is good: all that is said there is an error.
const JUDGES: [&str; 6] = [
    "config/backends.rs",
    "config/check.rs",
    "config/duration.rs",
    "config/mod.rs",
    "config/settings.rs",
    "config/words.rs",
];

/// The literals of a source that are more than a word, but for a list that a sentence ends with.
fn sentences(source: &str) -> Vec<String> {
    let texts = literals(source, is_format).into_iter();
    let texts = texts.map(|text| text.split(": …:N").next().unwrap().to_owned());
    let words = |text: &str| {
        text.split_whitespace().filter(|it| it.chars().any(char::is_alphabetic)).count()
    };
    texts.filter(|text| words(text) > 2).collect()
}

/// The string literals of a source; of each that is a format, `…` for what differs.
fn literals(source: &str, is_format: impl Fn(&str) -> bool) -> Vec<String> {
    let code = source.lines().filter(|line| !line.trim_start().starts_with("//"));
    let code = code.collect::<Vec<_>>().join("\n");
    let mut found = Vec::new();
    let mut rest = code.as_str();
    while let Some((before, after)) = rest.split_once('"') {
        let (literal, after) = literal(after).unwrap();
        found.push(if is_format(before) { spread(&literal) } else { literal });
        rest = after;
    }
    found
}

/// Whether a literal is a format, by what stands before it: elsewhere braces are what they are.
fn is_format(before: &str) -> bool {
    let before = before.split_whitespace().collect::<String>();
    ["format!(", "write!(f,", "#[error("].iter().any(|start| before.ends_with(start))
}

/// What is in the parentheses of each call of `name`, which ends with the first of them.
fn calls<'a>(source: &'a str, name: &str) -> Vec<&'a str> {
    source.split(name).skip(1).filter_map(inside).collect()
}

/// A source up to the parenthesis that closes one before it.
fn inside(source: &str) -> Option<&str> {
    let mut depth = 0;
    let mut rest = source;
    loop {
        let at = rest.find(['(', ')', '"'])?;
        let (before, from) = rest.split_at(at);
        let (found, after) = from.split_at(1);
        match found {
            "(" => depth += 1,
            ")" if depth == 0 => {
                let end = source.len() - rest.len() + before.len();
                return source.get(..end);
            }
            ")" => depth -= 1,
            _ => {
                rest = literal(after)?.1;
                continue;
            }
        }
        rest = after;
    }
}

/// A string literal up to its closing quote, as it is once compiled, and what follows the quote.
fn literal(source: &str) -> Option<(String, &str)> {
    let mut text = String::new();
    let mut letters = source.chars();
    loop {
        match letters.next()? {
            '"' => return Some((text, letters.as_str())),
            '\\' => match letters.next()? {
                '\n' => letters = letters.as_str().trim_start().chars(),
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
    let readme = blocks("README.md");
    let first = readme.iter().find(|block| block.has("checkout")).unwrap();
    for command in ["cargo demo", "tests/run"] {
        assert!(first.text.lines().any(|line| line.split('#').next().unwrap().trim() == command));
    }
    assert!(text(".ci/run").contains("tests/run"));
    assert!(text("tests/run").contains("step cargo demo"));
}

const KEY: &str = "key \"agent-key\" { algorithm hmac-sha256; secret \"ZXhhbXBsZSBvbmx5OiBtYWtlIHlvdXIgb3duIGtleSE=\"; };";

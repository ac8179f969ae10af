//! What people see: at most 80 columns, each event with its milliseconds since the start.

use std::{
    io::{self, Write as _},
    iter,
    time::{Duration, Instant},
};

/// The screen, which knows when the demo began.
#[derive(Clone, Debug)]
pub(crate) struct Screen {
    started: Instant,
}

impl Screen {
    pub(crate) fn new() -> Self {
        Self { started: Instant::now() }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Something that happens now.
    pub(crate) fn event(&self, text: &str) {
        let now = self.elapsed().as_millis();
        print(&format!("{now:>4} ms "), INDENT, text);
    }
}

/// Text from the left edge.
pub(crate) fn text(text: &str) {
    print("", "", text);
}

/// A heading, with an empty line above.
pub(crate) fn heading(text: &str) {
    write("");
    print("", "", text);
}

/// Two texts side by side, each under its heading; lines that are too long are cut.
pub(crate) fn beside(left: (&str, &str), right: (&str, &str)) {
    let column = |(heading, text): (&str, &str)| {
        let lines = text.lines().map(|line| format!("  {line}"));
        iter::once(heading.to_owned()).chain(lines).collect::<Vec<_>>()
    };
    let (left, right) = (column(left), column(right));
    for row in 0..left.len().max(right.len()) {
        let cell = |column: &[String]| column.get(row).cloned().unwrap_or_default();
        let line = format!("{INDENT}{:<HALF$}{}", cell(&left), cell(&right));
        if line.chars().count() > COLUMNS {
            write(&line.chars().take(COLUMNS - 1).chain(iter::once('…')).collect::<String>());
        } else {
            write(&line);
        }
    }
}

/// What went wrong.
pub(crate) fn error(text: &str) {
    // nothing is left to be done about a closed stderr
    let _ = writeln!(io::stderr(), "error: {text}");
}

/// Prints `text`, broken between words: the first line after `first`, the others after `next`.
fn print(first: &str, next: &str, text: &str) {
    let mut line = first.to_owned();
    let mut is_empty = true;
    for word in text.split(' ') {
        if !is_empty && line.chars().count() + 1 + word.chars().count() > COLUMNS {
            write(&line);
            next.clone_into(&mut line);
            is_empty = true;
        }
        if !is_empty {
            line.push(' ');
        }
        line.push_str(word);
        is_empty = false;
    }
    write(&line);
}

fn write(line: &str) {
    // a reader that has gone away is no failure
    let _ = writeln!(io::stdout().lock(), "{line}");
}

const COLUMNS: usize = 80;
/// The width of the left one of two columns.
const HALF: usize = 28;
const INDENT: &str = "        ";

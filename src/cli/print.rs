//! Everything that people read: the only place that writes to standard output and standard error.

use std::{
    fmt::Display,
    io::{self, Write as _},
    process::ExitCode,
    sync::OnceLock,
};

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};

use super::Code;
use crate::{
    ports::{Failure, topic::Topic},
    sys::journal,
};

const ERROR: Style = AnsiColor::Red.on_default().bold();
const NOTE: Style = AnsiColor::Yellow.on_default();
const HINT: Style = AnsiColor::Cyan.on_default();

/// Data: one or more lines to standard output.
pub(super) fn data(text: impl Display) {
    let mut out = AutoStream::new(io::stdout().lock(), choice(anstream::stdout().current_choice()));
    keep(writeln!(out, "{text}").and_then(|()| out.flush()));
}

/// Octets to standard output, as they are.
pub(super) fn raw(octets: &[u8]) {
    let mut out = io::stdout().lock();
    keep(out.write_all(octets).and_then(|()| out.flush()));
}

/// What became of the data that was printed: a full disk is a failure, a reader that has gone away is none.
pub(super) fn outcome(code: Code) -> Code {
    match LOST.get() {
        Some(why) => {
            error(format!("cannot write to standard output: {why}"));
            Code::Failed
        }
        None => code,
    }
}

/// Why data was lost, if it was.
static LOST: OnceLock<String> = OnceLock::new();

fn keep(written: io::Result<()>) {
    if let Err(error) = written
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        let _ = LOST.set(error.to_string());
    }
}

/// A failure: what, what caused it, what to do.
pub(super) fn failure(failure: &Failure) {
    let mut texts = failure.texts.iter();
    if let Some(first) = texts.next() {
        line("error", ERROR, first);
    }
    for cause in texts {
        line("  caused by", ERROR, cause);
    }
    for hint in &failure.hints {
        line("  hint", HINT, hint);
    }
    see(failure.topic);
}

/// Where the manual says more about what was just told.
pub(super) fn see(topic: Topic) {
    line("  see", HINT, &topic.to_string());
}

/// An error that is told in one sentence.
pub(super) fn error(text: impl Display) {
    line("error", ERROR, &text.to_string());
}

/// Something that the operator should know, and that is no failure.
pub(super) fn notice(text: impl Display) {
    line("note", NOTE, &text.to_string());
}

/// What clap has to say: help and version are data, the rest is wrong usage.
pub(super) fn usage(error: &clap::Error) -> ExitCode {
    let printed = error.print();
    if error.use_stderr() {
        return ExitCode::from(Code::Usage as u8);
    }
    keep(printed.and_then(|()| io::stdout().flush()));
    ExitCode::from(outcome(Code::Done) as u8)
}

/// A style around a text, for standard output.
pub(super) fn styled(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

fn line(head: &str, style: Style, text: &str) {
    let mut out = AutoStream::new(io::stderr().lock(), choice(anstream::stderr().current_choice()));
    // For the journal's field PRIORITY (sd-daemon(3)).
    let priority = match (journal::is_stderr(), style) {
        (false, _) => "",
        (true, ERROR) => "<3>",
        (true, NOTE) => "<4>",
        (true, _) => "<6>",
    };
    let _ = writeln!(out, "{priority}{style}{head}:{style:#} {text}");
}

/// `NO_COLOR` is honoured even where the stream's own choice is not (no-color.org).
fn choice(own: ColorChoice) -> ColorChoice {
    if std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()) {
        ColorChoice::Never
    } else {
        own
    }
}

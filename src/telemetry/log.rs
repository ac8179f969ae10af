//! The log: one line for each decision, to standard error; `RUST_LOG` chooses.

use std::fmt;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::{
    EnvFilter,
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

use crate::sys::journal;

/// How lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line: `timestamp`, `level`, `message`, the decision's own fields, `target`.
    Json,
}

/// Installs the log; without `RUST_LOG` it holds what `level` says of ours, and warnings of the crates that we use.
pub fn install(level: &str, format: Format) {
    // What becomes of a call is ours to tell; the SDK's HTTP client asks to be told of errors.
    let ours = format!("warn,aws_smithy_http_client=error,tagalong={level}");
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(ours));
    let is_journal = journal::is_stderr();
    let ansi = std::env::var_os("NO_COLOR").is_none()
        && std::io::IsTerminal::is_terminal(&std::io::stderr());
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(ansi);
    // A second call, as tests make it, changes nothing.
    let _ = match (format, is_journal) {
        (Format::Json, true) => {
            log.json().flatten_event(true).map_event_format(Prioritised).try_init()
        }
        (Format::Json, false) => log.json().flatten_event(true).try_init(),
        // The journal has a clock of its own, and a field for the level.
        (Format::Text, true) => log
            .without_time()
            .with_target(false)
            .with_level(false)
            .map_event_format(Prioritised)
            .try_init(),
        (Format::Text, false) => log.try_init(),
    };
}

/// Lines with the level in front as the journal reads it into its field PRIORITY (sd-daemon(3)): `journalctl -p warning`.
struct Prioritised<F>(F);

impl<S, N, F> FormatEvent<S, N> for Prioritised<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let priority = match *event.metadata().level() {
            Level::ERROR => 3,
            Level::WARN => 4,
            Level::INFO => 6,
            Level::DEBUG | Level::TRACE => 7,
        };
        write!(writer, "<{priority}>")?;
        self.0.format_event(context, writer, event)
    }
}

//! The log: one line for each decision, to standard error; `RUST_LOG` chooses.

use tracing_subscriber::EnvFilter;

/// Installs the log; without `RUST_LOG` it holds what `level` says of ours, and warnings of the crates that we use.
pub fn install(level: &str) {
    let ours = format!("warn,tagalong={level}");
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(ours));
    let ansi = std::env::var_os("NO_COLOR").is_none()
        && std::io::IsTerminal::is_terminal(&std::io::stderr());
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(ansi);
    // The journal has a clock of its own (systemd.exec(5), `JOURNAL_STREAM`).
    if std::env::var_os("JOURNAL_STREAM").is_some() {
        let _ = log.without_time().with_target(false).try_init();
        return;
    }
    // A second call, as tests make it, changes nothing.
    let _ = log.try_init();
}

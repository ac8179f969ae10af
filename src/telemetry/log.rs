//! The log: one line for each decision, to standard error; `RUST_LOG` chooses.

use tracing_subscriber::EnvFilter;

/// Installs the log. Without `RUST_LOG` it holds warnings only: a pass reports what it did by itself.
pub fn install() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    let ansi = std::env::var_os("NO_COLOR").is_none()
        && std::io::IsTerminal::is_terminal(&std::io::stderr());
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(ansi);
    // A second call, as tests make it, changes nothing.
    let _ = log.try_init();
}

//! The systemd journal.

/// Whether standard error goes to the journal: its device and inode are those that systemd names (systemd.exec(5), `JOURNAL_STREAM`).
/// A child whose output goes elsewhere inherits the variable.
#[must_use]
pub fn is_stderr() -> bool {
    let stream = std::env::var("JOURNAL_STREAM").unwrap_or_default();
    rustix::fs::fstat(std::io::stderr())
        .is_ok_and(|stat| stream == format!("{}:{}", stat.st_dev, stat.st_ino))
}

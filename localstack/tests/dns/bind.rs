//! BIND's `named`, run until it is dropped. The product's own tests use this file too.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
};

/// A running `named`.
pub(crate) struct Process(Child);

impl Process {
    /// Runs `named` on the configuration in `dir`, once `configure` has written it there; again, when another process has taken
    /// the port that `configure` found free.
    pub(crate) fn start<T>(dir: &Path, mut configure: impl FnMut() -> T) -> (Self, T) {
        (0..5)
            .find_map(|_| {
                let configured = configure();
                Some((Self::run(&dir.join("named.conf"))?, configured))
            })
            .expect("five times another took the port that was free for named")
    }

    /// Waits until it serves; `None` when its port is taken.
    fn run(conf: &Path) -> Option<Self> {
        let mut command = Command::new("named");
        command.args(["-g", "-n", "1", "-c"]).arg(conf);
        command.stderr(Stdio::piped()).stdout(Stdio::null());
        let child = command.spawn().unwrap_or_else(|error| missing("named", &error));
        let mut named = Self(child);
        let log = BufReader::new(named.0.stderr.take().unwrap());
        let mut log = log.lines().map_while(Result::ok);
        let mut said = String::new();
        for line in log.by_ref() {
            if line.contains("address in use") {
                return None;
            }
            if line.ends_with(" running") {
                // Else named would block when the pipe is full.
                thread::spawn(move || log.for_each(drop));
                return Some(named);
            }
            said += &(line + "\n");
        }
        panic!("named did not start:\n{said}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Fails a test for want of `tool`.
pub(crate) fn missing(tool: &str, error: &std::io::Error) -> ! {
    panic!(
        "cannot run `{tool}` ({error}): these tests need the packages bind9 and bind9-dnsutils (Debian, Ubuntu) or bind \
         and bind-utils (Fedora, Amazon Linux), and util-linux"
    )
}

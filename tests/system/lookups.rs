//! A program that looks a name up ten times a second, as programs do: by getaddrinfo(3), each lookup for itself.

use std::{
    io::{BufRead as _, BufReader},
    process::{ChildStdout, Stdio},
    time::Duration,
};

use crate::lab::{APP, Ends, Host};

/// The lookups while it runs.
pub(crate) struct Lookups {
    child: Ends,
    lines: BufReader<ChildStdout>,
}

/// What became of them.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) lookups: usize,
    pub(crate) failed: usize,
    pub(crate) longest: Duration,
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { lookups, failed, longest } = self;
        write!(
            f,
            "{failed} of {lookups} lookups failed, the longest took {:.2} s",
            longest.as_secs_f64()
        )
    }
}

impl Lookups {
    pub(crate) fn start(host: &Host) -> Self {
        let mut command = host.command("python3", &["-c", PROGRAM, APP]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = Ends(command.spawn().expect("python3 for the lookups"));
        let lines = BufReader::new(child.0.stdout.take().unwrap());
        Self { child, lines }
    }

    /// Ends them, once each that began has ended.
    pub(crate) fn stop(mut self) -> Tally {
        drop(self.child.0.stdin.take());
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        let numbers =
            line.split_whitespace().map(|word| word.parse().unwrap()).collect::<Vec<f64>>();
        let [lookups, failed, longest] = numbers[..] else { panic!("{line:?}") };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the program prints counts"
        )]
        let count = |number: f64| number as usize;
        Tally {
            lookups: count(lookups),
            failed: count(failed),
            longest: Duration::from_secs_f64(longest),
        }
    }
}

const PROGRAM: &str = r"
import select, socket, sys, threading, time
done, lock, threads = [], threading.Lock(), []
def lookup():
    began = time.monotonic()
    try:
        socket.getaddrinfo(sys.argv[1], 80)
        good = True
    except OSError:
        good = False
    with lock:
        done.append((good, time.monotonic() - began))
begin = next = time.monotonic()
while not select.select([sys.stdin], [], [], max(0, next - time.monotonic()))[0]:
    threads.append(threading.Thread(target=lookup))
    threads[-1].start()
    next += 0.1
for thread in threads:
    thread.join()
print(len(done), sum(not good for good, _ in done), max(took for _, took in done))
";

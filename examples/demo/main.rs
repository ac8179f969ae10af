//! `cargo demo`: the main job on one screen, in seconds, as a plain user, on loopback only.
//!
//! The agent in it is the real one: called by the name `tagalong`, this program is `tagalong`, with its command line and
//! all. What the agent talks to are the stand-ins of `localstack/` (EC2, its metadata, DNS servers), over real sockets.
//!
//! Reading order: `story` (the three acts), `stage` (what stands around the host), `host` (its files and its agent),
//! `lookups` (the probe), `screen`.
//!
//! It fails, with exit status 1, when anything is not as it promises: tests run it too.

mod host;
mod lookups;
mod screen;
mod stage;
mod story;

use std::{env, path::Path, process::ExitCode, thread, time::Duration};

use tempfile::TempDir;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
    time::sleep,
};

use self::{host::Child, screen::Screen};

/// What goes wrong in the demo ends it: there is nothing to do about it but to say so.
type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> ExitCode {
    if env::args_os().next().is_some_and(|name| Path::new(&name) == Path::new(AGENT)) {
        return tagalong::cli::main();
    }
    let screen = Screen::new();
    match run(&screen) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            screen::error(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

/// Tells the story on a thread of its own, and outlives it: whatever becomes of the story, nothing is left behind.
fn run(screen: &Screen) -> Outcome<()> {
    let directory = TempDir::with_prefix("tagalong-demo-")?;
    let agent = Child::default();
    let (done, ended) = oneshot::channel();
    let teller = {
        let (screen, path, agent) = (screen.clone(), directory.path().to_owned(), agent.clone());
        move || done.send(story::tell(&screen, &path, &agent))
    };
    thread::Builder::new().name("story".to_owned()).spawn(teller)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            told = ended => told.unwrap_or_else(|_| Err("the story broke off".into())),
            () = sleep(WATCHDOG) => Err(format!("not over after {} s", WATCHDOG.as_secs()).into()),
            _ = interrupt.recv() => Err("interrupted".into()),
            _ = terminate.recv() => Err("told to end".into()),
        }
    });
    agent.end();
    directory.close()?;
    screen.event(&format!("{}; nothing is left behind", outcome?));
    Ok(())
}

/// The name that makes this program the agent.
const AGENT: &str = "tagalong";
/// Longer than all of it ever takes.
const WATCHDOG: Duration = Duration::from_secs(20);

//! systemd, told how we are: `sd_notify(3)`, as a service of `Type=notify` does.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use sd_notify::NotifyState;

use crate::ports::Supervisor;

/// systemd; nobody, where `NOTIFY_SOCKET` is not set.
#[derive(Debug, Default)]
pub struct Systemd {
    last: Mutex<Last>,
}

/// What was told last: the same twice is no news.
#[derive(Debug, Default)]
struct Last {
    status: String,
    alive: Option<Instant>,
}

impl Supervisor for Systemd {
    fn ready(&self) {
        tell(&[NotifyState::Ready]);
    }

    fn status(&self, status: &str) {
        let Ok(mut last) = self.last.lock() else { return };
        if last.status != status {
            status.clone_into(&mut last.status);
            tell(&[NotifyState::Status(status)]);
        }
    }

    fn alive(&self) {
        let Some(patience) = self.patience() else { return };
        let Ok(mut last) = self.last.lock() else { return };
        // The loop goes round more often than anybody wants to know.
        if last.alive.is_none_or(|at| at.elapsed() >= patience / 4) {
            last.alive = Some(Instant::now());
            tell(&[NotifyState::Watchdog]);
        }
    }

    fn stopping(&self) {
        tell(&[NotifyState::Stopping]);
    }

    fn patience(&self) -> Option<Duration> {
        sd_notify::watchdog_enabled()
    }
}

fn tell(state: &[NotifyState<'_>]) {
    // That systemd does not hear us it finds out by itself.
    let _ = sd_notify::notify(state);
}

//! Whether the host is being shut down, and whether it will come up again: systemd's queue of jobs (systemctl(1)).

use std::{process::Stdio, time::Duration};

use tokio::{
    process::Command,
    time::{sleep, timeout},
};

/// The end of this boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// The host stays down.
    Poweroff,
    /// The host comes up again.
    Reboot,
}

/// What is under way now; `None` where nothing is, or where systemd does not tell at once.
pub async fn under_way() -> Option<Shutdown> {
    let told = async {
        loop {
            if let Some(jobs) = jobs().await {
                return of_jobs(&jobs);
            }
            // Where everything stops at a time, systemd may not take the question at once.
            sleep(AGAIN).await;
        }
    };
    timeout(PATIENCE, told).await.ok()?
}

/// The queue; `None` where systemd could not be asked.
async fn jobs() -> Option<String> {
    let mut command = Command::new("systemctl");
    command.args(["list-jobs", "--no-legend", "--plain"]).kill_on_drop(true);
    command.stdin(Stdio::null()).stderr(Stdio::null());
    let output = command.output().await.ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// `123 poweroff.target start waiting`
fn of_jobs(jobs: &str) -> Option<Shutdown> {
    jobs.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace().skip(1);
        match (words.next()?, words.next()?) {
            ("poweroff.target" | "halt.target", "start") => Some(Shutdown::Poweroff),
            ("reboot.target" | "kexec.target" | "soft-reboot.target", "start") => {
                Some(Shutdown::Reboot)
            }
            _ => None,
        }
    })
}

/// A process that is told to end does so within 2 s, also where systemd hangs, and takes its records back meanwhile.
const PATIENCE: Duration = Duration::from_millis(1200);
const AGAIN: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_of_jobs_says_whether_the_host_comes_up_again() {
        let stopping = "  210 tagalong.service stop running\n";
        assert_eq!(of_jobs(stopping), None);
        let with = |target: &str| of_jobs(&format!("{stopping}  211 {target} start waiting\n"));
        assert_eq!(with("poweroff.target"), Some(Shutdown::Poweroff));
        assert_eq!(with("reboot.target"), Some(Shutdown::Reboot));
        assert_eq!(with("multi-user.target"), None);
    }
}

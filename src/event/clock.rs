//! The wall clock is set, or the machine wakes from sleep: the kernel cancels timers that asked for it (`timerfd_create(2)`,
//! `TFD_TIMER_CANCEL_ON_SET`).

use std::io;

use async_trait::async_trait;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::sync::mpsc::Sender;

use crate::{core::event::Event, ports::EventSource, sys::ready::waitable};

/// Steps of the wall clock.
#[derive(Clone, Copy, Debug)]
pub struct ClockSteps;

#[async_trait]
impl EventSource for ClockSteps {
    fn subject(&self) -> String {
        "the wall clock".to_owned()
    }

    fn missed(&self) -> Vec<Event> {
        vec![Event::ClockStepped]
    }

    async fn run(&self, events: &Sender<Event>) -> io::Error {
        match watch(events).await {
            Ok(()) => io::ErrorKind::BrokenPipe.into(),
            Err(error) => error,
        }
    }
}

async fn watch(events: &Sender<Event>) -> io::Result<()> {
    let timer =
        timerfd_create(TimerfdClockId::Realtime, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
    let timer = waitable(timer)?;
    loop {
        timerfd_settime(timer.get_ref(), FLAGS, &NEVER)?;
        let mut ready = timer.readable().await?;
        let mut count = [0; 8];
        match rustix::io::read(timer.get_ref(), &mut count) {
            Err(rustix::io::Errno::CANCELED) => {
                if events.send(Event::ClockStepped).await.is_err() {
                    return Ok(());
                }
            }
            Err(rustix::io::Errno::AGAIN) => ready.clear_ready(),
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

const FLAGS: TimerfdTimerFlags = TimerfdTimerFlags::ABSTIME.union(TimerfdTimerFlags::CANCEL_ON_SET);
/// The timer is there for its cancellation: in the year 2286.
const NEVER: Itimerspec = Itimerspec {
    it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
    it_value: Timespec { tv_sec: 9_999_999_999, tv_nsec: 0 },
};

//! Signals: SIGTERM and SIGINT stop the agent, SIGHUP makes it read its configuration again (daemon(7)).

use std::io;

use async_trait::async_trait;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc::Sender,
};

use crate::{core::event::Event, ports::EventSource};

/// The signals of this process.
#[derive(Clone, Copy, Debug)]
pub struct Signals;

#[async_trait]
impl EventSource for Signals {
    fn subject(&self) -> String {
        "signals".to_owned()
    }

    fn missed(&self) -> Vec<Event> {
        Vec::new()
    }

    async fn run(&self, events: &Sender<Event>) -> io::Error {
        match listen(events).await {
            Ok(()) => io::ErrorKind::BrokenPipe.into(),
            Err(error) => error,
        }
    }
}

async fn listen(events: &Sender<Event>) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    loop {
        let event = tokio::select! {
            _ = terminate.recv() => Event::Stop,
            _ = interrupt.recv() => Event::Stop,
            _ = hang_up.recv() => Event::Reload,
        };
        if events.send(event).await.is_err() {
            return Ok(());
        }
    }
}

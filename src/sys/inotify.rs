//! Waiting for changes of files: inotify(7).

use std::{io, mem::MaybeUninit, os::fd::OwnedFd, path::Path};

use rustix::{
    fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags},
    io::Errno,
};
use tokio::io::unix::AsyncFd;

pub use rustix::fs::inotify::WatchFlags as What;

/// Files and directories that are watched.
#[derive(Debug)]
pub struct Inotify {
    queue: AsyncFd<OwnedFd>,
}

impl Inotify {
    /// Nothing is watched yet.
    ///
    /// # Errors
    /// The system has no more instances (`fs.inotify.max_user_instances`).
    pub fn new() -> io::Result<Self> {
        let queue = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        Ok(Self { queue: super::ready::waitable(queue)? })
    }

    /// Watches `path`; what is watched already stays so. Gives the number that [`changes`](Self::changes) calls it by.
    ///
    /// # Errors
    /// It is not there, or the system has no more watches (`fs.inotify.max_user_watches`).
    pub fn watch(&self, path: &Path, what: WatchFlags) -> io::Result<i32> {
        Ok(inotify::add_watch(self.queue.get_ref(), path, what)?)
    }

    /// Waits until something changes, and gives all that has: what was watched, and the file's name if that is a directory.
    ///
    /// # Errors
    /// The queue cannot be read, or has overflowed.
    pub async fn changes(&self) -> io::Result<Vec<(i32, Option<String>)>> {
        loop {
            let mut ready = self.queue.readable().await?;
            let mut buffer = [MaybeUninit::uninit(); 4096];
            let mut reader = Reader::new(self.queue.get_ref(), &mut buffer);
            let mut changes = Vec::new();
            loop {
                match reader.next() {
                    Ok(event) if event.events().contains(ReadFlags::QUEUE_OVERFLOW) => {
                        return Err(io::Error::other(
                            "so much happened that some of it is not known",
                        ));
                    }
                    Ok(event) => changes.push((
                        event.wd(),
                        event.file_name().map(|name| name.to_string_lossy().into_owned()),
                    )),
                    Err(Errno::AGAIN) => break,
                    Err(Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            ready.clear_ready();
            if !changes.is_empty() {
                return Ok(changes);
            }
        }
    }
}

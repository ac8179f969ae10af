//! The ports of one simulated host: its prober, the owner of resolv.conf, its store and its clock, all in memory.

use std::{
    io,
    sync::{Mutex, MutexGuard, OnceLock},
    time::Duration,
};

use async_trait::async_trait;
use tagalong::{
    core::{
        detect::{Owner as Kind, Verdict},
        ledger::Ledger,
        name::Name,
        resolv_conf::{ResolvConf, Wanted},
        servers::{Health, NameServer},
    },
    ports::{
        Clock, Depth, Prober, ResolverManager, Store,
        error::{ResolverError, StoreError},
    },
};
use tokio::time::{Instant, sleep};

use super::world::{Disk, Owner, World};

/// A world as the journey sees it.
#[derive(Debug)]
pub(super) struct Scene {
    world: Mutex<World>,
    began: Instant,
    verdict: Verdict,
}

impl Scene {
    pub(super) fn of(world: World) -> Self {
        let verdict = Verdict { owner: Kind::ResolvConf, because: Vec::new() };
        Self { world: Mutex::new(world), began: Instant::now(), verdict }
    }

    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    /// Where a process that is killed may end.
    async fn step(&self) {
        if self.world().pass.is_slow {
            sleep(STEP).await;
        }
    }
}

#[async_trait]
impl Prober for Scene {
    async fn probe(&self, server: &NameServer, depth: Depth) -> Health {
        let address = server.address.ip();
        let (wait, health) = self.world().answer(&address, depth);
        sleep(wait).await;
        self.world().pass.answers.entry(address).or_default().push(health.clone());
        health
    }

    fn zone(&self) -> &Name {
        static ZONE: OnceLock<Name> = OnceLock::new();
        ZONE.get_or_init(Name::root)
    }
}

/// As `resolver/direct.rs` does it, but that the file is in memory.
#[async_trait]
impl ResolverManager for Scene {
    async fn current(&self) -> Result<ResolvConf, ResolverError> {
        self.step().await;
        let mut world = self.world();
        if world.owner == Owner::Unreadable {
            return Err(file_error("read"));
        }
        let content = world.file.clone().unwrap_or_default();
        let parsed = ResolvConf::parse(&content);
        world.pass.read.get_or_insert(content);
        Ok(parsed)
    }

    fn becomes(&self, current: &ResolvConf, wanted: &Wanted) -> ResolvConf {
        current.with(wanted)
    }

    async fn apply(&self, wanted: &Wanted) -> Result<(), ResolverError> {
        self.step().await;
        {
            let mut world = self.world();
            if let Some(theirs) = world.before_us.take() {
                world.file = Some(theirs);
            }
            match world.owner {
                Owner::Refuses | Owner::Unreadable => return Err(file_error("write")),
                Owner::Deaf => return Ok(()),
                Owner::Willing | Owner::Complains => {}
            }
            let before = world.file.clone().unwrap_or_default();
            let file = ResolvConf::parse(&before);
            let after = file.with(wanted);
            if after != file {
                world.file = Some(after.render());
                world.pass.replaced = Some((before, after.render()));
            }
        }
        self.step().await;
        let mut world = self.world();
        if let Some(theirs) = world.after_us.take() {
            world.file = Some(theirs);
        }
        if world.owner == Owner::Complains { Err(file_error("keep")) } else { Ok(()) }
    }

    async fn restore(&self) -> Result<bool, ResolverError> {
        Ok(false)
    }

    fn verdict(&self) -> &Verdict {
        &self.verdict
    }
}

/// As `store/mod.rs` does it: what changes nothing needs no disk that can be written to.
impl Store for Scene {
    fn load(&self) -> Result<Ledger, StoreError> {
        let world = self.world();
        if world.disk == Disk::Unreadable {
            return Err(store_error("read"));
        }
        Ok(world.ledger.clone())
    }

    fn update(&self, change: &dyn Fn(&mut Ledger) -> bool) -> Result<Ledger, StoreError> {
        let mut ledger = self.load()?;
        if change(&mut ledger) {
            let mut world = self.world();
            if world.disk != Disk::Fine {
                return Err(store_error("write"));
            }
            world.ledger = ledger.clone();
        }
        Ok(ledger)
    }
}

impl Clock for Scene {
    fn now(&self) -> u64 {
        let mut world = self.world();
        world.pass.told = world.epoch + self.began.elapsed().as_secs();
        world.pass.told
    }

    fn jitter(&self) -> f64 {
        0.5
    }
}

fn file_error(operation: &'static str) -> ResolverError {
    let source = io::ErrorKind::PermissionDenied.into();
    ResolverError::File { operation, path: "/etc/resolv.conf".to_owned(), source }
}

fn store_error(operation: &'static str) -> StoreError {
    let source = io::ErrorKind::StorageFull.into();
    StoreError { operation, path: "state.json".to_owned(), source }
}

const STEP: Duration = Duration::from_millis(5);

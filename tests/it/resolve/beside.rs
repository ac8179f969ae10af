//! A file that some programs read, beside the settings of the resolver's owner that others ask.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use tagalong::{
    agent::{
        notebook::Notebook,
        resolution::{Action, Mode, Resolution},
    },
    core::{
        detect::{Owner, Verdict},
        name::Name,
        resolv_conf::{ResolvConf, ResolverPolicy, Wanted},
        servers::{Answer, Health, Here, NameServer},
    },
    ports::{Depth, Prober, ResolverManager, error::ResolverError},
    store::{Access, StateFile},
    sys::clock::SystemClock,
};

use crate::support::block_on;

const LIVING: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 9));
const OF_THE_VPC: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));

/// systemd-resolved with a dead server, beside a file whose server may live.
struct Beside {
    verdict: Verdict,
    applied: AtomicUsize,
}

#[async_trait]
impl ResolverManager for Beside {
    async fn current(&self) -> Result<ResolvConf, ResolverError> {
        let file = ResolvConf::parse(format!("nameserver {LIVING}\n").as_bytes());
        Ok(ResolvConf::parse(b"nameserver 10.0.0.8\n").beside(&file))
    }

    fn becomes(&self, current: &ResolvConf, wanted: &Wanted) -> ResolvConf {
        let (settings, file) = current.apart();
        settings.with(wanted).beside(&file.with(wanted))
    }

    async fn apply(&self, _: &Wanted) -> Result<(), ResolverError> {
        self.applied.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    async fn restore(&self) -> Result<bool, ResolverError> {
        Ok(false)
    }

    fn verdict(&self) -> &Verdict {
        &self.verdict
    }
}

/// These answer, for the rest of the world.
struct Answering<'a>(&'a [IpAddr]);

#[async_trait]
impl Prober for Answering<'_> {
    async fn probe(&self, server: &NameServer, _: Depth) -> Health {
        if self.0.contains(&server.address.ip()) {
            let time = Duration::from_millis(1);
            Health::Alive(Answer { time, serial: 0, is_authoritative: false, over_tcp: None })
        } else {
            Health::Silent { queries: 2 }
        }
    }

    fn zone(&self) -> &Name {
        static ZONE: OnceLock<Name> = OnceLock::new();
        ZONE.get_or_init(Name::root)
    }
}

/// How often something is set while these answer, and no server is listed.
fn sets(answering: &[IpAddr]) -> usize {
    let state = tempfile::tempdir().unwrap();
    let store = StateFile::new(state.path(), Access::ReadWrite);
    let notebook = Notebook::open(&store);
    let verdict = Verdict { owner: Owner::SystemdResolved, because: Vec::new() };
    let manager = Beside { verdict, applied: AtomicUsize::new(0) };
    let resolution = Resolution {
        listed: Ok(Vec::new()),
        sought: String::new(),
        prober: &Answering(answering),
        manager: &manager,
        policy: &ResolverPolicy::default(),
        here: Here::default(),
        fallback: vec![NameServer::at(SocketAddr::new(OF_THE_VPC, 53))],
        port: 53,
        notebook: &notebook,
        announce: &|_| {},
        clock: &SystemClock,
        stale: Duration::from_secs(600),
    };
    let outcome = block_on(resolution.run(Mode::Apply));
    let sets = manager.applied.load(Ordering::Relaxed);
    assert_eq!(matches!(outcome.action, Action::Kept(_)), sets == 0, "{outcome:?}");
    sets
}

#[test]
fn a_server_that_only_the_file_names_is_not_replaced_while_it_alone_answers() {
    assert_eq!(sets(&[LIVING, OF_THE_VPC]), 0);
    assert_eq!(sets(&[OF_THE_VPC]), 1);
}

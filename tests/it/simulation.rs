//! Never worse: the real resolution through random histories of a host, on a virtual clock, its promises checked at each step.
//!
//! The journey, the ranking, the rendering and the notebook are the product's; around them servers die, return, lie and move,
//! EC2 and the metadata service fail, other programs overwrite resolv.conf, and the agent is killed at any instant.
//! `TAGALONG_HISTORIES` says how many histories; `TAGALONG_HISTORY` tells the one with that number.

mod chance;
mod fault;
mod guarding;
mod history;
mod promises;
mod scene;
mod settling;
mod transcript;
mod world;

use std::{
    collections::BTreeMap,
    env,
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use self::{history::History, scene::Scene, transcript::Transcript, world::World};

#[test]
fn dns_never_gets_worse_whatever_happens_and_settles_when_nothing_does() {
    let (first, histories) = match (number("TAGALONG_HISTORY"), number("TAGALONG_HISTORIES")) {
        (Some(one), _) => (one, 1),
        (None, many) => (0, many.unwrap_or(2000)),
    };
    let next = AtomicU64::new(first);
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let tallies = thread::scope(|scope| {
        let work = || {
            let mut tally = BTreeMap::<&str, u64>::new();
            let runtime = virtual_time();
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= first + histories {
                    return tally;
                }
                let mut transcript = Transcript::default();
                if live(&runtime, seed, &mut transcript).is_err() {
                    next.store(u64::MAX / 2, Ordering::Relaxed);
                    tell(seed);
                }
                for (what, times) in transcript.tally {
                    *tally.entry(what).or_default() += times;
                }
            }
        };
        let workers = (0..workers).map(|_| scope.spawn(work)).collect::<Vec<_>>();
        workers.into_iter().map(|worker| worker.join().unwrap()).collect::<Vec<_>>()
    });
    let mut tally = BTreeMap::<&str, u64>::new();
    for (what, times) in tallies.into_iter().flatten() {
        *tally.entry(what).or_default() += times;
    }
    println!("{histories} histories: {tally:#?}");
    if histories >= 1000 {
        for what in SITUATIONS {
            assert!(tally.contains_key(what), "no history came to `{what}`: {tally:#?}");
        }
    }
}

#[test]
fn the_same_seed_makes_the_same_history() {
    let tell = |seeds: Vec<u64>| {
        let runtime = virtual_time();
        let mut told = BTreeMap::new();
        for seed in seeds {
            let mut transcript = Transcript::told();
            live(&runtime, seed, &mut transcript).unwrap();
            told.insert(seed, (transcript.lines, transcript.hash));
        }
        told
    };
    let seeds = (1 << 32..(1 << 32) + 100).collect::<Vec<_>>();
    let backwards = seeds.iter().rev().copied().collect();
    let again = thread::spawn(move || tell(backwards)).join().unwrap();
    let told = tell(seeds);
    for (seed, history) in &told {
        assert_eq!(Some(history), again.get(seed), "history {seed}");
    }
    let hashes = told.values().map(|(_, hash)| hash).collect::<std::collections::BTreeSet<_>>();
    assert_eq!(hashes.len(), told.len(), "no two histories are the same");
}

/// What chance must have led to, or else nothing is proved.
const SITUATIONS: [&str; 23] = [
    "guard: stands",
    "guard: unknown",
    "guard: set by a pass",
    "guard: outlived",
    "guard: put back",
    "another program keeps changing it",
    "written",
    "unchanged",
    "failed",
    "fallback",
    "last resort",
    "last good list",
    "a better order must be wanted twice",
    "no DNS servers are known",
    "no listed server serves, and a server in use answers",
    "no server serves; a silent one may come back",
    "killed before it wrote",
    "killed after it wrote",
    "settled already",
    "settled in 1",
    "settled in 2",
    "settled with a stale server",
    "settled on the best",
];

fn live(
    runtime: &tokio::runtime::Runtime,
    seed: u64,
    transcript: &mut Transcript,
) -> Result<(), String> {
    runtime.block_on(async {
        let scene = Scene::of(World::new(0));
        History::new(&scene, seed, transcript).live().await
    })
}

/// Lives a history that broke a promise once more, and tells it.
fn tell(seed: u64) -> ! {
    let mut transcript = Transcript::told();
    let broken = live(&virtual_time(), seed, &mut transcript);
    let lines = transcript.lines.unwrap_or_default().join("\n");
    panic!("TAGALONG_HISTORY={seed}\n{lines}\nbroken: {broken:?}");
}

/// Time passes when everybody waits, and only then.
fn virtual_time() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

fn number(variable: &str) -> Option<u64> {
    env::var(variable).ok().map(|text| text.parse().unwrap())
}

//! After the last fault: a bounded number of passes, and then the best living servers stand there for good.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use tagalong::agent::resolution::Action;
use tokio::time::sleep;

use super::{
    history::{HERE, History, Kind},
    promises::{STALE, best_of, must, nameservers},
    world::{Directory, Mood},
};

/// So many passes after the last fault the file is as it stays.
pub(super) const BOUND: usize = 3;

impl History<'_> {
    pub(super) async fn settle(mut self) -> Result<(), String> {
        let restarts = self.chance.percent(30);
        self.restart(restarts);
        let kind = self.chance.pick(&[Kind::List, Kind::List, Kind::Once]);
        self.world().calm();
        // Where the metadata service or EC2 stays silent for good, the last good list has to do.
        self.knows = self.chance.percent(80);
        if self.chance.percent(70) {
            self.world().directory = Directory::Lists;
        }
        self.say("calm");
        self.come_to_rest(kind).await?;
        if self.choice().iter().any(|server| self.lags(&server.address.ip())) {
            sleep(STALE + Duration::from_secs(1)).await;
            self.say("those behind have been so for too long");
            self.come_to_rest(kind).await?;
            self.stands_right(true)?;
            self.saw("settled with a stale server");
        } else {
            self.stands_right(false)?;
        }
        Ok(())
    }

    /// Passes until nothing changes any more: at most [`BOUND`], and one that changes nothing.
    async fn come_to_rest(&mut self, kind: Kind) -> Result<(), String> {
        let mut changed = 0;
        for number in 1..=BOUND {
            let before = self.world().file.clone();
            self.pass(kind, None).await?;
            if self.world().file != before {
                changed = number;
            }
        }
        self.saw(["settled already", "settled in 1", "settled in 2", "settled in 3"][changed]);
        let before = self.world().file.clone();
        let outcome = self.pass(kind, None).await?.ok_or("it was not killed")?;
        must!(self.world().file == before, "the file changed after {BOUND} calm passes");
        let rests = match outcome.action {
            Action::Unchanged => true,
            Action::Kept(_) => self.living().is_empty(),
            _ => false,
        };
        must!(rests, "after {BOUND} calm passes: {:?}", outcome.action);
        Ok(())
    }

    /// Listed servers that serve, with what speaks against them.
    fn living(&self) -> Vec<(u8, bool, IpAddr)> {
        let zone = if self.knows { HERE } else { "" };
        let choice = self.choice();
        let world = self.world();
        let mut living = BTreeSet::new();
        for server in &choice {
            let address = server.address.ip();
            if let Some(burden) = serves(world.mood(&address)) {
                let burden = if server.is_draining { 2 } else { burden };
                let is_elsewhere = server.availability_zone.as_deref() != Some(zone);
                living.insert((burden, is_elsewhere, address));
            }
        }
        living.into_iter().collect()
    }

    /// Whether a server is an authority whose serial is older than another's of the choice.
    fn lags(&self, address: &IpAddr) -> bool {
        let choice = self.choice();
        let world = self.world();
        let serial = |address: &IpAddr| {
            let server = world.servers.get(address)?;
            let is_authority = matches!(server.mood, Mood::Sound | Mood::NoTcp);
            is_authority.then(|| server.stuck.unwrap_or(world.serial))
        };
        let Some(ours) = serial(address) else { return false };
        let mut others = choice.iter().filter_map(|server| serial(&server.address.ip()));
        others.any(|other| other.wrapping_sub(ours).cast_signed() > 0)
    }

    /// The file has exactly the best living servers, by what they are, whatever was asked of them.
    fn stands_right(&mut self, is_lag_known: bool) -> Result<(), String> {
        let living = self.living().into_iter().map(|(burden, is_elsewhere, address)| {
            let lags = is_lag_known && burden < 2 && self.lags(&address);
            ((burden.max(u8::from(lags)), is_elsewhere), address)
        });
        let mut living = living.collect::<Vec<_>>();
        living.sort();
        if living.is_empty() {
            self.saw("settled without a server that serves");
            return Ok(());
        }
        let stands = nameservers(self.world().file.as_deref().unwrap_or_default());
        best_of(&stands, &living).map_err(|why| format!("{stands:?} stays: {why}; {living:?}"))?;
        self.saw("settled on the best");
        Ok(())
    }
}

/// What a mood that stays makes of a server: whether it serves, and whether something speaks against it.
fn serves(mood: Mood) -> Option<u8> {
    match mood {
        Mood::Sound => Some(0),
        Mood::Cache | Mood::NoTcp => Some(1),
        _ => None,
    }
}

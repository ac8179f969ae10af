//! Between passes: the agent looks whether what it set still stands, and puts it back.

use std::time::Duration;

use tagalong::{
    agent::resolution::{Guard, Guarded},
    core::{resolv_conf::ResolvConf, servers::Health},
};
use tokio::time::timeout;

use super::{
    history::History,
    promises::{keeps_lines, must, nameservers},
    world::{Owner, Pass},
};

impl History<'_> {
    /// Whether the resolver says what it is held to.
    pub(super) async fn stands(&self) -> bool {
        match self.agent.as_ref().and_then(|agent| agent.wanted.as_ref()) {
            Some(wanted) => Guard::stands(self.scene, wanted).await,
            None => false,
        }
    }

    /// The agent is woken since the file was written, or seems to have been; a killed one ends after `cut`.
    pub(super) async fn guard(&mut self, cut: Option<Duration>) -> Result<(), String> {
        let scene = self.scene;
        let Some(agent) = &mut self.agent else { return Ok(()) };
        let Some(wanted) = agent.wanted.clone() else { return Ok(()) };
        let (before, announced, undisturbed) = {
            let mut world = scene.world();
            world.pass = Pass { is_slow: cut.is_some(), ..Pass::default() };
            let alone = world.before_us.is_none() && world.after_us.is_none();
            (world.file.clone(), world.announced.clone(), alone && world.owner == Owner::Willing)
        };
        let before = before.unwrap_or_default();
        let guard = Guard {
            manager: scene,
            prober: scene,
            wanted: &wanted,
            announced: announced.clone(),
            port: 53,
        };
        let guarded = match cut {
            Some(cut) => timeout(cut, guard.run()).await.ok(),
            None => Some(guard.run().await),
        };
        let (after, pass) = {
            let world = scene.world();
            (world.file.clone().unwrap_or_default(), world.pass.clone())
        };
        self.transcript.tell("guard", &(&guarded, pass.answers.len()));
        let serves = wanted.nameservers.iter().any(|address| {
            let answers = pass.answers.get(address).map_or(&[][..], Vec::as_slice);
            answers.iter().any(|health| matches!(health, Health::Alive(_)))
        });
        if let Some((theirs, ours)) = &pass.replaced {
            must!(serves, "it put servers back of which none serves");
            must!(nameservers(ours) == wanted.nameservers, "it put back what it had not set");
            keeps_lines(theirs, ours, &self.policy)?;
        } else if undisturbed {
            must!(before == after, "the file changed, and nobody wrote it");
        }
        let says = |wanted| ResolvConf::parse(&before).with(wanted).render() == before;
        let is_announced = announced.as_ref().is_some_and(says);
        let called_for = !says(&wanted) && !is_announced && serves;
        if undisturbed && guarded.is_some() {
            let is_put_back = pass.replaced.is_some();
            must!(is_put_back == called_for, "put back: {is_put_back}; called for: {called_for}");
        }
        self.saw(match &guarded {
            None => "guard: killed",
            Some(Guarded::Stands) => "guard: stands",
            Some(Guarded::Unknown(_)) => "guard: unknown",
            Some(Guarded::SetByAPass) => "guard: set by a pass",
            Some(Guarded::Outlived) => "guard: outlived",
            Some(Guarded::Overwritten { put_back: Ok(()), .. }) => "guard: put back",
            Some(Guarded::Overwritten { .. }) => "guard: not put back",
        });
        match (guarded, &mut self.agent) {
            (None, _) => self.agent = None,
            // As the agent does it.
            (Some(Guarded::SetByAPass), Some(agent)) => agent.wanted = None,
            _ => {}
        }
        Ok(())
    }
}

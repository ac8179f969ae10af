//! The configuration, read again while the agent runs: one that is wrong changes nothing.

use std::rc::Rc;

use super::{Worker, telling::RELOAD};
use crate::{
    agent::daemon::Performed,
    cli::{
        kerberos,
        wiring::{Host, read},
    },
    config::Config,
    core::job::Outcome,
    ec2::imds::Patience,
    ports::topic::Topic,
};

impl Worker<'_> {
    pub(super) fn reload(&self) -> Performed {
        let checked = read(self.args).and_then(|settings| {
            let config = Config::of(&settings)?;
            kerberos::check(&config)?;
            let (leases, run_dir) = (self.leases.clone(), &self.args.run_dir);
            let host = Host::new(settings, self.notebook, leases, run_dir, Patience::default())?;
            Ok((host, config))
        });
        match checked {
            Ok((host, config)) => {
                self.say_conditions(RELOAD, []);
                tracing::info!("the configuration was read again");
                *self.host.borrow_mut() = Rc::new(host);
                *self.config.borrow_mut() = Rc::new(config);
                // The tags are as they were, so that what they say is not undone for a moment.
                let facts = self.known().and_then(|known| known.facts.clone());
                let known = facts.and_then(|facts| self.host().complete(Some(&facts)).ok());
                *self.known.borrow_mut() = known.map(Rc::new);
                let rhythm = self.rhythm();
                let status = Some(self.status(&self.report.borrow()));
                Performed { status, ..Performed::with(Outcome::Reloaded(rhythm)) }
            }
            Err(errors) => {
                let told = errors.iter().map(|error| {
                    format!(
                        "the old configuration stays in force: {error}; see {}",
                        Topic::Configuration
                    )
                });
                self.say_conditions(RELOAD, told);
                let status = Some(self.status(&self.report.borrow()));
                Performed { status, ..Performed::with(Outcome::Refused) }
            }
        }
    }
}

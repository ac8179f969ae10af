//! How one server misbehaves: switched while it runs, on top of what the account's `Faults` say.

use std::sync::{Mutex, PoisonError};

use crate::fault::{Fault, Faults, Service};

/// The switches of one server.
#[derive(Debug, Default)]
pub(super) struct Switches {
    own: Faults,
    account: Option<Faults>,
    rest: Mutex<Rest>,
}

/// What one request meets.
#[derive(Clone, Debug, Default)]
pub(super) struct Met {
    pub(super) fault: Fault,
    pub(super) forge: bool,
    pub(super) lose: bool,
    pub(super) truncate_udp: bool,
    pub(super) clock_skew: i64,
}

#[derive(Debug, Default)]
struct Rest {
    forge: Budget,
    lose: Budget,
    truncate_udp: bool,
    clock_skew: i64,
}

/// How many more requests something happens to.
#[derive(Debug, Default)]
struct Budget {
    requests: u32,
    updates: u32,
}

impl Switches {
    pub(super) fn new(account: Option<Faults>) -> Self {
        Self { account, ..Self::default() }
    }

    pub(super) fn set_fault(&self, fault: Fault) {
        self.own.set(Service::Dns, fault);
    }

    pub(super) fn forge_next(&self, requests: u32) {
        self.with(|rest| rest.forge.requests = requests);
    }

    pub(super) fn lose_next(&self, requests: u32) {
        self.with(|rest| rest.lose.requests = requests);
    }

    pub(super) fn forge_next_updates(&self, updates: u32) {
        self.with(|rest| rest.forge.updates = updates);
    }

    pub(super) fn lose_next_updates(&self, updates: u32) {
        self.with(|rest| rest.lose.updates = updates);
    }

    pub(super) fn set_truncate_udp(&self, truncate: bool) {
        self.with(|rest| rest.truncate_udp = truncate);
    }

    pub(super) fn set_clock_skew(&self, seconds: i64) {
        self.with(|rest| rest.clock_skew = seconds);
    }

    pub(super) fn clear(&self) {
        self.own.clear();
        self.with(|rest| *rest = Rest::default());
    }

    /// What the request at hand meets; counts it.
    pub(super) fn meet(&self, is_update: bool) -> Met {
        let opcode = if is_update { "UPDATE" } else { "QUERY" };
        let own = self.own.meet(Service::Dns, opcode);
        let account = self
            .account
            .as_ref()
            .map(|faults| faults.meet(Service::Dns, opcode))
            .unwrap_or_default();
        let fault = Fault {
            delay_ms: own.delay_ms.max(account.delay_ms),
            drop: own.drop || account.drop,
            fail: own.fail.or(account.fail),
            throttle: own.throttle || account.throttle,
            malformed: own.malformed || account.malformed,
            ..Fault::default()
        };
        self.with(|rest| Met {
            fault,
            forge: rest.forge.take(is_update),
            lose: rest.lose.take(is_update),
            truncate_udp: rest.truncate_udp,
            clock_skew: rest.clock_skew,
        })
    }

    fn with<T>(&self, change: impl FnOnce(&mut Rest) -> T) -> T {
        change(&mut self.rest.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Budget {
    fn take(&mut self, is_update: bool) -> bool {
        let left =
            if is_update && self.updates > 0 { &mut self.updates } else { &mut self.requests };
        let is_met = *left > 0;
        *left = left.saturating_sub(1);
        is_met
    }
}

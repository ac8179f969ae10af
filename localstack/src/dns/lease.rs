//! Leases of what updates add (RFC 9664): granted where that is switched on, and collected when they are over.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use hickory_proto::{
    op::Edns,
    rr::{
        DNSClass, LowerName, RData, Record,
        rdata::opt::{EdnsCode, EdnsOption},
    },
};

use super::zone::Zones;

/// The leases of one server.
#[derive(Debug, Default)]
pub(super) struct Leases(Mutex<Granted>);

#[derive(Debug, Default)]
struct Granted {
    /// What is granted, whatever is asked for; none are where there is none.
    lease: Option<Duration>,
    ends: Vec<End>,
}

/// When a record goes.
#[derive(Debug)]
struct End {
    zone: LowerName,
    name: LowerName,
    data: RData,
    at: Instant,
}

impl Leases {
    pub(super) fn grant(&self, lease: Option<Duration>) {
        self.lock().lease = lease;
    }

    /// Notes what an update of `zone` added under the lease that its EDNS asked for; gives the one that it got. What comes
    /// without one stays (section 4).
    pub(super) fn note(
        &self,
        zone: &LowerName,
        updates: &[Record],
        edns: Option<&Edns>,
    ) -> Option<EdnsOption> {
        let mut granted = self.lock();
        let lease = granted.lease.filter(|_| edns.is_some_and(is_asked));
        for record in updates.iter().filter(|record| record.dns_class == DNSClass::IN) {
            let name = LowerName::new(&record.name);
            let is_it =
                |end: &End| end.zone == *zone && end.name == name && end.data == record.data;
            granted.ends.retain(|end| !is_it(end));
            if let Some(lease) = lease {
                let (zone, data) = (zone.clone(), record.data.clone());
                granted.ends.push(End { zone, name, data, at: Instant::now() + lease });
            }
        }
        let seconds = u32::try_from(lease?.as_secs()).unwrap_or(u32::MAX);
        Some(EdnsOption::Unknown(UPDATE_LEASE, seconds.to_be_bytes().to_vec()))
    }

    /// Deletes the records whose leases are over; forgets those that went otherwise.
    pub(super) fn collect(&self, zones: &Zones) {
        let mut granted = self.lock();
        if granted.ends.is_empty() {
            return;
        }
        let mut zones = zones.lock();
        let now = Instant::now();
        granted.ends.retain(|end| {
            let Some(zone) = zones.get_mut(&end.zone) else { return false };
            let kind = end.data.record_type();
            let is_there =
                zone.rrset(&end.name, kind).is_some_and(|set| set.data.contains(&end.data));
            if is_there && end.at <= now {
                zone.retain(&end.name, |_, data| *data != end.data);
                zone.increment_serial();
            }
            is_there && end.at > now
        });
    }

    fn lock(&self) -> MutexGuard<'_, Granted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_asked(edns: &Edns) -> bool {
    // LEASE alone, or with KEY-LEASE
    matches!(edns.option(EdnsCode::from(UPDATE_LEASE)), Some(EdnsOption::Unknown(_, octets)) if matches!(octets.len(), 4 | 8))
}

/// The option's code (section 4).
const UPDATE_LEASE: u16 = 2;

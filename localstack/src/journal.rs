//! Which requests each stand-in has taken, so that a test can say what was and was not asked.

use std::{collections::VecDeque, time::Instant};

use crate::fault::Service;

/// One request that a stand-in took.
#[derive(Clone, Debug)]
pub struct Request {
    /// When it had been read.
    pub at: Instant,
    /// The HTTP method.
    pub method: String,
    /// The path; for EC2 and STS the `Action`.
    pub target: String,
    /// The session whose credentials signed it: of an instance's role, the instance id.
    pub session: Option<String>,
    /// The status that it was answered with; `None` while it waits, and for ever when it was dropped.
    pub status: Option<u16>,
}

/// The latest requests of all services, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    entries: VecDeque<(Service, Request)>,
    /// The ticket of the oldest entry.
    first: u64,
}

/// Names an entry that still lacks its status.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticket(u64);

impl Journal {
    pub(crate) fn note(
        &mut self,
        service: Service,
        method: &str,
        target: String,
        session: Option<String>,
    ) -> Ticket {
        if self.entries.len() == CAPACITY {
            self.entries.pop_front();
            self.first += 1;
        }
        let request = Request {
            at: Instant::now(),
            method: method.to_owned(),
            target,
            session,
            status: None,
        };
        self.entries.push_back((service, request));
        Ticket(self.first + self.entries.len() as u64 - 1)
    }

    /// The entry may be gone by then: cleared, or pushed out.
    pub(crate) fn settle(&mut self, Ticket(ticket): Ticket, status: u16) {
        let entry = ticket.checked_sub(self.first).and_then(|place| usize::try_from(place).ok());
        if let Some((_, request)) = entry.and_then(|place| self.entries.get_mut(place)) {
            request.status = Some(status);
        }
    }

    pub(crate) fn of(&self, service: Service) -> Vec<Request> {
        self.entries
            .iter()
            .filter(|(of, _)| *of == service)
            .map(|(_, request)| request.clone())
            .collect()
    }

    pub(crate) fn clear(&mut self) {
        self.first += self.entries.len() as u64;
        self.entries.clear();
    }
}

/// A long demonstration must not fill the memory.
const CAPACITY: usize = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_requests_give_way_and_statuses_still_find_their_entry() {
        let mut journal = Journal::default();
        let first = journal.note(Service::Imds, "GET", "/first".into(), None);
        let mut last = first;
        for _ in 0..CAPACITY {
            last = journal.note(Service::Imds, "GET", "/later".into(), None);
        }
        journal.settle(first, 500);
        journal.settle(last, 200);
        let requests = journal.of(Service::Imds);
        assert_eq!(requests.len(), CAPACITY);
        assert!(requests.iter().all(|request| request.target == "/later"));
        assert_eq!(requests.iter().filter_map(|request| request.status).collect::<Vec<_>>(), [200]);
        journal.clear();
        journal.settle(last, 404);
        assert!(journal.of(Service::Imds).is_empty());
    }
}

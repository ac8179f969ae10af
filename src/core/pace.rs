//! How often something may begin whatever asks for it: on a host of containers links come and go all the time, and the metadata
//! service answers a limited number of packets each second (EC2 User Guide, "Query throttling"), for the VPC's resolver as well.

use std::{collections::VecDeque, time::Duration};

use super::schedule::Moment;

/// The last beginnings, and how many of them there may be in a span.
#[derive(Clone, Debug)]
pub struct Pace {
    most: usize,
    span: Duration,
    began: VecDeque<Moment>,
}

impl Pace {
    /// At most `most` in each `span`.
    #[must_use]
    pub fn of(most: usize, span: Duration) -> Self {
        Self { most, span, began: VecDeque::new() }
    }

    /// Begins at `now`; gives until when that has to wait, if it has.
    pub fn begin(&mut self, now: Moment) -> Option<Moment> {
        while self.began.front().is_some_and(|began| *began + self.span <= now) {
            self.began.pop_front();
        }
        let wait =
            self.began.front().filter(|_| self.began.len() >= self.most).map(|it| *it + self.span);
        if wait.is_none() {
            self.began.push_back(now);
        }
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_begin_at_once_and_the_rest_as_they_become_old() {
        let mut pace = Pace::of(6, Duration::from_secs(5));
        let at = Duration::from_millis;
        for tenth in 0..6 {
            assert_eq!(pace.begin(at(tenth * 100)), None);
        }
        assert_eq!(pace.begin(at(600)), Some(at(5000)));
        assert_eq!(pace.begin(at(5000)), None);
        assert_eq!(pace.begin(at(5000)), Some(at(5100)));
        assert_eq!(pace.begin(at(60_000)), None);
    }
}

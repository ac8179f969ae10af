//! When another program keeps overwriting the resolver's file: how often it is put back before it is left alone, and for
//! how long. Two programs that both insist would otherwise write for ever.

use std::time::Duration;

use super::schedule::Moment;

/// The fight over the file, if there is one.
#[derive(Clone, Debug, Default)]
pub struct Trample {
    /// When the file was put back, each less than [`QUIET`] after the one before it.
    recent: Vec<Moment>,
    /// How long each hold was so far doubles with every fight that follows on another.
    holds: u32,
    /// The end of the last hold, as long as it is not known whether the fight is over.
    hold: Option<Moment>,
}

impl Trample {
    /// The file was put back at `now`; gives how long it is to be left alone from now on, if it is.
    pub fn happened(&mut self, now: Moment) -> Option<Duration> {
        if self.recent.last().is_some_and(|last| now.saturating_sub(*last) >= QUIET) {
            self.recent.clear();
        }
        self.recent.push(now);
        if self.recent.len() < MOST {
            return None;
        }
        self.recent.clear();
        let hold = HOLD.saturating_mul(1 << self.holds.min(10)).min(LONGEST_HOLD);
        self.holds += 1;
        // The second hold of one fight is no news.
        let is_news = self.hold.is_none();
        self.hold = Some(now + hold);
        is_news.then_some(hold)
    }

    /// Until when the file is left alone, if it is at `now`.
    #[must_use]
    pub fn held_until(&self, now: Moment) -> Option<Moment> {
        self.hold.filter(|until| now < *until)
    }

    /// Whether a fight has come to its end by `now`; says so once.
    pub fn is_over(&mut self, now: Moment) -> bool {
        let quiet_since = self.recent.last().copied().max(self.hold);
        let over = self.hold.is_some()
            && quiet_since.is_some_and(|since| now.saturating_sub(since) >= QUIET);
        if over {
            *self = Self::default();
        }
        over
    }
}

/// After so long without another one a fight is over.
const QUIET: Duration = Duration::from_secs(5);
/// How often the file is put back in one fight.
const MOST: usize = 10;
const HOLD: Duration = Duration::from_secs(60);
const LONGEST_HOLD: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> Moment {
        Duration::from_millis(milliseconds)
    }

    /// Tramples every 100 ms from `start` on until the file is left alone; gives when that was.
    fn fight(trample: &mut Trample, start: Moment) -> Moment {
        for round in 0..20 {
            let now = start + at(100) * round;
            trample.happened(now);
            if trample.held_until(now).is_some() {
                return now;
            }
        }
        panic!("never left alone")
    }

    #[test]
    fn a_rare_overwriting_is_put_back_for_ever() {
        let mut trample = Trample::default();
        for hour in 0..100 {
            assert_eq!(trample.happened(at(hour * 3_600_000)), None);
        }
        assert!(!trample.is_over(at(400_000_000)), "there was no fight");
    }

    #[test]
    fn ten_times_in_a_row_are_a_fight_and_the_tenth_says_so() {
        let mut trample = Trample::default();
        let notes = (0..10).map(|round| trample.happened(at(round * 4_000)));
        let notes = notes.collect::<Vec<_>>();
        assert!(notes[..9].iter().all(Option::is_none));
        assert_eq!(notes[9], Some(HOLD));
        assert_eq!(trample.held_until(at(36_000)), Some(at(96_000)));
        assert_eq!(trample.held_until(at(96_000)), None);
    }

    #[test]
    fn a_fight_that_goes_on_is_held_longer_and_not_told_again() {
        let mut trample = Trample::default();
        let first = fight(&mut trample, at(0));
        let ends = trample.held_until(first).unwrap();
        let second = fight(&mut trample, ends);
        assert_eq!(trample.held_until(second), Some(second + HOLD * 2));
        assert!(!trample.is_over(second + HOLD));
    }

    #[test]
    fn its_end_is_told_once_and_then_all_begins_anew() {
        let mut trample = Trample::default();
        let held = fight(&mut trample, at(0));
        let ends = trample.held_until(held).unwrap();
        assert_eq!(trample.happened(ends), None, "put back after the hold");
        assert!(!trample.is_over(ends + at(4_999)));
        assert!(trample.is_over(ends + at(5_000)));
        assert!(!trample.is_over(ends + at(60_000)));
        let again = fight(&mut trample, ends + at(100_000));
        assert_eq!(trample.held_until(again), Some(again + HOLD), "as the first time");
    }
}

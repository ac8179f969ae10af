//! Token buckets, by which AWS limits how often its APIs are called.

use std::time::Instant;

/// How many requests at once, and how many more each second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limit {
    pub(crate) burst: u32,
    pub(crate) per_second: u32,
}

/// One bucket; full at first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    tokens: f64,
    filled: Instant,
}

impl Bucket {
    pub(crate) fn full(limit: Limit, now: Instant) -> Self {
        Self { tokens: f64::from(limit.burst), filled: now }
    }

    /// Takes one token, or says that there is none.
    pub(crate) fn take(&mut self, limit: Limit, now: Instant) -> bool {
        let gained =
            now.saturating_duration_since(self.filled).as_secs_f64() * f64::from(limit.per_second);
        self.tokens = (self.tokens + gained).min(f64::from(limit.burst));
        self.filled = now;
        if self.tokens < 1.0 {
            return false;
        }
        self.tokens -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let (limit, start) = (Limit { burst: 5, per_second: 2 }, Instant::now());
        let mut bucket = Bucket::full(limit, start);
        let taken =
            |bucket: &mut Bucket, at: Instant| (0..20).filter(|_| bucket.take(limit, at)).count();
        assert_eq!(taken(&mut bucket, start), 5);
        assert_eq!(taken(&mut bucket, start + Duration::from_millis(499)), 0);
        assert_eq!(taken(&mut bucket, start + Duration::from_secs(1)), 2);
        assert_eq!(
            taken(&mut bucket, start + Duration::from_secs(100)),
            5,
            "it never holds more than its burst"
        );
    }
}

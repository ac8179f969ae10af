//! Times as people write them: `300ms`, `60s`, `5m`, `1h`, `1d`.

use std::time::Duration;

/// Reads a time; at most a year.
///
/// # Errors
/// The text is none.
pub fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no time such as 300ms, 60s, 5m, 1h or 1d");
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(digits);
    let number = number.parse::<u64>().map_err(|_| wrong())?;
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 24 * 3_600_000,
        _ => return Err(wrong()),
    };
    let total = number.checked_mul(milliseconds).filter(|total| (1..=YEAR).contains(total));
    total
        .map(Duration::from_millis)
        .ok_or_else(|| format!("`{text}` is not between 1ms and a year"))
}

const YEAR: u64 = 365 * 24 * 3_600_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_numbers_with_a_unit() {
        assert_eq!(parse("300ms"), Ok(Duration::from_millis(300)));
        assert_eq!(parse("60s"), Ok(Duration::from_secs(60)));
        assert_eq!(parse("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(parse("1h"), Ok(Duration::from_secs(3600)));
        assert_eq!(parse("1d"), Ok(Duration::from_secs(86_400)));
        for wrong in ["", "60", "s", "-1s", "1.5s", "1w", "0s", "99999999999999999999s", "9999999h"]
        {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}

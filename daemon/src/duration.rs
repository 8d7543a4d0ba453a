//! Reads durations as flags give them: a whole number and a unit.

use std::time::Duration;

/// Why a text is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no duration: write a whole number and one of ms, s, m, h, d, as in 100ms or 15m")]
pub struct ParseDurationError(String);

/// Reads a duration such as `100ms`, `5s`, `15m`, `24h` or `30d`.
pub fn parse(text: &str) -> Result<Duration, ParseDurationError> {
    let bad = || ParseDurationError(text.to_owned());
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
    let (number, unit) = text.split_at(unit_at);
    let unit_ms: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(bad()),
    };
    let Ok(number) = number.parse::<u64>() else {
        return Err(bad());
    };
    let total_ms = number.checked_mul(unit_ms).ok_or_else(bad)?;
    Ok(Duration::from_millis(total_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_is_read() {
        for (text, ms) in [
            ("100ms", 100),
            ("5s", 5_000),
            ("15m", 900_000),
            ("24h", 86_400_000),
            ("30d", 2_592_000_000),
            ("0s", 0),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(ms)), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        let too_large = format!("{}d", u64::MAX);
        for text in [
            "", "5", "s", "-5s", "1.5s", "5 s", "5sec", "5s5s", &too_large,
        ] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }
}

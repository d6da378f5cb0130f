//! The server's clock: real time with a skew, in the formats of Kubernetes and of HTTP.
//!
//! Goes in: seconds of skew. Comes out: RFC 3339 timestamps for objects and the `Date` header. Does not do: time zones;
//! everything is UTC.

use std::time::{SystemTime, UNIX_EPOCH};

const DAY_S: i64 = 86_400;
const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Seconds since 1970, with the skew added.
#[must_use]
pub fn now_s(skew_s: i64) -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    i64::try_from(since).unwrap_or(i64::MAX).saturating_add(skew_s)
}

/// As `metadata.creationTimestamp` is written: `2026-11-25T16:33:19Z`.
#[must_use]
pub fn rfc3339(at_s: i64) -> String {
    let (year, month, day) = civil(at_s.div_euclid(DAY_S));
    let (hour, minute, second) = time_of_day(at_s);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// As the `Date` header is written (RFC 9110, section 5.6.7).
#[must_use]
pub fn http_date(at_s: i64) -> String {
    let days = at_s.div_euclid(DAY_S);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = time_of_day(at_s);
    let weekday = WEEKDAYS[usize::try_from(days.rem_euclid(7)).unwrap_or(0)];
    let month = MONTHS[usize::try_from(month - 1).unwrap_or(0)];
    format!("{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT")
}

/// Reads what [`rfc3339`] wrote (fractions of a second are dropped); nothing for anything else.
#[must_use]
pub fn parse(text: &str) -> Option<i64> {
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<i64>().ok();
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let seconds = number(11..13)? * 3600 + number(14..16)? * 60 + number(17..19)?;
    let years = if month <= 2 { year - 1 } else { year };
    let era = years.div_euclid(400);
    let of_era = years - era * 400;
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    Some(days * DAY_S + seconds)
}

/// The date of a day since 1970 (Howard Hinnant, "chrono-compatible low-level date algorithms", `civil_from_days`).
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

fn time_of_day(at_s: i64) -> (i64, i64, i64) {
    let second = at_s.rem_euclid(DAY_S);
    (second / 3600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::{http_date, parse, rfc3339};

    #[test]
    fn dates_there_and_back() {
        for (at_s, stamp, date) in [
            (0, "1970-01-01T00:00:00Z", "Thu, 01 Jan 1970 00:00:00 GMT"),
            (951_782_400, "2000-02-29T00:00:00Z", "Tue, 29 Feb 2000 00:00:00 GMT"),
            (1_795_624_399, "2026-11-25T16:33:19Z", "Wed, 25 Nov 2026 16:33:19 GMT"),
        ] {
            assert_eq!(rfc3339(at_s), stamp);
            assert_eq!(http_date(at_s), date);
            assert_eq!(parse(stamp), Some(at_s));
        }
    }
}

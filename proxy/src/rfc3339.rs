//! Times as Kubernetes writes them (RFC 3339, 5.6).

/// Seconds since 1970 of an RFC 3339 time, fractions dropped.
pub fn seconds(text: &str) -> Option<i64> {
    parse(text).map(|(seconds, _)| seconds)
}

/// Nanoseconds since 1970 of an RFC 3339 time; what is finer is dropped.
pub fn nanoseconds(text: &str) -> Option<i64> {
    let (seconds, fraction) = parse(text)?;
    let digits = fraction.bytes().chain(std::iter::repeat(b'0')).take(9);
    let nanoseconds = digits.fold(0, |sum, digit| 10 * sum + i64::from(digit - b'0'));
    seconds.checked_mul(1_000_000_000)?.checked_add(nanoseconds)
}

/// Seconds since 1970, and the digits behind the point.
fn parse(text: &str) -> Option<(i64, &str)> {
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<i64>().ok().filter(|number| *number >= 0);
    let punctuation = |index: usize, allowed: &str| Some(allowed.contains(*text.as_bytes().get(index)? as char));
    let separated = punctuation(4, "-")?
        && punctuation(7, "-")?
        && punctuation(10, "Tt ")?
        && punctuation(13, ":")?
        && punctuation(16, ":")?;
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    let rest = text.get(19..)?;
    let (fraction, zone) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at(rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len()),
        None => ("", rest),
    };
    let offset = match zone {
        "Z" | "z" => 0,
        _ => {
            let (sign, hours_minutes) = zone.split_at_checked(1)?;
            let (hours, minutes) = hours_minutes.split_once(':')?;
            let bounded = |text: &str| text.parse::<i64>().ok().filter(|number| (0..60).contains(number));
            let offset = bounded(hours)? * 3600 + bounded(minutes)? * 60;
            match sign {
                "+" => offset,
                "-" => -offset,
                _ => return None,
            }
        }
    };
    if !separated || !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // Days since 1970-01-01 of the proleptic Gregorian calendar; years begin in March, so that the leap day is the last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days =
        365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + (153 * month + 2) / 5 + day
            - 719_469;
    Some((days * 86_400 + hour * 3600 + minute * 60 + second - offset, fraction))
}

#[cfg(test)]
mod tests {
    use super::{nanoseconds, seconds};

    #[test]
    fn times_are_read_as_rfc_3339_writes_them() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2000-02-29T12:00:00Z", Some(951_825_600)),
            ("2024-03-01T00:00:00Z", Some(1_709_251_200)),
            ("2024-03-01T01:30:00.25+01:30", Some(1_709_251_200)),
            ("2023-12-31T23:00:00-01:00", Some(1_704_067_200)),
            ("2024-13-01T00:00:00Z", None),
            ("2024-03-01", None),
            ("2024-03-01T00:00:00", None),
            ("2024-03-01T00:00:005Z", None),
            ("2024-03-01T00:00:00+9999999999999999:00", None),
            ("yesterday, I think, Z", None),
        ] {
            assert_eq!(seconds(text), expected, "{text}");
        }
    }

    #[test]
    fn nanoseconds_are_as_many_as_are_written() {
        for (text, expected) in [
            ("1970-01-01T00:00:01Z", Some(1_000_000_000)),
            ("1970-01-01T00:00:01.5Z", Some(1_500_000_000)),
            ("1970-01-01T00:00:01.000000001Z", Some(1_000_000_001)),
            ("1970-01-01T01:00:01.1234567899+01:00", Some(1_123_456_789)),
            ("9999-12-31T23:59:59Z", None),
            ("now", None),
        ] {
            assert_eq!(nanoseconds(text), expected, "{text}");
        }
    }
}

//! Durations as Go writes and reads them: `1h30m`, `15m0s`, `1.5s`, `250ms` (`time.ParseDuration`, `Duration.String`).
//! Signed, in nanoseconds, because a negative one must be refused by whoever knows the field's name.

/// Nanoseconds in each unit, the longest first.
const UNITS: [(&str, i64); 8] = [
    ("h", 3_600_000_000_000),
    ("ms", 1_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ns", 1),
];

/// Nanoseconds in `text`; `None`: not a duration, or longer than 292 years.
pub fn parse(text: &str) -> Option<i64> {
    let (sign, mut rest) = match text.strip_prefix(['-', '+']) {
        Some(rest) => (if text.starts_with('-') { -1 } else { 1 }, rest),
        None => (1, text),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total = 0_i64;
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(number_end);
        let (unit, scale) = UNITS.iter().find(|(unit, _)| after.starts_with(unit))?;
        total = total.checked_add(scaled(number, *scale)?)?;
        rest = &after[unit.len()..];
    }
    Some(sign * total)
}

/// A decimal number of units in nanoseconds; what is below a nanosecond is cut off.
fn scaled(number: &str, scale: i64) -> Option<i64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let mut nanos = match whole {
        "" => 0,
        whole => whole.parse::<i64>().ok()?.checked_mul(scale)?,
    };
    let mut place = scale;
    for digit in fraction.bytes() {
        place /= 10;
        nanos = nanos.checked_add(i64::from(digit - b'0').checked_mul(place)?)?;
    }
    Some(nanos)
}

/// As Go prints it.
pub fn text(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let nanos = nanos.unsigned_abs();
    let fraction = |scale: u64, unit: &str| {
        let text = format!("{sign}{}.{:0width$}", nanos / scale, nanos % scale, width = scale.ilog10() as usize);
        format!("{}{unit}", text.trim_end_matches('0').trim_end_matches('.'))
    };
    match nanos {
        0 => "0s".to_owned(),
        1..1_000 => format!("{sign}{nanos}ns"),
        1_000..1_000_000 => fraction(1_000, "µs"),
        1_000_000..1_000_000_000 => fraction(1_000_000, "ms"),
        _ => {
            let minutes = nanos / 60_000_000_000;
            let seconds = (nanos % 60_000_000_000) as f64 / 1e9;
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{sign}{seconds}s"),
                (0, minutes) => format!("{sign}{minutes}m{seconds}s"),
                (hours, minutes) => format!("{sign}{hours}h{minutes}m{seconds}s"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_printed_as_go_does() {
        // Left: as people write it. Right: as time.Duration.String prints it.
        for (written, printed) in [
            ("0", "0s"),
            ("30s", "30s"),
            ("15m", "15m0s"),
            ("24h", "24h0m0s"),
            ("1h0m0s", "1h0m0s"),
            ("2h22m", "2h22m0s"),
            ("1.5s", "1.5s"),
            ("1m.5s", "1m0.5s"),
            ("250ms", "250ms"),
            ("1.5ms", "1.5ms"),
            ("10us", "10µs"),
            ("7ns", "7ns"),
            ("+1s", "1s"),
            ("-90s", "-1m30s"),
        ] {
            let nanos = parse(written).unwrap_or_else(|| panic!("{written}"));
            assert_eq!(text(nanos), printed, "{written}");
            assert_eq!(parse(printed), Some(nanos), "{printed}");
        }
        for wrong in ["", "-", "5", "s", "1x", "1.2.3s", ".s", "300000000h", "1h 2m", "99999999999999999999s"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}

//! Numbers for people: counts with commas, bytes in binary units, durations in the unit that fits.

/// 1234567 as "1,234,567".
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// 1 and "entries" as "1 entry", 2,000 as "2,000 entries"; so with lines.
pub(crate) fn of_many(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// 1536 as "1.5 KiB".
pub(crate) fn bytes(number: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if number < 1024 {
        return format!("{number} B");
    }
    let mut value = number as f64;
    let mut unit = "B";
    for next in UNITS {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    format!("{value:.1} {unit}")
}

/// Nanoseconds as "850 ns", "12.5 us", "3.21 ms" or "4.56 s".
pub(crate) fn nanos(number: u64) -> String {
    let value = number as f64;
    match number {
        0..1_000 => format!("{number} ns"),
        1_000..1_000_000 => format!("{:.1} us", value / 1e3),
        1_000_000..1_000_000_000 => format!("{:.2} ms", value / 1e6),
        _ => format!("{:.2} s", value / 1e9),
    }
}

/// Seconds as a duration for people.
pub(crate) fn seconds(number: f64) -> String {
    nanos((number * 1e9) as u64)
}

/// A ratio as "1.30x", without decimals from 100 on.
pub(crate) fn ratio(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "-".to_owned();
    }
    let value = part as f64 / whole as f64;
    if value < 99.5 { format!("{value:.2}x") } else { format!("{value:.0}x") }
}

/// Things a second, 0 when no time has passed.
pub(crate) fn rate(things: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { things as f64 / seconds } else { 0.0 }
}

/// Reads "4096", "64k", "16MiB", "2g": a number of bytes in binary units.
///
/// # Errors
/// One line that says what is accepted.
pub(crate) fn parse_bytes(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let shift = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        "t" | "tib" => 40,
        _ => return Err("the unit must be k, m, g or t (1024 each), as in 64m".to_owned()),
    };
    let number: u64 =
        digits.trim().parse().map_err(|_| "not a number of bytes, as in 4096 or 64m".to_owned())?;
    number.checked_mul(1 << shift).ok_or_else(|| "more bytes than 64 bits can count".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_get_commas() {
        let texts: Vec<String> = [0, 12, 999, 1000, 123_456, 1_234_567].map(count).into();
        assert_eq!(texts, ["0", "12", "999", "1,000", "123,456", "1,234,567"]);
    }

    #[test]
    fn units_fit() {
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(3 << 30), "3.0 GiB");
        assert_eq!(nanos(999), "999 ns");
        assert_eq!(nanos(12_340), "12.3 us");
        assert_eq!(seconds(0.0032), "3.20 ms");
        assert_eq!(ratio(3, 2), "1.50x");
        assert_eq!(ratio(948, 6), "158x");
        assert_eq!(ratio(1, 0), "-");
    }

    #[test]
    fn sizes_are_read_and_bad_ones_refused() {
        assert_eq!(parse_bytes("4096"), Ok(4096));
        assert_eq!(parse_bytes("64m"), Ok(64 << 20));
        assert_eq!(parse_bytes("2GiB"), Ok(2 << 30));
        for bad in ["", "x", "12q", "-4", "99999999999t", "1.5m"] {
            assert!(parse_bytes(bad).is_err(), "{bad}");
        }
    }
}

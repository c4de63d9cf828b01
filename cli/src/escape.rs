//! Bytes as text and back: the escapes of TSV files and of keys on the command line.
//!
//! `\\`, `\t`, `\n` and `\r` stand for those bytes and `\xNN` for any byte; everything else stands
//! for itself. Written text uses `\xNN` only for bytes that are not valid UTF-8, so text stays
//! readable and any bytes survive the way there and back.

use std::fmt::Write;

/// Writes `bytes` as one field of a TSV line.
pub(crate) fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() + 8);
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            match letter {
                '\\' => text.push_str("\\\\"),
                '\t' => text.push_str("\\t"),
                '\n' => text.push_str("\\n"),
                '\r' => text.push_str("\\r"),
                other => text.push(other),
            }
        }
        for byte in chunk.invalid() {
            // Writing to a string cannot fail.
            let _infallible = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

/// A key as part of a message: as `escape` writes it, and without control characters, so that a
/// message stays one line and a terminal stays as it was.
pub(crate) fn shown(key: &[u8]) -> String {
    printable(escape(key).as_bytes())
}

/// Text that a terminal may be given: control characters, and bytes that are not UTF-8, as `\xNN`
/// for each of their bytes. Text that `escape` made still reads back as the same bytes.
pub(crate) fn printable(text: &[u8]) -> String {
    printable_but(text, &[])
}

/// As [`printable`], with the characters in `kept` as they are.
pub(crate) fn printable_but(text: &[u8], kept: &[char]) -> String {
    let mut shown = String::with_capacity(text.len());
    let coded = |shown: &mut String, bytes: &[u8]| {
        for byte in bytes {
            // Writing to a string cannot fail.
            let _infallible = write!(shown, "\\x{byte:02x}");
        }
    };
    for chunk in text.utf8_chunks() {
        for letter in chunk.valid().chars() {
            if is_control(letter) && !kept.contains(&letter) {
                coded(&mut shown, letter.encode_utf8(&mut [0; 4]).as_bytes());
            } else {
                shown.push(letter);
            }
        }
        coded(&mut shown, chunk.invalid());
    }
    shown
}

/// Whether a character changes more of a terminal than the cell that it is printed in: the control
/// characters of ASCII and of Latin-1, line separators, and marks that reorder a line.
pub(crate) fn is_control(letter: char) -> bool {
    let separates = matches!(letter, '\u{2028}' | '\u{2029}');
    let marks = matches!(letter, '\u{200e}' | '\u{200f}');
    let reorders = matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    letter.is_control() || separates || marks || reorders
}

/// Reads what `escape` wrote. `\xNN` is taken for any byte.
///
/// # Errors
/// One line that names the bad escape.
pub(crate) fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|&byte| byte == b'\\') {
        bytes.extend_from_slice(&rest[..at]);
        rest = &rest[at + 1..];
        let (byte, taken) = match rest.first() {
            Some(b'\\') => (b'\\', 1),
            Some(b't') => (b'\t', 1),
            Some(b'n') => (b'\n', 1),
            Some(b'r') => (b'\r', 1),
            Some(b'x') => (hex_byte(rest)?, 3),
            Some(_) => {
                let letter = String::from_utf8_lossy(rest).chars().next().unwrap_or('?');
                return Err(format!("bad escape \\{letter}; known are \\\\ \\t \\n \\r \\xNN"));
            }
            None => return Err("a lone \\ at the end; write \\\\ for a backslash".to_owned()),
        };
        bytes.push(byte);
        rest = &rest[taken..];
    }
    bytes.extend_from_slice(rest);
    Ok(bytes)
}

fn hex_byte(rest: &[u8]) -> Result<u8, String> {
    let digit = |at: usize| rest.get(at).and_then(|&byte| char::from(byte).to_digit(16));
    match (digit(1), digit(2)) {
        (Some(high), Some(low)) => Ok((high * 16 + low) as u8),
        _ => Err("\\x needs two hexadecimal digits, as in \\xff".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn text_stays_text() {
        assert_eq!(escape("plain, \u{e9}t\u{e9}".as_bytes()), "plain, \u{e9}t\u{e9}");
        assert_eq!(escape(b"a\tb\nc\\d\r"), "a\\tb\\nc\\\\d\\r");
        assert_eq!(escape(b"\xff\xc3a"), "\\xff\\xc3a");
        assert_eq!(escape(b""), "");
    }

    #[test]
    fn a_shown_key_holds_no_control_character() {
        let all: Vec<u8> = (0..128).collect();
        assert!(!shown(&all).contains(|letter: char| letter.is_control()));
        assert_eq!(unescape(&shown(&all)), Ok(all));
    }

    #[test]
    fn nothing_printable_steers_a_terminal() {
        let text = "a\u{1b}[2J\0\u{7f}\u{9b}31m\u{202e}b\tc\n\u{e9}".as_bytes();
        let text = [text, b"\xff"].concat();
        let shown = printable_but(&text, &['\t', '\n']);
        let want = "a\\x1b[2J\\x00\\x7f\\xc2\\x9b31m\\xe2\\x80\\xaeb\tc\n\u{e9}\\xff";
        assert_eq!(shown, want);
        assert_eq!(unescape(&shown), Ok(text));
    }

    #[test]
    fn any_bytes_come_back() {
        let mut random = Random::new(1);
        for length in 0..600 {
            let bytes: Vec<u8> = (0..length % 40).map(|_| random.next() as u8).collect();
            let text = escape(&bytes);
            assert!(!text.contains(['\t', '\n', '\r']));
            assert_eq!(unescape(&text).as_deref(), Ok(bytes.as_slice()));
        }
    }

    #[test]
    fn every_single_byte_has_one_spelling() {
        for byte in 0..=255_u8 {
            assert_eq!(unescape(&escape(&[byte])), Ok(vec![byte]));
            assert_eq!(unescape(&format!("\\x{byte:02X}")), Ok(vec![byte]));
        }
    }

    #[test]
    fn bad_escapes_are_named() {
        for bad in ["\\q", "a\\", "\\x", "\\x1", "\\xg0", "\\\u{e9}"] {
            assert!(unescape(bad).is_err(), "{bad}");
        }
    }
}

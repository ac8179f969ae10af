//! Domain names as Route 53 writes, compares and sorts them: lower case, a final dot, odd characters as `\ooo`.
//! Route 53 Developer Guide, "DNS domain name format".

use std::fmt::Write as _;

/// A name that Route 53 refuses, with its words for why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// No label at all, or one between two dots.
    #[error("FATAL problem: DomainLabelEmpty (Domain label is empty) encountered with '{0}'")]
    EmptyLabel(String),
    /// More than 63 octets between two dots.
    #[error("FATAL problem: DomainLabelTooLong (Domain label is too long) encountered with '{0}'")]
    LongLabel(String),
    /// More than 255 octets.
    #[error("FATAL problem: DomainNameTooLong (Domain name is too long) encountered with '{0}'")]
    LongName(String),
    /// A backslash without three octal digits, or a character outside ASCII.
    #[error(
        "FATAL problem: UnsupportedCharacter (Value contains unsupported characters) encountered with '{0}'"
    )]
    Character(String),
}

/// `name` as Route 53 gives it back.
///
/// # Errors
/// When Route 53 would not take it.
pub fn canonical(name: &str) -> Result<String, NameError> {
    let mut written = String::with_capacity(name.len() + 1);
    for label in labels(name)? {
        for octet in label {
            if octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_') {
                written.push(char::from(octet));
            } else {
                // writing to a String can't fail
                let _ = write!(written, "\\{octet:03o}");
            }
        }
        written.push('.');
    }
    Ok(written)
}

/// The key by which Route 53 sorts names: the labels in reverse, each with its dot. Names that are none sort last.
pub(crate) fn order(name: &str) -> Vec<u8> {
    let Ok(mut labels) = labels(name) else { return vec![u8::MAX] };
    labels.reverse();
    labels.into_iter().flat_map(|label| label.into_iter().chain([b'.'])).collect()
}

/// Whether `name` is the zone's own name or below it; both canonical.
pub(crate) fn is_within(name: &str, zone: &str) -> bool {
    name.strip_suffix(zone).is_some_and(|left| left.is_empty() || left.ends_with('.'))
}

/// Lower-case labels without escapes.
fn labels(name: &str) -> Result<Vec<Vec<u8>>, NameError> {
    let whole = || name.to_owned();
    let mut labels = Vec::new();
    let mut label = Vec::new();
    let mut rest = name.strip_suffix('.').unwrap_or(name).bytes();
    loop {
        match rest.next() {
            Some(0..b' ' | 0x7f..) => return Err(NameError::Character(whole())),
            Some(b'\\') => {
                let octet = octal(&mut rest).ok_or_else(|| NameError::Character(whole()))?;
                label.push(octet);
            }
            Some(octet) if octet != b'.' => label.push(octet.to_ascii_lowercase()),
            end => {
                if label.is_empty() {
                    return Err(NameError::EmptyLabel(whole()));
                }
                if label.len() > 63 {
                    return Err(NameError::LongLabel(whole()));
                }
                labels.push(std::mem::take(&mut label));
                if end.is_none() {
                    break;
                }
            }
        }
    }
    if labels.iter().map(|label| label.len() + 1).sum::<usize>() + 1 > 255 {
        return Err(NameError::LongName(whole()));
    }
    Ok(labels)
}

/// Three octal digits; `\056` is a dot inside a label.
fn octal(rest: &mut impl Iterator<Item = u8>) -> Option<u8> {
    let mut value = 0_u32;
    for _ in 0..3 {
        let digit = char::from(rest.next()?).to_digit(8)?;
        value = value * 8 + digit;
    }
    u8::try_from(value).ok().map(|octet| octet.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_lower_case_with_a_final_dot_and_octal_escapes() {
        for (given, expect) in [
            ("Web-1.Corp.Test", "web-1.corp.test."),
            ("web.corp.test.", "web.corp.test."),
            ("*.corp.test", "\\052.corp.test."),
            ("\\052.corp.test", "\\052.corp.test."),
            ("a\\056b.corp.test", "a\\056b.corp.test."),
            ("_srv.x.", "_srv.x."),
        ] {
            assert_eq!(canonical(given).as_deref(), Ok(expect));
        }
    }

    #[test]
    fn names_that_break_the_format_are_refused() {
        let (long_label, long_name) = ("x".repeat(64), vec!["x".repeat(63); 4].join("."));
        for given in ["", ".", "a..b", "a\\9.b", "a\\05", "é.test", &long_label, &long_name] {
            assert!(canonical(given).is_err(), "{given}");
        }
        assert!(canonical(&"x".repeat(63)).is_ok());
    }

    #[test]
    fn names_sort_by_their_reversed_labels() {
        let mut names = [
            "b.test.",
            "a-b.c.test.",
            "a.c.test.",
            "c.test.",
            "c-d.test.",
            "\\052.c.test.",
            "test.",
        ];
        names.sort_by_key(|name| order(name));
        // `-` and `*` come before `.`, so `c-d` precedes `c` and everything below it
        assert_eq!(
            names,
            [
                "test.",
                "b.test.",
                "c-d.test.",
                "c.test.",
                "\\052.c.test.",
                "a-b.c.test.",
                "a.c.test."
            ]
        );
    }

    #[test]
    fn a_name_is_within_a_zone_by_whole_labels() {
        assert!(is_within("a.corp.test.", "corp.test."));
        assert!(is_within("corp.test.", "corp.test."));
        assert!(!is_within("acorp.test.", "corp.test."));
    }
}

//! Whether Route 53 takes a value for a record type. Developer Guide, "Supported DNS record types".

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::name;

/// Why `value` is no value of type `kind`, in Route 53's words.
pub(super) fn problem(kind: &str, value: &str) -> Option<String> {
    let fatal = |code: &str, why: &str| {
        Some(format!("FATAL problem: {code} ({why}) encountered with '{value}'"))
    };
    if value.is_empty() {
        return fatal("RRDATANotSingleField", "Value is empty");
    }
    if value.len() > 4000 {
        return fatal("CharacterStringTooLong", "Value is longer than 4000 characters");
    }
    match kind {
        "A" | "AAAA" | "CNAME" | "NS" | "PTR" if value.contains(char::is_whitespace) => {
            fatal(&format!("{kind}RRDATANotSingleField"), "Value contains spaces")
        }
        "A" if value.parse::<Ipv4Addr>().is_err() => {
            fatal("ARRDATAIllegalIPv4Address", "Value is not a valid IPv4 address")
        }
        "AAAA" if value.parse::<Ipv6Addr>().is_err() => {
            fatal("AAAARRDATAIllegalIPv6Address", "Value is not a valid IPv6 address")
        }
        "CNAME" | "NS" | "PTR" => name::canonical(value).err().map(|error| error.to_string()),
        "TXT" | "SPF" => match strings(value) {
            Err(Unquoted) => {
                fatal("InvalidCharacterString", "Value should be enclosed in quotation marks")
            }
            Ok(strings) if strings.iter().any(|length| *length > 255) => fatal(
                "CharacterStringTooLong",
                "Value contains a string of more than 255 characters",
            ),
            Ok(_) => None,
        },
        "MX" if !is_numbers_and_name(value, 1) => {
            fatal("MXRRDATANotTwoFields", "Value should have 2 fields")
        }
        "SRV" if !is_numbers_and_name(value, 3) => {
            fatal("SRVRRDATANotFourFields", "Value should have 4 fields")
        }
        _ => None,
    }
}

struct Unquoted;

/// The lengths of the quoted strings that the value is made of.
fn strings(value: &str) -> Result<Vec<usize>, Unquoted> {
    let mut lengths = Vec::new();
    let mut rest = value.trim();
    while !rest.is_empty() {
        let mut length = 0;
        let mut inside = rest.strip_prefix('"').ok_or(Unquoted)?.chars();
        loop {
            match inside.next().ok_or(Unquoted)? {
                '"' => break,
                '\\' => {
                    // `\"`, `\\`, or three octal digits: one character
                    if inside.next().ok_or(Unquoted)?.is_digit(8) {
                        inside.next();
                        inside.next();
                    }
                    length += 1;
                }
                _ => length += 1,
            }
        }
        lengths.push(length);
        rest = inside.as_str().trim_start();
    }
    Ok(lengths)
}

fn is_numbers_and_name(value: &str, numbers: usize) -> bool {
    let fields: Vec<_> = value.split_whitespace().collect();
    match fields.split_last() {
        Some((target, before)) => {
            before.len() == numbers
                && before.iter().all(|field| field.parse::<u16>().is_ok())
                && (*target == "." || name::canonical(target).is_ok())
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_checked_by_their_type() {
        let (long, split) =
            (format!("\"{}\"", "x".repeat(256)), format!("\"{}\" \"x\"", "x".repeat(255)));
        for (kind, value, expect) in [
            ("A", "10.0.0.1", None),
            ("A", "10.0.0.256", Some("ARRDATAIllegalIPv4Address")),
            ("A", "10.0.0.1, 10.0.0.2", Some("ARRDATANotSingleField")),
            ("AAAA", "2001:db8::1", None),
            ("AAAA", "10.0.0.1", Some("AAAARRDATAIllegalIPv6Address")),
            ("TXT", "\"owner=i-1\"", None),
            ("TXT", "\"a \\\" b\" \"\\052\"", None),
            ("TXT", "owner", Some("InvalidCharacterString")),
            ("TXT", "\"owner", Some("InvalidCharacterString")),
            ("TXT", &split, None),
            ("TXT", &long, Some("CharacterStringTooLong")),
            ("CNAME", "web.corp.test", None),
            ("CNAME", "web..test", Some("DomainLabelEmpty")),
            ("SRV", "1 2 443 web.corp.test.", None),
            ("SRV", "1 2 web.corp.test.", Some("SRVRRDATANotFourFields")),
            ("MX", "10 mail.test.", None),
            ("MX", "mail.test.", Some("MXRRDATANotTwoFields")),
        ] {
            let problem = problem(kind, value);
            match expect {
                None => assert_eq!(problem, None, "{kind} {value}"),
                Some(code) => {
                    assert!(problem.is_some_and(|text| text.contains(code)), "{kind} {value}");
                }
            }
        }
    }
}

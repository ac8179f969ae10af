//! Which words may stand in lists of the configuration; what is wrong with the others is said as the end of a sentence.

use std::net::IpAddr;

use crate::core::name::Name;

/// A word of resolv.conf(5).
pub(super) fn resolv_conf_word(word: &str) -> Result<(), String> {
    let ends = |c: char| c.is_whitespace() || c.is_control() || c == '#' || c == ';';
    if word.is_empty() || word.contains(ends) {
        return Err("is not one word of resolv.conf".to_owned());
    }
    Ok(())
}

/// A domain to search.
pub(super) fn domain(word: &str) -> Result<(), String> {
    resolv_conf_word(word)?;
    match word.parse::<Name>() {
        Ok(_) if word.parse::<IpAddr>().is_err() => Ok(()),
        _ => Err("is no domain such as corp.internal".to_owned()),
    }
}

/// An option of resolv.conf(5): the resolver passes over one that it does not know without a word.
pub(super) fn option(word: &str) -> Result<(), String> {
    resolv_conf_word(word)?;
    let (name, number) =
        word.split_once(':').map_or((word, None), |(name, rest)| (name, Some(rest)));
    match (NUMBERED.contains(&name), PLAIN.contains(&name), number) {
        (true, _, Some(number)) if number.parse::<u8>().is_ok() => Ok(()),
        (true, ..) => Err(format!("needs a number, such as `{name}:1`")),
        (_, true, None) => Ok(()),
        (_, true, Some(_)) => Err(format!("takes no number: `{name}`")),
        (false, false, _) => Err(format!(
            "is no option of resolv.conf: {}:N, {}",
            NUMBERED.join(":N, "),
            PLAIN.join(", ")
        )),
    }
}

/// A name that programs look up.
pub(super) fn host_name(word: &str) -> Result<(), String> {
    let is_odd = |c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c));
    match word.parse::<Name>() {
        Ok(name) if name != Name::root() && !word.contains(is_odd) => Ok(()),
        _ => Err("is no name such as puppet.corp.internal".to_owned()),
    }
}

/// `eu-west-1`
pub(super) fn region(word: &str) -> Result<(), String> {
    let is_odd = |c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if word.contains(is_odd) || !word.contains('-') {
        return Err("is no Region such as eu-west-1".to_owned());
    }
    Ok(())
}

/// `vpc-0123456789abcdef0`
pub(super) fn vpc(word: &str) -> Result<(), String> {
    let id = word.strip_prefix("vpc-").unwrap_or_default();
    if id.is_empty() || id.contains(|c: char| !c.is_ascii_alphanumeric()) {
        return Err("is no VPC such as vpc-0123456789abcdef0".to_owned());
    }
    Ok(())
}

/// Options with a number, and those without one (resolv.conf(5), glibc 2.41; musl knows the numbered ones).
const NUMBERED: [&str; 3] = ["ndots", "timeout", "attempts"];
const PLAIN: [&str; 15] = [
    "debug",
    "edns0",
    "inet6",
    "no-aaaa",
    "no-check-names",
    "no-reload",
    "no-tld-query",
    "rotate",
    "single-request",
    "single-request-reopen",
    "strict-error",
    "trust-ad",
    "use-vc",
    "ip6-bytestring",
    "ip6-dotint",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn check(judge: fn(&str) -> Result<(), String>, good: &[&str], bad: &[&str]) {
        for word in good {
            assert_eq!(judge(word), Ok(()), "{word}");
        }
        for word in bad {
            assert!(judge(word).is_err(), "{word}");
        }
    }

    #[test]
    fn words_that_nobody_would_understand_are_refused() {
        check(
            option,
            &["timeout:1", "attempts:2", "ndots:0", "edns0", "trust-ad", "rotate"],
            &["", "timout:1", "timeout", "timeout:", "timeout:x", "edns0:1", "edns0 rotate"],
        );
        check(
            domain,
            &["corp.internal", "corp.internal.", ".", "_x.corp"],
            &["", "corp..internal", "..", "10.0.0.2", "a b"],
        );
        check(region, &["eu-west-1", "us-gov-east-1"], &["", "us east 1", "Europe", "eu-west-1a!"]);
        check(vpc, &["vpc-other", "vpc-0123456789abcdef0"], &["", "vpc-", "not a vpc", "i-1"]);
        check(
            host_name,
            &["puppet", "puppet.corp.internal.", "_x.corp"],
            &["", ".", "bad name!", "x..y", "a;b"],
        );
    }
}

//! Domain names: absolute, lower-case, valid by construction.
//!
//! RFC 1035 section 2.3.4 (63 octets a label, 255 a name), RFC 4343 (case), RFC 4034 section 6.1 (order),
//! RFC 1035 section 3.5 and RFC 3596 section 2.5 (reverse names).

use std::{cmp::Ordering, fmt, net::IpAddr, str::FromStr};

/// An absolute domain name in lower case, printed with its final dot.
///
/// Octets other than letters, digits, `-`, `_`, `*` and `/` print as `\DDD` (RFC 1035 section 5.1), so the text holds a
/// dot only between labels.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Name(String);

/// Why a text is not a domain name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameError {
    /// Nothing between two dots, or nothing at all.
    EmptyLabel,
    /// More than 63 octets between two dots.
    LabelTooLong(String),
    /// More than 255 octets on the wire.
    TooLong,
    /// A backslash that is followed by neither a character nor three digits of an octet.
    BadEscape,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EmptyLabel => f.write_str("a label is empty"),
            Self::LabelTooLong(label) => {
                write!(f, "label `{label}` is {} octets long; 63 is the limit", label.len())
            }
            Self::TooLong => f.write_str("the name is longer than 255 octets"),
            Self::BadEscape => {
                f.write_str("a backslash is not followed by a character or by three digits")
            }
        }
    }
}

impl std::error::Error for NameError {}

impl Name {
    /// The root, `.`.
    #[must_use]
    pub fn root() -> Self {
        Self(".".to_owned())
    }

    /// A name from its labels, the host's first, as they stand on the wire.
    ///
    /// # Errors
    /// A label is empty or too long, or the name is.
    pub fn from_labels<L: AsRef<[u8]>>(
        labels: impl IntoIterator<Item = L>,
    ) -> Result<Self, NameError> {
        let mut text = String::new();
        let mut wire_length = 1;
        for label in labels {
            let label = label.as_ref();
            if label.is_empty() {
                return Err(NameError::EmptyLabel);
            }
            if label.len() > 63 {
                return Err(NameError::LabelTooLong(String::from_utf8_lossy(label).into_owned()));
            }
            wire_length += label.len() + 1;
            for octet in label {
                push_escaped(&mut text, octet.to_ascii_lowercase());
            }
            text.push('.');
        }
        if wire_length > 255 {
            return Err(NameError::TooLong);
        }
        Ok(if text.is_empty() { Self::root() } else { Self(text) })
    }

    /// The name under which the DNS keeps the PTR records of `address`.
    #[must_use]
    pub fn reverse(address: IpAddr) -> Self {
        let text = match address {
            IpAddr::V4(v4) => {
                let [a, b, c, d] = v4.octets();
                format!("{d}.{c}.{b}.{a}.in-addr.arpa.")
            }
            IpAddr::V6(v6) => {
                let nibbles = v6.octets().iter().rev().fold(String::new(), |text, octet| {
                    format!("{text}{:x}.{:x}.", octet & 0x0f, octet >> 4)
                });
                format!("{nibbles}ip6.arpa.")
            }
        };
        Self(text)
    }

    /// The name as text, with its final dot.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The labels as they print, the host's first; none for the root.
    pub fn labels(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split_terminator('.').filter(|label| !label.is_empty())
    }

    /// The labels as octets, the host's first.
    pub fn wire_labels(&self) -> impl Iterator<Item = Vec<u8>> {
        self.labels().map(|label| unescape(label).unwrap_or_default())
    }

    /// Whether this name is `zone` or below it, label by label (`badexample.com.` is not in `example.com.`).
    #[must_use]
    pub fn is_within(&self, zone: &Self) -> bool {
        let mut own = self.labels().rev();
        zone.labels().rev().all(|label| own.next() == Some(label))
    }

    /// The name without its first label; `None` for the root.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        let (_, rest) = self.0.split_once('.')?;
        (self.0 != ".").then(|| if rest.is_empty() { Self::root() } else { Self(rest.to_owned()) })
    }

    /// The name with `label` in front.
    ///
    /// # Errors
    /// The label is empty or too long, or the name then is.
    pub fn child(&self, label: &str) -> Result<Self, NameError> {
        let labels = std::iter::once(label.as_bytes().to_vec()).chain(self.wire_labels());
        Self::from_labels(labels)
    }

    /// Whether the name stands in `in-addr.arpa.` or `ip6.arpa.`.
    #[must_use]
    pub fn is_reverse(&self) -> bool {
        self.0.ends_with(".in-addr.arpa.") || self.0.ends_with(".ip6.arpa.")
    }
}

impl FromStr for Name {
    type Err = NameError;

    /// Parses presentation format; the final dot may be left out.
    fn from_str(text: &str) -> Result<Self, NameError> {
        if text == "." {
            return Ok(Self::root());
        }
        let mut labels = Vec::new();
        let mut rest = text.strip_suffix('.').unwrap_or(text);
        loop {
            let end = end_of_label(rest);
            let (label, after) = rest.split_at(end);
            labels.push(unescape(label)?);
            match after.strip_prefix('.') {
                Some(next) => rest = next,
                None => return Self::from_labels(labels),
            }
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Ord for Name {
    /// Canonical order, RFC 4034 section 6.1: a zone's names stand together, the apex first.
    fn cmp(&self, other: &Self) -> Ordering {
        let (own, others) = (self.0.as_bytes(), other.0.as_bytes());
        let pairs = own.iter().rev().zip(others.iter().rev());
        let common = pairs.take_while(|(one, another)| one == another).count();
        let (own_end, others_end) = (own.len() - common, others.len() - common);
        match (own_end, others_end) {
            (0, 0) => Ordering::Equal,
            // The one is the end of the other: its ancestor, if a label ends there.
            (0, end) if others.get(end - 1) == Some(&b'.') => Ordering::Less,
            (end, 0) if own.get(end - 1) == Some(&b'.') => Ordering::Greater,
            _ => label_around(&self.0, own_end).cmp(label_around(&other.0, others_end)),
        }
    }
}

/// The label that the octet at `index`, or the one before it, is part of.
fn label_around(text: &str, index: usize) -> &[u8] {
    let (before, after) = text.as_bytes().split_at(index);
    let start = before.iter().rposition(|octet| *octet == b'.').map_or(0, |dot| dot + 1);
    let end = after.iter().position(|octet| *octet == b'.').map_or(text.len(), |dot| index + dot);
    text.as_bytes().get(start..end).unwrap_or_default()
}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The index of the first dot that no backslash escapes, or the text's length.
fn end_of_label(text: &str) -> usize {
    let mut escaped = false;
    for (index, character) in text.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '.' => return index,
            _ => {}
        }
    }
    text.len()
}

fn push_escaped(text: &mut String, octet: u8) {
    if octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_' | b'*' | b'/') {
        text.push(char::from(octet));
    } else {
        text.push_str(&format!("\\{octet:03}"));
    }
}

fn unescape(label: &str) -> Result<Vec<u8>, NameError> {
    let mut octets = Vec::with_capacity(label.len());
    let mut rest = label.bytes();
    while let Some(octet) = rest.next() {
        if octet != b'\\' {
            octets.push(octet);
            continue;
        }
        let first = rest.next().ok_or(NameError::BadEscape)?;
        if !first.is_ascii_digit() {
            octets.push(first);
            continue;
        }
        let (second, third) = (rest.next(), rest.next());
        let digits =
            [Some(first), second, third].into_iter().flatten().map(char::from).collect::<String>();
        if digits.len() != 3 {
            return Err(NameError::BadEscape);
        }
        octets.push(digits.parse::<u8>().map_err(|_| NameError::BadEscape)?);
    }
    Ok(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    #[test]
    fn a_name_is_absolute_and_lower_case() {
        assert_eq!(name("Web-1.Corp.Internal").to_string(), "web-1.corp.internal.");
        assert_eq!(name("web-1.corp.internal."), name("WEB-1.corp.internal"));
        assert_eq!(name(".").to_string(), ".");
    }

    #[test]
    fn membership_of_a_zone_is_decided_by_labels() {
        assert!(name("a.example.com").is_within(&name("example.com")));
        assert!(name("example.com").is_within(&name("example.com")));
        assert!(name("example.com").is_within(&Name::root()));
        assert!(!name("badexample.com").is_within(&name("example.com")));
        assert!(!name("com").is_within(&name("example.com")));
    }

    #[test]
    fn limits_of_rfc_1035_hold() {
        let label = "a".repeat(63);
        assert!(format!("{label}.x").parse::<Name>().is_ok());
        assert_eq!(
            format!("{label}a.x").parse::<Name>(),
            Err(NameError::LabelTooLong(format!("{label}a")))
        );
        let longest = format!("{label}.{label}.{label}.{}", "a".repeat(61));
        assert!(longest.parse::<Name>().is_ok(), "255 octets on the wire");
        assert_eq!(format!("{longest}a").parse::<Name>(), Err(NameError::TooLong));
        assert_eq!("a..b".parse::<Name>(), Err(NameError::EmptyLabel));
        assert_eq!("".parse::<Name>(), Err(NameError::EmptyLabel));
    }

    #[test]
    fn odd_octets_survive_the_way_through_text() {
        let odd = Name::from_labels([b"a.b \xffC".as_slice(), b"x"]).unwrap();
        assert_eq!(odd.to_string(), r"a\046b\032\255c.x.");
        assert_eq!(name(odd.as_str()), odd);
        assert_eq!(odd.wire_labels().next().unwrap(), b"a.b \xffc");
        assert_eq!(name(r"a\.b.x").to_string(), r"a\046b.x.");
        assert_eq!(r"a\2".parse::<Name>(), Err(NameError::BadEscape));
        assert_eq!(r"a\999".parse::<Name>(), Err(NameError::BadEscape));
    }

    #[test]
    fn reverse_names_are_those_of_rfc_1035_and_rfc_3596() {
        assert_eq!(
            Name::reverse("10.0.1.23".parse().unwrap()).to_string(),
            "23.1.0.10.in-addr.arpa."
        );
        assert_eq!(
            Name::reverse("2001:db8::567:89ab".parse().unwrap()).to_string(),
            "b.a.9.8.7.6.5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa."
        );
        assert!(name("1.0.0.10.in-addr.arpa").is_reverse());
        assert!(!name("in-addr.arpa.example").is_reverse());
    }

    #[test]
    fn the_order_keeps_a_zone_together() {
        let mut names = [name("z.b"), name("a.c"), name("b"), name("a.b"), name("c")];
        names.sort();
        assert_eq!(names.map(|name| name.to_string()), ["b.", "a.b.", "z.b.", "c.", "a.c."]);
    }

    #[test]
    fn the_order_is_that_of_the_labels_from_the_last() {
        let texts = [
            ".", "b", "ab", "a.b", "ba.b", "b.b", "z.a.b", "b-a", "b-.b", "a.b-", "bb", "a.bb", "c",
        ];
        for one in texts {
            for other in texts {
                let (one, other) = (name(one), name(other));
                let expect = one.labels().rev().cmp(other.labels().rev());
                assert_eq!(one.cmp(&other), expect, "{one} {other}");
            }
        }
    }
}

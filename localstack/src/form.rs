//! `application/x-www-form-urlencoded`: the EC2 and STS requests, and every query string.

use std::collections::BTreeMap;

/// The fields of a form, the last of each name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Form(BTreeMap<String, String>);

impl Form {
    pub(crate) fn parse(text: &str) -> Self {
        let fields = text.split('&').filter(|field| !field.is_empty()).map(|field| {
            let (name, value) = field.split_once('=').unwrap_or((field, ""));
            (decode(&name.replace('+', " ")), decode(&value.replace('+', " ")))
        });
        Self(fields.collect())
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The values of `name.1`, `name.2`, … in the order of their numbers, holes skipped.
    pub(crate) fn list(&self, name: &str) -> Vec<&str> {
        self.members(name).values().filter_map(|member| member.get("").copied()).collect()
    }

    /// The members `name.1.…`, `name.2.…` in order: each a map from what follows the number to the value.
    pub(crate) fn members(&self, name: &str) -> BTreeMap<u32, BTreeMap<&str, &str>> {
        let mut members = BTreeMap::<u32, BTreeMap<&str, &str>>::new();
        for (field, value) in &self.0 {
            let Some(rest) = field.strip_prefix(name).and_then(|rest| rest.strip_prefix('.'))
            else {
                continue;
            };
            let (number, rest) = rest.split_once('.').unwrap_or((rest, ""));
            if let Ok(number) = number.parse() {
                members.entry(number).or_default().insert(rest, value);
            }
        }
        members
    }
}

/// Undoes percent-encoding; what is no escape stays.
pub(crate) fn decode(text: &str) -> String {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let escaped = match (first, after) {
            (b'%', [high, low, left @ ..]) => {
                hex(*high).zip(hex(*low)).map(|(high, low)| (high << 4 | low, left))
            }
            _ => None,
        };
        let (octet, left) = escaped.unwrap_or((*first, after));
        octets.push(octet);
        rest = left;
    }
    String::from_utf8_lossy(&octets).into_owned()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_decoded_and_their_lists_ordered_by_number() {
        let form = Form::parse(
            "Action=X&Id.10=b&Id.2=a+%2B%c3%a9&F.1.Name=tag%3ARole&F.1.Value.1=x&F.1.Value.2=y&odd%zz",
        );
        assert_eq!(form.get("Action"), Some("X"));
        assert_eq!(form.list("Id"), ["a +é", "b"]);
        assert_eq!(form.members("F").get(&1).and_then(|filter| filter.get("Value.2")), Some(&"y"));
        assert_eq!(form.get("odd%zz"), Some(""));
    }
}

//! What stands at the moment: a condition is told when it begins and when it is over, and not each time that it is met.

use std::collections::{BTreeMap, BTreeSet};

/// Conditions by the part of the work that meets them.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    told: BTreeMap<&'static str, BTreeMap<String, String>>,
}

/// What is new about the conditions of one part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct News {
    /// Conditions that were not met the last time.
    pub begun: Vec<String>,
    /// Conditions that are not met any more.
    pub over: Vec<String>,
}

impl Standing {
    /// `part` meets these conditions now, and no others. Two texts that differ in their numbers are one condition.
    pub fn now(
        &mut self,
        part: &'static str,
        conditions: impl IntoIterator<Item = String>,
    ) -> News {
        let now =
            conditions.into_iter().map(|text| (stem(&text), text)).collect::<BTreeMap<_, _>>();
        let before = self.told.insert(part, now.clone()).unwrap_or_default();
        let only_in = |one: &BTreeMap<String, String>, other: &BTreeMap<String, String>| {
            let alone = one.iter().filter(|(stem, _)| !other.contains_key(*stem));
            alone.map(|(_, text)| text.clone()).collect::<BTreeSet<_>>().into_iter().collect()
        };
        News { begun: only_in(&now, &before), over: only_in(&before, &now) }
    }

    /// Whether `part` meets a condition of this text at the moment.
    #[must_use]
    pub fn meets(&self, part: &str, text: &str) -> bool {
        self.told.get(part).is_some_and(|met| met.contains_key(&stem(text)))
    }

    /// What `part` meets at the moment.
    pub fn of(&self, part: &str) -> impl Iterator<Item = &str> {
        self.told.get(part).into_iter().flat_map(|met| met.values().map(String::as_str))
    }
}

/// The text without its numbers, since ages and times change with each telling, and without what of the metadata was asked for: any of
/// them may be the first that fails.
fn stem(text: &str) -> String {
    let is_number = |word: &str| word.chars().all(|c| c.is_ascii_digit());
    let is_asked = |word: &str| {
        word.starts_with('/') && (word.contains("/meta-data/") || word.contains("/dynamic/"))
    };
    text.split(' ')
        .map(|word| match word {
            number if is_number(number) => "0",
            asked if is_asked(asked) => "/",
            word => word,
        })
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn a_condition_is_told_when_it_begins_and_when_it_is_over() {
        let mut standing = Standing::default();
        let silent = "10.0.0.2 is silent";
        assert_eq!(standing.now("a", texts(&[silent])).begun, [silent]);
        assert_eq!(standing.now("a", texts(&[silent])), News::default());
        assert_eq!(standing.now("b", texts(&[silent])).begun, [silent], "each part for itself");
        assert!(standing.meets("b", silent) && !standing.meets("b", "other"));
        let news = standing.now("a", texts(&["other"]));
        assert_eq!((news.begun, news.over), (texts(&["other"]), texts(&[silent])));
    }

    #[test]
    fn an_outage_of_the_metadata_is_one_whatever_is_asked_for_first() {
        let mut standing = Standing::default();
        let of = |path: &str| texts(&[&format!("metadata answered 500 for /2021-07-15/{path}")]);
        let _ = standing.now("a", of("meta-data/network/interfaces/macs/"));
        assert_eq!(standing.now("a", of("dynamic/instance-identity/document")), News::default());
        assert_eq!(standing.now("a", []).over.len(), 1);
    }

    #[test]
    fn an_age_that_grows_is_no_news_and_another_address_is() {
        let mut standing = Standing::default();
        let _ = standing.now(
            "a",
            texts(&["the last list is used, which changed 5 s ago", "10.0.0.2 is silent"]),
        );
        let news = standing.now(
            "a",
            texts(&["the last list is used, which changed 65 s ago", "10.0.0.3 is silent"]),
        );
        assert_eq!(news.begun, ["10.0.0.3 is silent"]);
    }
}

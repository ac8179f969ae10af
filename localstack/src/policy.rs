//! The part of IAM's policy language that decides about the calls that there are (IAM User Guide, "IAM JSON policy elements
//! reference", "Policy evaluation logic"): allowing and denying statements, wildcards, and the operators of strings and of sets of
//! them.
//!
//! What is not known here is refused when the policy is read, so that none seems to hold that was not looked at.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::pattern;

/// An identity-based policy.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct Policy {
    #[serde(rename = "Version")]
    _version: Version,
    statement: Vec<Statement>,
}

#[derive(Clone, Debug, Deserialize)]
enum Version {
    #[serde(rename = "2012-10-17")]
    Current,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Statement {
    #[serde(rename = "Sid")]
    _sid: Option<String>,
    effect: Effect,
    action: Words,
    resource: Words,
    #[serde(default)]
    condition: BTreeMap<Operator, BTreeMap<String, Words>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
enum Effect {
    Allow,
    Deny,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
enum Operator {
    #[serde(rename = "ForAllValues:StringEquals")]
    AllEqual,
    #[serde(rename = "ForAllValues:StringLike")]
    AllLike,
    #[serde(rename = "StringEquals")]
    Equal,
    #[serde(rename = "StringEqualsIfExists")]
    EqualIfThere,
    #[serde(rename = "StringLike")]
    Like,
    #[serde(rename = "Null")]
    Missing,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Words {
    One(String),
    Many(Vec<String>),
}

impl Words {
    fn any(&self, mut is_it: impl FnMut(&str) -> bool) -> bool {
        match self {
            Self::One(word) => is_it(word),
            Self::Many(words) => words.iter().any(|word| is_it(word)),
        }
    }
}

/// What a caller wants to do.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wish {
    /// `route53:ChangeResourceRecordSets`
    pub(crate) action: String,
    /// Its ARN; `*` for actions that know none.
    pub(crate) resource: String,
    /// The condition keys that the action has, and their values.
    pub(crate) context: BTreeMap<String, BTreeSet<String>>,
}

impl Policy {
    /// Whether it allows the wish: some statement does, and none denies it.
    pub(crate) fn allows(&self, wish: &Wish) -> bool {
        let mut concerned = self.statement.iter().filter(|it| it.concerns(wish)).peekable();
        concerned.peek().is_some() && concerned.all(|it| it.effect == Effect::Allow)
    }
}

impl Statement {
    fn concerns(&self, wish: &Wish) -> bool {
        let action = wish.action.to_ascii_lowercase();
        self.action.any(|known| matches(&known.to_ascii_lowercase(), &action))
            && self.resource.any(|known| matches(known, &wish.resource))
            && self.condition.iter().all(|(operator, keys)| {
                keys.iter().all(|(key, words)| operator.holds(wish.context.get(key), words))
            })
    }
}

impl Operator {
    /// Of a set, or with `IfExists`, a key that the call does not have has no value that could be wrong.
    fn holds(self, values: Option<&BTreeSet<String>>, words: &Words) -> bool {
        let is_missing = values.is_none_or(BTreeSet::is_empty);
        if self == Self::Missing {
            let told = if is_missing { "true" } else { "false" };
            return words.any(|word| word == told);
        }
        if is_missing && matches!(self, Self::Equal | Self::Like) {
            return false;
        }
        values.into_iter().flatten().all(|value| {
            words.any(|word| match self {
                Self::AllLike | Self::Like => matches(word, value),
                _ => word == value,
            })
        })
    }
}

/// A backslash is one of the characters of a name here.
fn matches(known: &str, text: &str) -> bool {
    pattern::matches(&known.replace('\\', "\\\\"), text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_needs_a_statement_that_allows_all_of_it_and_none_that_denies_it() {
        let policy = serde_json::from_str::<Policy>(
            r#"{"Version": "2012-10-17", "Statement": [
                {"Effect": "Allow", "Action": "ec2:Describe*", "Resource": "*"},
                {"Effect": "Deny", "Action": ["ec2:DescribeTags"], "Resource": "*"},
                {"Sid": "A", "Effect": "Allow", "Action": "route53:Change", "Resource": ["arn:1", "arn:2"],
                 "Condition": {"ForAllValues:StringEquals": {"types": ["A", "TXT"]},
                               "ForAllValues:StringLike": {"names": "*.corp"}}}]}"#,
        )
        .unwrap();
        let check = |action: &str, resource: &str, types: &[&str], names: &[&str], expect: bool| {
            let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
            let context = [("types".to_owned(), words(types)), ("names".to_owned(), words(names))];
            let context = BTreeMap::from(context);
            let wish = Wish { action: action.to_owned(), resource: resource.to_owned(), context };
            assert_eq!(policy.allows(&wish), expect, "{wish:?}");
        };
        check("ec2:DescribeInstances", "*", &[], &[], true);
        check("EC2:describeinstances", "*", &[], &[], true);
        check("ec2:DescribeTags", "*", &[], &[], false);
        check("ec2:CreateTags", "*", &[], &[], false);
        check("route53:Change", "arn:1", &["A"], &["a.corp", "b.corp"], true);
        check("route53:Change", "arn:3", &["A"], &["a.corp"], false);
        check("route53:Change", "arn:2", &["A", "MX"], &["a.corp"], false);
        check("route53:Change", "arn:2", &["A"], &["a.corp", "corp.example"], false);
        check("route53:Change", "arn:2", &["A"], &["*.corp", "\\052.corp"], true);
    }

    #[test]
    fn a_single_value_must_be_there_unless_the_operator_says_if_it_exists() {
        let check = |condition: &str, context: &[(&str, &str)], expect: bool| {
            let policy = serde_json::from_str::<Policy>(&format!(
                r#"{{"Version": "2012-10-17", "Statement": [{{"Effect": "Allow", "Action": "a:B", "Resource": "*",
                    "Condition": {condition}}}]}}"#
            ))
            .unwrap();
            let put = |(key, value): &(&str, &str)| {
                ((*key).to_owned(), BTreeSet::from([(*value).to_owned()]))
            };
            let context = context.iter().map(put).collect();
            let wish = Wish { action: "a:B".to_owned(), resource: "*".to_owned(), context };
            assert_eq!(policy.allows(&wish), expect, "{condition} {wish:?}");
        };
        let equal = r#"{"StringEquals": {"a:tag/x": ["1", "2"]}}"#;
        check(equal, &[("a:tag/x", "2")], true);
        check(equal, &[("a:tag/x", "3")], false);
        check(equal, &[], false);
        let if_there = r#"{"StringEqualsIfExists": {"a:tag/x": "1"}}"#;
        check(if_there, &[("a:tag/x", "1")], true);
        check(if_there, &[("a:tag/x", "*")], false);
        check(if_there, &[], true);
        let there = r#"{"Null": {"a:tag/x": "false"}}"#;
        check(there, &[("a:tag/x", "1")], true);
        check(there, &[], false);
        let missing = r#"{"Null": {"a:tag/x": "true"}}"#;
        check(missing, &[("a:tag/x", "1")], false);
        check(missing, &[], true);
        check(r#"{"ForAllValues:StringEquals": {"a:tag/x": "1"}}"#, &[], true);
    }

    #[test]
    fn what_is_not_known_is_refused() {
        let statement = |rest: &str| {
            let text = format!(
                r#"{{"Version": "2012-10-17", "Statement": [{{"Effect": "Allow", "Action": "a:B", "Resource": "*"{rest}}}]}}"#
            );
            serde_json::from_str::<Policy>(&text).is_ok()
        };
        assert!(statement(""));
        assert!(!statement(r#", "NotAction": "a:C""#));
        assert!(!statement(r#", "Condition": {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}"#));
    }
}

//! Name templates, `{tag:Name}.corp.internal`, and how a value becomes labels.
//!
//! How a tag's value becomes labels (RFC 1123 section 2.1 host names):
//! 1. white space at both ends goes; letters become lower case;
//! 2. each run of white space or `_` becomes one `-`;
//! 3. dots separate labels; each label is 1 to 63 letters, digits and `-`, and neither begins nor ends with `-`;
//! 4. anything else, non-ASCII text included, is an error that names the tag and the character. Names are not converted by
//!    IDNA: a fleet's tags are ours to spell, and a silent `xn--` is a surprise in a zone.

use std::{fmt, str::FromStr};

use super::{
    facts::Facts,
    name::Name,
    naming::{LabelFault, NamingError},
};

/// A name with placeholders: `{tag:Name}.corp.internal`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    Tag(String),
    Fact(Placeholder),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Placeholder {
    InstanceId,
    Hostname,
    AvailabilityZone,
    Region,
    Account,
    PrivateIpv4Dashed,
}

impl Placeholder {
    const ALL: [Self; 6] = [
        Self::InstanceId,
        Self::Hostname,
        Self::AvailabilityZone,
        Self::Region,
        Self::Account,
        Self::PrivateIpv4Dashed,
    ];

    const fn word(self) -> &'static str {
        match self {
            Self::InstanceId => "instance-id",
            Self::Hostname => "hostname",
            Self::AvailabilityZone => "az",
            Self::Region => "region",
            Self::Account => "account",
            Self::PrivateIpv4Dashed => "private-ipv4-dashed",
        }
    }

    fn value(self, facts: &Facts) -> Option<String> {
        let text = match self {
            Self::InstanceId => facts.identity.instance_id.clone(),
            Self::Hostname => facts.hostname.clone(),
            Self::AvailabilityZone => facts.identity.availability_zone.clone(),
            Self::Region => facts.identity.region.clone(),
            Self::Account => facts.identity.account_id.clone(),
            Self::PrivateIpv4Dashed => {
                facts.primary_interface()?.local_ipv4s.first()?.to_string().replace('.', "-")
            }
        };
        (!text.is_empty()).then_some(text)
    }
}

/// Why a text is not a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TemplateError {
    /// A brace is not closed, or closes nothing.
    Brace,
    /// No such placeholder.
    Unknown(String),
    /// `{tag:}`
    NoKey,
    /// The text around the placeholders cannot be part of a host name.
    Literal {
        /// The text.
        text: String,
        /// The character that cannot be.
        character: char,
    },
    /// The template has no text at all.
    Empty,
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Brace => f.write_str("a `{` is not closed, or a `}` closes nothing"),
            Self::Unknown(word) => {
                let known = Placeholder::ALL.map(Placeholder::word).join("}, {");
                write!(f, "no placeholder `{{{word}}}`; there are {{tag:KEY}}, {{{known}}}")
            }
            Self::NoKey => f.write_str("`{tag:}` names no tag; write `{tag:Name}`"),
            Self::Literal { text, character } => {
                write!(f, "character `{character}` of `{text}` cannot be part of a host name")
            }
            Self::Empty => f.write_str("the template is empty"),
        }
    }
}

impl std::error::Error for TemplateError {}

impl FromStr for Template {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let (literal, after) = rest.split_at(rest.find(['{', '}']).unwrap_or(rest.len()));
            if !literal.is_empty() {
                parts.push(Part::Literal(literal_text(literal)?));
            }
            if after.is_empty() {
                break;
            }
            let inner = after.strip_prefix('{').ok_or(TemplateError::Brace)?;
            let (word, after) = inner.split_once('}').ok_or(TemplateError::Brace)?;
            parts.push(placeholder(word)?);
            rest = after;
        }
        if parts.is_empty() {
            Err(TemplateError::Empty)
        } else {
            Ok(Self { text: text.to_owned(), parts })
        }
    }
}

fn placeholder(word: &str) -> Result<Part, TemplateError> {
    if let Some(key) = word.strip_prefix("tag:") {
        return if key.is_empty() {
            Err(TemplateError::NoKey)
        } else {
            Ok(Part::Tag(key.to_owned()))
        };
    }
    let found = Placeholder::ALL.into_iter().find(|known| known.word() == word);
    found.map(Part::Fact).ok_or_else(|| TemplateError::Unknown(word.to_owned()))
}

fn literal_text(literal: &str) -> Result<String, TemplateError> {
    match literal.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_'))) {
        Some(character) => Err(TemplateError::Literal { text: literal.to_owned(), character }),
        None => Ok(literal.to_ascii_lowercase()),
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Template {
    /// The keys of the tags that the name is made of.
    pub fn tags(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Tag(key) => Some(key.as_str()),
            Part::Literal(_) | Part::Fact(_) => None,
        })
    }

    /// What all names of the template end in: the whole labels behind its last placeholder.
    #[must_use]
    pub fn domain(&self) -> Option<Name> {
        let Some(Part::Literal(tail)) = self.parts.last() else { return None };
        let (_, domain) = if self.parts.len() > 1 && tail.starts_with('.') {
            ("", &tail[1..])
        } else {
            tail.split_once('.')?
        };
        domain.parse().ok().filter(|domain: &Name| domain.labels().count() > 0)
    }

    /// The names that it can give, with `*` for each placeholder.
    #[must_use]
    pub fn pattern(&self) -> String {
        let parts = self.parts.iter().map(|part| match part {
            Part::Literal(literal) => literal.as_str(),
            Part::Tag(_) | Part::Fact(_) => "*",
        });
        parts.collect::<String>().trim_end_matches('.').to_owned()
    }

    /// The name that `facts` give.
    ///
    /// # Errors
    /// A tag is missing, or a value cannot be part of a host name.
    pub fn render(&self, facts: &Facts) -> Result<Name, NamingError> {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Literal(literal) => text.push_str(literal),
                Part::Tag(key) => {
                    let value =
                        facts.tags.values.get(key).ok_or_else(|| NamingError::MissingTag {
                            tag: key.clone(),
                            template: self.text.clone(),
                            source: facts.tags.source,
                        })?;
                    text.push_str(&labels(&format!("tag `{key}`"), value)?);
                }
                Part::Fact(placeholder) => {
                    let word = placeholder.word();
                    let value = placeholder.value(facts).ok_or_else(|| NamingError::NoFact {
                        placeholder: word,
                        template: self.text.clone(),
                    })?;
                    text.push_str(&labels(&format!("`{{{word}}}`"), &value)?);
                }
            }
        }
        let bad =
            |why| NamingError::BadName { template: self.text.clone(), text: text.clone(), why };
        text.parse::<Name>().map_err(bad)
    }
}

/// A value as labels of a host name, by the rules at the head of this file.
fn labels(source: &str, value: &str) -> Result<String, NamingError> {
    let mut text = String::new();
    for character in value.trim().chars() {
        match character {
            'a'..='z' | '0'..='9' | '-' | '.' => text.push(character),
            'A'..='Z' => text.push(character.to_ascii_lowercase()),
            _ if character == '_' || character.is_whitespace() => {
                if !text.ends_with(SPACE) {
                    text.push(SPACE);
                }
            }
            _ => {
                return Err(NamingError::BadCharacter {
                    source: source.to_owned(),
                    value: value.to_owned(),
                    character,
                });
            }
        }
    }
    let text = text.replace(SPACE, "-");
    let fault = text.split('.').find_map(|label| match label {
        "" => Some(LabelFault::Empty),
        _ if label.starts_with('-') || label.ends_with('-') => {
            Some(LabelFault::Hyphen(label.to_owned()))
        }
        _ if label.len() > 63 => Some(LabelFault::TooLong(label.to_owned())),
        _ => None,
    });
    match fault {
        Some(why) => {
            Err(NamingError::BadValue { source: source.to_owned(), value: value.to_owned(), why })
        }
        None => Ok(text),
    }
}

/// Stands for a run of spaces and underscores until all of the value is read.
const SPACE: char = '\u{20}';

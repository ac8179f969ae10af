//! `DescribeInstances` and `DescribeTags`, page by page.

use std::ops::Bound;

use crate::{form::Form, world::State};

use super::{Content, Error, document, filter, named_ids};

/// `DescribeInstances`. A page is taken from all instances and only then filtered, so that it may come back short or
/// empty with a token, as AWS says that it may.
pub(super) fn instances(state: &State, form: &Form, region: &str) -> Result<Content, Error> {
    let page = Page::parse(form)?;
    let ids = named_ids(state, form, "InstanceId")?;
    if page.is_paged && !ids.is_empty() {
        let message = "The parameter instancesSet cannot be used with the parameter maxResults";
        return Err(Error::new("InvalidParameterCombination", message));
    }
    let filters = filter::parse(form)?;
    let after = page.after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
    let mut rest =
        state.instances.range::<str, _>((after, Bound::Unbounded)).map(|(_, instance)| instance);
    let window: Vec<_> = rest.by_ref().take(page.size).collect();
    let token = window.last().filter(|_| rest.next().is_some()).map(|last| write_token(&last.id));
    let mut found = Vec::new();
    // an unknown filter is an error even when no instance is there to be filtered
    let probe = crate::instance::Instance::new("", "", std::net::Ipv4Addr::UNSPECIFIED);
    for filter in &filters {
        filter.admits(&state.account, &probe)?;
    }
    for instance in window {
        let is_named = ids.is_empty() || ids.contains(&instance.id.as_str());
        let mut passes = is_named && instance.availability_zone.starts_with(region);
        for filter in &filters {
            passes = passes && filter.admits(&state.account, instance)?;
        }
        if passes {
            found.push(instance.clone());
        }
    }
    let account = state.account.clone();
    Ok(Box::new(move |xml| {
        xml.nest("reservationSet", |xml| {
            for instance in &found {
                document::reservation(xml, &account, instance);
            }
        });
        xml.leaf_if("nextToken", token);
    }))
}

/// `DescribeTags`.
pub(super) fn tags(state: &State, form: &Form) -> Result<Content, Error> {
    let page = Page::parse(form)?;
    let filters = filter::parse(form)?;
    for filter in &filters {
        filter.admits_tag("", "", "")?;
    }
    let mut found = Vec::new();
    for (id, instance) in &state.instances {
        for (key, value) in &instance.tags {
            let mut passes = true;
            for filter in &filters {
                passes = passes && filter.admits_tag(id, key, value)?;
            }
            if passes {
                found.push((id.clone(), key.clone(), value.clone()));
            }
        }
    }
    let place = |(id, key, _): &(String, String, String)| format!("{id} {key}");
    if let Some(after) = &page.after {
        found.retain(|tag| place(tag) > *after);
    }
    let token = page.cut(&mut found, place);
    Ok(Box::new(move |xml| {
        xml.nest("tagSet", |xml| {
            for (id, key, value) in &found {
                xml.nest("item", |xml| {
                    xml.leaf("resourceId", id);
                    xml.leaf("resourceType", "instance");
                    xml.leaf("key", key);
                    xml.leaf("value", value);
                });
            }
        });
        xml.leaf_if("nextToken", token);
    }))
}

/// `MaxResults` and `NextToken`.
pub(super) struct Page {
    size: usize,
    pub(super) after: Option<String>,
    is_paged: bool,
}

impl Page {
    pub(super) fn parse(form: &Form) -> Result<Self, Error> {
        let size = match form.get("MaxResults") {
            None => None,
            Some(text) => Some(Self::size(text)?),
        };
        let after = match form.get("NextToken").filter(|token| !token.is_empty()) {
            None => None,
            Some(token) => Some(read_token(token).ok_or_else(|| {
                Error::new(
                    "InvalidNextToken",
                    format!("The specified NextToken is not valid: {token}"),
                )
            })?),
        };
        let is_paged = size.is_some() || after.is_some();
        let size = size.unwrap_or(if is_paged { 1000 } else { usize::MAX });
        Ok(Self { size, after, is_paged })
    }

    /// Leaves one page of what was found, and gives the token of the next, which begins after the `place` of the last.
    pub(super) fn cut<T, P: AsRef<str>>(
        &self,
        found: &mut Vec<T>,
        place: impl Fn(&T) -> P,
    ) -> Option<String> {
        let is_truncated = found.len() > self.size;
        found.truncate(self.size);
        found.last().filter(|_| is_truncated).map(|last| write_token(place(last).as_ref()))
    }

    fn size(text: &str) -> Result<usize, Error> {
        let wrong = |expected| {
            Error::value(format!(
                "Value ( {text} ) for parameter maxResults is invalid. {expected}"
            ))
        };
        match text.parse() {
            Ok(size @ 5..=1000) => Ok(size),
            Ok(0..5) => Err(wrong("Expecting a value greater than 5.")),
            _ => Err(wrong("Expecting a value less than 1000.")),
        }
    }
}

/// Opaque to clients: the last item in hexadecimal behind a mark.
fn write_token(last: &str) -> String {
    let digits = last.bytes().map(|octet| format!("{octet:02x}"));
    std::iter::once(TOKEN_MARK.to_owned()).chain(digits).collect()
}

fn read_token(token: &str) -> Option<String> {
    let digits = token.strip_prefix(TOKEN_MARK)?.as_bytes();
    let octets =
        digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    String::from_utf8(octets.collect::<Option<_>>()?).ok()
}

const TOKEN_MARK: &str = "eyJ2IjoiMSI";

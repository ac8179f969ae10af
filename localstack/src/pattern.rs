//! The wildcards of EC2 filters and IAM actions: `*` any run, `?` any one character, `\` takes the next literally.

/// Whether `text` is what `pattern` describes. Case counts.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (parse(pattern), text.chars().collect::<Vec<_>>());
    // row[i]: whether the pattern up to here matches the first i characters
    let mut row = vec![false; text.len() + 1];
    if let Some(empty) = row.first_mut() {
        *empty = true;
    }
    for part in pattern {
        let mut next = Vec::with_capacity(row.len());
        let mut reached = false;
        for (place, &before) in row.iter().enumerate() {
            let here = place.checked_sub(1);
            let matched = match part {
                Part::Run => {
                    reached |= before;
                    reached
                }
                Part::Any => here.is_some_and(|here| row.get(here) == Some(&true)),
                Part::One(one) => here.is_some_and(|here| {
                    row.get(here) == Some(&true) && text.get(here) == Some(&one)
                }),
            };
            next.push(matched);
        }
        row = next;
    }
    row.last() == Some(&true)
}

#[derive(Clone, Copy)]
enum Part {
    Run,
    Any,
    One(char),
}

fn parse(pattern: &str) -> Vec<Part> {
    let mut characters = pattern.chars();
    let mut parts = Vec::new();
    while let Some(character) = characters.next() {
        parts.push(match character {
            '*' => Part::Run,
            '?' => Part::Any,
            '\\' => Part::One(characters.next().unwrap_or('\\')),
            other => Part::One(other),
        });
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_match_as_in_ec2_filters() {
        for (pattern, text, expect) in [
            ("dns", "dns", true),
            ("dns", "DNS", false),
            ("d*", "dns", true),
            ("*", "", true),
            ("", "", true),
            ("", "x", false),
            ("d?s", "dns", true),
            ("d?", "dns", false),
            ("*-*-?", "web-a-1", true),
            ("a*b*c", "aXXbYYcZ", false),
            ("\\*", "*", true),
            ("\\*", "x", false),
            ("ec2:*", "ec2:CreateTags", true),
        ] {
            assert_eq!(matches(pattern, text), expect, "{pattern} {text}");
        }
    }
}

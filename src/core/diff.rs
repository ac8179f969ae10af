//! Which lines of a small file went and which came, in their order: a line that only moved is one that went and came.

/// A line of a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// It is not there any more.
    Gone(&'a str),
    /// It is there now.
    Come(&'a str),
}

/// The difference of two texts by a longest common subsequence of their lines.
#[must_use]
pub fn lines<'a>(before: &'a str, after: &'a str) -> Vec<Line<'a>> {
    let (old, new) = (before.lines().collect::<Vec<_>>(), after.lines().collect::<Vec<_>>());
    // How many lines are common from here on.
    let mut common = vec![vec![0_usize; new.len() + 1]; old.len() + 1];
    let at = |common: &[Vec<usize>], one: usize, other: usize| {
        common.get(one).and_then(|row| row.get(other)).copied().unwrap_or_default()
    };
    for (one, old) in old.iter().enumerate().rev() {
        for (other, new) in new.iter().enumerate().rev() {
            let longest = if old == new {
                at(&common, one + 1, other + 1) + 1
            } else {
                at(&common, one + 1, other).max(at(&common, one, other + 1))
            };
            if let Some(cell) = common.get_mut(one).and_then(|row| row.get_mut(other)) {
                *cell = longest;
            }
        }
    }
    let (mut one, mut other) = (0, 0);
    let mut lines = Vec::new();
    loop {
        match (old.get(one), new.get(other)) {
            (Some(same), Some(new)) if same == new => {
                one += 1;
                other += 1;
            }
            (Some(gone), new)
                if new.is_none() || at(&common, one + 1, other) >= at(&common, one, other + 1) =>
            {
                lines.push(Line::Gone(gone));
                one += 1;
            }
            (_, Some(come)) => {
                lines.push(Line::Come(come));
                other += 1;
            }
            (_, None) => return lines,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(before: &str, after: &str, expect: &[&str]) {
        let told = lines(before, after).into_iter().map(|line| match line {
            Line::Gone(line) => format!("-{line}"),
            Line::Come(line) => format!("+{line}"),
        });
        assert_eq!(told.collect::<Vec<_>>(), expect, "{before:?} {after:?}");
    }

    #[test]
    fn what_went_and_what_came_is_told_also_where_only_the_order_changed() {
        check("a\nb\nc\n", "b\nd\n", &["-a", "-c", "+d"]);
        check("a\n", "a\n", &[]);
        check("", "a\nb\n", &["+a", "+b"]);
        check("a\nb\n", "", &["-a", "-b"]);
        check("a\nb\nc\n", "b\na\nc\n", &["-a", "+a"]);
    }
}

//! What the agent tells a monitoring system: metrics in Prometheus's text format (Prometheus documentation, "Exposition formats",
//! version 0.0.4), named by its conventions ("Metric and label naming").

use std::{collections::BTreeMap, fmt::Write as _};

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It goes up and down.
    Gauge,
    /// It goes up alone, and begins anew with the agent or the host.
    Counter,
}

impl Kind {
    const fn word(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::Counter => "counter",
        }
    }
}

/// One metric, with all its labels' values.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it means.
    pub help: &'static str,
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Family {
    Family { name, kind: Kind::Gauge, labels, help }
}

const fn counter(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Family {
    Family { name, kind: Kind::Counter, labels, help }
}

/// The running program.
pub const BUILD_INFO: Family =
    gauge("tagalong_build_info", &["version"], "Always 1; the label says which version runs.");
/// When it began.
pub const START_TIME: Family =
    gauge("tagalong_start_time_seconds", &[], "When the agent began, in seconds since 1970.");
/// Whether names stand as they should.
pub const REGISTERED: Family = gauge(
    "tagalong_registered",
    &[],
    "Whether everything that this host should publish stood after the last registration: 1, or 0; left out before the first one, and once the records were taken back.",
);
/// When that was so last.
pub const REGISTERED_AT: Family = gauge(
    "tagalong_registered_timestamp_seconds",
    &[],
    "When that was so last, in seconds since 1970; left out where it never was since the agent began.",
);
/// Names that stand.
pub const PUBLISHED: Family = gauge(
    "tagalong_published_names",
    &["backend"],
    "Names of this host that the backend has acknowledged.",
);
/// Names that are not ours to take.
pub const REFUSED: Family = gauge(
    "tagalong_refused_names",
    &["backend"],
    "Names of this host that are left alone, since somebody else has them.",
);
/// Inputs.
pub const INPUT_AT: Family = gauge(
    "tagalong_input_timestamp_seconds",
    &["input"],
    "When an input was read last, in seconds since 1970: metadata, tags, servers (the list of DNS servers).",
);
/// The fleet's servers.
pub const SERVERS: Family = gauge(
    "tagalong_dns_servers",
    &["state"],
    "DNS servers of the fleet: in_use, reserve (they serve, and are not used now: there is no room, or the resolver could not be set), left_out (they do not serve).",
);
/// Whether the resolver is set.
pub const RESOLVER_SET: Family = gauge(
    "tagalong_resolver_set",
    &[],
    "Whether the host's resolver uses what it should after the last time that it was set: 1, or 0; left out where it is left alone.",
);
/// Other programs' changes.
pub const OVERWRITTEN: Family = counter(
    "tagalong_resolver_overwritten_total",
    &[],
    "How often another program has changed the resolver's servers since the host began.",
);
/// Whether it is left to another program.
pub const CONTESTED: Family = gauge(
    "tagalong_resolver_contested",
    &[],
    "Whether the resolver is left to another program for now, which keeps changing it: 1, or 0.",
);
/// Work.
pub const TASKS: Family = counter(
    "tagalong_tasks_total",
    &["task", "outcome"],
    "Tasks that have ended, by what they are about (register, look, rank, list, probe, guard, reload, withdraw) and how they ended (done, failed, blocked, throttled, \
     trampled). A list has failed too where EC2 answered, and what follows from it could not be done.",
);

/// All of them, in the order in which they are told.
pub const FAMILIES: &[Family] = &[
    BUILD_INFO,
    START_TIME,
    REGISTERED,
    REGISTERED_AT,
    PUBLISHED,
    REFUSED,
    INPUT_AT,
    SERVERS,
    RESOLVER_SET,
    OVERWRITTEN,
    CONTESTED,
    TASKS,
];

/// Values of metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Samples(BTreeMap<&'static str, BTreeMap<Vec<String>, u64>>);

impl Samples {
    /// Sets the value of a metric for these values of its labels.
    pub fn set(&mut self, family: &Family, labels: &[&str], value: u64) {
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        self.0.entry(family.name).or_default().insert(labels, value);
    }

    /// Adds one to it.
    pub fn count(&mut self, family: &Family, labels: &[&str]) {
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        *self.0.entry(family.name).or_default().entry(labels).or_default() += 1;
    }

    /// These and others; where both have a value, the others'.
    #[must_use]
    pub fn with(mut self, others: &Self) -> Self {
        for (name, values) in &others.0 {
            self.0.entry(name).or_default().extend(values.clone());
        }
        self
    }

    /// The text that is scraped.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        for family in FAMILIES {
            let Some(values) = self.0.get(family.name) else { continue };
            let Family { name, kind, labels, help } = family;
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {}", kind.word());
            for (set, value) in values {
                let pairs = labels.iter().zip(set);
                let pairs = pairs.map(|(label, value)| format!("{label}=\"{}\"", escaped(value)));
                let pairs = pairs.collect::<Vec<_>>().join(",");
                let pairs = if pairs.is_empty() { pairs } else { format!("{{{pairs}}}") };
                let _ = writeln!(text, "{name}{pairs} {value}");
            }
        }
        text
    }
}

/// A label's value, in which three characters have a meaning.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// The metrics as a table in Markdown: the documentation's.
#[must_use]
pub fn markdown() -> String {
    let mut text = String::from("| metric | kind | labels | meaning |\n|---|---|---|---|\n");
    for Family { name, kind, labels, help } in FAMILIES {
        let labels = labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
        let _ = writeln!(text, "| `{name}` | {} | {labels} | {help} |", kind.word());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_told_in_the_order_of_the_table_with_their_labels_escaped() {
        let mut samples = Samples::default();
        samples.set(&PUBLISHED, &["a\"b\\c\nd"], 2);
        samples.set(&REGISTERED, &[], 1);
        samples.count(&TASKS, &["list", "done"]);
        samples.count(&TASKS, &["list", "done"]);
        let mut later = Samples::default();
        later.set(&REGISTERED, &[], 0);
        let text = samples.with(&later).render();
        let lines = text.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>();
        let expect = [
            "tagalong_registered 0",
            r#"tagalong_published_names{backend="a\"b\\c\nd"} 2"#,
            r#"tagalong_tasks_total{task="list",outcome="done"} 2"#,
        ];
        assert_eq!(lines, expect);
        assert!(text.contains("# TYPE tagalong_tasks_total counter\n"), "{text}");
    }

    #[test]
    fn names_follow_the_conventions() {
        for Family { name, kind, help, labels } in FAMILIES {
            assert!(name.starts_with("tagalong_") && help.ends_with('.'), "{name}");
            assert_eq!(name.ends_with("_total"), *kind == Kind::Counter, "{name}");
            assert!(
                labels.iter().all(|label| label.chars().all(|c| c.is_ascii_lowercase())),
                "{name}"
            );
            assert!(FAMILIES.iter().filter(|other| other.name == *name).count() == 1, "{name}");
        }
    }
}

//! resolv.conf(5): what we want in it, and how it gets there without losing a line that is not ours.
//!
//! Ours are `nameserver`, and `search` and `options` as far as the policy sets them (`domain` is `search`'s older twin: the
//! last of both wins, so it goes when we set `search`). All other lines stay, in their order and byte for byte.

use std::{fmt, net::IpAddr};

use super::servers::{Ranked, Ranking};

/// How many `nameserver` lines glibc and musl read (`MAXNS` in resolv.h); a fourth is never asked.
pub const MAXNS: usize = 3;

/// Where every resolver looks.
pub const RESOLV_CONF: &str = "/etc/resolv.conf";

/// The comment that tells our file from others'.
pub const MARKER: &str = "# Managed by tagalong: the fleet's living DNS servers, found by EC2 tag. Edits of `nameserver` do not last.";

/// What we want in resolv.conf.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Servers, best first: one to three.
    pub nameservers: Vec<IpAddr>,
    /// The search list; empty leaves the file's own.
    pub search: Vec<String>,
    /// Options, each replacing the file's option of the same name.
    pub options: Vec<String>,
    /// The networks whose addresses go first; an empty one takes ours away, `None` leaves it as it is.
    pub sortlist: Option<String>,
}

/// The part of the policy that shapes resolv.conf.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResolverPolicy {
    /// The search list.
    pub search: Vec<String>,
    /// The options.
    pub options: Vec<String>,
    /// The networks whose addresses go first; an empty one takes ours away, `None` leaves it as it is.
    pub sortlist: Option<String>,
}

/// What the ranking and the policy make of resolv.conf; `None` when no server is usable, which means: leave it.
#[must_use]
pub fn wanted(ranking: &Ranking, policy: &ResolverPolicy) -> Option<Wanted> {
    let mut nameservers = Vec::new();
    for Ranked { server, .. } in &ranking.usable {
        let address = server.address.ip();
        if nameservers.len() < MAXNS && !nameservers.contains(&address) {
            nameservers.push(address);
        }
    }
    (!nameservers.is_empty()).then(|| Wanted {
        nameservers,
        search: policy.search.clone(),
        options: policy.options.clone(),
        sortlist: policy.sortlist.clone(),
    })
}

/// A resolv.conf, line by line, with every octet kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResolvConf {
    lines: Vec<Vec<u8>>,
}

impl ResolvConf {
    /// Reads a file's content. Nothing is refused: what resolv.conf(5) does not know, it ignores, and so do we.
    #[must_use]
    pub fn parse(content: &[u8]) -> Self {
        if content.is_empty() {
            return Self::default();
        }
        let content = content.strip_suffix(b"\n").unwrap_or(content);
        Self { lines: content.split(|octet| *octet == b'\n').map(<[u8]>::to_vec).collect() }
    }

    /// The servers that the resolver would ask: valid addresses only, at most [`MAXNS`].
    #[must_use]
    pub fn nameservers(&self) -> Vec<IpAddr> {
        self.values("nameserver").filter_map(|words| address(words.first()?)).take(MAXNS).collect()
    }

    /// The same, and those of a file beside these settings.
    #[must_use]
    pub fn all_nameservers(&self) -> Vec<IpAddr> {
        let (settings, file) = self.apart();
        let mut servers = settings.nameservers();
        servers.extend(
            file.nameservers().iter().filter(|server| !self.nameservers().contains(server)),
        );
        servers
    }

    /// Whether one of the servers is reached over a certain link only (`fe80::1%eth0`): nobody but the resolver asks it.
    #[must_use]
    pub fn has_scoped_server(&self) -> bool {
        self.values("nameserver").any(|words| {
            words.first().is_some_and(|word| word.contains('%') && address(word).is_some())
        })
    }

    /// Whether all servers are on this host: a cache or a forwarder, which knows the real ones.
    #[must_use]
    pub fn is_local(&self) -> bool {
        let servers = self.nameservers();
        !servers.is_empty() && servers.iter().all(IpAddr::is_loopback)
    }

    /// The search list in force: that of the last `search` or `domain` line.
    #[must_use]
    pub fn search(&self) -> Vec<String> {
        let last = self.lines.iter().rev().find(|line| is(line, "search") || is(line, "domain"));
        last.map(|line| words(line).into_iter().skip(1).collect()).unwrap_or_default()
    }

    /// All options, in order.
    #[must_use]
    pub fn options(&self) -> Vec<String> {
        self.values("options").flatten().collect()
    }

    /// The words of every line that begins with `keyword`, in order.
    #[must_use]
    pub fn words_of(&self, keyword: &str) -> Vec<String> {
        self.values(keyword).flatten().collect()
    }

    /// Whether the file carries our marker.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.lines.iter().any(|line| line == MARKER.as_bytes())
    }

    /// The settings alone, in one order: what is left where another program renders the file.
    #[must_use]
    pub fn settings(&self) -> Self {
        let servers = self.values("nameserver").filter_map(|words| words.into_iter().next());
        Self::of(servers, &self.search(), &self.options())
    }

    /// The settings once `wanted` is set by a program that renders the file, and may put search domains of its own behind ours.
    #[must_use]
    pub fn settings_with(&self, wanted: &Wanted) -> Self {
        let mut wanted = wanted.clone();
        if self.search().starts_with(&wanted.search) {
            wanted.search = Vec::new();
        }
        self.with(&wanted).settings()
    }

    /// A resolver's settings in the words of resolv.conf(5), for owners that keep no such file.
    #[must_use]
    pub fn of(
        servers: impl IntoIterator<Item = String>,
        search: &[String],
        options: &[String],
    ) -> Self {
        let mut lines: Vec<_> =
            servers.into_iter().map(|server| format!("nameserver {server}")).collect();
        lines.extend((!search.is_empty()).then(|| format!("search {}", search.join(" "))));
        lines.extend((!options.is_empty()).then(|| format!("options {}", options.join(" "))));
        Self { lines: lines.into_iter().map(String::into_bytes).collect() }
    }

    /// These settings, with those of a file as comments.
    #[must_use]
    pub fn beside(&self, file: &Self) -> Self {
        let comments = file.lines.iter().map(|line| [BESIDE, line.as_slice()].concat());
        Self { lines: self.lines.iter().cloned().chain(comments).collect() }
    }

    /// The settings and the file that [`beside`](Self::beside) put together.
    #[must_use]
    pub fn apart(&self) -> (Self, Self) {
        let (comments, settings): (Vec<_>, Vec<_>) =
            self.lines.iter().cloned().partition(|line| line.starts_with(BESIDE));
        let file = comments.iter().filter_map(|line| line.strip_prefix(BESIDE));
        (Self { lines: settings }, Self { lines: file.map(<[u8]>::to_vec).collect() })
    }

    /// The file with our lines in place of its own; the rest is kept.
    #[must_use]
    pub fn with(&self, wanted: &Wanted) -> Self {
        let set_search = !wanted.search.is_empty();
        let set_options = !wanted.options.is_empty();
        let is_replaced = |line: &[u8]| {
            line == MARKER.as_bytes()
                || is(line, "nameserver")
                || (set_search && (is(line, "search") || is(line, "domain")))
                || (set_options && is(line, "options"))
                || is_our_sortlist(line)
        };
        let mut lines = vec![MARKER.as_bytes().to_vec()];
        lines.extend(
            wanted.nameservers.iter().map(|address| format!("nameserver {address}").into_bytes()),
        );
        if set_search {
            lines.push(format!("search {}", wanted.search.join(" ")).into_bytes());
        }
        if set_options {
            lines.push(format!("options {}", self.merged_options(wanted).join(" ")).into_bytes());
        }
        let sortlist = wanted.sortlist.as_ref().filter(|networks| !networks.is_empty());
        lines.extend(sortlist.map(|it| format!("sortlist {it} {SORTLIST_MARKER}").into_bytes()));
        if wanted.sortlist.is_none() {
            lines.extend(self.lines.iter().filter(|line| is_our_sortlist(line)).cloned());
        }
        lines.extend(self.lines.iter().filter(|line| !is_replaced(line)).cloned());
        Self { lines }
    }

    /// The file's content, with a final newline.
    #[must_use]
    pub fn render(&self) -> Vec<u8> {
        self.lines.iter().flat_map(|line| line.iter().chain(b"\n")).copied().collect()
    }

    /// The wanted options, then the file's own that none of them replaces.
    fn merged_options(&self, wanted: &Wanted) -> Vec<String> {
        let mut merged = wanted.options.clone();
        for option in self.options() {
            if merged.iter().all(|known| stem(known) != stem(&option)) {
                merged.push(option);
            }
        }
        merged
    }

    fn values<'a>(&'a self, keyword: &'a str) -> impl Iterator<Item = Vec<String>> + 'a {
        self.lines
            .iter()
            .filter(move |line| is(line, keyword))
            .map(|line| words(line).into_iter().skip(1).collect())
    }
}

impl fmt::Display for ResolvConf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.render()))
    }
}

/// Whether the line begins with `keyword` and white space: resolv.conf(5) wants the keyword in the first column.
fn is(line: &[u8], keyword: &str) -> bool {
    line.strip_prefix(keyword.as_bytes())
        .is_some_and(|rest| rest.first().is_some_and(|c| matches!(c, b' ' | b'\t')))
}

/// The line's words, without a comment at its end.
fn words(line: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(line);
    let text = text.split(['#', ';']).next().unwrap_or_default();
    text.split_ascii_whitespace().map(str::to_owned).collect()
}

/// An address as glibc takes it: a scope such as `%eth0` may follow.
fn address(word: &str) -> Option<IpAddr> {
    word.split('%').next().and_then(|address| address.parse().ok())
}

fn is_our_sortlist(line: &[u8]) -> bool {
    is(line, "sortlist") && line.ends_with(SORTLIST_MARKER.as_bytes())
}

const BESIDE: &[u8] = b"; /etc/resolv.conf: ";

/// What tells our `sortlist` from the administrator's: glibc reads it up to a semicolon.
const SORTLIST_MARKER: &str = ";tagalong";

/// What names an option: `timeout` in `timeout:1`.
fn stem(option: &str) -> &str {
    option.split(':').next().unwrap_or(option)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(servers: &[&str]) -> Wanted {
        Wanted {
            nameservers: servers.iter().map(|text| text.parse().unwrap()).collect(),
            search: vec!["corp.internal".to_owned()],
            options: vec!["timeout:1".to_owned(), "attempts:2".to_owned()],
            sortlist: None,
        }
    }

    fn check(before: &str, expect: &str) {
        let after = ResolvConf::parse(before.as_bytes()).with(&wanted(&["10.0.0.2", "10.0.0.3"]));
        assert_eq!(after.to_string(), expect.replace("MARKER", MARKER));
        assert_eq!(
            after.with(&wanted(&["10.0.0.2", "10.0.0.3"])),
            after,
            "writing it twice changes nothing"
        );
        assert!(after.is_ours());
    }

    #[test]
    fn an_empty_file_gets_our_lines() {
        check(
            "",
            "MARKER\nnameserver 10.0.0.2\nnameserver 10.0.0.3\nsearch corp.internal\noptions timeout:1 attempts:2\n",
        );
    }

    #[test]
    fn lines_that_are_not_ours_stay_byte_for_byte() {
        check(
            "; from dhclient\ndomain ec2.internal\nsearch ec2.internal\nnameserver 10.0.0.9\nsortlist 10.1.0.0/255.255.0.0\n  odd line\nlookup file bind",
            "MARKER\nnameserver 10.0.0.2\nnameserver 10.0.0.3\nsearch corp.internal\noptions timeout:1 attempts:2\n\
             ; from dhclient\nsortlist 10.1.0.0/255.255.0.0\n  odd line\nlookup file bind\n",
        );
    }

    #[test]
    fn options_of_others_stay_unless_ours_replace_them() {
        check(
            "options edns0 timeout:5\noptions trust-ad\n",
            "MARKER\nnameserver 10.0.0.2\nnameserver 10.0.0.3\nsearch corp.internal\n\
             options timeout:1 attempts:2 edns0 trust-ad\n",
        );
    }

    #[test]
    fn what_the_policy_does_not_set_stays() {
        let none = Wanted { search: Vec::new(), options: Vec::new(), ..wanted(&["10.0.0.2"]) };
        let after =
            ResolvConf::parse(b"domain x\noptions ndots:2\nnameserver 10.9.9.9\n").with(&none);
        assert_eq!(
            after.to_string(),
            format!("{MARKER}\nnameserver 10.0.0.2\ndomain x\noptions ndots:2\n")
        );
    }

    #[test]
    fn settings_and_a_file_beside_them_come_apart_as_they_were() {
        let settings = ResolvConf::of(["10.0.0.2".to_owned()], &["corp".to_owned()], &[]);
        for file in ["", "; from dhclient\nnameserver 10.0.0.9\n", "\n\n"] {
            let file = ResolvConf::parse(file.as_bytes());
            let both = settings.beside(&file);
            assert_eq!(both.nameservers(), settings.nameservers());
            assert_eq!(both.apart(), (settings.clone(), file));
        }
    }

    #[test]
    fn settings_are_what_is_left_without_comments_and_order() {
        let file = ResolvConf::parse(
            b"# Generated by NetworkManager\noptions edns0\nsearch a b\nnameserver 10.0.0.2\nnameserver fe80::1%ens5\noptions trust-ad\nsortlist 10.0.0.0\n",
        );
        assert_eq!(
            file.settings().to_string(),
            "nameserver 10.0.0.2\nnameserver fe80::1%ens5\nsearch a b\noptions edns0 trust-ad\n"
        );
        assert_eq!(file.settings().settings(), file.settings());
        let wanted = wanted(&["10.0.0.2"]);
        let after = file.settings_with(&wanted);
        assert_eq!(after.search(), ["corp.internal"]);
        let behind = ResolvConf::parse(b"nameserver 10.0.0.2\nsearch corp.internal host.example\noptions timeout:1 attempts:2\n");
        assert_eq!(behind.settings_with(&wanted), behind, "what another program adds is no change");
        assert_eq!(ResolvConf::default().settings(), ResolvConf::default());
    }

    #[test]
    fn our_sortlist_comes_goes_and_stays_and_the_administrators_is_never_touched() {
        let file = ResolvConf::parse(b"sortlist 10.9.0.0/255.255.0.0\n");
        let sorted = |sortlist: Option<&str>| Wanted {
            nameservers: vec!["10.0.0.2".parse().unwrap()],
            sortlist: sortlist.map(str::to_owned),
            ..Wanted::default()
        };
        let near = "10.0.2.0/255.255.255.0 10.0.0.0/255.255.0.0";
        let set = file.with(&sorted(Some(near)));
        assert_eq!(
            set.to_string(),
            format!(
                "{MARKER}\nnameserver 10.0.0.2\nsortlist {near} ;tagalong\nsortlist 10.9.0.0/255.255.0.0\n"
            )
        );
        assert_eq!(set.with(&sorted(Some(near))), set);
        assert_eq!(set.with(&sorted(None)), set, "not known now: as it is");
        let off = set.with(&sorted(Some("")));
        assert!(!off.to_string().contains(near) && off.to_string().contains("sortlist 10.9"));
    }

    #[test]
    fn octets_that_are_no_text_survive() {
        let after =
            ResolvConf::parse(b"# \xff\xfe\nnameserver 10.9.9.9\n").with(&wanted(&["10.0.0.2"]));
        assert!(after.render().windows(2).any(|pair| pair == b"\xff\xfe"));
    }

    #[test]
    fn what_the_resolver_reads_is_read_the_same_way() {
        let file = ResolvConf::parse(
            b"nameserver 10.0.0.1 # first\n nameserver 10.0.0.2\nnameserver x\nnameserver fe80::1%eth0\nnameservers 10.0.0.3\nnameserver\t10.0.0.4\nnameserver 10.0.0.5\nsearch a b\ndomain c\n",
        );
        let servers = file.nameservers().iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(servers, ["10.0.0.1", "fe80::1", "10.0.0.4"]);
        assert_eq!(file.search(), ["c"]);
        assert!(file.has_scoped_server());
        assert!(!ResolvConf::parse(b"nameserver fe80::1\nnameserver x%y\n").has_scoped_server());
    }

    #[test]
    fn at_most_three_servers_are_wanted_and_never_none() {
        use crate::core::servers::{Burden, NameServer};
        let ranked = |last: u8| Ranked {
            server: NameServer::at(([10, 0, 0, last], 53).into()),
            burden: Burden::None,
            because: Vec::new(),
        };
        let ranking = Ranking { usable: (1..=5).map(ranked).collect(), ..Ranking::default() };
        assert_eq!(
            super::wanted(&ranking, &ResolverPolicy::default()).unwrap().nameservers.len(),
            MAXNS
        );
        assert_eq!(super::wanted(&Ranking::default(), &ResolverPolicy::default()), None);
    }
}

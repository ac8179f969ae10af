//! gai.conf(5): how the networks near this host get into the precedences of getaddrinfo(3), without a line that is not ours
//! being lost.
//!
//! Each network stands a little above the value that it has anyway: RFC 6724 section 6 rule 6 then puts the nearer address
//! first, and no address passes one that the table already prefers, such as IPv6. One `precedence` line replaces glibc's
//! whole default table, so a file without any gets the default restated.

use std::{cmp::Reverse, fmt, net::IpAddr};

use super::{
    affinity::{Nearness, Network},
    facts::Cidr,
};

/// Where glibc looks.
pub const GAI_CONF: &str = "/etc/gai.conf";

/// The line that begins our block.
pub const BEGIN: &str = "# BEGIN tagalong: the networks near this host, nearest highest. Edits down to END do not last.";

/// The line that ends our block.
pub const END: &str = "# END tagalong";

/// A gai.conf, line by line, with every octet kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GaiConf {
    /// With their line ends, which the last one may lack.
    lines: Vec<Vec<u8>>,
}

impl GaiConf {
    /// Reads a file's content. Nothing is refused: what gai.conf(5) does not know, glibc ignores, and so do we.
    #[must_use]
    pub fn parse(content: &[u8]) -> Self {
        Self {
            lines: content.split_inclusive(|octet| *octet == b'\n').map(<[u8]>::to_vec).collect(),
        }
    }

    /// Whether the file carries a block of ours.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.lines.iter().any(|line| is(line, BEGIN))
    }

    /// Whether the file already says what we want.
    #[must_use]
    pub fn says(&self, networks: &[Network]) -> bool {
        self.with(networks) == *self
    }

    /// The file with a block for `networks` in front; without one when there is nothing to say.
    #[must_use]
    pub fn with(&self, networks: &[Network]) -> Self {
        let rest = self.without();
        let table = Table::of(&rest);
        let steps = told(networks).filter_map(|network| match table.place(network) {
            Place::At(value) => {
                let prefix = network.cidr.to_ipv6_mapped();
                Some(format!("precedence {prefix} {value} # {}", network.nearness))
            }
            Place::Theirs | Place::NoRoom => None,
        });
        let steps = steps.collect::<Vec<_>>();
        if steps.is_empty() {
            return rest;
        }
        let restated = DEFAULT_TABLE.iter().filter(|_| table.is_default);
        let mut block = vec![BEGIN.to_owned()];
        block.extend(restated.map(|line| format!("{line} # {DEFAULT}")));
        block.extend(steps);
        block.push(END.to_owned());
        let block = block.into_iter().map(|line| (line + "\n").into_bytes());
        Self { lines: block.chain(rest.lines).collect() }
    }

    /// The file as it was before our block came into it.
    ///
    /// A block without an end goes as far as its lines are such as we write.
    #[must_use]
    pub fn without(&self) -> Self {
        let mut lines = Vec::new();
        let mut rest = self.lines.as_slice();
        while let Some((line, after)) = rest.split_first() {
            rest = after;
            if is(line, BEGIN) {
                rest = after.get(length_of_block(after)..).unwrap_or_default();
            } else if !is(line, END) {
                lines.push(line.clone());
            }
        }
        Self { lines }
    }

    /// The networks for which the file's own `precedence` lines leave no value free.
    #[must_use]
    pub fn crowded(&self, networks: &[Network]) -> Vec<Network> {
        let table = Table::of(&self.without());
        told(networks)
            .filter(|network| matches!(table.place(network), Place::NoRoom))
            .copied()
            .collect()
    }

    /// The precedence of an address by this file, its block of ours included.
    #[must_use]
    pub fn precedence(&self, address: IpAddr) -> u32 {
        let mapped = match address {
            IpAddr::V4(address) => address.to_ipv6_mapped().into(),
            address @ IpAddr::V6(_) => address,
        };
        let table = Table::of(self);
        let matching = table.rules.iter().filter(|rule| rule.prefix.contains(mapped));
        // Of equal prefixes glibc takes the first.
        let best = matching.min_by_key(|rule| Reverse(rule.prefix.length()));
        best.map_or(0, |rule| rule.value)
    }

    /// The file's content.
    #[must_use]
    pub fn render(&self) -> Vec<u8> {
        self.lines.concat()
    }
}

/// Those that have to be said: of those in one subnet getaddrinfo(3) prefers the host's own address by itself (RFC 6724 rule
/// 9), so that only a public one of this host's needs a line.
fn told(networks: &[Network]) -> impl Iterator<Item = &Network> {
    networks.iter().filter(|network| {
        network.nearness != Nearness::ThisHost
            || !networks.iter().any(|other| {
                other.nearness == Nearness::SameSubnet && other.cidr.covers(network.cidr)
            })
    })
}

impl fmt::Display for GaiConf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.render()))
    }
}

/// A line of the table: what precedence the addresses of a prefix have.
struct Rule {
    prefix: Cidr,
    value: u32,
}

impl Rule {
    /// Reads a line as glibc does: what it would ignore is none.
    fn parse(line: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(line);
        let mut words = text.split('#').next()?.split_ascii_whitespace();
        let keyword = words.next()?;
        let (prefix, value) = (words.next()?, words.next()?);
        let prefix = match prefix.parse::<Cidr>() {
            Ok(prefix) => prefix,
            Err(_) => format!("{prefix}/128").parse().ok()?,
        };
        let rule = Self { prefix, value: value.parse().ok()? };
        let is_valid =
            keyword == "precedence" && prefix.network().is_ipv6() && rule.value <= INT_MAX;
        is_valid.then_some(rule)
    }
}

/// The precedences in force without our block.
struct Table {
    rules: Vec<Rule>,
    is_default: bool,
}

/// Where a network can stand in a table.
enum Place {
    /// At this value.
    At(u32),
    /// Where the file's own line for just this network puts it.
    Theirs,
    /// Nowhere: the next value that the table uses is too near.
    NoRoom,
}

impl Table {
    fn of(file: &GaiConf) -> Self {
        let mut rules = file.lines.iter().filter_map(|line| Rule::parse(line)).collect::<Vec<_>>();
        let is_default = rules.is_empty();
        if is_default {
            rules.extend(DEFAULT_TABLE.iter().filter_map(|line| Rule::parse(line.as_bytes())));
        }
        if rules.iter().all(|rule| rule.prefix.length() > 0) {
            rules.extend(Rule::parse(EVERYTHING.as_bytes()));
        }
        Self { rules, is_default }
    }

    /// The value of a network: above the one that it has, below the next that any address has.
    fn place(&self, network: &Network) -> Place {
        let prefix = network.cidr.to_ipv6_mapped();
        let covering = self.rules.iter().filter(|rule| rule.prefix.covers(prefix));
        // Of equal prefixes glibc takes the first.
        let Some(own) = covering.min_by_key(|rule| Reverse(rule.prefix.length())) else {
            return Place::NoRoom;
        };
        if own.prefix.length() == prefix.length() {
            return Place::Theirs;
        }
        let above = self.rules.iter().map(|rule| rule.value).filter(|value| *value > own.value);
        // This host's own is a step higher where there is room; a longer prefix alone puts no address first.
        let most = own.value + STEPS + u32::from(network.nearness == Nearness::ThisHost);
        let highest = above.min().map_or(INT_MAX, |value| value - 1).min(most);
        let value = highest.saturating_sub(steps_down(network.nearness));
        if value > own.value { Place::At(value) } else { Place::NoRoom }
    }
}

fn steps_down(nearness: Nearness) -> u32 {
    match nearness {
        Nearness::ThisHost | Nearness::SameSubnet => 0,
        Nearness::SameZone => 1,
        Nearness::SameVpc => 2,
        Nearness::Elsewhere => STEPS,
    }
}

/// How many of the lines after a beginning are the block's, without its end.
fn length_of_block(lines: &[Vec<u8>]) -> usize {
    let marker = lines.iter().position(|line| is(line, BEGIN) || is(line, END));
    let end = marker.filter(|index| lines.get(*index).is_some_and(|line| is(line, END)));
    end.unwrap_or_else(|| lines.iter().take_while(|line| is_written_by_us(line)).count())
}

fn is_written_by_us(line: &[u8]) -> bool {
    let nearness =
        [Nearness::ThisHost, Nearness::SameSubnet, Nearness::SameZone, Nearness::SameVpc]
            .map(|n| n.to_string());
    let mut remarks = nearness.iter().map(String::as_str).chain([DEFAULT]);
    line.starts_with(b"precedence ")
        && remarks.any(|remark| line.trim_ascii_end().ends_with(format!(" # {remark}").as_bytes()))
}

/// Whether the line is this one, however it ends.
fn is(line: &[u8], marker: &str) -> bool {
    line.trim_ascii_end() == marker.as_bytes()
}

/// glibc's table when the file has no valid `precedence` line (`default_precedence` in nss/getaddrinfo.c): that of RFC 3484
/// section 2.1, where IPv4 is 10, and not RFC 6724's, where it is 35.
const DEFAULT_TABLE: [&str; 5] = [
    "precedence ::1/128 50",
    EVERYTHING,
    "precedence 2002::/16 30",
    "precedence ::/96 20",
    "precedence ::ffff:0:0/96 10",
];

/// What glibc adds to a table that does not say it.
const EVERYTHING: &str = "precedence ::/0 40";

const DEFAULT: &str = "glibc's default";

/// How many values the networks take: one for each nearness.
const STEPS: u32 = 3;

/// The greatest value that glibc takes.
const INT_MAX: u32 = 0x7fff_ffff;

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;
    use crate::core::affinity::{Surroundings, networks};

    const STOCK: &str = "# Configuration for getaddrinfo(3).\n#\n#precedence ::ffff:0:0/96  100\n";

    fn near() -> Vec<Network> {
        let blocks = |text: &str| text.split(' ').map(|block| block.parse().unwrap()).collect();
        networks(&Surroundings {
            addresses: Vec::new(),
            subnets: blocks("10.0.1.0/24 2001:db8:0:1::/64"),
            zone: blocks("10.0.4.0/24 2001:db8:0:4::/64"),
            vpc: blocks("10.0.0.0/16 2001:db8::/56"),
            spread: "i-1".to_owned(),
        })
    }

    #[test]
    fn an_address_of_this_host_outside_its_subnets_has_a_line_and_no_other_has() {
        let here = Surroundings {
            addresses: ["10.0.1.7", "198.51.100.7"].map(|text| text.parse().unwrap()).to_vec(),
            subnets: vec!["10.0.1.0/24".parse().unwrap()],
            vpc: vec!["10.0.0.0/16".parse().unwrap()],
            ..Surroundings::default()
        };
        let file = GaiConf::default().with(&networks(&here)).to_string();
        assert!(file.contains("precedence ::ffff:198.51.100.7/128 "), "{file}");
        assert!(!file.contains("10.0.1.7/128"), "{file}");
        assert!(precedence(&file, "198.51.100.7") > precedence(&file, "10.0.1.9"));
        assert!(precedence(&file, "10.0.1.9") > precedence(&file, "10.0.9.9"));
        assert!(precedence(&file, "10.0.9.9") > precedence(&file, "192.0.2.1"));
    }

    fn with(before: &str) -> String {
        GaiConf::parse(before.as_bytes()).with(&near()).to_string()
    }

    /// The precedence of an address as glibc's `get_precedence` finds it in the file: sorted by length, first match.
    fn precedence(file: &str, address: &str) -> u32 {
        let bits = |address: IpAddr| match address {
            IpAddr::V4(v4) => u128::from(v4.to_ipv6_mapped()),
            IpAddr::V6(v6) => u128::from(v6),
        };
        let mut table = Vec::new();
        for line in file.lines() {
            let words = line.split('#').next().unwrap().split_whitespace().collect::<Vec<_>>();
            let ["precedence", prefix, value, ..] = words[..] else { continue };
            let (prefix, length) = prefix.split_once('/').unwrap_or((prefix, "128"));
            if let (Ok(prefix), Ok(value)) = (prefix.parse::<Ipv6Addr>(), value.parse::<i32>()) {
                table.push((length.parse::<u32>().unwrap(), u128::from(prefix), value));
            }
        }
        if table.is_empty() {
            return precedence(&DEFAULT_TABLE.join("\n"), address);
        }
        table.push((0, 0, 40));
        table.sort_by_key(|(length, ..)| Reverse(*length));
        let address = bits(address.parse().unwrap());
        let is_match = |length: u32, prefix: u128| {
            (prefix ^ address).checked_shr(128 - length).unwrap_or(0) == 0
        };
        let (.., value) =
            table.iter().find(|(length, prefix, _)| is_match(*length, *prefix)).unwrap();
        u32::try_from(*value).unwrap()
    }

    #[test]
    fn the_precedence_of_an_address_is_that_of_the_longest_prefix() {
        for file in ["", STOCK, "precedence ::/0 7\n", &with("")] {
            let known = GaiConf::parse(file.as_bytes());
            for address in IPV6_OUTWARDS.iter().chain(&IPV4_OUTWARDS).chain(&["::1", "2002::1"]) {
                let expect = precedence(file, address);
                assert_eq!(known.precedence(address.parse().unwrap()), expect, "{address} {file}");
            }
        }
    }

    /// Asserts that each address comes before the next in getaddrinfo's order.
    fn check_order(file: &str, addresses: &[&str]) {
        for pair in addresses.windows(2) {
            let (one, other) = (precedence(file, pair[0]), precedence(file, pair[1]));
            assert!(one > other, "{} has {one}, {} has {other} in\n{file}", pair[0], pair[1]);
        }
    }

    const IPV6_OUTWARDS: [&str; 4] =
        ["2001:db8:0:1::8", "2001:db8:0:4::8", "2001:db8:0:9::8", "2001:db8:1::8"];
    const IPV4_OUTWARDS: [&str; 4] = ["10.0.1.8", "10.0.4.8", "10.0.2.8", "192.0.2.8"];

    #[test]
    fn the_block_restates_the_default_table_and_ranks_the_networks() {
        assert_eq!(
            with(""),
            format!(
                "{BEGIN}\n\
                 precedence ::1/128 50 # glibc's default\n\
                 precedence ::/0 40 # glibc's default\n\
                 precedence 2002::/16 30 # glibc's default\n\
                 precedence ::/96 20 # glibc's default\n\
                 precedence ::ffff:0:0/96 10 # glibc's default\n\
                 precedence ::ffff:10.0.1.0/120 13 # same subnet\n\
                 precedence 2001:db8:0:1::/64 43 # same subnet\n\
                 precedence ::ffff:10.0.4.0/120 12 # same zone\n\
                 precedence 2001:db8:0:4::/64 42 # same zone\n\
                 precedence ::ffff:10.0.0.0/112 11 # same VPC\n\
                 precedence 2001:db8::/56 41 # same VPC\n\
                 {END}\n"
            )
        );
    }

    #[test]
    fn the_nearer_address_wins_within_a_family_and_ipv6_stays_before_ipv4() {
        let outwards = [&["::1"][..], &IPV6_OUTWARDS, &["2002::1", "::192.0.2.1"], &IPV4_OUTWARDS];
        check_order(&with(""), &outwards.concat());
        check_order(&with(STOCK), &outwards.concat());
    }

    #[test]
    fn a_table_of_the_users_own_stays_in_force_and_ours_stands_just_above() {
        let check = |own: &str, outwards: &[&[&str]]| {
            let after = with(own);
            assert!(!after.contains(DEFAULT), "{after}");
            check_order(&after, &outwards.concat());
            for address in ["::1", "192.0.2.8", "2001:db8:1::8"] {
                assert_eq!(precedence(&after, address), precedence(own, address), "{address}");
            }
        };
        // IPv4 first, as gai.conf's own comment has it
        check("precedence ::ffff:0:0/96  100\n", &[&IPV4_OUTWARDS, &IPV6_OUTWARDS]);
        // RFC 6724's table
        check(
            "precedence ::1/128 50\nprecedence ::/0 40\nprecedence ::ffff:0:0/96 35\nprecedence 2002::/16 30\n",
            &[&["::1"], &IPV6_OUTWARDS, &IPV4_OUTWARDS],
        );
        // a line between everything and the VPC
        check(
            "precedence ::ffff:10.0.0.0/104 60\nprecedence ::ffff:0:0/96 5\n",
            &[&IPV4_OUTWARDS[..3], &["10.9.9.9"], &IPV6_OUTWARDS, &IPV4_OUTWARDS[3..]],
        );
        // IPv4 is not told from IPv6
        check("precedence ::1/128 50\n", &[&IPV4_OUTWARDS]);
        check("precedence ::1/128 50\n", &[&IPV6_OUTWARDS]);
        // the greatest value there is
        check(
            "precedence ::ffff:0:0/96 2147483640\nprecedence ::/0 7\n",
            &[&IPV4_OUTWARDS, &IPV6_OUTWARDS],
        );
    }

    #[test]
    fn a_network_that_the_user_has_ranked_is_left_to_the_user() {
        let after = with("precedence ::ffff:10.0.1.0/120 7\nprecedence ::ffff:0:0/96 10\n");
        assert_eq!(precedence(&after, "10.0.1.8"), 7);
        check_order(&after, &["10.0.4.8", "10.0.2.8", "192.0.2.8"]);
    }

    #[test]
    fn where_values_run_short_the_nearest_networks_get_them_and_the_rest_is_told() {
        let check = |ipv4: u32, placed: usize| {
            let own = format!("precedence ::/0 40\nprecedence ::ffff:0:0/96 {ipv4}\n");
            let file = GaiConf::parse(own.as_bytes());
            let after = file.with(&near()).to_string();
            check_order(&after, &IPV6_OUTWARDS);
            check_order(&after, &IPV4_OUTWARDS[..=placed]);
            assert!(precedence(&after, IPV4_OUTWARDS[0]) < 40, "IPv6 stays first");
            let crowded = file.crowded(&near());
            let ipv4 = near().into_iter().filter(|network| network.cidr.network().is_ipv4());
            assert_eq!(crowded, ipv4.skip(placed).collect::<Vec<_>>());
            assert_eq!(file.with(&near()).crowded(&near()), crowded, "our block takes no room");
        };
        check(36, 3);
        check(37, 2);
        check(38, 1);
        check(39, 0);
    }

    #[test]
    fn a_file_with_nothing_to_say_gets_no_block() {
        for own in ["", STOCK, "precedence ::/0 2147483647\n"] {
            let file = GaiConf::parse(own.as_bytes());
            assert_eq!(file.with(&[]), file);
        }
        let full = GaiConf::parse(b"precedence ::/0 2147483647\n");
        assert_eq!(full.with(&near()), full);
        assert_eq!(full.crowded(&near()), near());
    }

    #[test]
    fn taking_the_block_out_gives_back_every_octet() {
        for own in [
            &b""[..],
            STOCK.as_bytes(),
            b"label ::1/128 0\nscopev4 ::ffff:127.0.0.0/104 2\nreload yes\n",
            b"precedence ::/0 40 # mine\r\n\r\n# \xff\xfe\r\n",
            b"no final newline",
            b"\n\n",
            b"precedence ::1/128 50\nprecedence ::/0 40 # same subnet",
        ] {
            let file = GaiConf::parse(own);
            assert_eq!(file.render(), own);
            assert!(!file.is_ours());
            let ours = file.with(&near());
            assert!(ours.is_ours() && ours.says(&near()) && !file.says(&near()));
            assert!(ours.render().ends_with(own));
            let read = GaiConf::parse(&ours.render());
            assert_eq!(read.with(&near()), ours, "writing it twice changes nothing");
            assert_eq!(read.without().render(), own);
            assert_eq!(file.without(), file);
        }
    }

    #[test]
    fn a_block_that_somebody_broke_costs_no_line_that_is_not_ours() {
        let check = |broken: &str, expect: &str| {
            let broken = broken.replace('<', BEGIN).replace('>', END);
            let without = GaiConf::parse(broken.as_bytes()).without();
            assert_eq!(without.to_string(), expect, "{broken}");
        };
        let near = "precedence ::ffff:10.0.1.0/120 13 # same subnet\n";
        let default = "precedence ::/0 40 # glibc's default\n";
        check(&format!("<\n{default}{near}reload yes\n{near}"), &format!("reload yes\n{near}"));
        check(&format!("<\n{near}precedence ::/0 40\n"), "precedence ::/0 40\n");
        check("a\n<\nlabel ::/0 1\n>\nb\n", "a\nb\n");
        check("a\n<\n", "a\n");
        check("a\n>\nb", "a\nb");
        check(&format!("<\n{near}a\n<\n{near}>\nb\n"), "a\nb\n");
        check(&format!("<\n{near}>\na\n<\n{near}>"), "a\n");
        check("<\r\nx\r\n>\r\na\r\n", "a\r\n");
    }

    #[test]
    fn only_lines_that_glibc_takes_make_a_table() {
        let check = |line: &str, is_rule: bool| {
            let rule = Rule::parse(line.as_bytes());
            assert_eq!(rule.is_some(), is_rule, "{line}");
            assert_eq!(with(line).contains(DEFAULT), !is_rule, "{line}");
        };
        check("precedence ::/0 40", true);
        check(" \tprecedence\t::ffff:0:0/96  100 # first\r", true);
        check("precedence ::1 50 and more", true);
        check("precedence ::/0 40# first", true);
        check("precedence ::/0 #40", false);
        check("#precedence ::/0 40", false);
        check("precedence 10.0.0.0/8 40", false);
        check("precedence 10.0.0.0 40", false);
        check("precedence ::/129 40", false);
        check("precedence ::/0", false);
        check("precedence ::/0 x", false);
        check("precedence ::/0 -1", false);
        check("precedence ::/0 2147483648", false);
        check("Precedence ::/0 40", false);
        check("label ::/0 40", false);
    }
}

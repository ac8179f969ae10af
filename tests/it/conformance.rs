//! What every backend promises, one suite for all: zones in memory, BIND, Knot, `PowerDNS`, the sandbox's DNS server, the
//! sandbox's Route 53.
//!
//! A new backend is one more line in [`subjects`].

use std::{
    any::Any,
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use sandbox::zone::{RecordSet, Zone as HostedZone};
use tagalong::{
    backend::{
        memory::Memory,
        rfc2136::{Keys, Rfc2136},
        route53::{Route53, Settings},
    },
    config::{Endpoints, Sharing},
    core::{
        name::Name,
        ownership::OwnerId,
        plan::{Guard, Observed, RrsetSwap, Scope, ZoneChange},
        reason::Reason,
        refresh::Keeping,
        rrset::{Rdata, Records, RrType, Rrset, RrsetKey},
    },
    ec2::{
        api::sdk_config,
        credentials::InstanceCredentials,
        imds::{Imds, Patience},
    },
    ports::{Backend, error::BackendError},
};

use crate::{
    authority::{Authority, Named, fleet, parsed, tsig_keygen},
    peers::Peer,
    support::{Lab, block_on, fleet_server},
};

/// A backend and the way round it, for what others do.
struct Subject {
    name: &'static str,
    backend: Box<dyn Backend>,
    /// Puts a record set at a name, whoever's it is.
    plant: Plant,
    /// Ends the server and starts it anew, where there is one of its own.
    restart: Box<dyn Fn()>,
    _keep: Box<dyn Any>,
}

/// Puts values of a type at a name.
type Plant = Box<dyn Fn(&str, &str, &[&str])>;

fn subjects() -> Vec<Subject> {
    let knot = ("rfc2136 at Knot", Peer::knot as fn(&str) -> Peer);
    let powerdns = ("rfc2136 at PowerDNS", Peer::powerdns as fn(&str) -> Peer);
    vec![
        memory(),
        rfc2136("rfc2136 at named", named, |it| it),
        rfc2136("rfc2136 at named, by DHCID", named, |it| it.marking_by_dhcid("i-us")),
        rfc2136("rfc2136 at named, with a lease and an index", named, |it| {
            it.keeping(Keeping { lease: Some(Duration::from_secs(3600)), index: true })
        }),
        rfc2136("rfc2136 at the sandbox", ours, |it| it),
        peer(knot),
        peer(powerdns),
        route53(),
    ]
}

fn memory() -> Subject {
    let memory = Arc::new(Memory::new([name("corp.internal"), name("10.in-addr.arpa")]));
    let planted = memory.clone();
    let plant = move |at: &str, kind: &str, values: &[&str]| {
        let value = |text: &&str| match kind {
            "A" => Rdata::A(text.parse().unwrap()),
            "CNAME" => Rdata::Cname(name(text)),
            "TXT" => Rdata::Txt(vec![text.trim_matches('"').as_bytes().to_vec()]),
            _ => Rdata::Other { rtype: 15, octets: text.as_bytes().to_vec() },
        };
        let values = values.iter().map(value).collect::<Vec<_>>();
        let key = RrsetKey::new(name(at), values[0].rtype());
        planted.records().insert(key, Rrset::new(60, values));
    };
    Subject {
        name: "memory",
        backend: Box::new(Shared(memory)),
        plant: Box::new(plant),
        restart: Box::new(|| {}),
        _keep: Box::new(()),
    }
}

/// Lets the test keep a hand on the zones.
struct Shared(Arc<Memory>);

#[async_trait::async_trait]
impl Backend for Shared {
    async fn observe(&self, names: &[Name]) -> Result<Observed, BackendError> {
        self.0.observe(names).await
    }
    async fn apply(&self, change: &ZoneChange) -> Result<Option<Duration>, BackendError> {
        self.0.apply(change).await
    }
    async fn read(&self, zone: &Name) -> Result<Records, BackendError> {
        self.0.read(zone).await
    }

    fn place(&self) -> String {
        self.0.place()
    }
}

fn named(text: &str) -> Authority {
    Authority::Bind(Named::primary(&fleet(), text))
}

fn ours(text: &str) -> Authority {
    Authority::Ours(fleet_server(vec![parsed(text)]))
}

fn rfc2136(
    name: &'static str,
    start: fn(&str) -> Authority,
    mark: fn(Rfc2136) -> Rfc2136,
) -> Subject {
    let text = tsig_keygen("hmac-sha256", "agent-key");
    let authority = Arc::new(start(&text));
    let backend = Rfc2136::new("internal", vec![authority.addr()], Keys::fixed(&text).unwrap());
    let planted = authority.clone();
    let plant = move |at: &str, kind: &str, values: &[&str]| {
        for value in values {
            planted.add("corp.internal", &format!("{at} 60 {kind} {value}"));
        }
    };
    let backend = Box::new(mark(backend));
    let again = authority.clone();
    let restart = move || {
        if let Authority::Bind(named) = &*again {
            named.restart();
        }
    };
    let (plant, restart) = (Box::new(plant), Box::new(restart));
    Subject { name, backend, plant, restart, _keep: Box::new(authority) }
}

fn peer((name, start): (&'static str, fn(&str) -> Peer)) -> Subject {
    let text = tsig_keygen("hmac-sha256", "agent-key");
    let server = Arc::new(start(&text));
    let backend = Rfc2136::new("internal", vec![server.addr], Keys::fixed(&text).unwrap());
    let planted = server.clone();
    let plant = move |at: &str, kind: &str, values: &[&str]| {
        let lines = values.iter().map(|value| format!("update add {at} 60 {kind} {value}\n"));
        let lines = lines.collect::<Vec<_>>().concat();
        planted.nsupdate(&format!("zone corp.internal\n{lines}send\n"));
    };
    let again = server.clone();
    let (plant, restart) = (Box::new(plant), Box::new(move || again.restart()));
    Subject { name, backend: Box::new(backend), plant, restart, _keep: Box::new(server) }
}

fn route53() -> Subject {
    let lab = Lab::new();
    lab.world.allow_access_key("test");
    for (id, zone) in [("ZCORP", "corp.internal."), ("ZREV", "10.in-addr.arpa.")] {
        lab.world.put_zone(HostedZone::new(id, zone));
    }
    let imds = Arc::new(Imds::new(&lab.metadata, Patience::default()));
    let shared = sdk_config(
        Arc::new(InstanceCredentials::new(imds, None)),
        "us-east-1",
        &[lab.vpc_resolver],
        Endpoints::default(),
        true,
    );
    let known = [("corp.internal", "ZCORP"), ("10.in-addr.arpa", "ZREV")];
    let settings = Settings {
        member: "i-us",
        sharing: Sharing::Multivalue,
        zone_id: None,
        endpoint: Some(lab.aws.clone()),
        partition: "aws",
        vpc: None,
        known: known.iter().map(|(zone, id)| ((*id).to_owned(), name(zone))).collect(),
    };
    let backend = Route53::new(&shared, settings);
    let world = lab.world.clone();
    let plant = move |at: &str, kind: &str, values: &[&str]| {
        let zone = world.zone("ZCORP").unwrap();
        world.put_zone(zone.record(RecordSet::new(at, kind, 60, values)));
    };
    Subject {
        name: "route53 at the sandbox",
        backend: Box::new(backend),
        plant: Box::new(plant),
        restart: Box::new(|| {}),
        _keep: Box::new(lab),
    }
}

const WEB: &str = "web.corp.internal.";
const REVERSE: &str = "23.1.0.10.in-addr.arpa.";

#[test]
fn every_name_is_seen_with_its_zone_and_all_that_stands_there() {
    for_each(|subject| {
        (subject.plant)(WEB, "A", &["10.0.1.23", "10.0.1.24"]);
        (subject.plant)(WEB, "TXT", &["\"v=spf1 -all\""]);
        (subject.plant)("next.web.corp.internal.", "A", &["10.0.9.9"]);
        let seen = subject.see(&[WEB, REVERSE, "a.elsewhere.example."]);
        assert_eq!(seen.zones.get(&name(WEB)), Some(&name("corp.internal")));
        assert_eq!(seen.zones.get(&name(REVERSE)), Some(&name("10.in-addr.arpa")));
        assert_eq!(seen.zones.get(&name("a.elsewhere.example.")), None);
        let rows = seen
            .records
            .iter()
            .map(|(key, set)| format!("{key} {} {set}", set.ttl))
            .collect::<Vec<_>>();
        assert_eq!(
            rows,
            [
                "web.corp.internal. A 60 10.0.1.23, 10.0.1.24",
                "web.corp.internal. TXT 60 \"v=spf1 -all\"",
            ]
        );
    });
}

#[test]
fn a_zone_is_read_whole_and_no_other() {
    for_each(|subject| {
        (subject.plant)(WEB, "A", &["10.0.1.23", "10.0.1.24"]);
        (subject.plant)("next.web.corp.internal.", "TXT", &["\"v=spf1 -all\""]);
        let records = block_on(subject.backend.read(&name("corp.internal"))).unwrap();
        let rows = records.iter().filter(|(key, _)| key.name != name("corp.internal"));
        let rows = rows.map(|(key, set)| format!("{key} {} {set}", set.ttl)).collect::<Vec<_>>();
        let expect = [
            "next.web.corp.internal. TXT 60 \"v=spf1 -all\"",
            "web.corp.internal. A 60 10.0.1.23, 10.0.1.24",
        ];
        assert_eq!(rows.into_iter().collect::<BTreeSet<_>>(), expect.map(str::to_owned).into());
        assert!(block_on(subject.backend.read(&name("elsewhere.example"))).is_err());
    });
}

#[test]
fn what_is_applied_is_what_stands() {
    for_each(|subject| {
        let change = create(WEB, &[a(1), a(2)]);
        subject.apply(&change).unwrap();
        let seen = subject.see(&[WEB]).records;
        assert_eq!(seen, after(&change));
        let moved = swap_address(WEB, &seen, Some(Rrset::new(30, [a(3)])));
        subject.apply(&moved).unwrap();
        assert_eq!(subject.see(&[WEB]).records[&key(WEB, RrType::A)], Rrset::new(30, [a(3)]));
        let seen = subject.see(&[WEB]).records;
        let remove = ZoneChange {
            swaps: seen
                .iter()
                .map(|(key, set)| swap(key.clone(), Some(set.clone()), None))
                .collect(),
            guards: Vec::new(),
            ..swap_address(WEB, &seen, None)
        };
        subject.apply(&remove).unwrap();
        assert_eq!(subject.see(&[WEB]).records, Records::new());
    });
}

#[test]
fn a_change_of_hundreds_of_names_happens_whole_or_not_at_all() {
    for_each(|subject| {
        let names = (0..300).map(|number| format!("web-{number}.corp.internal."));
        let names = names.collect::<Vec<_>>();
        let mut change = create(&names[0], &[a(1)]);
        for name in &names[1..] {
            let ZoneChange { guards, swaps, .. } = create(name, &[a(1)]);
            change.guards.extend(guards);
            change.swaps.extend(swaps);
        }
        subject.apply(&change).unwrap();
        let last = names.last().unwrap();
        let seen = subject.see(&[&names[0], last]).records;
        assert_eq!(seen[&key(last, RrType::A)].values.first(), Some(&a(1)));
        // One of them is there already: none of the others comes.
        let mut again = change.clone();
        again.guards.retain(|guard| *guard == Guard::NameNotInUse(name(last)));
        for swap in &mut again.swaps {
            swap.key.name = name(&swap.key.name.as_str().replacen("web", "other", 1));
        }
        let kept = change.swaps.iter().filter(|swap| swap.key.name == name(last)).cloned();
        again.swaps.extend(kept);
        let others = again.swaps.iter().map(|swap| swap.key.name.clone());
        let others = others.filter(|other| *other != name(last)).collect::<BTreeSet<_>>();
        again.guards.extend(others.into_iter().map(Guard::NameNotInUse));
        assert!(matches!(subject.apply(&again), Err(BackendError::Conflict { .. })));
        assert_eq!(subject.see(&["other-0.corp.internal."]).records, Records::new());
    });
}

#[test]
fn a_name_is_one_however_it_is_written() {
    for_each(|subject| {
        (subject.plant)("WEB.Corp.INTERNAL.", "A", &["10.0.1.1"]);
        (subject.plant)("web.CORP.internal.", "TXT", &["\"tagalong-owner=i-us\""]);
        let seen = subject.see(&[WEB]);
        assert_eq!(seen.zones.get(&name(WEB)), Some(&name("corp.internal")));
        assert_eq!(seen.records[&key(WEB, RrType::A)].values.first(), Some(&a(1)));
        assert!(matches!(subject.apply(&create(WEB, &[a(2)])), Err(BackendError::Conflict { .. })));
        subject.apply(&swap_address(WEB, &seen.records, Some(Rrset::new(60, [a(2)])))).unwrap();
        assert_eq!(subject.see(&[WEB]).records[&key(WEB, RrType::A)].values.first(), Some(&a(2)));
    });
}

#[test]
fn what_is_not_there_any_more_cannot_be_taken_away() {
    for_each(|subject| {
        subject.apply(&create(WEB, &[a(1)])).unwrap();
        let seen = subject.see(&[WEB]).records;
        let gone = swap_address(WEB, &seen, None);
        subject.apply(&gone).unwrap();
        let left = subject.see(&[WEB]).records;
        assert!(matches!(subject.apply(&gone), Err(BackendError::Conflict { .. })));
        assert_eq!(subject.see(&[WEB]).records, left);
    });
}

#[test]
fn glue_is_not_of_the_zone_that_has_it() {
    for_each(|subject| {
        if !subject.name.starts_with("rfc2136") {
            return;
        }
        (subject.plant)("sub.corp.internal.", "NS", &["ns.sub.corp.internal."]);
        (subject.plant)("ns.sub.corp.internal.", "A", &["10.0.9.1"]);
        let below = ["ns.sub.corp.internal.", "web.sub.corp.internal."];
        let seen = subject.see(&below);
        assert!(below.iter().all(|below| !seen.zones.contains_key(&name(below))), "{seen:?}");
        assert_eq!(seen.records, Records::new());
    });
}

#[test]
fn a_server_that_is_restarted_in_between_takes_what_was_planned_before() {
    for_each(|subject| {
        subject.apply(&create(WEB, &[a(1)])).unwrap();
        let seen = subject.see(&[WEB]).records;
        (subject.restart)();
        subject.apply(&swap_address(WEB, &seen, Some(Rrset::new(60, [a(2)])))).unwrap();
        assert_eq!(subject.see(&[WEB]).records[&key(WEB, RrType::A)].values.first(), Some(&a(2)));
        (subject.restart)();
        assert_eq!(subject.see(&[WEB]).records[&key(WEB, RrType::A)].values.first(), Some(&a(2)));
    });
}

#[test]
fn a_time_to_live_alone_can_be_changed() {
    for_each(|subject| {
        subject.apply(&create(WEB, &[a(1)])).unwrap();
        let seen = subject.see(&[WEB]).records;
        subject.apply(&swap_address(WEB, &seen, Some(Rrset::new(5, [a(1)])))).unwrap();
        assert_eq!(subject.see(&[WEB]).records[&key(WEB, RrType::A)].ttl, 5);
    });
}

#[test]
fn a_change_that_lost_its_race_changes_nothing() {
    for_each(|subject| {
        subject.apply(&create(WEB, &[a(1)])).unwrap();
        subject.apply(&create("other.corp.internal.", &[a(7)])).unwrap();
        let old = subject.see(&[WEB, "other.corp.internal."]).records;
        subject.apply(&swap_address(WEB, &old, Some(Rrset::new(60, [a(2)])))).unwrap();
        // Planned against `old`, in which the first name's address is out of date: neither name may change.
        let mut stale = swap_address(WEB, &old, Some(Rrset::new(60, [a(3)])));
        stale
            .swaps
            .extend(swap_address("other.corp.internal.", &old, Some(Rrset::new(60, [a(8)]))).swaps);
        assert!(matches!(subject.apply(&stale), Err(BackendError::Conflict { .. })));
        let seen = subject.see(&[WEB, "other.corp.internal."]).records;
        assert_eq!(seen[&key(WEB, RrType::A)].values.first(), Some(&a(2)));
        assert_eq!(seen[&key("other.corp.internal.", RrType::A)].values.first(), Some(&a(7)));
    });
}

#[test]
fn a_vacant_name_goes_to_the_first_who_takes_it() {
    for_each(|subject| {
        assert_eq!(subject.see(&[WEB]).records, Records::new());
        subject.apply(&create(WEB, &[a(1)])).unwrap();
        assert!(matches!(subject.apply(&create(WEB, &[a(2)])), Err(BackendError::Conflict { .. })));
        assert_eq!(subject.see(&[WEB]).records[&key(WEB, RrType::A)].values.first(), Some(&a(1)));
    });
}

#[test]
fn a_name_whose_marker_changed_is_not_ours_any_more() {
    for_each(|subject| {
        subject.apply(&create(WEB, &[a(1)])).unwrap();
        let old = subject.see(&[WEB]).records;
        let marker = key(WEB, RrType::Txt);
        let theirs = Rrset::new(60, [OwnerId::new("i-them").marker()]);
        let taken = ZoneChange {
            zone: name("corp.internal"),
            guards: Vec::new(),
            swaps: vec![swap(marker.clone(), old.get(&marker).cloned(), Some(theirs))],
        };
        subject.apply(&taken).unwrap();
        let ours = swap_address(WEB, &old, Some(Rrset::new(60, [a(2)])));
        assert!(matches!(subject.apply(&ours), Err(BackendError::Conflict { .. })));
        assert_eq!(subject.see(&[WEB]).records[&key(WEB, RrType::A)].values.first(), Some(&a(1)));
    });
}

#[test]
fn an_alias_and_types_that_we_do_not_know_are_seen() {
    for_each(|subject| {
        (subject.plant)(WEB, "CNAME", &["elsewhere.example."]);
        (subject.plant)("mail.corp.internal.", "MX", &["10 mx.example."]);
        let seen = subject.see(&[WEB, "mail.corp.internal."]).records;
        assert_eq!(
            seen[&key(WEB, RrType::Cname)].values.first(),
            Some(&Rdata::Cname(name("elsewhere.example")))
        );
        assert!(seen.contains_key(&key("mail.corp.internal.", RrType::Other(15))), "{seen:?}");
    });
}

#[test]
fn a_name_for_which_only_a_wildcard_answers_is_vacant() {
    for kind in [("A", "10.9.9.9"), ("CNAME", "elsewhere.example."), ("MX", "10 mx.example.")] {
        for_each(|subject| {
            (subject.plant)("*.corp.internal.", kind.0, &[kind.1]);
            for at in [WEB, "a.b.corp.internal."] {
                let seen = subject.see(&[at]);
                assert_eq!(seen.zones.get(&name(at)), Some(&name("corp.internal")), "{kind:?}");
                assert_eq!(seen.records, Records::new(), "{kind:?}");
                subject.apply(&create(at, &[a(1)])).unwrap();
                assert_eq!(subject.see(&[at]).records, after(&create(at, &[a(1)])));
            }
        });
    }
}

#[test]
fn a_name_that_holds_what_a_wildcard_holds_is_not_vacant() {
    for_each(|subject| {
        for at in ["*.corp.internal.", WEB] {
            (subject.plant)(at, "A", &["10.9.9.9"]);
        }
        subject.see(&[WEB]);
        assert!(matches!(subject.apply(&create(WEB, &[a(2)])), Err(BackendError::Conflict { .. })));
        let seen = subject.see(&[WEB]).records;
        assert_eq!(seen, Records::from([(key(WEB, RrType::A), Rrset::new(60, [nine()]))]));
    });
}

fn nine() -> Rdata {
    Rdata::A([10, 9, 9, 9].into())
}

#[test]
fn names_and_texts_of_any_octets_come_through() {
    for_each(|subject| {
        let odd = Rrset::new(
            60,
            [Rdata::Txt(vec![b"a \"quoted\" \\ back".to_vec()]), OwnerId::new("i-us").marker()],
        );
        let mut change = create("under_score.corp.internal.", &[]);
        change.swaps =
            vec![swap(key("under_score.corp.internal.", RrType::Txt), None, Some(odd.clone()))];
        subject.apply(&change).unwrap();
        let seen = subject.see(&["under_score.corp.internal."]).records;
        assert_eq!(seen[&key("under_score.corp.internal.", RrType::Txt)], odd);
    });
}

impl Subject {
    fn see(&self, names: &[&str]) -> Observed {
        let names = names.iter().map(|text| name(text)).collect::<Vec<_>>();
        block_on(self.backend.observe(&names))
            .unwrap_or_else(|error| panic!("{}: {error:?}", self.name))
    }

    fn apply(&self, change: &ZoneChange) -> Result<(), BackendError> {
        block_on(self.backend.apply(change)).map(drop)
    }
}

fn for_each(promise: impl Fn(&Subject)) {
    for subject in subjects() {
        let kept = catch_unwind(AssertUnwindSafe(|| promise(&subject)));
        assert!(kept.is_ok(), "{} does not keep it", subject.name);
    }
}

fn create(at: &str, addresses: &[Rdata]) -> ZoneChange {
    let mut swaps = vec![swap(
        key(at, RrType::Txt),
        None,
        Some(Rrset::new(60, [OwnerId::new("i-us").marker()])),
    )];
    if !addresses.is_empty() {
        swaps.insert(0, swap(key(at, RrType::A), None, Some(Rrset::new(60, addresses.to_vec()))));
    }
    ZoneChange { zone: name("corp.internal"), guards: vec![Guard::NameNotInUse(name(at))], swaps }
}

/// What the planner makes of an address that changed: the marker must be what it was, and no alias may have come.
fn swap_address(at: &str, seen: &Records, after: Option<Rrset>) -> ZoneChange {
    let marker = key(at, RrType::Txt);
    let address = key(at, RrType::A);
    ZoneChange {
        zone: name("corp.internal"),
        guards: vec![
            Guard::Unchanged(marker.clone(), seen[&marker].clone()),
            Guard::Absent(key(at, RrType::Cname)),
        ],
        swaps: vec![swap(address.clone(), seen.get(&address).cloned(), after)],
    }
}

fn swap(key: RrsetKey, before: Option<Rrset>, after: Option<Rrset>) -> RrsetSwap {
    RrsetSwap { key, before, after, scope: Scope::Whole, because: Reason::Ours }
}

fn after(change: &ZoneChange) -> Records {
    change.swaps.iter().filter_map(|swap| Some((swap.key.clone(), swap.after.clone()?))).collect()
}

fn a(last: u8) -> Rdata {
    Rdata::A([10, 0, 1, last].into())
}

fn key(at: &str, rtype: RrType) -> RrsetKey {
    RrsetKey::new(name(at), rtype)
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

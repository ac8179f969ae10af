//! What can happen to a host between two passes.

use std::net::IpAddr;

use tagalong::core::resolv_conf::MARKER;

use super::{
    chance::Chance,
    world::{DHCP, Directory, Disk, Mood, NOBODY, Owner, STRANGER, VPC, World, at},
};

/// Something that happens.
#[derive(Clone, Debug)]
pub(super) enum Fault {
    /// A server gets into this mood.
    Turns(IpAddr, Mood),
    /// All servers of a zone do.
    ZoneTurns(String, Mood),
    /// All servers do.
    FleetTurns(Mood),
    /// A server is gone for good, and another stands in for it at a new address.
    Respawns(IpAddr, Mood),
    Launches(Option<String>, Mood),
    /// Its tag is taken away; it goes on answering.
    Retires(IpAddr),
    /// A tag says that it is about to be shut down, or no longer does.
    Drains(IpAddr),
    Says(Directory),
    /// resolv.conf is overwritten or removed by another program.
    Overwritten(Option<Vec<u8>>),
    /// That happens just before we write, or just after.
    OverwrittenBeforeUs(Vec<u8>),
    OverwrittenAfterUs(Vec<u8>),
    Obeys(Owner),
    Keeps(Disk),
    /// The state file is gone, or broken, which is the same.
    Forgotten,
    /// The zone is edited, and this server does not learn of it.
    Edited(Option<IpAddr>),
    Transferred(IpAddr),
    Steps(i64),
    /// The metadata service answers, or no longer does.
    Knows(bool),
    Killed,
    /// The agent is replaced by another version, with another configuration.
    Upgraded(usize),
}

const ZONES: [Option<&str>; 4] = [Some("us-east-1a"), Some("us-east-1b"), Some("eu-west-1c"), None];

impl Fault {
    /// A fault of one of these kinds.
    pub(super) fn draw(kinds: &[u8], world: &World, chance: &mut Chance) -> Self {
        let addresses = world.addresses();
        let one = if addresses.is_empty() { at(VPC) } else { chance.pick(&addresses) };
        match chance.pick(kinds) {
            0..=3 => Self::Turns(one, mood(chance)),
            4 => Self::ZoneTurns(chance.pick(&ZONES[..3]).unwrap().to_owned(), mood(chance)),
            5 => Self::FleetTurns(mood(chance)),
            6 => Self::Respawns(one, chance.pick(&[Mood::Sound, Mood::Wakes(2), Mood::Dead])),
            7 => Self::Launches(chance.pick(&ZONES).map(str::to_owned), mood(chance)),
            8 => Self::Retires(one),
            9 => Self::Drains(one),
            10 => Self::Says(chance.pick(&[
                Directory::Lists,
                Directory::Lists,
                Directory::ListsTwice,
                Directory::Empty,
                Directory::Throttled,
                Directory::Failing,
                Directory::Partial,
                Directory::EmptyRegion,
                Directory::Forbidden,
            ])),
            11 | 12 => Self::Overwritten(content(world, chance)),
            13 => Self::OverwrittenBeforeUs(content(world, chance).unwrap_or_default()),
            14 => Self::OverwrittenAfterUs(content(world, chance).unwrap_or_default()),
            15 => Self::Obeys(chance.pick(&[
                Owner::Willing,
                Owner::Willing,
                Owner::Unreadable,
                Owner::Refuses,
                Owner::Deaf,
                Owner::Complains,
            ])),
            16 => Self::Keeps(chance.pick(&[Disk::Fine, Disk::Unwritable, Disk::Unreadable])),
            17 => Self::Forgotten,
            18 => Self::Edited(chance.percent(60).then_some(one)),
            19 => Self::Transferred(one),
            20 => Self::Turns(
                at(chance.pick(&[VPC, VPC, DHCP, STRANGER])),
                chance.pick(&[Mood::Ignorant, Mood::Dead, Mood::Refuses, Mood::Fades(1)]),
            ),
            21 => Self::Steps(chance.pick(&[-86_400, -700, 700, 86_400])),
            22 => Self::Knows(chance.percent(50)),
            23 => Self::Killed,
            _ => Self::Upgraded(chance.below(3)),
        }
    }

    /// How many kinds there are.
    pub(super) const KINDS: u8 = 25;

    /// Lets it happen to the world; what happens to the agent is not the world's.
    pub(super) fn strike(&self, world: &mut World, lag: bool) {
        match self {
            Self::Turns(address, mood) => world.set_mood(address, *mood),
            Self::ZoneTurns(zone, mood) => {
                let inside =
                    world.fleet.iter().filter(|one| one.availability_zone.as_ref() == Some(zone));
                let inside = inside.map(|one| one.address.ip()).collect::<Vec<_>>();
                inside.iter().for_each(|address| world.set_mood(address, *mood));
            }
            Self::FleetTurns(mood) => {
                world.addresses().iter().for_each(|address| world.set_mood(address, *mood));
            }
            Self::Respawns(address, mood) => {
                let place = world.fleet.iter().position(|one| one.address.ip() == *address);
                let gone = place.map(|place| world.fleet.remove(place));
                world.set_mood(address, Mood::Dead);
                let zone = gone.and_then(|gone| gone.availability_zone);
                world.launch(zone.as_deref(), *mood);
            }
            Self::Launches(zone, mood) => {
                world.launch(zone.as_deref(), *mood);
            }
            Self::Retires(address) => world.fleet.retain(|one| one.address.ip() != *address),
            Self::Drains(address) => {
                for one in world.fleet.iter_mut().filter(|one| one.address.ip() == *address) {
                    one.is_draining = !one.is_draining;
                }
            }
            Self::Says(directory) => world.directory = *directory,
            Self::Overwritten(content) => world.file.clone_from(content),
            Self::OverwrittenBeforeUs(content) => world.before_us = Some(content.clone()),
            Self::OverwrittenAfterUs(content) => world.after_us = Some(content.clone()),
            Self::Obeys(owner) => world.owner = *owner,
            Self::Keeps(disk) => world.disk = *disk,
            Self::Forgotten => world.ledger = tagalong::core::ledger::Ledger::default(),
            Self::Edited(left_behind) => {
                let before = world.serial;
                world.serial = before.wrapping_add(1);
                if let Some(server) = left_behind.and_then(|one| world.servers.get_mut(&one)) {
                    server.stuck.get_or_insert(before);
                }
            }
            Self::Transferred(address) => world.servers.get_mut(address).unwrap().stuck = None,
            Self::Steps(seconds) => world.epoch = world.epoch.wrapping_add_signed(*seconds),
            Self::Knows(_) | Self::Killed | Self::Upgraded(_) => {}
        }
        if !lag {
            world.listing.clone_from(&world.fleet);
        }
    }
}

/// Half of them serve.
pub(super) fn mood(chance: &mut Chance) -> Mood {
    let left = u32::try_from(chance.below(4)).unwrap();
    match chance.below(20) {
        0..=6 => Mood::Sound,
        7..=10 => Mood::Dead,
        11 => Mood::Cache,
        12 => Mood::NoTcp,
        13 => Mood::Ignorant,
        14 => Mood::Refuses,
        15 => Mood::Fails,
        16 => Mood::Babbles,
        17 => Mood::Fades(left),
        18 => Mood::Wakes(left),
        _ => Mood::Flickers(left),
    }
}

/// What another program makes of resolv.conf; `None` when it removes it.
pub(super) fn content(world: &World, chance: &mut Chance) -> Option<Vec<u8>> {
    let addresses = world.addresses();
    let one = |chance: &mut Chance| match addresses.as_slice() {
        [] => NOBODY.to_owned(),
        some => chance.pick(some).to_string(),
    };
    let servers = match chance.below(12) {
        0 => return None,
        1 => Vec::new(),
        2 | 3 => vec![DHCP.to_owned()],
        4 => vec![NOBODY.to_owned(), "10.9.9.8".to_owned()],
        5 => vec![STRANGER.to_owned()],
        6 => vec![NOBODY.to_owned(), VPC.to_owned()],
        7 => vec![one(chance), one(chance), one(chance), VPC.to_owned()],
        8 => vec![one(chance)],
        9 => vec!["fe80::1%eth0".to_owned()],
        10 => vec![VPC.to_owned(), one(chance)],
        _ => {
            let octets = (0..chance.below(60)).map(|_| chance.pick(b"nameserver 10.#;\n\t\xff"));
            return Some(octets.collect());
        }
    };
    let mut text = Vec::new();
    if chance.percent(20) {
        // An image that was made of a host of ours.
        text.extend_from_slice(MARKER.as_bytes());
        text.push(b'\n');
    }
    if chance.percent(30) {
        text.extend_from_slice(b"; generated by /usr/sbin/dhclient-script\nsearch ec2.internal\n");
    }
    for server in servers {
        text.extend_from_slice(format!("nameserver {server}\n").as_bytes());
    }
    let others: [&[u8]; 8] = [
        b"# by hand\t",
        b"sortlist 10.1.0.0/255.255.0.0",
        b"  odd line",
        b"",
        b"\xff\xfe",
        b"options rotate edns0 timeout:9",
        b"domain old.example",
        b"lookup file bind",
    ];
    for line in others {
        if chance.percent(15) {
            text.extend_from_slice(line);
            text.push(b'\n');
        }
    }
    Some(text)
}

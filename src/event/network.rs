//! Links and addresses of the kernel, by rtnetlink(7): what sees a new address where nobody runs hooks (systemd-networkd), or
//! where they are not told everything (NetworkManager after a NAK).

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::IpAddr,
    os::fd::OwnedFd,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use netlink_packet_core::{NetlinkBuffer, Parseable as _};
use netlink_packet_route::{
    address::{AddressAttribute, AddressHeaderFlags, AddressMessage},
    link::{LinkFlags, LinkHeader},
};
use rustix::{
    io::Errno,
    net::{
        AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, netlink, recv, send,
        socket_with,
    },
};
use tokio::{io::unix::AsyncFd, sync::mpsc::Sender};

use crate::{core::event::Event, ports::EventSource, sys::ready::waitable};

/// The addresses that the kernel has now; nothing while that is not known.
#[derive(Clone, Debug, Default)]
pub struct Addresses(Arc<Mutex<Option<BTreeMap<IpAddr, Use>>>>);

/// What the kernel makes of an address of its own (RFC 4862 section 2, RFC 8981).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Use {
    /// It is kept for what goes on with it; nothing new is to begin.
    Discouraged,
    Preferred,
}

impl Addresses {
    /// Those of this moment, for whoever does not stay.
    #[must_use]
    pub fn now() -> Self {
        let addresses = Self::default();
        // As where the kernel tells nothing, nothing is known.
        addresses.set(list().ok());
        addresses
    }

    /// Whether the kernel has it; `None` while that is not known.
    #[must_use]
    pub fn has(&self, address: IpAddr) -> Option<bool> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.as_ref().map(|known| known.contains_key(&address))
    }

    /// Those that nobody should begin to talk to: deprecated and temporary ones, and those that another host has too.
    #[must_use]
    pub fn discouraged(&self) -> BTreeSet<IpAddr> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known.iter().flatten().filter(|(_, made)| **made == Use::Discouraged);
        known.map(|(address, _)| *address).collect()
    }

    fn set(&self, addresses: Option<BTreeMap<IpAddr, Use>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = addresses;
    }
}

/// The kernel's links and addresses.
#[derive(Clone, Debug)]
pub struct Network {
    addresses: Addresses,
}

impl Network {
    /// A source that keeps `addresses` up to date.
    #[must_use]
    pub fn new(addresses: Addresses) -> Self {
        Self { addresses }
    }

    async fn watch(&self, events: &Sender<Event>) -> io::Result<()> {
        let socket = subscribe()?;
        let mut known = Known::default();
        request_addresses(socket.get_ref())?;
        let mut buffer = vec![0; BUFFER];
        loop {
            let mut ready = socket.readable().await?;
            let changed = match recv(socket.get_ref(), buffer.as_mut_slice(), RecvFlags::empty()) {
                Ok((length, _)) => known.learn(buffer.get(..length).unwrap_or_default()),
                Err(Errno::AGAIN) => {
                    ready.clear_ready();
                    continue;
                }
                // Messages were lost: all that is known may be wrong.
                Err(Errno::NOBUFS) => {
                    known = Known::default();
                    request_addresses(socket.get_ref())?;
                    true
                }
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            self.addresses.set(known.listed.then(|| known.addresses()));
            if changed && events.send(Event::Network).await.is_err() {
                return Ok(());
            }
        }
    }
}

#[async_trait]
impl EventSource for Network {
    fn subject(&self) -> String {
        "the network".to_owned()
    }

    fn missed(&self) -> Vec<Event> {
        vec![Event::Network]
    }

    async fn run(&self, events: &Sender<Event>) -> io::Error {
        let ended = self.watch(events).await;
        self.addresses.set(None);
        match ended {
            Ok(()) => io::ErrorKind::BrokenPipe.into(),
            Err(error) => error,
        }
    }
}

/// What the kernel has told.
#[derive(Debug, Default)]
struct Known {
    /// By the number of their link.
    addresses: BTreeMap<(u32, IpAddr), Use>,
    links: BTreeMap<u32, LinkFlags>,
    /// Whether the list that was asked for has come to its end.
    listed: bool,
}

impl Known {
    /// Takes the messages of one datagram; whether they say anything new. A renewed lease repeats its address.
    fn learn(&mut self, datagram: &[u8]) -> bool {
        let mut changed = false;
        let mut rest = datagram;
        while let Ok(message) = NetlinkBuffer::new_checked(&rest) {
            let length = usize::try_from(message.length()).unwrap_or(usize::MAX);
            match message.message_type() {
                DONE => self.listed = true,
                kind @ (NEW_ADDRESS | DELETED_ADDRESS) => {
                    changed |= self.learn_address(message.payload(), kind == NEW_ADDRESS);
                }
                kind @ (NEW_LINK | DELETED_LINK) => {
                    changed |= self.learn_link(message.payload(), kind == NEW_LINK);
                }
                _ => {}
            }
            // Messages are aligned to four octets (netlink(7)).
            rest = rest.get(length.saturating_add(3) & !3..).unwrap_or_default();
        }
        // What was there when we began is no news.
        changed && self.listed
    }

    fn learn_address(&mut self, payload: &[u8], is_new: bool) -> bool {
        let Ok(message) = AddressMessage::parse(payload) else { return false };
        let mut address = None;
        for attribute in message.attributes {
            match attribute {
                // On a point-to-point link `Address` is the other end, and `Local` is ours.
                AddressAttribute::Local(local) => address = Some(local),
                AddressAttribute::Address(one) => address = address.or(Some(one)),
                _ => {}
            }
        }
        let Some(address) = address.filter(is_of_interest) else { return false };
        let key = (message.header.index, address);
        if !is_new {
            return self.addresses.remove(&key).is_some();
        }
        let is_discouraged = address.is_ipv6() && message.header.flags.intersects(DISCOURAGED);
        let made = if is_discouraged { Use::Discouraged } else { Use::Preferred };
        self.addresses.insert(key, made) != Some(made)
    }

    fn learn_link(&mut self, payload: &[u8], is_new: bool) -> bool {
        let Ok(LinkHeader { index, flags, .. }) = LinkHeader::parse(payload) else { return false };
        let state = flags & (LinkFlags::Up | LinkFlags::LowerUp);
        if is_new {
            self.links.insert(index, state) != Some(state)
        } else {
            self.links.remove(&index).is_some()
        }
    }

    /// Each address once; one on several links as the best of them has it.
    fn addresses(&self) -> BTreeMap<IpAddr, Use> {
        let mut addresses = BTreeMap::new();
        for ((_, address), made) in &self.addresses {
            let best = addresses.entry(*address).or_insert(*made);
            *best = (*best).max(*made);
        }
        addresses
    }
}

/// Whether EC2 could have given it: addresses of the host or the link alone never are.
fn is_of_interest(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(ipv4) => !ipv4.is_loopback() && !ipv4.is_link_local(),
        IpAddr::V6(ipv6) => !ipv6.is_loopback() && !ipv6.is_unicast_link_local(),
    }
}

fn subscribe() -> io::Result<AsyncFd<OwnedFd>> {
    waitable(open(GROUPS)?)
}

fn open(groups: u32) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
    bind(&socket, &netlink::SocketAddrNetlink::new(0, groups))?;
    Ok(socket)
}

/// The kernel answers before `send` returns, and goes on with each message that is taken: it is never waited for.
fn list() -> io::Result<BTreeMap<IpAddr, Use>> {
    let socket = open(0)?;
    request_addresses(&socket)?;
    let mut known = Known::default();
    let mut buffer = vec![0; BUFFER];
    while !known.listed {
        let (length, _) = recv(&socket, buffer.as_mut_slice(), RecvFlags::empty())?;
        known.learn(buffer.get(..length).unwrap_or_default());
    }
    Ok(known.addresses())
}

/// Asks for all addresses (rtnetlink(7), `RTM_GETADDR`), which come as if they were new.
fn request_addresses(socket: &OwnedFd) -> io::Result<()> {
    let mut request = [0; 24];
    let mut header = NetlinkBuffer::new(&mut request);
    header.set_length(24);
    header.set_message_type(GET_ADDRESS);
    header.set_flags(REQUEST | DUMP);
    send(socket, &request, SendFlags::empty())?;
    Ok(())
}

/// What `SECONDARY` is for IPv4, is `TEMPORARY` for IPv6 (`linux/if_addr.h`).
const DISCOURAGED: AddressHeaderFlags = AddressHeaderFlags::Deprecated
    .union(AddressHeaderFlags::Secondary)
    .union(AddressHeaderFlags::Dadfailed);
/// `RTMGRP_LINK`, `RTMGRP_IPV4_IFADDR`, `RTMGRP_IPV6_IFADDR`
const GROUPS: u32 = 0x1 | 0x10 | 0x100;
const DONE: u16 = 3;
const NEW_LINK: u16 = 16;
const DELETED_LINK: u16 = 17;
const NEW_ADDRESS: u16 = 20;
const DELETED_ADDRESS: u16 = 21;
const GET_ADDRESS: u16 = 22;
const REQUEST: u16 = 0x1;
const DUMP: u16 = 0x300;
/// As large as the kernel makes its datagrams (netlink(7)).
const BUFFER: usize = 32 << 10;

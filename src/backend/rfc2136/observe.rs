//! What one server says about names: their zones and their records, in one round of queries.

use std::net::SocketAddr;

use futures_util::future::join_all;

use super::{Home, Rfc2136, keys::InUse, peer, refusal::answered};
use crate::{
    core::{
        name::Name,
        ownership::{is_marked, records_at},
        rrset::{Rdata, Records, RrType, RrsetKey},
    },
    ports::error::BackendError,
    wire::{
        exchange::ExchangeError,
        key::TsigKey,
        message::{Question, Rcode, Recursion, Request, Response, Soa, query},
        tsig::TsigError,
    },
};

/// What a server said about one name.
pub(super) struct Seen {
    pub(super) name: Name,
    /// The zone that holds the name; `None` when the server does not serve one.
    pub(super) soa: Option<Soa>,
    pub(super) authoritative: bool,
    /// Whether there is such a name in the zone.
    exists: bool,
    pub(super) records: Records,
}

impl Seen {
    fn nothing(name: Name) -> Self {
        Self { name, soa: None, authoritative: false, exists: false, records: Records::new() }
    }
}

impl Rfc2136 {
    /// Reads `names` at `server`.
    pub(super) async fn observe_at(
        &self,
        server: SocketAddr,
        names: &[Name],
    ) -> Result<Vec<Seen>, BackendError> {
        let mut questions = Vec::new();
        for name in names {
            questions.extend(questions_about(name).iter().map(|question| (name, *question)));
            let mark = self.marks.as_ref().map(|_| (name, Question::Type(RrType::Dhcid)));
            questions.extend(mark);
        }
        let answers = self.ask(server, &questions).await?;
        let mut seen: Vec<Seen> = Vec::new();
        for ((name, question), answer) in questions.into_iter().zip(answers) {
            if seen.last().is_none_or(|last| last.name != *name) {
                seen.push(Seen::nothing(name.clone()));
            }
            let Some(one) = seen.last_mut() else { continue };
            if question == Question::Soa {
                one.authoritative = answer.authoritative;
                one.exists = answer.rcode == Rcode::NOERROR;
                let authoritative = answer.authoritative;
                one.soa = answer.soa.filter(|soa| is_zone_of(name, soa, authoritative));
            } else {
                one.records.extend(answer.answers.into_iter().filter(|(key, _)| key.name == *name));
            }
        }
        self.look_closer(server, &mut seen).await?;
        self.look_past_aliases(server, &mut seen).await?;
        self.look_past_wildcards(server, &mut seen).await?;
        Ok(seen)
    }

    /// Records that nobody marked may be a wildcard's (RFC 4592): then the name itself is vacant. A name can also hold the same
    /// as a wildcard above it; then the update that takes it for vacant changes nothing, and here it is not passed over again.
    async fn look_past_wildcards(
        &self,
        server: SocketAddr,
        seen: &mut [Seen],
    ) -> Result<(), BackendError> {
        for one in seen.iter_mut().filter(|one| one.authoritative && !is_marked(&one.records)) {
            let Some(zone) = one.soa.as_ref().map(|soa| &soa.zone) else { continue };
            if one.records.is_empty() || self.is_in_use(&one.name) {
                continue;
            }
            let ancestors = std::iter::successors(one.name.parent(), Name::parent);
            let wildcards = ancestors.take_while(|above| above.is_within(zone));
            let wildcards = wildcards.filter_map(|above| above.child("*").ok()).collect::<Vec<_>>();
            let types = one.records.keys().map(|key| key.rtype).collect::<Vec<_>>();
            let questions = wildcards.iter().flat_map(|wildcard| {
                types.iter().map(move |rtype| (wildcard, Question::Type(*rtype)))
            });
            let answers = self.ask(server, &questions.collect::<Vec<_>>()).await?;
            let is_source = |wildcard: &Name, answers: &[Response]| {
                types.iter().zip(answers).all(|(rtype, answer)| {
                    let source = answer.answers.get(&RrsetKey::new(wildcard.clone(), *rtype));
                    let found = one.records.get(&RrsetKey::new(one.name.clone(), *rtype));
                    source.zip(found).is_some_and(|(source, found)| source.values == found.values)
                })
            };
            let mut answers = wildcards.iter().zip(answers.chunks(types.len()));
            if answers.any(|(wildcard, answers)| is_source(wildcard, answers)) {
                one.records.clear();
            }
        }
        Ok(())
    }

    /// An alias answers in place of its zone's SOA. It is never a zone's apex, so its parent is in the same zone; that can be
    /// an alias too, where a wildcard makes both.
    async fn look_past_aliases(
        &self,
        server: SocketAddr,
        seen: &mut [Seen],
    ) -> Result<(), BackendError> {
        for one in seen.iter_mut().filter(|one| one.soa.is_none()) {
            let mut is_alias =
                one.records.contains_key(&RrsetKey::new(one.name.clone(), RrType::Cname));
            let mut ancestors = std::iter::successors(one.name.parent(), Name::parent);
            while let Some(above) = ancestors.next().filter(|_| is_alias && one.soa.is_none()) {
                let answers = self.ask(server, &[(&above, Question::Soa)]).await?;
                let Some(answer) = answers.into_iter().next() else { break };
                is_alias =
                    answer.answers.contains_key(&RrsetKey::new(above.clone(), RrType::Cname));
                let authoritative = answer.authoritative;
                one.soa = answer.soa.filter(|soa| is_zone_of(&above, soa, authoritative));
            }
        }
        Ok(())
    }

    /// A name that exists, and at which nothing was found, holds other types, or only names below it: ask for all.
    async fn look_closer(&self, server: SocketAddr, seen: &mut [Seen]) -> Result<(), BackendError> {
        let is_unclear = |one: &Seen| {
            one.exists && one.authoritative && records_at(&one.name, &one.records).next().is_none()
        };
        let unclear = seen
            .iter()
            .filter(|one| is_unclear(one))
            .map(|one| one.name.clone())
            .collect::<Vec<_>>();
        let questions = unclear.iter().map(|name| (name, Question::Any)).collect::<Vec<_>>();
        if questions.is_empty() {
            return Ok(());
        }
        for (name, answer) in unclear.iter().zip(self.ask(server, &questions).await?) {
            for one in seen.iter_mut().filter(|one| one.name == *name) {
                one.records.extend(
                    answer.answers.clone().into_iter().filter(|(key, _)| key.name == *name),
                );
            }
        }
        Ok(())
    }

    pub(super) async fn ask(
        &self,
        server: SocketAddr,
        questions: &[(&Name, Question)],
    ) -> Result<Vec<Response>, BackendError> {
        let unencodable =
            |error| BackendError::Failed { action: "encoding the query", source: Box::new(error) };
        let requests =
            questions.iter().map(|(name, question)| query(name, *question, Recursion::Desired));
        let requests: Vec<Request> = requests.collect::<Result<_, _>>().map_err(unencodable)?;
        let keys = self.keys.in_use();
        let by_key = groups(questions, &keys);
        let asked = by_key.iter().map(async |(key, places)| {
            let some = places.iter().filter_map(|place| requests.get(*place).cloned());
            let answers = peer(server, *key).ask_all(&some.collect::<Vec<_>>()).await;
            places.iter().copied().zip(answers).collect::<Vec<_>>()
        });
        let mut answers = join_all(asked).await.into_iter().flatten().collect::<Vec<_>>();
        answers.sort_by_key(|(place, _)| *place);
        let answers = answers.into_iter().map(|(_, answer)| answer);
        let mut responses = Vec::new();
        for ((name, question), answer) in questions.iter().zip(answers) {
            let response = match answer {
                Ok(response) => {
                    if let (Some(key), Ok(mut vouched)) = (keys.of(name), self.vouched.lock()) {
                        vouched.insert((server, key.name().clone()));
                    }
                    response
                }
                Err(error) => self.doubt(server, error, keys.of(name), name, *question).await?,
            };
            match response.rcode {
                // Refused: the server does not serve the zone, and does not look elsewhere.
                Rcode::NOERROR | Rcode::NXDOMAIN | Rcode::REFUSED => responses.push(response),
                rcode => return Err(answered(server, rcode, name, "query")),
            }
        }
        Ok(responses)
    }

    /// A resolver or a secondary may not know the key, and can still say who the primary is.
    async fn doubt(
        &self,
        server: SocketAddr,
        error: ExchangeError,
        key: Option<&TsigKey>,
        name: &Name,
        question: Question,
    ) -> Result<Response, BackendError> {
        let unknown_key =
            matches!(&error, ExchangeError::Unverified { error: Some(TsigError::BadKey), .. });
        // Knot says so, unsigned, of a name in no zone of its own; PowerDNS of a key that it does not like.
        let is_refusal =
            matches!(&error, ExchangeError::Unverified { error: None, rcode: Rcode::REFUSED, .. });
        let refused = self.situation(error, key, name, "query");
        if !unknown_key && !is_refusal {
            return Err(refused);
        }
        let unsigned = peer(server, None);
        let Ok(request) = query(name, question, Recursion::Desired) else { return Err(refused) };
        let Ok(response) = unsigned.ask(&request).await else { return Err(refused) };
        if is_refusal {
            let is_elsewhere = response.rcode == Rcode::REFUSED;
            return if is_elsewhere { Ok(response) } else { Err(refused) };
        }
        // What an authority says without a signature is taken for hearsay: it may only lead to the primary.
        let is_primary = match &response.soa {
            Some(soa) if response.authoritative && question == Question::Soa => {
                self.primary(server, soa).await.is_none_or(|primary| primary == server)
            }
            _ => false,
        };
        // The zone's primary does not know the key.
        if is_primary { Err(refused) } else { Ok(Response { authoritative: false, ..response }) }
    }

    /// The address of a zone's primary, by the SOA's MNAME, as `server` knows it.
    pub(super) async fn primary(&self, server: SocketAddr, soa: &Soa) -> Option<SocketAddr> {
        let found = self.addresses(server, std::slice::from_ref(&soa.mname)).await;
        found.into_iter().next()
    }

    /// The servers of a zone, by its NS records, as `server` knows them.
    pub(super) async fn name_servers(&self, server: SocketAddr, zone: &Name) -> Vec<SocketAddr> {
        let Ok(request) = query(zone, Question::Type(RrType::Ns), Recursion::Desired) else {
            return Vec::new();
        };
        let Ok(mut answer) = peer(server, None).ask(&request).await else { return Vec::new() };
        let set = answer.answers.remove(&RrsetKey::new(zone.clone(), RrType::Ns));
        let names = set.into_iter().flat_map(|set| set.values).filter_map(|value| match value {
            Rdata::Ns(name) => Some(name),
            _ => None,
        });
        self.addresses(server, &names.take(MOST_SERVERS).collect::<Vec<_>>()).await
    }

    /// The first address of each of these servers, as `server` knows it, with its port.
    async fn addresses(&self, server: SocketAddr, names: &[Name]) -> Vec<SocketAddr> {
        let questions = [Question::Type(RrType::A), Question::Type(RrType::Aaaa)];
        let requests = names.iter().flat_map(|name| {
            questions.iter().map(move |question| query(name, *question, Recursion::Desired))
        });
        let Ok(requests) = requests.collect::<Result<Vec<_>, _>>() else { return Vec::new() };
        let answers = peer(server, None).ask_all(&requests).await;
        let of_name = |answers: &[Result<Response, ExchangeError>]| {
            let sets = answers.iter().flatten().flat_map(|response| response.answers.values());
            sets.flat_map(|set| &set.values).find_map(Rdata::ip)
        };
        let addresses = answers.chunks(questions.len()).filter_map(of_name);
        addresses.map(|address| SocketAddr::new(address, server.port())).collect()
    }
}

/// What a server is to names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It serves zones of theirs, and its answers verify.
    Serves,
    /// It knows of their zones, and its word is hearsay: a cache, or a secondary that does not know the key.
    Leads,
    /// It knows nothing of them.
    Stranger,
}

/// Where a zone is at home, as far as it was found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Who is asked, and told.
    pub server: SocketAddr,
    /// The primary's name (MNAME).
    pub mname: Name,
    /// Its address, as that server knows it.
    pub primary: Option<SocketAddr>,
}

impl Rfc2136 {
    /// This backend at each of its servers alone: what any of them is to say, and not the first that answers.
    #[must_use]
    pub fn each(&self) -> Vec<(SocketAddr, Self)> {
        let alone = |server| (server, Self::new(&self.name, vec![server], self.keys.share()));
        self.servers.iter().copied().map(alone).collect()
    }

    /// What its servers are to `names`: what they say themselves, and not what they lead to.
    ///
    /// # Errors
    /// None of them answers, or each refuses the key.
    pub async fn standing(&self, names: &[Name]) -> Result<Standing, BackendError> {
        let told = self.keys.try_each(|| self.observe_anywhere(names)).await?;
        let seen = || told.seen.iter().map(|(_, one)| one);
        Ok(if seen().any(|one| one.authoritative) {
            Standing::Serves
        } else if seen().next().is_none() {
            Standing::Stranger
        } else {
            Standing::Leads
        })
    }

    /// The keys' names and algorithms; `None` where updates are not signed.
    #[must_use]
    pub fn key(&self) -> Option<String> {
        let names = self.keys.in_use().names();
        (!names.is_empty()).then(|| names.join(", "))
    }

    /// Where a zone that was observed is at home.
    pub async fn place_of(&self, zone: &Name) -> Option<Place> {
        let Home { server, soa } = self.home(zone)?;
        let primary = self.primary(server, &soa).await;
        Some(Place { server, mname: soa.mname, primary })
    }
}

/// The places of the questions that one key signs.
fn groups<'k>(
    questions: &[(&Name, Question)],
    keys: &'k InUse,
) -> Vec<(Option<&'k TsigKey>, Vec<usize>)> {
    let mut groups: Vec<(Option<&TsigKey>, Vec<usize>)> = Vec::new();
    for (place, (name, _)) in questions.iter().enumerate() {
        let key = keys.of(name);
        let is_it = |other: Option<&TsigKey>| other.map(TsigKey::name) == key.map(TsigKey::name);
        match groups.iter_mut().find(|(other, _)| is_it(*other)) {
            Some((_, places)) => places.push(place),
            None => groups.push((key, vec![place])),
        }
    }
    groups
}

/// What to ask about a name: the types that are ours there, the marker, and the zone. An alias answers to any of them.
fn questions_about(name: &Name) -> &'static [Question] {
    if name.is_reverse() {
        &[Question::Type(RrType::Ptr), Question::Type(RrType::Txt), Question::Soa]
    } else {
        &[
            Question::Type(RrType::A),
            Question::Type(RrType::Aaaa),
            Question::Type(RrType::Txt),
            Question::Soa,
        ]
    }
}

/// Whether an SOA is that of a zone in which `name` can be published. The root's never is; and where only a cache says that
/// a top-level domain holds it, the name's own domain does not exist.
fn is_zone_of(name: &Name, soa: &Soa, authoritative: bool) -> bool {
    let least = if authoritative { 1 } else { 2 };
    name.is_within(&soa.zone) && soa.zone.labels().count() >= least && !is_empty_zone(soa)
}

/// Whether a zone is one of those that resolvers answer for by themselves, empty (RFC 6303): nobody can update it.
fn is_empty_zone(soa: &Soa) -> bool {
    soa.mname == soa.zone && matches!(soa.rname.as_str(), "." | "nobody.invalid.")
}

/// How many servers of a zone are asked for their addresses; the root has thirteen.
const MOST_SERVERS: usize = 13;

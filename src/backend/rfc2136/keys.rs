//! Which key signs what, and what becomes of one that a server does not take.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use zeroize::Zeroizing;

use crate::{
    core::name::Name,
    ports::{
        KeySource,
        error::{BackendError, KeyError},
    },
    wire::key::{Keyring, TsigKey},
};

/// The keys of a backend: each zone's own, and for all other names the first that the servers take.
#[derive(Debug, Default)]
pub struct Keys {
    source: Option<Arc<dyn KeySource>>,
    /// The key's name for a zone and what is below it.
    of_zones: BTreeMap<Name, Name>,
    in_use: Mutex<Arc<InUse>>,
}

/// The keys as they were read last. Two with the same text and the same turn sign alike.
#[derive(Clone, Default)]
pub(super) struct InUse {
    text: Zeroizing<String>,
    all: Vec<TsigKey>,
    of_zones: BTreeMap<Name, TsigKey>,
    /// Which of all signs what is in no zone with a key of its own.
    turn: usize,
}

impl fmt::Debug for InUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InUse({:?}, turn {})", self.names(), self.turn)
    }
}

impl Keys {
    /// Nothing is signed.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// These keys, and no others.
    ///
    /// # Errors
    /// The text holds no usable key.
    pub fn fixed(text: &str) -> Result<Self, KeyError> {
        let in_use = InUse::parse(text.to_owned().into(), &BTreeMap::new(), "text")?;
        Ok(Self { in_use: Mutex::new(Arc::new(in_use)), ..Self::default() })
    }

    /// Reads the keys.
    ///
    /// # Errors
    /// They cannot be had, or one of `of_zones` is not among them.
    pub async fn read(
        source: Arc<dyn KeySource>,
        of_zones: BTreeMap<Name, Name>,
    ) -> Result<Self, KeyError> {
        let text = source.read().await?;
        let in_use = InUse::parse(text, &of_zones, &source.place())?;
        Ok(Self { source: Some(source), of_zones, in_use: Mutex::new(Arc::new(in_use)) })
    }

    /// Whether a text of keys has all that is needed of it; `place` is where it is kept.
    ///
    /// # Errors
    /// It holds no usable keys, or one of `of_zones` is not among them.
    pub fn check(
        text: &Zeroizing<String>,
        of_zones: &BTreeMap<Name, Name>,
        place: &str,
    ) -> Result<(), KeyError> {
        InUse::parse(text.clone(), of_zones, place).map(drop)
    }

    /// Those that sign, each with its algorithm.
    #[must_use]
    pub fn names(&self) -> String {
        self.in_use().names().join(", ")
    }

    /// The same for one server alone.
    pub(super) fn share(&self) -> Self {
        Self { source: None, of_zones: self.of_zones.clone(), in_use: Mutex::new(self.in_use()) }
    }

    pub(super) fn in_use(&self) -> Arc<InUse> {
        Arc::clone(&self.in_use.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Does `work`; if a server does not take the key, again with the next key, and when there is none with what the source
    /// says now, once. If nothing helps, all is as before, and the first error counts.
    ///
    /// # Errors
    /// What `work` says.
    pub(super) async fn try_each<T, F>(&self, work: impl Fn() -> F) -> Result<T, BackendError>
    where
        F: Future<Output = Result<T, BackendError>>,
    {
        let before = self.in_use();
        let (mut is_fresh, mut first) = (false, None);
        loop {
            let error = match work().await {
                Err(error) if is_about_the_key(&error) => error,
                outcome => return outcome,
            };
            let other = match self.in_use().next(&error) {
                None if !is_fresh => {
                    is_fresh = true;
                    self.renewed(&before).await
                }
                next => next,
            };
            let Some(other) = other else {
                self.set(before);
                return Err(first.unwrap_or(error));
            };
            first = first.or(Some(error));
            self.set(Arc::new(other));
        }
    }

    /// What the source says now, if that is something else.
    async fn renewed(&self, before: &InUse) -> Option<InUse> {
        let source = self.source.as_ref()?;
        let text = source.read_anew().await.ok().filter(|text| *text != before.text)?;
        InUse::parse(text, &self.of_zones, &source.place()).ok()
    }

    fn set(&self, in_use: Arc<InUse>) {
        *self.in_use.lock().unwrap_or_else(PoisonError::into_inner) = in_use;
    }
}

impl InUse {
    fn parse(
        text: Zeroizing<String>,
        of_zones: &BTreeMap<Name, Name>,
        place: &str,
    ) -> Result<Self, KeyError> {
        let place = || place.to_owned();
        let unusable = |source| KeyError::NoKey { place: place(), source: Box::new(source) };
        let ring = text.parse::<Keyring>().map_err(unusable)?;
        let of_zones = of_zones.iter().map(|(zone, key)| {
            let not_there = || KeyError::NotThere {
                place: place(),
                key: key.to_string(),
                zone: zone.to_string(),
            };
            Ok((zone.clone(), ring.get(key).ok_or_else(not_there)?.clone()))
        });
        let of_zones = of_zones.collect::<Result<_, _>>()?;
        Ok(Self { text, all: ring.iter().cloned().collect(), of_zones, turn: 0 })
    }

    /// The key that signs what is about `name`.
    pub(super) fn of(&self, name: &Name) -> Option<&TsigKey> {
        let zones = self.of_zones.iter().filter(|(zone, _)| name.is_within(zone));
        let deepest = zones.max_by_key(|(zone, _)| zone.labels().count());
        deepest.map(|(_, key)| key).or_else(|| self.all.get(self.turn))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Those that sign, each with its algorithm.
    pub(super) fn names(&self) -> Vec<String> {
        let mut names = Vec::new();
        for key in self.all.get(self.turn).into_iter().chain(self.of_zones.values()) {
            let name = format!("{} ({})", key.name(), key.algorithm());
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// The same with the next key, if it was the turn's that was not taken.
    fn next(&self, error: &BackendError) -> Option<Self> {
        let turns = self.all.get(self.turn)?;
        let is_the_turns = match error {
            BackendError::BadKey { key, .. } | BackendError::BadSignature { key, .. } => {
                turns.name() == key
            }
            _ => true,
        };
        let turn = self.turn + 1;
        (is_the_turns && turn < self.all.len()).then(|| Self { turn, ..self.clone() })
    }
}

/// Whether it may be the key that a server does not take: `PowerDNS` says of one that it does not have no more than REFUSED.
fn is_about_the_key(error: &BackendError) -> bool {
    matches!(
        error,
        BackendError::BadKey { .. }
            | BackendError::BadSignature { .. }
            | BackendError::Refused { operation: "query", .. }
    )
}

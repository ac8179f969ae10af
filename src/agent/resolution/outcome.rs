//! What became of a resolution: what the resolver uses now, what was done, and why.

use std::{io, net::IpAddr};

use crate::{
    core::{
        detect::{Clue, Hindrance, Owner, Verdict},
        reason::Reason,
        resolv_conf::{RESOLV_CONF, Wanted},
        servers::{Ranked, Ranking},
    },
    ports::{Failure, error::ResolverError},
};

/// What became of it.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Resolved {
    /// What is in the resolver now.
    pub in_use: Vec<IpAddr>,
    /// Every server that was asked, best first, and why.
    pub ranking: Ranking,
    /// What the resolver shall say, whoever writes it: servers that have answered; `None` when none has.
    pub wanted: Option<Wanted>,
    /// What was done.
    pub action: Action,
    /// What its owner says since then, where that was looked at.
    pub stands: String,
    /// What was done to gai.conf; `None` where it is not known what it should say.
    pub selection: Option<Action>,
    /// Who owns the resolver, and because of which clues.
    pub owner: String,
    /// What the operator should know.
    pub notices: Vec<String>,
    /// What went wrong.
    pub failures: Vec<Failure>,
}

impl Resolved {
    /// `resolvers 10.0.0.2, 10.0.0.3 set (1 of 3 do not serve)`
    #[must_use]
    pub fn summary(&self) -> String {
        let addresses = self.in_use.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let left_out = self.ranking.left_out.len();
        let known = left_out + self.ranking.usable.len();
        let aside = if left_out == 0 {
            String::new()
        } else {
            format!(" ({left_out} of {known} do not serve)")
        };
        let resolvers = if addresses.is_empty() {
            "resolver".to_owned()
        } else {
            format!("resolvers {addresses}")
        };
        match &self.action {
            Action::Failed => format!("{resolvers} not set{aside}"),
            Action::Unmanaged => "resolver left alone".to_owned(),
            Action::Unchanged => format!("{resolvers} unchanged{aside}"),
            Action::Written { .. } => format!("{resolvers} set{aside}"),
            Action::Kept(why) => format!("{resolvers} kept: {why}{aside}"),
        }
    }

    /// Whether the resolver is as it should be: set, or in an order that is as good.
    #[must_use]
    pub fn is_set(&self) -> bool {
        match self.action {
            Action::Written { .. } | Action::Unchanged | Action::Kept(REORDERING) => true,
            // Nobody is known, and it is the VPC's resolver's, or whoever's it was.
            Action::Kept(_) => self.ranking.left_out.is_empty() && self.ranking.usable.is_empty(),
            Action::Failed | Action::Unmanaged => false,
        }
    }

    /// What is set: the file, or whoever owns the resolver.
    #[must_use]
    pub fn place(&self) -> String {
        match self.owner.split_once(' ') {
            Some(("resolv-conf", _)) | None => "/etc/resolv.conf".to_owned(),
            Some((owner, _)) => owner.to_owned(),
        }
    }

    /// Says the reason `why` where the outcome says what was known before it, `late`.
    pub fn learn(&mut self, late: &Failure, why: &Failure) {
        for notice in &mut self.notices {
            *notice = notice.replace(&late.to_string(), &why.to_string());
        }
        self.failures
            .iter_mut()
            .filter(|failure| *failure == late)
            .for_each(|failure| failure.clone_from(why));
    }
}

/// Why servers that are merely better ordered wait.
pub(super) const REORDERING: &str = "a better order must be wanted twice";

/// What was done to the resolver.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Action {
    /// The journey did not come to its end; the failures say why.
    #[default]
    Failed,
    /// It was as it should be.
    Unchanged,
    /// It was set.
    Written {
        /// The content before.
        before: String,
        /// The content after.
        after: String,
    },
    /// It was left as it is although it is not what is wanted.
    Kept(&'static str),
    /// It is not ours to set, by configuration.
    Unmanaged,
}

impl Resolved {
    /// Whether the resolver has what we want in it, servers that have answered.
    #[must_use]
    pub fn is_managed(&self) -> bool {
        self.wanted.is_some() && matches!(self.action, Action::Unchanged | Action::Written { .. })
    }

    /// What the resolver is held to from now on, where it was held to `before`. Where nobody serves, whatever another program
    /// writes can only be better; what was only proposed was not set.
    #[must_use]
    pub fn held_to(&self, before: Option<Wanted>) -> Option<Wanted> {
        let wanted = self.wanted.clone()?;
        match self.action {
            _ if self.is_managed() => Some(wanted),
            // All but the order is as it is wanted.
            Action::Kept(REORDERING) => Some(Wanted { nameservers: self.in_use.clone(), ..wanted }),
            _ => before,
        }
    }
}

/// What would come of writing a file that cannot be written.
pub(super) fn hindrance(verdict: &Verdict) -> Option<ResolverError> {
    let is = |hindrance| verdict.because.contains(&Clue::Hindered(hindrance));
    let kind = match verdict.owner {
        Owner::ResolvConf if is(Hindrance::Immutable) => io::ErrorKind::PermissionDenied,
        Owner::ResolvConf if is(Hindrance::ReadOnly) => io::ErrorKind::ReadOnlyFilesystem,
        _ => return None,
    };
    Some(ResolverError::File {
        operation: "write",
        path: RESOLV_CONF.to_owned(),
        source: kind.into(),
    })
}

/// A cache or a forwarder may know more than the fleet's servers do: containers' names, other networks' zones.
pub(super) const LOCAL_SERVER_REPLACED: &str = "the DNS server on this host that answered until now is not asked any more; \
    `[resolver] manager = \"none\"` leaves it in use";

/// It is there for the rest of the world, and does not know the fleet's zone.
pub(super) const FALLEN_BACK: &str =
    "no DNS server of the fleet is known to serve; the VPC's resolver is used until one does";

/// Why each server stands where it stands.
pub(super) fn reasons(ranking: &Ranking) -> String {
    let ranked = ranking.usable.iter().chain(&ranking.left_out);
    let texts = ranked.map(|Ranked { server, because, .. }| {
        let because = because.iter().map(ToString::to_string).collect::<Vec<_>>();
        format!("{}: {}", server.address.ip(), because.join(" · "))
    });
    texts.collect::<Vec<_>>().join("; ")
}

/// Whether servers answer, and none of these knows the zone that it is asked for, or tells.
pub(super) fn is_unknown_to_all(ranking: &Ranking) -> bool {
    let is_silent = |reason: &Reason| matches!(reason, Reason::Silent { .. });
    let is_other = |reason: &Reason| match reason {
        Reason::Ignorant => true,
        Reason::Unwilling { rcode } => rcode == "REFUSED",
        _ => false,
    };
    let mut answering =
        ranking.left_out.iter().filter(|ranked| !ranked.because.iter().any(is_silent)).peekable();
    ranking.usable.is_empty()
        && answering.peek().is_some()
        && answering.all(|ranked| ranked.because.iter().any(is_other))
}

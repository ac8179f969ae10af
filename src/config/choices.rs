//! What the words of keys with a closed set of values stand for.

use super::{Fallback, Manager, Marker, Occasion, Sharing};
use crate::core::naming::Conflict;

pub(super) const MANAGERS: &[(&str, Manager)] = &[
    ("auto", Manager::Auto),
    ("resolv-conf", Manager::ResolvConf),
    ("systemd-resolved", Manager::SystemdResolved),
    ("networkmanager", Manager::NetworkManager),
    ("resolvconf", Manager::Resolvconf),
    ("none", Manager::None),
];
pub(super) const OCCASIONS: &[(&str, Occasion)] = &[
    ("terminate", Occasion::Terminate),
    ("poweroff", Occasion::Poweroff),
    ("stop", Occasion::Stop),
];
pub(super) const SHARINGS: &[(&str, Sharing)] =
    &[("multivalue", Sharing::Multivalue), ("simple", Sharing::Simple)];
pub(super) const MARKERS: &[(&str, Marker)] = &[("txt", Marker::Txt), ("dhcid", Marker::Dhcid)];
pub(super) const CONFLICTS: &[(&str, Conflict)] = &[
    ("refuse", Conflict::Refuse),
    ("take-over-if-gone", Conflict::TakeOverIfGone),
    ("suffix", Conflict::Suffix),
];
pub(super) const FALLBACKS: &[(&str, Fallback)] =
    &[("vpc", Fallback::Vpc), ("none", Fallback::None)];

//! `tagalong hook`: what a hook that is a program, and not part of a shell script, tells the agent. It reads its environment,
//! leaves a file, and returns: no network, no waiting, and never a failure that a lease would suffer from.

use std::net::IpAddr;

use super::{Code, args::Args, print};
use crate::{
    core::lease::{Lease, Reason},
    event::hook::Hooks,
};

/// Reports for a hook of dhclient or dhcpcd (`reason`, `interface`, `new_ip_address` …), or for a dispatcher of NetworkManager
/// (interface and action as arguments, `DHCP4_IP_ADDRESS` …).
pub(super) fn run(args: &Args, arguments: &[String]) -> Code {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let Some(lease) = lease(arguments, variable) else { return Code::Done };
    let hooks = Hooks::in_run_dir(&args.run_dir);
    if let Err(error) = hooks.make().and_then(|()| hooks.report(&lease)) {
        // The client goes on with its lease, whatever becomes of us.
        print::notice(format!("{lease} cannot be reported: {error}"));
    }
    Code::Done
}

fn lease(arguments: &[String], variable: impl Fn(&str) -> Option<String>) -> Option<Lease> {
    let address = |names: [&str; 2]| -> Option<IpAddr> {
        names.into_iter().find_map(|name| variable(name)?.parse().ok())
    };
    let lease = if let [interface, action] = arguments {
        let reason = match action.as_str() {
            "up" | "dhcp4-change" | "dhcp6-change" | "reapply" => Reason::Bound,
            "down" => Reason::Stop,
            _ => return None,
        };
        let now = address(["DHCP4_IP_ADDRESS", "DHCP6_IP6_ADDRESS"]);
        let (new_address, old_address) = match reason {
            Reason::Bound => (now, None),
            _ => (None, now),
        };
        Lease { reason, interface: interface.clone(), new_address, old_address }
    } else {
        Lease {
            reason: variable("reason")?.parse().ok()?,
            interface: variable("interface")?,
            new_address: address(["new_ip_address", "new_ip6_address"]),
            old_address: address(["old_ip_address", "old_ip6_address"]),
        }
    };
    // What the agent would not read is not written.
    Some(lease).filter(|lease| Lease::parse(&lease.render()).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(arguments: &[&str], environment: &[(&str, &str)]) -> Option<String> {
        let arguments = arguments.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let variable = |name: &str| {
            let found = environment.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        lease(&arguments, variable).map(|lease| lease.to_string())
    }

    #[test]
    fn dhclients_words_and_networkmanagers_are_understood() {
        let bound = [("reason", "BOUND"), ("interface", "eth0"), ("new_ip_address", "10.0.0.1")];
        assert_eq!(told(&[], &bound).unwrap(), "BOUND of eth0: 10.0.0.1");
        let expired = [("reason", "EXPIRE"), ("interface", "eth0"), ("old_ip_address", "10.0.0.1")];
        assert_eq!(told(&[], &expired).unwrap(), "EXPIRE of eth0: 10.0.0.1 is lost");
        let changed = [("DHCP4_IP_ADDRESS", "10.0.0.1")];
        assert_eq!(told(&["eth0", "dhcp4-change"], &changed).unwrap(), "BOUND of eth0: 10.0.0.1");
        assert_eq!(told(&["eth0", "down"], &[]).unwrap(), "STOP of eth0");
    }

    #[test]
    fn what_is_about_no_address_is_not_told() {
        assert_eq!(told(&[], &[]), None);
        assert_eq!(told(&[], &[("reason", "PREINIT"), ("interface", "eth0")]), None);
        assert_eq!(told(&[], &[("reason", "BOUND"), ("interface", "../../etc")]), None);
        assert_eq!(told(&["eth0", "hostname"], &[]), None);
    }
}

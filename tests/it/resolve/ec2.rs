//! EC2 that fails, throttles, says nothing or nothing useful: the last good list is used, and never a smaller one.

use sandbox::{
    black_hole::BlackHole,
    dns::Server,
    fault::{Fault, Service},
};

use super::nameservers;
use crate::support::{Lab, Run, fleet_server, own_address, resolv_conf};

/// A host that knows its servers from a pass before, one of which is silent now; and whose resolv.conf somebody has
/// overwritten with another silent one.
struct Trampled {
    lab: Lab,
    server: Server,
    _silent: [BlackHole; 2],
}

fn trampled() -> Trampled {
    let lab = Lab::new();
    let server = fleet_server(Vec::new());
    let silent =
        [BlackHole::start(own_address()).unwrap(), BlackHole::start(own_address()).unwrap()];
    lab.list_server(server.addr(), "us-east-1a");
    lab.list_server(silent[0].addr(), "us-east-1a");
    lab.resolve_only("");
    lab.once();
    lab.file("root/etc/resolv.conf", &resolv_conf(&[silent[1].addr()]));
    Trampled { lab, server, _silent: silent }
}

impl Trampled {
    /// A pass sets the server that lives; its outcome.
    fn is_mended(&self, situation: &str) -> Run {
        let run = self.lab.tagalong(&["once", "--deadline", "4s"]);
        assert_eq!(
            nameservers(&self.lab.resolv_conf()),
            [self.server.addr().ip().to_string()],
            "{situation}: {run}"
        );
        assert!(run.stderr.contains("the last list is used"), "{situation}: {run}");
        run
    }
}

#[test]
fn an_ec2_that_does_not_tell_is_no_reason_to_forget_the_last_good_list() {
    let fault = Fault::default;
    for (situation, fault) in [
        ("drop", Fault { drop: true, ..fault() }),
        ("500", Fault { fail: Some(500), ..fault() }),
        ("503", Fault { fail: Some(503), ..fault() }),
        ("throttle", Fault { throttle: true, ..fault() }),
        ("malformed", Fault { malformed: true, ..fault() }),
    ] {
        let trampled = trampled();
        trampled.lab.world.faults().set(Service::Ec2, fault);
        trampled.is_mended(situation).expect_code(0);
    }
}

#[test]
fn an_empty_list_is_no_reason_to_forget_the_last_good_one() {
    let trampled = trampled();
    for instance in trampled.lab.world.snapshot().instances {
        trampled.lab.world.update_instance(&instance.id, |instance| {
            instance.tags.remove(crate::support::SERVER_TAG);
        });
    }
    trampled
        .is_mended("empty")
        .says(&["no running instance carries the tag tagalong:dns-server in vpc-"])
        .expect_code(0);
}

#[test]
fn a_role_that_may_not_describe_instances_is_said_and_the_last_good_list_is_used() {
    let trampled = trampled();
    trampled.lab.world.set_denied_actions(["ec2:DescribeInstances"]);
    trampled
        .is_mended("denied")
        .says(&["EC2 does not let this instance call ec2:DescribeInstances"])
        .expect_code(0);
}

#[test]
fn without_a_last_good_list_an_ec2_that_does_not_tell_is_a_failure_with_a_hint() {
    let lab = Lab::new();
    lab.resolve_only("");
    lab.world.set_denied_actions(["ec2:*"]);
    let text = resolv_conf(&[own_address()]);
    lab.file("root/etc/resolv.conf", &text);
    lab.once_fails().says(&[
        "error: EC2 does not let this instance call ec2:DescribeInstances",
        "hint: allow ec2:DescribeInstances to the instance's role",
    ]);
    assert_eq!(lab.resolv_conf(), text);
}

#[test]
fn an_instance_without_a_role_says_that_it_has_no_credentials() {
    let lab = Lab::new();
    lab.world.update_instance(crate::support::US, |host| host.role = None);
    lab.resolve_only("");
    lab.once_fails()
        .says(&["there are no AWS credentials for ec2:DescribeInstances", "instance profile"]);
}

#[test]
fn a_metadata_service_that_is_silent_is_no_reason_to_forget_the_last_good_list() {
    for fault in [
        Fault { drop: true, ..Fault::default() },
        Fault { fail: Some(503), ..Fault::default() },
        Fault { malformed: true, ..Fault::default() },
    ] {
        let trampled = trampled();
        trampled.lab.world.faults().set(Service::Imds, fault);
        trampled
            .is_mended("no metadata")
            .says(&["the instance metadata service at"])
            .expect_code(1);
    }
}

/// Tags this many instances, of which none is there, and then `server`, which stands at the end of the list.
fn list_behind(lab: &Lab, dead: u32, server: &Server) {
    let list = |id: &str, address: std::net::SocketAddr| {
        let std::net::IpAddr::V4(ip) = address.ip() else { unreachable!() };
        let instance = sandbox::instance::Instance::new(id, "us-east-1a", ip);
        lab.world.put_instance(instance.tag(crate::support::SERVER_TAG, crate::support::ZONE));
    };
    (0..dead).for_each(|number| list(&format!("i-{number:017x}"), own_address()));
    list("i-0fffffffffffffff1", server.addr());
}

#[test]
fn a_list_in_many_pages_is_read_to_its_end() {
    let lab = Lab::new();
    let server = fleet_server(Vec::new());
    // Two pages and a bit, all dead but the last.
    list_behind(&lab, 420, &server);
    lab.resolve_only("");
    lab.once();
    assert_eq!(nameservers(&lab.resolv_conf()), [server.addr().ip().to_string()]);
    let calls = lab.world.requests(Service::Ec2);
    assert_eq!(calls.len(), 3, "{calls:?}");
}

#[test]
fn a_list_whose_second_page_fails_is_not_taken_for_a_smaller_one() {
    let lab = Lab::new();
    let server = fleet_server(Vec::new());
    list_behind(&lab, 205, &server);
    lab.resolve_only("");
    lab.once();
    let known =
        || serde_json::from_str::<serde_json::Value>(&lab.state()).unwrap()["servers"].clone();
    let list = known();
    assert_eq!(list["servers"].as_array().map(Vec::len), Some(206), "{list}");
    for fault in [
        Fault { fail: Some(500), ..Fault::default() },
        Fault { throttle: true, ..Fault::default() },
        Fault { drop: true, ..Fault::default() },
    ] {
        lab.file("root/etc/resolv.conf", &resolv_conf(&[own_address()]));
        lab.world.clear_requests();
        let only = Some("DescribeInstances".to_owned());
        lab.world.faults().set(Service::Ec2, Fault { only, skip: 1, ..fault.clone() });
        let run = lab.tagalong(&["once", "--deadline", "4s"]).expect_code(0);
        let calls = lab.world.requests(Service::Ec2);
        assert!(calls[0].status == Some(200) && calls.len() > 1, "{fault:?}: {calls:?}");
        let run = run.says(&["the last list is used"]);
        let set = nameservers(&lab.resolv_conf());
        assert_eq!(set, [server.addr().ip().to_string()], "{fault:?}: {run}");
        assert_eq!(known(), list, "{fault:?}: {run}");
    }
}

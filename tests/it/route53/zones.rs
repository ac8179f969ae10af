//! Which hosted zone a name is published in, when there are several, or when what was remembered is wrong.

use sandbox::{instance::DEFAULT_VPC, zone::Zone};

use super::{ID, NAME, publish, values};
use crate::support::Lab;

const OTHER: &str = "Z0OTHER";

/// Two zones of one name, as a split horizon has them.
fn split_horizon() -> Lab {
    let lab = Lab::new();
    for id in [ID, OTHER] {
        lab.world.put_zone(Zone::new(id, "corp.internal"));
    }
    lab
}

#[test]
fn a_zone_id_that_was_changed_is_the_one_that_counts() {
    let lab = split_horizon();
    publish(&lab, "", &format!("zone_id = \"{ID}\""));
    lab.once();
    publish(&lab, "", &format!("zone_id = \"{OTHER}\""));
    lab.once();
    assert_eq!(values(&lab, OTHER, NAME, "A"), ["10.0.1.23"]);
}

#[test]
fn two_backends_with_zones_of_one_name_publish_each_in_its_own() {
    let lab = split_horizon();
    let record = |name: &str, backend: &str| {
        format!("[[record]]\nname = \"{name}.corp.internal\"\nbackend = \"{backend}\"\n")
    };
    let configure = |name: &str| {
        lab.configure(&format!(
            "{}{}[backend.public]\nkind = \"route53\"\nzone_id = \"{ID}\"\n\
             [backend.private]\nkind = \"route53\"\nzone_id = \"{OTHER}\"\n[resolver]\nmanager = \"none\"\n",
            record(name, "public"),
            record(name, "private"),
        ));
    };
    for name in ["one", "two"] {
        configure(name);
        lab.once();
        for id in [ID, OTHER] {
            assert_eq!(
                values(&lab, id, &format!("{name}.corp.internal"), "A"),
                ["10.0.1.23"],
                "{id}"
            );
        }
    }
    for id in [ID, OTHER] {
        assert_eq!(values(&lab, id, "one.corp.internal", "A"), [""; 0], "{id}");
    }
}

#[test]
fn a_remembered_zone_that_is_gone_is_looked_for_again() {
    let lab = Lab::new();
    lab.world.put_zone(Zone::new(ID, "corp.internal").vpc("us-east-1", DEFAULT_VPC));
    publish(&lab, "", "");
    lab.once();
    let state = lab.state();
    assert!(state.contains(ID), "{state}");
    lab.file("state/state.json", &state.replace(ID, "Z0GONE"));
    lab.once().prints(&["1 unchanged"]);
    assert!(lab.state().contains(ID));
}

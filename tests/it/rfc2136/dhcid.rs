//! Names marked by DHCID, in a real BIND and in the sandbox's server, as Kea and ISC DHCP mark theirs.

use crate::{
    authority::Authority,
    support::{Lab, NAME, REVERSE, US, ZONE, web},
};

/// The example of RFC 4701 section 3.6.1: whose it is nobody here can tell.
const THEIRS: &str =
    "TYPE49 \\# 35 000201636fc0b8271c82825bb1ac5c41cf5351aa69b4febd94e8f17cdb95000da48c40";

pub(super) fn publish(lab: &Lab, authority: &Authority, key: &str) {
    let record = "reverse = true\n";
    lab.publish_at(&[authority.addr()], key, record);
    let path = lab.path("config.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    lab.file(
        "config.toml",
        &text.replace("kind = \"rfc2136\"\n", "kind = \"rfc2136\"\nmarker = \"dhcid\"\n"),
    );
}

#[test]
fn a_name_is_made_followed_and_withdrawn_with_its_dhcid() {
    Authority::each(|authority, key| {
        let lab = Lab::new();
        publish(&lab, authority, key);
        lab.once().prints(&["published", "web-1.corp.internal. A 10.0.1.23"]);
        assert_eq!(authority.read(NAME, "A"), ["10.0.1.23"]);
        let marks = [authority.read(NAME, "DHCID"), authority.read(REVERSE, "DHCID")];
        assert!(marks.iter().all(|mark| mark.len() == 1) && marks[0] != marks[1], "{marks:?}");
        assert_eq!(authority.read(NAME, "TXT"), [""; 0]);
        lab.once().prints(&["2 unchanged"]);
        lab.world.update_instance(US, |host| host.move_to([10, 0, 1, 99].into()));
        lab.once();
        assert_eq!(authority.read(NAME, "A"), ["10.0.1.99"]);
        assert_eq!(authority.read(NAME, "DHCID"), marks[0]);
        assert_eq!(authority.read(REVERSE, "DHCID"), [""; 0]);

        // Another instance with the same name sees that it is not its own, whatever marks its own names.
        let other = Lab::with(sandbox::instance::Instance { id: "i-2".to_owned(), ..web() });
        publish(&other, authority, key);
        let blocked =
            "web-1.corp.internal. is left alone: it holds records without an owner marker";
        other.once_fails().says(&[blocked]);
        other.publish_at(&[authority.addr()], key, "reverse = false");
        other.once_fails().says(&[blocked]);
        assert_eq!(authority.read(NAME, "A"), ["10.0.1.99"]);

        lab.tagalong(&["withdraw"]).expect_code(0);
        for kind in ["A", "DHCID", "TXT"] {
            assert_eq!(authority.read(NAME, kind), [""; 0], "{kind}");
        }
    });
}

#[test]
fn a_name_with_another_clients_dhcid_is_left_alone() {
    Authority::each(|authority, key| {
        authority.add(ZONE, &format!("{NAME} 60 A 10.0.9.9"));
        authority.add(ZONE, &format!("{NAME} 60 TXT \"tagalong-owner={US}\""));
        authority.add(ZONE, &format!("{NAME} 60 {THEIRS}"));
        let lab = Lab::new();
        publish(&lab, authority, key);
        lab.once_fails().says(&["web-1.corp.internal. is left alone: it holds records without"]);
        assert_eq!(authority.read(NAME, "A"), ["10.0.9.9"]);
        assert_eq!(authority.read(NAME, "DHCID").len(), 1);
    });
}

#[test]
fn a_name_that_carries_text_from_before_keeps_it() {
    Authority::each(|authority, key| {
        let lab = Lab::new();
        lab.publish_at(&[authority.addr()], key, "reverse = true");
        lab.once();
        let before = authority.read(NAME, "TXT");
        publish(&lab, authority, key);
        lab.once().prints(&["2 unchanged"]);
        lab.world.update_instance(US, |host| host.move_to([10, 0, 1, 99].into()));
        lab.once();
        assert_eq!(authority.read(NAME, "A"), ["10.0.1.99"]);
        assert_eq!((authority.read(NAME, "TXT"), authority.read(NAME, "DHCID").len()), (before, 0));
    });
}

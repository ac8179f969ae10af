//! The role's credentials: read beside the rest of the metadata, kept, and never those of another role.

use std::{sync::Arc, time::Duration};

use aws_credential_types::{Credentials, provider::ProvideCredentials as _};
use sandbox::fault::{Fault, Service};
use tagalong::ec2::{
    credentials::InstanceCredentials,
    imds::{Imds, Patience},
};

use crate::{
    authority::{parsed, tsig_keygen},
    support::{Lab, Started, US, block_on, fleet_server},
};

const LIST: &str = "/2021-07-15/meta-data/iam/security-credentials/";
const PATIENCE: Patience =
    Patience { attempts: 4, limit: Duration::from_millis(300), backoff: Duration::from_millis(20) };

fn credentials(lab: &Lab, role: Option<&str>) -> (Arc<Imds>, Arc<InstanceCredentials>) {
    let imds = Arc::new(Imds::new(&lab.metadata, PATIENCE));
    let credentials = InstanceCredentials::new(imds.clone(), role.map(str::to_owned));
    (imds, Arc::new(credentials))
}

/// The paths that were asked for, but for the session token.
fn asked(lab: &Lab) -> Vec<String> {
    let requests = lab.world.requests(Service::Imds).into_iter();
    let paths = requests.filter(|request| request.method == "GET").map(|request| request.target);
    paths.collect()
}

fn document(role: &str) -> String {
    format!("{LIST}{role}")
}

#[test]
fn credentials_of_the_role_that_was_there_last_are_asked_for_beside_the_list_of_roles() {
    let lab = Lab::new();
    let (imds, credentials) = credentials(&lab, Some("dns-agent"));
    block_on(async {
        imds.prepare().await.unwrap();
        lab.world.faults().set(Service::Imds, Fault { drop: true, ..Fault::default() });
        credentials.prefetch();
        // Nothing is answered, so neither request can have waited for the other's answer.
        while asked(&lab).len() < 2 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let mut paths = asked(&lab);
        paths.sort();
        assert_eq!(paths, [LIST.to_owned(), document("dns-agent")]);
    });
}

#[test]
fn whoever_needs_credentials_waits_for_the_reading_that_is_under_way() {
    let lab = Lab::new();
    let (_, credentials) = credentials(&lab, None);
    block_on(async {
        credentials.prefetch();
        tokio::task::yield_now().await;
        let (one, other) =
            tokio::join!(credentials.provide_credentials(), credentials.provide_credentials());
        assert_eq!(one.unwrap().access_key_id(), other.unwrap().access_key_id());
    });
    assert_eq!(asked(&lab), [LIST.to_owned(), document("dns-agent")]);
    assert_eq!(credentials.role().as_deref(), Some("dns-agent"));
}

#[test]
fn a_role_that_was_replaced_is_not_used_any_more() {
    let lab = Lab::new();
    let (_, credentials) = credentials(&lab, Some("gone"));
    let found: Credentials = block_on(credentials.provide_credentials()).unwrap();
    assert!(!found.access_key_id().is_empty());
    assert_eq!(asked(&lab).last(), Some(&document("dns-agent")));
    assert_eq!(credentials.role().as_deref(), Some("dns-agent"));
}

#[test]
fn credentials_that_end_soon_are_read_again_and_used_to_their_end_if_there_are_no_others() {
    let lab = Lab::new();
    lab.world.set_credential_lifetime(Duration::from_secs(200));
    let (_, credentials) = credentials(&lab, None);
    block_on(async {
        credentials.provide_credentials().await.unwrap();
        let once = asked(&lab).len();
        credentials.provide_credentials().await.unwrap();
        assert!(asked(&lab).len() > once, "{:?}", asked(&lab));
        lab.world.faults().set(Service::Imds, Fault { fail: Some(500), ..Fault::default() });
        credentials.provide_credentials().await.unwrap();
    });
}

#[test]
fn credentials_that_last_are_read_once_and_their_role_is_remembered() {
    let lab = Lab::new();
    let (_, credentials) = credentials(&lab, None);
    block_on(async {
        for _ in 0..3 {
            credentials.provide_credentials().await.unwrap();
        }
    });
    assert_eq!(asked(&lab).len(), 2);
    // A pass that calls AWS, and so waits for its credentials.
    lab.resolve_only("");
    lab.tagalong(&["once", "--deadline", "4s"]);
    let state: serde_json::Value = serde_json::from_str(&lab.state()).unwrap();
    assert_eq!(state["role"], "dns-agent");
}

#[test]
fn an_instance_without_a_role_is_no_failure_while_nobody_needs_one() {
    let lab = Lab::new();
    lab.world.update_instance(US, |host| host.role = None);
    let run = lab.once();
    assert_eq!(run.stderr, "");
}

#[test]
fn no_secret_is_in_the_log_however_much_is_logged() {
    let key = tsig_keygen("hmac-sha256", "agent-key");
    let server = fleet_server(vec![parsed(&key)]);
    let lab = Lab::new();
    lab.list_server(server.addr(), "us-east-1a");
    lab.publish_at(&[server.addr()], &key, "");
    let mut command = lab.command(&["once", "--deadline", "20s"]);
    command.env("RUST_LOG", "trace");
    // Discovery signs with the role's credentials.
    let config = std::fs::read_to_string(lab.path("config.toml")).unwrap();
    lab.file("config.toml", &config.replace("manager = \"none\"", "search = [\"corp.internal\"]"));
    let run = Started::of(command).finish();
    assert!(run.stderr.contains("DescribeInstances") && run.stderr.lines().count() > 50, "{run}");
    let secret = key.split('"').nth(3).unwrap();
    let document = block_on(credentials(&lab, None).1.provide_credentials()).unwrap();
    for (what, text) in [
        ("session token of the metadata", "AQAEA"),
        ("TSIG secret", secret),
        ("secret access key", document.secret_access_key()),
        ("session token of the role", document.session_token().unwrap()),
    ] {
        assert!(
            !run.stderr.contains(text) && !run.stdout.contains(text),
            "the {what} is in the log"
        );
    }
}

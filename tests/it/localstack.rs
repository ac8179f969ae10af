//! tagalong against LocalStack, an emulator of AWS that others wrote; and how far it, and the sandbox, answer as AWS does.

mod fleet;

use std::{process::Command, time::Duration};

use serde_json::Value;

use self::fleet::{Fleet, Sandbox};
pub(crate) use self::fleet::{LIST, LocalStack, python, repository};
use crate::support::Started;

#[test]
fn a_name_and_a_resolver_follow_localstacks_fleet_and_withdraw_takes_back_no_more() {
    let localstack = LocalStack::start();
    let mut fleet = Fleet::seed(&localstack, "127.20");
    let others = fleet.plant_others();
    fleet.publish_in(Some(fleet.zone_id("corp.internal.")));

    fleet.once().prints(&["published", "web-1.corp.internal. A 127.20.1.11", "set"]);
    assert_eq!(fleet.records(), with(&others, &fleet.ours("127.20.1.11", "11.1.20.127")));
    let servers = fleet.nameservers();
    let mut nearest = servers[..2].to_vec();
    nearest.sort();
    assert_eq!(nearest, ["127.20.1.53", "127.20.1.54"], "the zone of web-1 first: {servers:?}");
    assert_eq!(servers[2..], ["127.20.2.53"], "then the other zone");

    let resolv_conf = fleet.resolv_conf();
    let again = fleet.once().prints(&["2 unchanged", "unchanged"]);
    assert!(!again.stdout.contains("published") && !again.stdout.contains(" set"), "{again}");
    fleet.tagalong(&["plan"]).expect_code(0);
    assert_eq!(fleet.records(), with(&others, &fleet.ours("127.20.1.11", "11.1.20.127")));
    assert_eq!(fleet.resolv_conf(), resolv_conf);

    fleet.move_to("127.20.1.99");
    fleet.once().prints(&["published", "web-1.corp.internal. A 127.20.1.99"]);
    assert_eq!(fleet.records(), with(&others, &fleet.ours("127.20.1.99", "99.1.20.127")));

    fleet.tagalong(&["withdraw", "--deadline", "20s"]).expect_code(0).prints(&["withdrew"]);
    assert_eq!(fleet.records(), others);
}

#[test]
fn localstack_tells_the_zones_of_the_vpc_and_the_tags_that_metadata_hide() {
    let localstack = LocalStack::start();
    let mut fleet = Fleet::seed(&localstack, "127.21");
    fleet.hide_tags();
    fleet.publish_in(None);

    let first = fleet.once().prints(&["published", "web-1.corp.internal. A 127.21.1.11", "set"]);
    first.says(&["instance tags were read with ec2:DescribeTags"]);
    assert_eq!(fleet.records(), fleet.ours("127.21.1.11", "11.1.21.127"));
    fleet.once().prints(&["2 unchanged"]);

    fleet.tagalong(&["withdraw", "--deadline", "20s"]).expect_code(0).prints(&["withdrew"]);
    assert_eq!(fleet.records(), Vec::<String>::new());
}

#[test]
fn localstack_is_as_true_to_aws_as_its_table_says() {
    let localstack = LocalStack::start();
    let kind = localstack.server.split(' ').next().unwrap().to_owned();
    answers_as_expected(localstack.python(), &kind, &localstack.endpoint);
}

#[test]
fn the_sandbox_answers_every_question_as_aws_does() {
    let state = fidelity(python(), &["--print-sandbox-state"]).stdout;
    let state: Value = serde_json::from_str(&state).unwrap();
    let sandbox = Sandbox::start(&[], &state, &[]);
    let endpoint = format!("http://{}", sandbox.ready["aws"].as_str().unwrap());
    answers_as_expected(python(), "sandbox", &endpoint);
}

fn answers_as_expected(python: Command, kind: &str, endpoint: &str) {
    fidelity(python, &["--kind", kind, "--endpoint", endpoint]).prints(&["passed, 0 failed"]);
}

fn fidelity(mut python: Command, arguments: &[&str]) -> crate::support::Run {
    python.arg(repository("localstack/fidelity.py")).args(arguments);
    Started::of(python).finish_within(FIDELITY_LIMIT).expect_code(0)
}

fn with(others: &[String], ours: &[String]) -> Vec<String> {
    let mut all = [others, ours].concat();
    all.sort();
    all
}

/// The sandbox's limit of five requests a second makes it half a minute.
const FIDELITY_LIMIT: Duration = Duration::from_secs(180);

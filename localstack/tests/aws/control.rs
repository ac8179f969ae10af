//! The control API.

use std::net::Ipv4Addr;

use sandbox::{fault::Service, instance::Instance, zone::RecordSet};
use serde_json::{Value, json};

use crate::{
    client::{Ask, Reply},
    stage::{Stage, WEB, ZONE, set},
};

fn control(stage: &Stage, method: &str, path: &str, body: &Value) -> Reply {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    Ask::new(method, path).body(body).to(stage.running.control().unwrap())
}

#[test]
fn the_state_shows_everything_and_can_be_put_back() {
    let stage = Stage::new();
    stage.changed(&[("CREATE", set("a.corp.test", "A", &["10.0.0.1"]))]);
    let reply = control(&stage, "GET", "/state", &Value::Null);
    let shown: Value = serde_json::from_str(&reply.body).unwrap();
    assert_eq!(shown["account"]["region"], "us-east-1");
    assert_eq!(shown["instances"][0]["id"], WEB);
    assert_eq!(shown["instances"][0]["interfaces"][0]["private_ipv4s"][0], "10.0.1.23");
    let snapshot = serde_json::from_value::<sandbox::world::Snapshot>(shown).unwrap();
    assert_eq!(snapshot, stage.world.snapshot());
    let copy = sandbox::world::World::from(snapshot);
    assert_eq!(
        copy.find_records(ZONE, "a.corp.test", "A"),
        [RecordSet::new("a.corp.test", "A", 60, &["10.0.0.1"])]
    );
}

#[test]
fn instances_come_change_and_go() {
    let stage = Stage::new();
    let sketch = json!({
        "id": "i-0aaaaaaaaaaaaaaa9",
        "availability_zone": "us-east-1b",
        "interfaces": [{"private_ipv4s": ["10.0.5.6"]}],
        "tags": {"Role": "db"},
    });
    assert_eq!(control(&stage, "PUT", "/instances/i-0aaaaaaaaaaaaaaa9", &sketch).status, 204);
    let expect = Instance::new("i-0aaaaaaaaaaaaaaa9", "us-east-1b", Ipv4Addr::new(10, 0, 5, 6))
        .tag("Role", "db");
    assert_eq!(
        stage.world.instance("i-0aaaaaaaaaaaaaaa9"),
        Some(expect),
        "what is left out is derived"
    );
    let tags = json!({"Role": "dns", "Name": "n"});
    assert_eq!(control(&stage, "PUT", "/instances/i-0aaaaaaaaaaaaaaa9/tags", &tags).status, 204);
    let found = stage.world.instance("i-0aaaaaaaaaaaaaaa9").unwrap().tags;
    assert_eq!(found.get("Role").map(String::as_str), Some("dns"));
    assert_eq!(
        control(&stage, "DELETE", "/instances/i-0aaaaaaaaaaaaaaa9", &Value::Null).status,
        204
    );
    assert_eq!(stage.world.instance("i-0aaaaaaaaaaaaaaa9"), None);
}

#[test]
fn a_wrong_request_changes_nothing_and_says_why() {
    let stage = Stage::new();
    let instance = json!({"id": "i-1", "availability_zone": "a", "interfaces": []});
    let misspelt = json!({"id": "i-1", "availabilityzone": "a", "interfaces": []});
    for (method, path, body, status, word) in [
        ("PUT", "/instances/i-2", &instance, 400, "i-1"),
        ("PUT", "/instances/i-1", &misspelt, 400, "availabilityzone"),
        ("PUT", "/instances/i-404/tags", &json!({}), 404, "i-404"),
        ("DELETE", "/instances/i-404", &Value::Null, 404, "i-404"),
        ("PUT", "/faults/s3", &json!({}), 400, "s3"),
        ("PUT", "/faults/ec2", &json!({"slow": 1}), 400, "slow"),
        ("GET", "/nothing", &Value::Null, 404, "/nothing"),
    ] {
        let reply = control(&stage, method, path, body);
        assert!(reply.status == status && reply.body.contains(word), "{method} {path}: {reply:?}");
    }
    assert_eq!(stage.world.snapshot().instances.len(), 1);
}

#[test]
fn faults_tokens_and_requests_are_in_its_hand() {
    let stage = Stage::new();
    let token = stage.token();
    assert_eq!(
        control(&stage, "PUT", "/faults/imds", &json!({"fail": 500, "requests": 1})).status,
        204
    );
    assert_eq!(Ask::new("GET", "/").to(stage.imds()).status, 500);
    assert_eq!(control(&stage, "PUT", "/faults/imds", &json!({"fail": 500})).status, 204);
    assert_eq!(control(&stage, "DELETE", "/faults", &Value::Null).status, 204);
    let ask = Ask::new("GET", "/").header("X-aws-ec2-metadata-token", token);
    assert_eq!(ask.to(stage.imds()).status, 200);
    assert_eq!(control(&stage, "POST", "/tokens/expire", &Value::Null).status, 204);
    assert_eq!(ask.to(stage.imds()).status, 401);

    let seen: Value =
        serde_json::from_str(&control(&stage, "GET", "/requests", &Value::Null).body).unwrap();
    let statuses: Vec<_> =
        seen["imds"].as_array().unwrap().iter().map(|request| request["status"].clone()).collect();
    assert_eq!(statuses, [200, 500, 200, 401]);
    assert_eq!(seen["imds"][0]["target"], "/latest/api/token");
    assert_eq!(control(&stage, "DELETE", "/requests", &Value::Null).status, 204);
    assert!(stage.world.requests(Service::Imds).is_empty());
}

#[test]
fn a_fault_can_be_had_for_some_requests_and_from_a_later_one_on() {
    let stage = Stage::new();
    let fault = json!({"fail": 500, "only": "meta-data/mac", "skip": 1});
    assert_eq!(control(&stage, "PUT", "/faults/imds", &fault).status, 204);
    let status = |path| stage.metadata(path).status;
    assert_eq!(["/latest/meta-data/mac"; 2].map(status), [200, 500]);
    assert_eq!(status("/latest/meta-data/local-ipv4"), 200);
    assert_eq!(control(&stage, "DELETE", "/faults", &Value::Null).status, 204);
    assert_eq!(status("/latest/meta-data/mac"), 200);
}

#[test]
fn throttling_is_switched_on_and_off() {
    let stage = Stage::new();
    let list = || stage.route53("GET", "hostedzone", "").status;
    assert_eq!(control(&stage, "PUT", "/throttling", &json!(true)).status, 204);
    assert!((0..50).any(|_| list() == 400), "Route 53 takes five requests a second");
    assert_eq!(control(&stage, "PUT", "/throttling", &json!(false)).status, 204);
    assert!((0..50).all(|_| list() == 200));
}

#[test]
fn a_zone_can_be_put_in_whole() {
    let stage = Stage::new();
    let record = json!({"name": "a.new.test", "type": "A", "ttl": 60, "values": ["10.0.0.1"]});
    let zone = json!({"id": "Z9", "name": "New.test", "records": [record]});
    assert_eq!(control(&stage, "PUT", "/zones/Z9", &zone).status, 204);
    let kinds: Vec<_> = stage
        .world
        .records("Z9")
        .into_iter()
        .map(|record| record.name + " " + &record.kind)
        .collect();
    assert_eq!(kinds, ["new.test. NS", "new.test. SOA", "a.new.test. A"]);
}

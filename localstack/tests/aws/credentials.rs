//! Who may call, and who the caller is.

use std::time::Duration;

use sandbox::world::{Account, World};

use crate::{
    client::{Ask, Reply},
    stage::{Stage, WEB, ZONE, form, signed, signed_by, web},
};

const IDENTITY: [(&str, &str); 2] = [("Action", "GetCallerIdentity"), ("Version", "2011-06-15")];

fn with_role() -> (Stage, serde_json::Value) {
    let stage = Stage::new();
    stage.world.put_instance(web().role("dns"));
    let credentials = credentials(&stage);
    (stage, credentials)
}

fn credentials(stage: &Stage) -> serde_json::Value {
    serde_json::from_str(&stage.value("iam/security-credentials/dns").unwrap()).unwrap()
}

fn ask_who(stage: &Stage, key: &str, token: Option<&str>) -> Reply {
    let mut ask = signed_by(Ask::new("POST", "/"), "sts", key).body(form(&IDENTITY));
    if let Some(token) = token {
        ask = ask.header("X-Amz-Security-Token", token);
    }
    ask.to(stage.aws())
}

#[test]
fn a_role_has_credentials_that_stay_the_same() {
    let (stage, first) = with_role();
    assert_eq!(stage.value("iam/security-credentials/").as_deref(), Some("dns"));
    assert_eq!((&first["Code"], &first["Type"]), (&"Success".into(), &"AWS-HMAC".into()));
    assert!(first["AccessKeyId"].as_str().unwrap().starts_with("ASIA"));
    assert!(first["Expiration"].as_str().unwrap().ends_with('Z'));
    assert_eq!(credentials(&stage), first);
    let info: serde_json::Value = serde_json::from_str(&stage.value("iam/info").unwrap()).unwrap();
    assert_eq!(info["InstanceProfileArn"], "arn:aws:iam::123456789012:instance-profile/dns");
    assert_eq!(stage.value("iam/security-credentials/other"), None);
}

#[test]
fn a_role_session_is_known_by_key_and_token_together() {
    let (stage, credentials) = with_role();
    let key = credentials["AccessKeyId"].as_str().unwrap();
    let token = credentials["Token"].as_str().unwrap();
    let reply = ask_who(&stage, key, Some(token));
    assert_eq!(
        reply.text("Arn"),
        Some(format!("arn:aws:sts::123456789012:assumed-role/dns/{WEB}"))
    );
    assert_eq!(reply.text("Account").as_deref(), Some("123456789012"));
    assert!(reply.text("UserId").unwrap().ends_with(WEB));
    for (key, token) in
        [(key, None), (key, Some("made-up")), ("ASIAUNKNOWN", Some(token)), ("AKIAUNKNOWN", None)]
    {
        let reply = ask_who(&stage, key, token);
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (403, "InvalidClientTokenId"),
            "{key} {token:?}"
        );
    }
}

#[test]
fn credentials_expire_and_imds_has_new_ones_by_then() {
    let (stage, old) = with_role();
    stage.world.set_credential_lifetime(Duration::ZERO);
    stage.world.put_instance(web().role("short"));
    let short: serde_json::Value =
        serde_json::from_str(&stage.value("iam/security-credentials/short").unwrap()).unwrap();
    let reply = ask_who(&stage, short["AccessKeyId"].as_str().unwrap(), short["Token"].as_str());
    assert_eq!((reply.status, reply.code().as_str()), (403, "ExpiredToken"));
    let reply = ask_who(&stage, old["AccessKeyId"].as_str().unwrap(), old["Token"].as_str());
    assert_eq!(reply.status, 200, "a session that is still good");
    stage.world.set_credential_lifetime(Duration::from_mins(1));
    let fresh: serde_json::Value =
        serde_json::from_str(&stage.value("iam/security-credentials/short").unwrap()).unwrap();
    assert_ne!(fresh["AccessKeyId"], short["AccessKeyId"]);
}

#[test]
fn an_allowed_key_needs_no_session_token() {
    let stage = Stage::new();
    assert_eq!(
        ask_who(&stage, "test", None).text("Arn").as_deref(),
        Some("arn:aws:iam::123456789012:user/test")
    );
    assert_eq!(ask_who(&stage, "AKIAOPERATOR", None).status, 403);
    stage.world.allow_access_key("AKIAOPERATOR");
    assert_eq!(ask_who(&stage, "AKIAOPERATOR", None).status, 200);
}

#[test]
fn a_request_that_is_not_signed_for_its_service_is_refused_in_the_service_s_own_way() {
    let stage = Stage::new();
    let describe = form(&[("Action", "DescribeInstances"), ("Version", "2016-11-15")]);
    let zone = format!("/2013-04-01/hostedzone/{ZONE}");
    for (ask, service, expect) in [
        (Ask::new("POST", "/").body(describe.clone()), None, (401, "AuthFailure")),
        (Ask::new("POST", "/").body(describe.clone()), Some("route53"), (401, "AuthFailure")),
        (Ask::new("POST", "/").body(form(&IDENTITY)), None, (403, "MissingAuthenticationToken")),
        (Ask::new("GET", &zone), None, (403, "MissingAuthenticationToken")),
        (Ask::new("GET", &zone), Some("ec2"), (403, "SignatureDoesNotMatch")),
    ] {
        let ask = match service {
            Some(service) => signed(ask, service),
            None => ask,
        };
        let reply = ask.to(stage.aws());
        assert_eq!((reply.status, reply.code().as_str()), expect, "{ask:?}");
    }
    let vague = Ask::new("GET", &zone).header("Authorization", "AWS4-HMAC-SHA256 Credential=test");
    assert_eq!(vague.to(stage.aws()).code(), "IncompleteSignature");
}

#[test]
fn a_denied_action_is_refused_in_the_service_s_own_way() {
    let stage = Stage::new();
    stage.world.set_denied_actions(["ec2:Describe*", "route53:ChangeResourceRecordSets", "sts:*"]);
    let reply = stage.ec2(&[("Action", "DescribeInstances"), ("DryRun", "true")]);
    assert_eq!((reply.status, reply.code().as_str()), (403, "UnauthorizedOperation"));
    let reply = stage.change(&[("CREATE", crate::stage::set("a.corp.test", "A", &["10.0.0.1"]))]);
    assert_eq!((reply.status, reply.code().as_str()), (403, "AccessDenied"));
    let message = reply.text("Message").unwrap();
    assert!(
        message.contains("user/test") && message.contains("arn:aws:route53:::hostedzone/Z1"),
        "{message}"
    );
    assert!(stage.records().is_empty());
    assert_eq!(
        stage.route53("GET", "hostedzone/Z1/rrset", "").status,
        200,
        "reading is another action"
    );
    assert_eq!(ask_who(&stage, "test", None).status, 200, "GetCallerIdentity can't be denied");
    stage.world.set_denied_actions([""; 0]);
    assert_eq!(stage.ec2(&[("Action", "DescribeInstances")]).status, 200);
}

#[test]
fn a_role_can_be_assumed_and_used() {
    let stage = Stage::new();
    let reply = stage.sts(&[
        ("Action", "AssumeRole"),
        ("RoleArn", "arn:aws:iam::123456789012:role/ops/admin"),
        ("RoleSessionName", "me"),
    ]);
    assert_eq!(reply.status, 200, "{}", reply.body);
    let key = reply.text("AccessKeyId").unwrap();
    let who = ask_who(&stage, &key, reply.text("SessionToken").as_deref());
    assert_eq!(who.text("Arn").as_deref(), Some("arn:aws:sts::123456789012:assumed-role/admin/me"));
    assert_eq!(stage.sts(&[("Action", "AssumeRole")]).code(), "ValidationError");
    assert_eq!(stage.sts(&[("Action", "GetSessionToken")]).code(), "InvalidAction");
}

#[test]
fn another_partition_shows_everywhere() {
    let account = Account {
        id: "999999999999".into(),
        region: "cn-north-1".into(),
        partition: "aws-cn".into(),
        services_domain: "amazonaws.com.cn".into(),
    };
    let world = World::of(account);
    world.put_instance(web());
    let stage = Stage::of(world);
    assert_eq!(stage.value("services/partition").as_deref(), Some("aws-cn"));
    assert_eq!(stage.value("services/domain").as_deref(), Some("amazonaws.com.cn"));
    assert_eq!(
        stage.value("local-hostname").as_deref(),
        Some("ip-10-0-1-23.cn-north-1.compute.internal")
    );
    assert_eq!(
        ask_who(&stage, "test", None).text("Arn").as_deref(),
        Some("arn:aws-cn:iam::999999999999:user/test")
    );
}

//! What infra/ describes is really made, by moto where LocalStack makes nothing, and hosts live by it: its roles, its tags, its zones, its
//! DNS servers, whose user data are run.

mod stack;

use std::{
    io::Write as _,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::Command,
    time::Duration,
};

use sandbox::{
    imds::Whom,
    instance::{DEFAULT_VPC, Instance},
    running::{Listen, Running},
    world::World,
    zone::Zone,
};
use serde_json::{Value, json};

use self::stack::{Machine, Moto, Network, Shell, boto3, deploy, run};
use crate::{
    authority::{dig, parsed, tsig_keygen},
    localstack::{LocalStack, python, repository},
    support::{ANY_PORT, DNS_PORT, Lab, Started, US, ZONE, fleet_server, own_address, until},
};

#[test]
fn the_demo_is_deployed_and_its_hosts_follow_its_servers_and_are_named_at_them_and_in_its_zone() {
    // What is missing comes from the registries, which are not to be reached from there.
    python();
    let Some(network) = Network::enter("the demo's stack") else { return };
    let moto = Moto::start();
    let shell = Shell::new(&moto);
    moto.boto3(PUT_KEY, &[&shell.key]);
    let package = shell.file("package", "not really a package");
    let sum = Command::new("sha256sum").arg(&package).output().unwrap().stdout;
    let sum = String::from_utf8(sum).unwrap().split(' ').next().unwrap().to_owned();
    let stack = moto.deploy(
        "demo.yaml",
        "demo",
        &[
            "PackageUrl=https://packages.example/tagalong.deb",
            &format!("PackageSha256={sum}"),
            "Network=127.78",
        ],
    );
    let made = moto.boto3(DESCRIBE, &[&stack.to_string()]).json();
    let text = |key: &str| made[key].as_str().unwrap();
    let zone_id = stack["outputs"]["ZoneId"].as_str().unwrap();

    // The metadata of the host and of the servers, which are the stack's instances.
    let world = World::new();
    let mut imds = Vec::new();
    for (id, instance) in made["instances"].as_object().unwrap() {
        let address: Ipv4Addr = instance["address"].as_str().unwrap().parse().unwrap();
        let zone = instance["availability_zone"].as_str().unwrap();
        let role = stack["outputs"]["RoleName"].as_str().unwrap();
        let instance_made = Instance::new(id, zone, address)
            .vpc(stack["outputs"]["VpcId"].as_str().unwrap())
            .metadata_tags()
            .role(role);
        let tags = instance["tags"].as_object().unwrap();
        // moto leaves out what CloudFormation adds.
        let tags =
            tags.iter().map(|(key, value)| (key.clone(), value.as_str().unwrap().to_owned()));
        let tags = tags.chain([("aws:cloudformation:logical-id".to_owned(), "Group".to_owned())]);
        world.put_instance(Instance { tags: tags.collect(), ..instance_made });
        imds.push((ANY_PORT, Whom::Instance(id.clone())));
    }
    let known = made["instances"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let running = Running::start(world.clone(), Listen { imds, ..Listen::default() }).unwrap();
    let imds_of = |id: &str| running.imds()[known.iter().position(|it| it == id).unwrap()];

    // The primary, and each server of the groups, by the user data of their launch templates.
    let port = 10_053;
    network.add("127.78.1.10");
    let at = |address: &str| SocketAddr::new(address.parse().unwrap(), port);
    let primary = Machine::play(&shell, text("primary"), at("127.78.1.10")).serve();
    let machines = made["servers"].as_array().unwrap().iter().map(|id| {
        let id = id.as_str().unwrap();
        let address = made["instances"][id]["address"].as_str().unwrap();
        network.add(address);
        (id.to_owned(), Machine::play(&shell, text("server"), at(address)))
    });
    let machines = machines.collect::<Vec<_>>();
    assert_eq!(machines.len(), 2, "one in each zone");
    let lives = machines.iter().map(|(id, machine)| machine.live(&shell, imds_of(id)));
    let mut lives = lives.collect::<Vec<_>>();
    machines.iter().for_each(|(_, machine)| machine.waits());
    assert!(moto.tagged(DNS_SERVER).is_empty(), "no server is found before it serves");
    let servers = machines.iter().map(|(id, machine)| (id, machine.serve())).collect::<Vec<_>>();
    until("both servers have tagged themselves", || moto.tagged(DNS_SERVER).len() == 2);

    let config = shell.play(text("host"));
    let config = std::fs::read_to_string(config.join("etc/tagalong/config.toml")).unwrap();
    let web = text("web");
    let lab = Lab::new();
    // What is told on a host is searched for the keys that are beside it.
    lab.file("tsig.key", &shell.key);
    let nobody = own_address();
    let (metadata, endpoint) = (imds_of(web), &moto.endpoint);
    let config = config.replace("[discovery]\n", &format!("[discovery]\nport = {port}\n"));
    lab.file(
        "config.toml",
        &format!(
            "{config}[metadata]\nendpoint = \"http://{metadata}\"\n[aws]\nendpoint = \"{endpoint}\"\nvpc_resolver = [\"{nobody}\"]\n"
        ),
    );
    let run = lab.once();
    let run = run.prints(&["published web-1.aws.internal. A", "published web-1.corp.internal. A"]);
    let address = made["instances"][web]["address"].as_str().unwrap();
    for server in [&primary].into_iter().chain(servers.iter().map(|(_, server)| server)) {
        until("the server has the name", || {
            dig(server.addr, "web-1.corp.internal.", "A") == [address]
        });
    }
    let marker = format!("\"tagalong-owner={web}\" \"home=123456789012/us-east-1\"");
    let published = [
        format!("web-1.aws.internal. A 60 {address}"),
        format!("web-1.aws.internal. TXT 60 {marker}"),
    ];
    assert_eq!(moto.records(zone_id), published, "{run}");
    for (_, server) in &servers {
        assert!(lab.resolv_conf().contains(&format!("nameserver {}\n", server.addr.ip())));
    }

    // A server whose group ends it says so before it goes, and is used last from then on.
    let (leaving, server) = (servers[0].0, &servers[0].1);
    world.update_instance(leaving, |it| it.target_lifecycle_state = Some("Terminated".to_owned()));
    lives.remove(0).ends_well();
    assert_eq!(moto.tagged(DRAINING), [leaving.as_str()]);
    let calls = shell.calls();
    assert!(calls.contains("autoscaling complete-lifecycle-action"), "{calls}");
    assert!(calls.contains("cloudformation signal-resource"), "{calls}");
    lab.once();
    let conf = lab.resolv_conf();
    let last = conf.lines().filter_map(|line| line.strip_prefix("nameserver ")).next_back();
    assert_eq!(last.unwrap(), server.addr.ip().to_string(), "{conf}");

    lab.tagalong(&["withdraw"]).expect_code(0);
    assert_eq!(moto.records(zone_id), [""; 0]);
    assert!(dig(primary.addr, "web-1.corp.internal.", "ANY").is_empty());
}

#[test]
fn a_host_lives_by_the_role_that_the_template_makes() {
    let moto = Moto::start();
    for (stack, reverse, parameters) in [
        ("one", false, vec!["HostedZoneId=Z0CORP"]),
        ("both", true, vec!["HostedZoneId=Z0CORP", "ReverseZoneId=Z0REVERSE"]),
        ("tags", false, vec!["HostedZoneId=Z0CORP", "TagsByApi=true"]),
    ] {
        let made = moto.deploy("agent-role.yaml", stack, &parameters);
        let role = made["outputs"]["RoleName"].as_str().unwrap();
        let policy = moto.boto3(POLICY, &[role]).stdout;
        let hides_tags = stack == "tags";
        let host = Instance { metadata_tags: !hides_tags, ..crate::support::web() };
        let lab = Lab::with(host.role(role));
        lab.world.put_zone(Zone::new("Z0CORP", ZONE).vpc("us-east-1", DEFAULT_VPC));
        let reverse_zone = Zone::new("Z0REVERSE", "10.in-addr.arpa");
        lab.world.put_zone(reverse_zone.vpc("us-east-1", DEFAULT_VPC));
        lab.world.set_policy(&policy).unwrap();
        lab.configure(&format!(
            "[[record]]\nname = \"{{tag:Name}}.{ZONE}\"\nreverse = {reverse}\n[backend.aws]\nkind = \"route53\"\nzone_id = \"Z0CORP\"\n\
             [resolver]\nmanager = \"none\"\n"
        ));
        lab.once().prints(&["published"]);
        lab.world.update_instance(US, |host| host.move_to([10, 0, 1, 99].into()));
        lab.once().prints(&["published"]);
        // Its rights end with its names, types and zones.
        let config = std::fs::read_to_string(lab.path("config.toml")).unwrap();
        lab.file("config.toml", &config.replace(&format!("}}.{ZONE}"), "}.elsewhere.example"));
        lab.once_fails();
        lab.file("config.toml", &config);
        lab.tagalong(&["withdraw"]).expect_code(0);
    }
}

#[test]
fn localstack_makes_the_same_role_of_the_template() {
    let localstack = LocalStack::start();
    if !localstack.server.starts_with("localstack") {
        let text = "NOT RUN: a stack at LocalStack, for which moto stands in here";
        return writeln!(std::io::stderr(), "{text}").unwrap();
    }
    let parameters = [
        "HostedZoneId=Z0CORP",
        "ReverseZoneId=Z0REVERSE",
        "KeyParameter=/tagalong/tsig",
        "KeyOfParameter=arn:aws:kms:us-east-1:123456789012:key/one",
        "TagsByApi=true",
        "NearestFirst=true",
    ];
    let moto = Moto::start();
    let template = "agent-role.yaml";
    let there = deploy(localstack.python(), &localstack.endpoint, template, "role", &parameters);
    let here = moto.deploy(template, "role", &parameters);
    let role = |made: &Value| made["outputs"]["RoleName"].as_str().unwrap().to_owned();
    let policy = run(localstack.python(), &localstack.endpoint, POLICY, &[&role(&there)]).stdout;
    let parsed = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    assert_eq!(
        parsed(&policy.replace(":000000000000:", ":123456789012:")),
        parsed(&moto.boto3(POLICY, &[&role(&here)]).stdout)
    );
    assert!(policy.contains("kms:Decrypt"), "{policy}");
}

#[test]
fn a_host_with_dns_servers_of_its_own_lives_by_the_role_too() {
    let moto = Moto::start();
    let parameters = ["KeyParameter=/tagalong/tsig", "NearestFirst=true"];
    let made = moto.deploy("agent-role.yaml", "keys", &parameters);
    let role = made["outputs"]["RoleName"].as_str().unwrap();
    let policy = moto.boto3(POLICY, &[role]).stdout;
    let key = tsig_keygen("hmac-sha256", "agent-key");
    let server = fleet_server(vec![parsed(&key)]);
    let lab = Lab::with(crate::support::web().role(role));
    lab.list_server(server.addr(), "us-east-1a");
    for name in ["/tagalong/tsig", "/tagalong/other"] {
        lab.world.put_parameter(name, &key);
    }
    lab.world.set_policy(&policy).unwrap();
    lab.file("root/etc/resolv.conf", "");
    let configure = |parameter: &str| {
        lab.configure(&format!(
            "[[record]]\nname = \"{{tag:Name}}.{ZONE}\"\n[backend.internal]\nkind = \"rfc2136\"\n\
             key_parameter = \"{parameter}\"\n[discovery]\nport = {DNS_PORT}\nvalue = \"{ZONE}\"\n\
             [resolver]\nsearch = [\"{ZONE}\"]\nprefer = [\"x.{ZONE}\"]\n"
        ));
    };
    configure("/tagalong/tsig");
    let run = lab.once().prints(&["published web-1.corp.internal. A"]);
    assert!(!run.stderr.contains("does not let"), "{run}");
    assert_eq!(dig(server.addr(), "web-1.corp.internal.", "A"), ["10.0.1.23"]);
    configure("/tagalong/other");
    lab.world.update_instance(US, |host| host.move_to([10, 0, 1, 99].into()));
    lab.once_fails().says(&["does not let this instance call ssm:GetParameter"]);
    for action in ["route53:", "ec2:DescribeTags", "kms:"] {
        assert!(!policy.contains(action), "{policy}");
    }
}

#[test]
fn a_dns_server_tags_instances_of_its_stack_as_servers_of_its_domain_and_does_nothing_else() {
    let moto = Moto::start();
    let network = moto.boto3(MAKE_VPC, &[]).json();
    let given = [("Vpc", "vpc"), ("SubnetA", "a"), ("SubnetB", "b")];
    let [vpc, a, b] = given.map(|(name, key)| format!("{name}={}", network[key].as_str().unwrap()));
    let made = moto.deploy("dns-servers.yaml", "dns", &[&vpc, &a, &b, "Primary=10.20.0.10"]);
    let role = made["resources"]["Role"]["id"].as_str().unwrap();
    let lab = Lab::with(crate::support::web().tag(OF_STACK, made["stack"].as_str().unwrap()));
    let put = |id: &str, tags: &[(&str, &str)]| {
        let other = Instance::new(id, "us-east-1a", [10, 0, 2, 2].into());
        lab.world.put_instance(tags.iter().fold(other, |it, (key, value)| it.tag(key, value)));
    };
    put(ELSEWHERE, &[(OF_STACK, "another")]);
    put(ALONE, &[]);
    lab.world.set_policy(&moto.boto3(POLICY, &[role]).stdout).unwrap();
    let attempts = [
        ("done", "create_tags", vec![US], json!({DNS_SERVER: ZONE})),
        ("done", "create_tags", vec![US], json!({DRAINING: "true"})),
        (REFUSED, "create_tags", vec![US], json!({DNS_SERVER: "elsewhere.example"})),
        (REFUSED, "create_tags", vec![US], json!({"Name": "web-9"})),
        (REFUSED, "create_tags", vec![US], json!({DRAINING: "true", "Name": "web-9"})),
        (REFUSED, "create_tags", vec![ELSEWHERE], json!({DNS_SERVER: ZONE})),
        (REFUSED, "create_tags", vec![US, ELSEWHERE], json!({DRAINING: "true"})),
        (REFUSED, "create_tags", vec![ALONE], json!({DRAINING: "true"})),
        (REFUSED, "delete_tags", vec![US], json!({DNS_SERVER: ZONE})),
        (REFUSED, "delete_tags", vec![US], json!({})),
    ];
    let expected = attempts.iter().map(|(expected, ..)| *expected).collect::<Vec<_>>();
    let calls = attempts.iter().map(|(_, call, ids, tags)| json!([call, ids, tags]));
    let calls = calls.collect::<Value>();
    let said = boto3(&lab.aws, TAG, &[&calls.to_string()]).stdout;
    assert_eq!(said.lines().collect::<Vec<_>>(), expected, "{calls:#}");
    let tags = lab.world.instance(US).unwrap().tags;
    assert_eq!((tags[DNS_SERVER].as_str(), tags["Name"].as_str()), (ZONE, "web-1"));
}

#[test]
fn zones_of_the_template_are_the_vpcs_own_and_stay_when_the_stack_goes() {
    let moto = Moto::start();
    let made = moto.boto3(MAKE_VPC, &[]).json();
    let vpc = made["vpc"].as_str().unwrap();
    let reverse = "ReverseDomain=20.10.in-addr.arpa";
    let made = moto.deploy("private-zone.yaml", "zones", &[&format!("Vpc={vpc}"), reverse]);
    let zones = moto.boto3(ZONES, &[vpc]).stdout;
    for (name, id) in [("corp.internal.", "ZoneId"), ("20.10.in-addr.arpa.", "ReverseZoneId")] {
        let id = made["outputs"][id].as_str().unwrap();
        assert!(zones.contains(&format!("{name} {id} private\n")), "{zones}");
    }
    let template =
        std::fs::read_to_string(repository("infra/cloudformation/private-zone.yaml")).unwrap();
    assert_eq!(template.matches("DeletionPolicy: RetainExceptOnCreate").count(), 2);
}

#[test]
fn cfn_lint_has_nothing_to_say_of_the_templates() {
    let templates = std::fs::read_dir(repository("infra/cloudformation")).unwrap();
    let lint = python().get_program().to_owned();
    let mut command = Command::new(Path::new(&lint).with_file_name("cfn-lint"));
    command.args(templates.map(|entry| entry.unwrap().path()));
    Started::of(command).finish_within(Duration::from_secs(240)).expect_code(0);
}

#[test]
fn terraforms_modules_give_the_same_rights_and_run_the_same_shell_as_the_templates() {
    let mut command = python();
    command.arg(repository("tests/it/infra/same.py")).arg(Path::new(env!("CARGO_MANIFEST_DIR")));
    let path = std::env::var_os("PATH").unwrap_or_default();
    command.env("PATH", path);
    let run = Started::of(command).finish_within(Duration::from_secs(240)).expect_code(0);
    // past what the test runner keeps of a test that passes
    let not_run = run.stdout.lines().filter(|line| line.starts_with("NOT RUN"));
    not_run.for_each(|it| writeln!(std::io::stderr(), "{it}").unwrap());
    run.prints(&[
        "agent-role: the same statements for 48 sets of parameters",
        "demo: the same shells",
    ]);
}

const DNS_SERVER: &str = "tagalong:dns-server";
const DRAINING: &str = "tagalong:draining";
const OF_STACK: &str = "aws:cloudformation:stack-id";
/// An instance of another stack, and one of none.
const ELSEWHERE: &str = "i-0bbbbbbbbbbbbbbb2";
const ALONE: &str = "i-0ccccccccccccccc3";
const REFUSED: &str = "UnauthorizedOperation";
const PUT_KEY: &str = r#"
import sys, seed
endpoint, key = sys.argv[1:]
seed.client("ssm", endpoint).put_parameter(Name="/tagalong/tsig", Type="SecureString", Value=key)
"#;
/// What the stack's launch templates and instances are.
const DESCRIBE: &str = r#"
import base64, json, sys, seed
endpoint, stack = sys.argv[1], json.loads(sys.argv[2])
ec2, there = seed.client("ec2", endpoint), stack["resources"]
def user_data(template):
    versions = ec2.describe_launch_template_versions(LaunchTemplateId=template["id"])["LaunchTemplateVersions"]
    return base64.b64decode(versions[0]["LaunchTemplateData"]["UserData"]).decode()
groups = seed.client("autoscaling", endpoint).describe_auto_scaling_groups()["AutoScalingGroups"]
servers = [it["InstanceId"] for group in groups for it in group["Instances"]]
web = there["Web1"]["id"]
instances = {}
for reservation in ec2.describe_instances(InstanceIds=[web, *servers])["Reservations"]:
    for it in reservation["Instances"]:
        instances[it["InstanceId"]] = {"address": it["PrivateIpAddress"], "availability_zone": it["Placement"]["AvailabilityZone"],
                                       "tags": {tag["Key"]: tag["Value"] for tag in it["Tags"]}}
print(json.dumps({"primary": user_data(there["PrimaryTemplate"]), "server": user_data(there["Servers"]["resources"]["Template"]),
                  "host": user_data(there["HostTemplate"]), "web": web, "servers": servers, "instances": instances}))
"#;
/// moto keeps a null for what `AWS::NoValue` takes away.
const POLICY: &str = r#"
import ast, json, sys, seed
endpoint, role = sys.argv[1:]
iam = seed.client("iam", endpoint)
(name,) = iam.list_role_policies(RoleName=role)["PolicyNames"]
policy = iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
policy = ast.literal_eval(policy) if isinstance(policy, str) else policy
def without_nothing(it):
    if isinstance(it, list):
        return [without_nothing(one) for one in it if one is not None]
    if isinstance(it, dict):
        return {key: without_nothing(one) for key, one in it.items() if one is not None}
    return it
print(json.dumps(without_nothing(policy)))
"#;
/// Tries each call, with its resources and tags, and says what came of it.
const TAG: &str = r#"
import json, sys, seed
from botocore.exceptions import ClientError
endpoint, calls = sys.argv[1:]
ec2 = seed.client("ec2", endpoint)
for call, ids, tags in json.loads(calls):
    try:
        getattr(ec2, call)(Resources=ids, Tags=seed.listed(tags))
        print("done")
    except ClientError as error:
        print(error.response["Error"]["Code"])
"#;
/// A network with two subnets.
const MAKE_VPC: &str = r#"
import json, sys, seed
ec2 = seed.client("ec2", sys.argv[1])
made = {"vpc": ec2.create_vpc(CidrBlock="10.20.0.0/16")["Vpc"]["VpcId"]}
for at, zone in enumerate("ab"):
    where = {"VpcId": made["vpc"], "CidrBlock": f"10.20.{at}.0/24", "AvailabilityZone": f"{seed.REGION}{zone}"}
    made[zone] = ec2.create_subnet(**where)["Subnet"]["SubnetId"]
print(json.dumps(made))
"#;
const ZONES: &str = r#"
import sys, seed
endpoint, vpc = sys.argv[1:]
route53 = seed.client("route53", endpoint)
for it in route53.list_hosted_zones_by_vpc(VPCId=vpc, VPCRegion=seed.REGION)["HostedZoneSummaries"]:
    zone = route53.get_hosted_zone(Id=it["HostedZoneId"])["HostedZone"]
    print(it["Name"], it["HostedZoneId"], "private" if zone["Config"]["PrivateZone"] else "public")
"#;

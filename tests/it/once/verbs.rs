//! The other verbs: `plan`, `status`, `config`, `completions`, `man`; JSON, usage, exit codes.

use sandbox::fault::Service;

use super::{DROP, Whole, whole};
use crate::support::{DNS_PORT, Lab, NAME, Run, US, ZONE, fleet_server};

#[test]
fn plan_shows_what_would_change_and_why_and_sends_nothing() {
    let whole = whole();
    let before = whole.lab.resolv_conf();
    let run = whole.lab.tagalong(&["plan"]).expect_code(2).prints(&[
        "zone corp.internal. at ",
        "(TSIG agent-key.)",
        "+ web-1.corp.internal. A 10.0.1.23 60 s",
        "+ 23.1.0.10.in-addr.arpa. PTR web-1.corp.internal. 60 s",
        "the name was vacant",
        &format!("- nameserver {}", whole.silent.addr().ip()),
        &format!("+ nameserver {}", whole.server.addr().ip()),
        "4 changes in 2 zones, 0 names unchanged, nothing blocked, resolv.conf would be set; nothing was sent",
    ]);
    assert_eq!(run.stderr, "");
    assert_eq!(whole.server.updates(), 0);
    assert_eq!(whole.lab.resolv_conf(), before);
    assert!(!whole.is_published());

    whole.lab.once();
    whole
        .lab
        .tagalong(&["plan"])
        .expect_code(0)
        .prints(&["0 changes in 0 zones, 2 names unchanged"]);

    whole.lab.world.update_instance(US, |host| host.move_to([10, 0, 1, 99].into()));
    whole.lab.tagalong(&["plan"]).expect_code(2).prints(&[
        "* web-1.corp.internal. A 10.0.1.23 → 10.0.1.99 60 s",
        "- 23.1.0.10.in-addr.arpa. PTR web-1.corp.internal.",
        "published before, not wanted now",
    ]);
}

#[test]
fn plan_fails_when_a_name_is_blocked_or_something_cannot_be_read() {
    let blocked = whole();
    blocked.lab.once();
    blocked.server.zones().delete(NAME, None);
    blocked.server.zones().add("web-1.corp.internal. 60 A 10.0.9.9").unwrap();
    blocked.lab.tagalong(&["plan"]).expect_code(1).prints(&[
        "! web-1.corp.internal. is left alone: it holds records without an owner marker",
        "1 blocked",
    ]);
    // Whatever else would change: a pass would fail.
    blocked.lab.file("root/etc/resolv.conf", "");
    let run = blocked.lab.tagalong(&["plan"]).expect_code(1);
    run.prints(&["1 blocked, resolv.conf would be set"]).says(&[
        "error: web-1.corp.internal. is left alone: it holds records without an owner marker",
        "hint: ",
        "troubleshooting.md#names",
    ]);
    let silent = whole();
    silent.lab.world.set_denied_actions(["ec2:*"]);
    silent
        .lab
        .tagalong(&["plan"])
        .expect_code(1)
        .prints(&["nothing blocked, what depends on 2 errors is not known"])
        .says(&["error: EC2 does not let this instance call"]);
}

#[test]
fn plan_in_json_is_read_by_a_program() {
    let whole = whole();
    let plan = whole.lab.tagalong(&["plan", "--json"]).expect_code(2).json();
    let changes = plan["changes"].as_array().unwrap();
    let address = changes.iter().find(|change| change["type"] == "A").unwrap();
    assert_eq!(address["name"], NAME);
    assert_eq!(address["zone"], "corp.internal.");
    assert_eq!(address["before"], serde_json::Value::Null);
    assert_eq!(address["after"]["values"][0], "10.0.1.23");
    assert!(plan["resolv_conf"]["after"].as_str().unwrap().contains("nameserver"));
}

#[test]
fn once_in_json_is_read_by_a_program_also_when_it_fails() {
    let whole = whole();
    let report = whole.lab.tagalong(&["once", "--json"]).expect_code(0).json();
    assert_eq!(report["ok"], true);
    assert_eq!(report["instance_id"], US);
    assert_eq!(report["nameservers"][0], whole.server.addr().ip().to_string());
    assert_eq!(report["registered"][0]["backend"], "internal");
    std::fs::remove_file(whole.lab.path("tsig.key")).unwrap();
    let report = whole.lab.tagalong(&["once", "--json"]).expect_code(1).json();
    assert_eq!(report["ok"], false);
    assert!(report["failures"][0]["error"].as_str().unwrap().contains("no key file"), "{report}");
}

#[test]
fn status_tells_what_is_published_which_servers_are_in_use_and_who_owns_the_resolver() {
    let whole = whole();
    whole.lab.tagalong(&["status"]).expect_code(0).prints(&["published     nothing"]);
    whole.lab.once();
    whole.lab.list_server(whole.silent.addr(), "us-east-1b");
    whole.lab.once();
    let (server, silent) = (whole.server.addr(), whole.silent.addr());
    whole.lab.tagalong(&["status"]).expect_code(0).prints(&[
        "published     web-1.corp.internal. by internal",
        &format!("server        {server} in use: answered in"),
        &format!("server        {silent} not in use: silent to 2 queries · zone us-east-1b"),
        &format!("resolv.conf   {}\n", server.ip()),
        "owner         resolv-conf because: resolv.conf is a plain file · it carries our marker",
    ]);
    let status = whole.lab.tagalong(&["status", "--json"]).expect_code(0).json();
    assert_eq!(status["instance_id"], US);
    let names: Vec<_> =
        status["published"].as_array().unwrap().iter().map(|one| one["name"].clone()).collect();
    assert_eq!(names, ["23.1.0.10.in-addr.arpa.", NAME]);
    assert_eq!(status["resolver"]["up_to_date"], true);
    assert_eq!(status["servers"].as_array().unwrap().len(), 2);
}

#[test]
fn status_says_how_old_each_input_is_and_how_the_last_pass_went() {
    let whole = whole();
    let never = whole.lab.tagalong(&["status"]).expect_code(0);
    never.prints(&[
        "metadata not since the boot · tags not since the boot · list of servers not since the boot",
        "last pass     none since the boot",
    ]);
    whole.lab.once();
    let file = whole.lab.path("run/last-pass.json");
    let mut pass: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    for input in ["at", "metadata", "tags", "servers"] {
        pass[input] = (pass[input].as_u64().unwrap() - 1000).into();
    }
    std::fs::write(&file, pass.to_string()).unwrap();
    let ages = |status: &serde_json::Value| {
        let age = |input: &str| status["inputs"][input].as_u64().unwrap() >= 1000;
        [age("metadata"), age("tags"), age("servers")]
    };
    let status = whole.lab.tagalong(&["status", "--json"]).expect_code(0).json();
    assert_eq!(ages(&status), [true; 3]);
    assert!(status["last_pass"]["age"].as_u64().unwrap() >= 1000);
    assert_eq!(status["last_pass"]["ok"], true);

    // What a pass could not read keeps its age.
    whole.lab.world.set_denied_actions(["ec2:*"]);
    whole.lab.once();
    let status = whole.lab.tagalong(&["status", "--json"]).expect_code(0).json();
    assert_eq!(ages(&status), [false, false, true]);
    let summary = status["last_pass"]["summary"].as_str().unwrap();
    assert!(summary.contains("internal: 2 unchanged · resolvers"), "{summary}");

    whole.lab.file("tsig.key", "nonsense");
    whole.lab.once_fails();
    whole.lab.tagalong(&["status"]).expect_code(0).prints(&["s ago, failed: internal: failed"]);
}

#[test]
fn a_run_directory_that_cannot_be_written_is_said_and_is_no_failure() {
    let whole = whole();
    whole.lab.file("run", "in the way");
    whole
        .lab
        .once()
        .says(&["note: `status` will not know of this pass: ", "/run cannot be written"]);
    assert!(whole.is_published());
}

#[test]
fn status_needs_neither_metadata_nor_aws() {
    let mut whole = whole();
    whole.lab.once();
    whole.lab.metadata = "http://127.0.0.1:9".to_owned();
    whole.lab.aws = "http://127.0.0.1:9".to_owned();
    whole.publish_at(&format!("[\"{}\"]", whole.server.addr()), "tsig.key");
    whole.lab.world.clear_requests();
    whole.lab.tagalong(&["status"]).expect_code(0).prints(&["published     web-1.corp.internal."]);
}

#[test]
fn status_beside_a_broken_configuration_says_what_needs_none() {
    let whole = whole();
    whole.lab.once();
    let config = std::fs::read_to_string(whole.lab.path("config.toml")).unwrap();
    whole.lab.file("config.toml", &format!("{config}serach = 1\n"));
    let server = whole.server.addr().ip();
    whole.lab.tagalong(&["status"]).expect_code(1).says(&["no such key `resolver.serach`"]).prints(&[
        "published     web-1.corp.internal. by internal, ",
        &format!("resolv.conf   {server} (without a configuration it is not known whether that is right)"),
        "last pass     ",
    ]);
    let status = whole.lab.tagalong(&["status", "--json"]).expect_code(1).json();
    assert_eq!(status["resolver"]["up_to_date"], serde_json::Value::Null);
    assert_eq!(status["published"][1]["name"], NAME);
    // A memory that cannot be read is not an empty one.
    whole.lab.file("config.toml", &config);
    whole.lab.file("state/state.json", "{");
    whole.lab.tagalong(&["status"]).prints(&["published     not known: the memory cannot be read"]);
}

#[test]
fn status_says_what_the_last_pass_did_whoever_configured_it_and_wherever_the_servers_are() {
    for by_tags in [false, true] {
        let whole = whole();
        let others = ["us-east-1b", "us-east-1c", "us-east-1d"].map(|zone| {
            let server = fleet_server(Vec::new());
            whole.lab.list_server(server.addr(), zone);
            server
        });
        if by_tags {
            whole.lab.configure(&format!("[discovery]\nport = {DNS_PORT}\n"));
            whole.tag("tagalong:resolver.search", ZONE);
        }
        whole.lab.once();
        let says = |run: &Run| {
            assert!(!run.stdout.contains("out of date"), "{run}");
            let first = run.stdout.lines().find(|line| line.starts_with("server  "));
            assert!(first.unwrap().contains(&whole.server.addr().to_string()), "{run}");
        };
        says(&whole.lab.tagalong(&["status"]).expect_code(0));
        if !by_tags {
            // Where the metadata are silent it is known from before where this host is.
            whole.lab.world.faults().set(Service::Imds, DROP);
            says(&whole.lab.tagalong(&["status"]).expect_code(0));
        }
        drop(others);
    }
}

#[test]
fn servers_are_asked_for_the_domain_of_the_names_where_nothing_else_is_configured() {
    let whole = whole();
    let config = std::fs::read_to_string(whole.lab.path("config.toml")).unwrap();
    whole.lab.file("config.toml", &config.replace(&format!("search = [\"{ZONE}\"]"), ""));
    whole.lab.once();
    assert!(whole.is_resolving());
}

#[test]
fn who_takes_something_back_beside_an_agent_is_told_that_it_will_not_last() {
    let whole = whole();
    whole.lab.once();
    hold_agent(&whole);
    let told = ["the agent runs", "systemctl stop tagalong"];
    whole.lab.tagalong(&["withdraw"]).expect_code(0).says(&told);
}

#[test]
fn restore_beside_an_agent_changes_nothing_since_what_was_found_would_be_lost() {
    let whole = whole();
    whole.lab.once();
    let (ours, found) = (whole.lab.resolv_conf(), whole.lab.path("state/resolv.conf.found"));
    hold_agent(&whole);
    let told = ["the agent runs", "systemctl stop tagalong", "troubleshooting.md#resolver"];
    whole.lab.tagalong(&["restore"]).expect_code(1).says(&told);
    assert_eq!(whole.lab.resolv_conf(), ours);
    assert!(found.exists());
}

/// Takes the agent's lock for as long as this process lives.
fn hold_agent(whole: &Whole) {
    let lock = whole.lab.file("run/agent.lock", "");
    let file = std::fs::File::open(lock).unwrap();
    file.lock().unwrap();
    std::mem::forget(file);
}

#[test]
fn config_show_says_each_value_and_where_it_comes_from() {
    let whole = whole();
    whole.lab.world.update_instance(US, |host| {
        host.tags.insert("tagalong:discovery.refresh".into(), "90s".into());
        host.tags.insert("tagalong:discovery.refesh".into(), "90s".into());
    });
    let misspelt = "note: the tag `tagalong:discovery.refesh` sets nothing";
    whole.lab.tagalong(&["config", "check"]).expect_code(0).says(&[misspelt]);
    let file = whole.lab.path("config.toml");
    let run = whole.lab.tagalong(&["config", "show"]).expect_code(0);
    let row = |key: &str| {
        let row = run.stdout.lines().find(|line| line.starts_with(&format!("{key} = ")));
        row.unwrap_or_else(|| panic!("no {key} in {run}"))
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(row("version"), format!("version = 1 # {}:1:1", file.display()));
    assert_eq!(row("record[0].ttl"), "record[0].ttl = 60 # default");
    assert_eq!(
        row("discovery.refresh"),
        "discovery.refresh = \"90s\" # tag tagalong:discovery.refresh"
    );
    let rows = whole.lab.tagalong(&["config", "show", "--json"]).expect_code(0).json();
    assert!(rows.as_array().unwrap().iter().any(|row| row["key"] == "record[0].name"));
}

#[test]
fn config_check_opens_the_files_of_keys() {
    let whole = whole();
    let check = |code| whole.lab.tagalong(&["config", "check"]).expect_code(code);
    let key = std::fs::read_to_string(whole.lab.path("tsig.key")).unwrap();
    let (config, file) = (whole.lab.path("config.toml"), whole.lab.path("tsig.key"));
    let (config, file) = (config.display(), file.display());
    let half = &key[..key.find("secret").unwrap()];
    whole.lab.file("tsig.key", half);
    let run =
        check(1).says(&[&format!("error: {config}:"), &format!("{file} holds no usable key")]);
    assert_eq!(run.stdout, "");
    std::fs::remove_file(whole.lab.path("tsig.key")).unwrap();
    check(1).says(&[&format!("there is no key file {file}")]);

    let mode = |mode| {
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(whole.lab.file("tsig.key", &key), permissions).unwrap();
    };
    mode(0o600);
    assert_eq!(check(0).stderr, "");
    mode(0o644);
    check(0)
        .says(&[&format!("note: the key file {file} can be read by everybody; `chmod 600` it")]);
    mode(0o660);
    check(0).says(&["can be changed by others than its owner"]);
}

#[test]
fn config_check_in_json_is_read_by_a_program() {
    let whole = whole();
    let check = |code| whole.lab.tagalong(&["config", "check", "--json"]).expect_code(code).json();
    let good = check(0);
    assert_eq!(good["ok"], true);
    assert_eq!((&good["records"], &good["backends"]), (&1.into(), &1.into()));
    assert_eq!(good["errors"].as_array().unwrap().len(), 0);
    let file = whole.lab.file("config.toml", "version = 1\n[discovery]\nport = \"x\"\n");
    let bad = check(1);
    assert_eq!(bad["ok"], false);
    assert_eq!(bad["errors"][0]["origin"], format!("{}:3:8", file.display()));
    assert_eq!(bad["errors"][0]["what"], "`discovery.port` is not a whole number, such as 53");
}

#[test]
fn a_file_that_is_no_toml_is_not_told_to_lack_its_version() {
    let whole = whole();
    let file = whole.lab.file("config.toml", "version = 1\n[discovery]\nrefresh = \"soo");
    let run = whole.lab.tagalong(&["config", "check"]).expect_code(1);
    assert!(run.stderr.starts_with(&format!("error: {}:3:", file.display())), "{run}");
    assert_eq!(run.stderr.matches("error:").count(), 1, "{run}");
}

#[test]
fn output_that_cannot_be_written_is_a_failure_unless_nobody_reads_it() {
    let whole = whole();
    let onto = |verb: &[&str], out: std::process::Stdio| {
        let child =
            whole.lab.command(verb).stdout(out).stderr(std::process::Stdio::piped()).spawn();
        child.unwrap().wait_with_output().unwrap()
    };
    for verb in
        [&["config", "show"][..], &["plan"], &["man"], &["completions", "bash"], &["--help"]]
    {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = onto(verb, full.into());
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{verb:?}: {said}");
        let expected = "error: cannot write to standard output: No space left on device";
        assert!(said.contains(expected), "{verb:?}: {said}");

        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = onto(verb, writer.into());
        assert_ne!(output.status.code(), Some(1), "{verb:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{verb:?}");
    }
}

#[test]
fn config_check_says_everything_that_is_wrong_with_line_and_column() {
    let whole = whole();
    whole.lab.tagalong(&["config", "check"]).expect_code(0).prints(&["1 record(s), 1 backend(s)"]);
    let file = whole.lab.file("config.toml", "version = 1\n[discovery]\ntags = 1\nport = \"x\"\n");
    let file = file.display();
    let run = whole.lab.tagalong(&["config", "check"]).expect_code(1);
    run.says(&[
        &format!("error: {file}:3:1: no such key `discovery.tags`"),
        &format!("error: {file}:4:8: `discovery.port` is not a whole number"),
    ]);
    whole.lab.once_fails().says(&[":3:1: no such key"]);
}

#[test]
fn a_configuration_that_is_named_must_be_there() {
    let lab = Lab::new();
    std::fs::remove_file(lab.path("config.toml")).unwrap();
    lab.once_fails().says(&["config.toml:1:1: there is no such file"]);
}

#[test]
fn wrong_usage_is_exit_64_and_help_is_exit_0() {
    let lab = Lab::new();
    for arguments in [
        &["frobnicate"][..],
        &[],
        &["once", "--deadline"],
        &["once", "--deadline", "soon"],
        &["once", "--frob"],
        &["config"],
        &["completions", "tcsh"],
    ] {
        let run = lab.tagalong(arguments).expect_code(64);
        assert_eq!(run.stdout, "", "{arguments:?}: {run}");
    }
    for arguments in [&["--help"][..], &["--version"], &["once", "--help"]] {
        let run = lab.tagalong(arguments).expect_code(0);
        assert!(run.stdout.contains("tagalong") && run.stderr.is_empty(), "{run}");
    }
}

#[test]
fn what_a_pass_remembers_is_for_its_user_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let whole = whole();
    whole.lab.once();
    let mode =
        |path: &str| std::fs::metadata(whole.lab.path(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("state"), mode("state/state.json")), (0o700, 0o600));
}

#[test]
fn completions_and_the_manual_page_know_the_verbs() {
    let lab = Lab::new();
    for shell in ["bash", "zsh", "fish"] {
        let run = lab.tagalong(&["completions", shell]).expect_code(0);
        run.prints(&["tagalong", "withdraw", "deadline"]);
    }
    lab.tagalong(&["man"]).expect_code(0).prints(&[".TH tagalong 8", "withdraw"]);
    for page in [&["man"][..], &["man", "tagalong.toml"]] {
        let run = lab.tagalong(page).expect_code(0);
        assert!(!run.stdout.contains('`'), "{run}");
    }
}

#[test]
fn nothing_is_coloured_where_nobody_sees_it() {
    let whole = whole();
    for arguments in [&["plan"][..], &["once"], &["status"]] {
        let run = whole.lab.tagalong(arguments);
        assert!(!run.stdout.contains('\u{1b}') && !run.stderr.contains('\u{1b}'), "{run}");
    }
}

#[test]
fn a_verb_that_only_looks_leaves_the_state_directory_as_it_was() {
    let content = |lab: &Lab| {
        let mut files: Vec<_> = std::fs::read_dir(lab.path("state"))
            .into_iter()
            .flatten()
            .map(|entry| entry.unwrap().path())
            .map(|path| (path.clone(), std::fs::read(path).unwrap()))
            .collect();
        files.sort();
        (lab.path("state").exists(), files)
    };
    let prepare: [fn(&Lab); 3] = [
        |_| (),
        |lab| std::fs::create_dir_all(lab.path("state")).unwrap(),
        |lab| _ = lab.file("state/state.json", "{"),
    ];
    for (is_broken, prepare) in [false, false, true].into_iter().zip(prepare) {
        for verb in [&["plan"][..], &["status"], &["config", "check"], &["config", "show"]] {
            let whole = whole();
            prepare(&whole.lab);
            let before = content(&whole.lab);
            let run = whole.lab.tagalong(verb);
            assert_eq!(content(&whole.lab), before, "{verb:?}: {run}");
            let says = "cannot be read";
            let uses_it = verb[0] != "config";
            assert_eq!(run.stderr.contains(says), is_broken && uses_it, "{verb:?}: {run}");
        }
    }
}

#[test]
fn a_plan_needs_no_list_of_servers_where_the_backend_has_its_own() {
    let whole = whole();
    whole.lab.world.faults().set(Service::Ec2, DROP);
    let run = whole.lab.tagalong(&["plan"]).expect_code(1);
    run.prints(&["+ web-1.corp.internal."]).says(&["ec2:DescribeInstances"]);
}

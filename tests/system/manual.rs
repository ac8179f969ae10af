//! The manual's commands, run as they are written: those of docs/servers/ beside the real server, all others for a host on one that was
//! booted, page by page.

pub(crate) mod pages;

use std::{fs, path::Path, process::Command};

use self::pages::{blocks, root};
use crate::{
    bind::missing,
    lab::{FIRST_ADDRESS, KEY, NAME, PRIMARY, can_run, say, until},
    machine::{Machine, Shape},
};

#[test]
fn the_page_of_bind_is_as_it_says() {
    page("bind.md");
}

#[test]
fn the_page_of_knot_is_as_it_says() {
    page("knot.md");
}

#[test]
fn the_page_of_powerdns_is_as_it_says() {
    page("powerdns.md");
}

#[test]
fn the_page_of_route_53_is_as_it_says() {
    page("route53.md");
}

#[test]
fn each_page_of_a_server_has_a_test() {
    let source = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file!())).unwrap();
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/servers")).unwrap() {
        let name = entry.unwrap().file_name();
        assert!(source.contains(&format!("page({name:?});")), "{name:?}");
    }
}

#[test]
fn the_page_of_localstack_is_as_it_says() {
    let Some(told) = run("localstack.py", &[]) else { return };
    assert!(told.ends_with("localstack/README.md: as it is written\n"), "{told}");
}

#[cfg(feature = "gssapi")]
#[test]
fn the_page_of_active_directory_is_as_samba_says() {
    page("active-directory.md");
}

#[test]
fn a_dns_server_is_replaced_by_the_runbook_without_one_failed_look_up() {
    let Some(told) = run("runbook.py", &[]) else { return };
    let last = told.lines().next_back().unwrap();
    assert!(last.starts_with("respawn.md: ") && last.contains(" look-ups, 0 failed, "), "{told}");
    say(last);
}

fn page(name: &str) {
    let Some(told) = run("page.py", &[name]) else { return };
    assert!(told.ends_with(&format!("{name}: as it is written\n")), "{told}");
}

/// What a script of this folder printed, which makes namespaces of its own.
fn run(script: &str, arguments: &[&str]) -> Option<String> {
    if !can_run(&format!("{script} {}", arguments.join(" "))) {
        return None;
    }
    let here = std::env::current_exe().unwrap();
    let sandbox = here.ancestors().nth(2).unwrap().join("sandbox");
    assert!(sandbox.exists(), "{} is missing: cargo build --package sandbox", sandbox.display());
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/system/manual");
    let mut command = Command::new("python3");
    command.arg(folder.join(script)).args(arguments).arg(env!("CARGO_BIN_EXE_tagalong"));
    command.arg(sandbox);
    command.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    let output = command.output().unwrap_or_else(|error| missing("python3", &error));
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script} {arguments:?}: {told}{errors}");
    Some(told)
}

/// The pages with commands for a host, and the hosts that follow them, in an order in which they can: the last one removes the package.
const PAGES: [(Shape, &[&str]); 4] = [
    (
        Shape::Debian,
        &[
            // beside a configuration that is right
            "docs/troubleshooting.md",
            "README.md",
            "docs/iam.md",
            "docs/security.md",
            "docs/logs.md",
            "docs/resolver/files.md",
            "docs/respawn.md",
            "docs/install.md",
        ],
    ),
    (Shape::Ubuntu, &["docs/resolver/systemd-resolved.md"]),
    (Shape::NetworkManager, &["docs/resolver/networkmanager.md"]),
    (Shape::Openresolv, &["docs/resolver/resolvconf.md"]),
];

#[test]
fn each_page_with_commands_for_a_host_has_one_that_follows_it() {
    let mut followed = PAGES.iter().flat_map(|(_, pages)| *pages).copied().collect::<Vec<_>>();
    followed.sort_unstable();
    assert_eq!(pages_for_hosts(), followed);
}

#[test]
fn what_the_pages_say_works_on_debian_to_the_end() {
    let Some(machine) = follow(Shape::Debian) else { return };
    let left = "ls /usr/bin/tagalong /etc/systemd/system/multi-user.target.wants/tagalong.service";
    assert!(!machine.run(left).status.success(), "the last page removes it");
}

#[test]
fn readmes_three_commands_bring_the_agent_to_a_host_that_has_none() {
    let Some(machine) = bare(Shape::Debian12, "README's three commands") else { return };
    let version = env!("CARGO_PKG_VERSION");
    machine.fetch("tagalong.deb", &format!("/root/tagalong_{version}_amd64.deb"));
    for block in blocks("README.md").iter().filter(|block| block.has("host")) {
        machine.ask(&format!("set -e\ncd /root\n{}", block.text));
    }
    is_at_work(&machine);
    assert_eq!(machine.ask("stat --format=%a /etc/tagalong/tsig.key").trim(), "600");
}

#[test]
fn the_bare_program_and_a_clone_do_too() {
    let Some(machine) = bare(Shape::Debian, "the bare program") else { return };
    machine.fetch("tagalong", "/usr/bin/tagalong");
    machine.ask("chmod 755 /usr/bin/tagalong");
    for block in blocks("docs/install.md").iter().filter(|block| block.has("bare")) {
        machine.ask(&format!("set -e\ncd /root\n{}", block.text));
    }
    machine.ask("cd /root && install -D --mode=600 --target-directory=/etc/tagalong config.toml tsig.key && systemctl enable --now tagalong");
    is_at_work(&machine);
    machine.vpc.move_host(std::net::Ipv4Addr::new(10, 66, 0, 150));
    until("the hook reports the lease", || {
        machine.ask("cat /run/tagalong/hook/* 2>/dev/null || :").contains("10.66.0.150")
    });
}

/// A host without tagalong, which has README's configuration, a key and a clone's packaging in /root.
fn bare(shape: Shape, test: &str) -> Option<Machine> {
    if !shape.can_boot(test) {
        return None;
    }
    let mut machine = Machine::bare(shape);
    for folder in ["hooks", "systemd"] {
        for entry in fs::read_dir(root().join("packaging").join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let short = path.strip_prefix(root()).unwrap().display().to_string();
            machine.put(&format!("/root/{short}"), &fs::read_to_string(&path).unwrap());
        }
    }
    let readme = blocks("README.md");
    let config = readme.iter().find(|block| block.has("file=config.toml")).unwrap();
    // Its addresses are of another VPC.
    let ours = config.text.replace("\"10.0.0.2\", \"10.0.1.2\"", &format!("\"{PRIMARY}\""));
    assert_ne!(ours, config.text);
    machine.put("/root/config.toml", &ours);
    machine.put("/root/tsig.key", KEY);
    machine.vpc.list(PRIMARY);
    machine.boot();
    assert!(!machine.run("command -v tagalong").status.success());
    Some(machine)
}

fn is_at_work(machine: &Machine) {
    let is_published = || machine.vpc.published(NAME) == [FIRST_ADDRESS.to_string()];
    until("the name is published", is_published);
    until("the resolver is set", || machine.uses(PRIMARY));
    assert_eq!(machine.ask("systemctl is-enabled tagalong").trim(), "enabled");
}

#[test]
fn what_the_page_of_systemd_resolved_says_works_on_ubuntus_shape() {
    follow(Shape::Ubuntu);
}

#[test]
fn what_the_page_of_networkmanager_says_works_on_red_hats_shape() {
    follow(Shape::NetworkManager);
}

#[test]
fn what_the_page_of_resolvconf_says_works_with_openresolv() {
    follow(Shape::Openresolv);
}

/// A machine that has followed its pages.
fn follow(shape: Shape) -> Option<Machine> {
    let pages = PAGES.iter().find(|(of, _)| *of == shape).unwrap().1;
    if !shape.can_boot(&format!("commands of {}", pages.join(", "))) {
        return None;
    }
    let mut machine = Machine::new(shape, "");
    machine.vpc.list(PRIMARY);
    machine.boot();
    until("the resolver is set", || machine.uses(PRIMARY));
    machine.ask(&format!(
        "test ! -e /root/tagalong.deb || cp /root/tagalong.deb /root/tagalong_{}_amd64.deb",
        env!("CARGO_PKG_VERSION")
    ));
    machine.ask(&format!("cat > /root/tsig.key << 'END OF FILE'\n{KEY}END OF FILE\n"));
    for page in pages {
        for block in blocks(page) {
            let is_toml = block.language == "toml";
            let file = block.words.iter().find_map(|word| word.strip_prefix("file="));
            if let Some(file) = file.filter(|file| is_toml && !file.contains('/')) {
                let text = &block.text;
                machine.ask(&format!("cat > /root/{file} << 'END OF FILE'\n{text}END OF FILE\n"));
            }
        }
        for block in blocks(page) {
            if block.is_shell() && block.has("host") && !block.has("bare") {
                let output = machine.run(&format!("set -e\ncd /root\n{}", block.text));
                assert!(output.status.success(), "{page}:\n{}\n{output:?}", block.text);
            }
        }
    }
    Some(machine)
}

/// All pages beside docs/servers/ that have commands for a host, sorted.
fn pages_for_hosts() -> Vec<String> {
    let mut pages = pages::pages();
    pages.retain(|page| {
        let is_for_hosts = blocks(page).iter().any(|block| block.is_shell() && block.has("host"));
        is_for_hosts && !page.starts_with("docs/servers/")
    });
    pages
}

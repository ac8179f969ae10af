//! The manual's commands, run as they are written: those of docs/servers/ beside the real server, all others for a host on one that was
//! booted, page by page.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    bind::missing,
    lab::{KEY, PRIMARY, can_run, say, until},
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
            "README.md",
            "docs/iam.md",
            "docs/security.md",
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
        "cp /root/tagalong.deb /root/tagalong_{}_amd64.deb",
        env!("CARGO_PKG_VERSION")
    ));
    machine.ask(&format!("cat > /root/tsig.key << 'END OF FILE'\n{KEY}END OF FILE\n"));
    for page in pages {
        for block in blocks(page) {
            let file = block.words.iter().find_map(|word| word.strip_prefix("file="));
            if let Some(file) = file.filter(|file| block.language == "toml" && !file.contains('/'))
            {
                let text = &block.text;
                machine.ask(&format!("cat > /root/{file} << 'END OF FILE'\n{text}END OF FILE\n"));
            }
        }
        for block in blocks(page) {
            if block.language == "sh" && block.words.iter().any(|word| word == "host") {
                let output = machine.run(&format!("set -e\ncd /root\n{}", block.text));
                assert!(output.status.success(), "{page}:\n{}\n{output:?}", block.text);
            }
        }
    }
    Some(machine)
}

struct Block {
    language: String,
    words: Vec<String>,
    text: String,
}

/// The fenced blocks of a page of the repository.
fn blocks(page: &str) -> Vec<Block> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(page)).unwrap();
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(info) = line.strip_prefix("```") else { continue };
        let mut words = info.split_whitespace().map(str::to_owned);
        let language = words.next().unwrap_or_default();
        let inside = lines.by_ref().take_while(|line| !line.starts_with("```"));
        let text = inside.map(|line| line.to_owned() + "\n").collect();
        blocks.push(Block { language, words: words.collect(), text });
    }
    blocks
}

/// All pages beside docs/servers/ that have commands for a host, sorted.
fn pages_for_hosts() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders: Vec<PathBuf> = vec![root.join("docs")];
    let mut pages = vec!["README.md".to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let short = path.strip_prefix(root).unwrap().display().to_string();
            if path.is_dir() && short != "docs/servers" {
                folders.push(path);
            } else if Path::new(&short).extension().is_some_and(|it| it == "md") {
                pages.push(short);
            }
        }
    }
    pages.retain(|page| {
        let mut commands = blocks(page).into_iter().filter(|block| block.language == "sh");
        commands.any(|block| block.words.iter().any(|word| word == "host"))
    });
    pages.sort();
    pages
}

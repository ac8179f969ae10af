//! The packages in clean trees, without systemd: what they put where, what is kept by an upgrade, and that removal leaves the host as it was.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use tempfile::TempDir;

use crate::{
    bind::missing,
    lab::{Ends, FIRST_ADDRESS, INTERFACE, KEY, Namespace, PRIMARY, ROUTER, Vpc, say, until},
    manual::pages::blocks,
    package::{self, build},
};

/// A clean tree, on a VPC's network.
struct Tree {
    vpc: Vpc,
    network: Namespace,
    root: PathBuf,
    dir: TempDir,
}

impl Tree {
    /// Nothing if there is none here; says so.
    fn new(root: &str, test: &str) -> Option<Self> {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("system-roots").join(root);
        if !rustix::process::geteuid().is_root() || !root.with_file_name("stamp").exists() {
            say(&format!(
                "NOT RUN: {test} needs root, and the trees that tests/system/make-roots makes"
            ));
            return None;
        }
        let network = Namespace::new("tree");
        let vpc = Vpc::new(&network);
        network.ip(&["link", "set", INTERFACE, "up"]);
        network.ip(&["addr", "add", &format!("{FIRST_ADDRESS}/24"), "dev", INTERFACE]);
        network.ip(&["route", "add", "default", "via", &ROUTER.to_string()]);
        vpc.list(PRIMARY);
        let dir = tempfile::tempdir().unwrap();
        for folder in ["disk", "work", "root", "packages"] {
            fs::create_dir(dir.path().join(folder)).unwrap();
        }
        Some(Self { vpc, network, root, dir })
    }

    fn packages(&self) -> PathBuf {
        self.dir.path().join("packages")
    }

    /// A shell's command in the tree, which sees the packages in /mnt.
    fn run(&self, script: &str) -> Output {
        self.mounted("exec chroot \"$2\"/root sh -ec \"$3\"", script)
    }

    /// A shell's command beside the tree, which is `$TREE`.
    #[track_caller]
    fn outside(&self, script: &str) -> String {
        let output = self.mounted("export TREE=\"$2\"/root; exec sh -ec \"$3\"", script);
        told(script, &output)
    }

    fn mounted(&self, how: &str, script: &str) -> Output {
        let prepare = "mount --make-rprivate /
            mount -t overlay -o lowerdir=\"$1\",upperdir=\"$2\"/disk,workdir=\"$2\"/work none \"$2\"/root
            mount -t proc proc \"$2\"/root/proc
            mount --rbind /dev \"$2\"/root/dev
            mount --bind \"$2\"/packages \"$2\"/root/mnt";
        let mut command = Command::new("unshare");
        command.args(["--mount", "--pid", "--fork", "--kill-child", "sh", "-ec"]);
        command.arg(format!("{prepare}\n{how}")).arg("sh");
        command.args([&self.root, self.dir.path()]).arg(script);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").stdin(Stdio::null());
        let output = self.network.inside(|| command.output());
        let output = output.unwrap_or_else(|error| missing("unshare", &error));
        for told in [&output.stdout, &output.stderr] {
            self.vpc.tells_no_secret(script, &String::from_utf8_lossy(told));
        }
        output
    }

    #[track_caller]
    fn ask(&self, script: &str) -> String {
        told(script, &self.run(script))
    }

    /// Every file, link and directory with its owner, mode and content, but for what the package managers themselves keep.
    fn everything(&self) -> Vec<String> {
        let listing = self.ask(
            "find / -xdev \\( -path /proc -o -path /dev -o -path /mnt -o -path /tmp -o -path /var/lib/dpkg -o -path /var/lib/rpm \
             -o -path /var/cache -o -path /var/log -o -path /usr/lib/sysimage -o -path /root/.rpmdb \\) -prune -o -printf '%y %m %U:%G %p %l\\n' | sort
             find /etc /usr/lib/systemd /run /var/lib/dhcp -xdev -type f -exec md5sum {} + | sort --key=2",
        );
        listing.lines().map(str::to_owned).collect()
    }

    /// What resolv.conf holds after the ISC client was told these DNS servers with a lease.
    fn lease(&self, servers: &str) -> String {
        self.ask(&format!(
            "env reason=RENEW interface={INTERFACE} new_ip_address={FIRST_ADDRESS} old_ip_address={FIRST_ADDRESS} \
             new_subnet_mask=255.255.255.0 new_routers={ROUTER} new_domain_name=ec2.internal \
             new_domain_name_servers='{servers}' /sbin/dhclient-script; cat /etc/resolv.conf"
        ))
    }

    /// The fleet's configuration.
    fn configure(&self) {
        let etc = self.dir.path().join("disk/etc/tagalong");
        fs::create_dir_all(&etc).unwrap();
        fs::write(etc.join("config.toml"), self.vpc.config("")).unwrap();
        fs::write(etc.join("tsig.key"), KEY).unwrap();
    }
}

/// What a command that must succeed printed.
#[track_caller]
fn told(script: &str, output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {}\n{text}{errors}", output.status);
    text
}

const ENTER_HOOK: &str = "/etc/dhcp/dhclient-enter-hooks.d/zz-tagalong";

#[test]
fn debians_package_leaves_bookworm_as_it_was() {
    debian_package("bookworm");
}

#[test]
fn debians_package_leaves_trixie_as_it_was() {
    debian_package("trixie");
}

fn debian_package(release: &str) {
    let Some(tree) = Tree::new(&format!("clean-{release}"), "the package's life") else { return };
    build("deb", "0.1.0", &tree.packages().join("old.deb"));
    build("deb", "0.1.1", &tree.packages().join("new.deb"));
    let theirs = tree.lease("192.0.2.1 192.0.2.2");
    assert!(theirs.contains("nameserver 192.0.2.1\n"), "{theirs}");
    let clean = tree.everything();

    tree.ask("dpkg --install /mnt/old.deb");
    assert_eq!(tree.ask("dpkg --verify tagalong"), "");
    let owner =
        |path: &str| tree.ask(&format!("stat --format='%U:%G %a' {path}")).trim().to_owned();
    // NetworkManager-dispatcher(8): root's, not writable for others, not setuid; networkd-dispatcher asks for the same.
    for script in [
        "/usr/lib/NetworkManager/dispatcher.d/90-tagalong",
        "/usr/lib/networkd-dispatcher/routable.d/90-tagalong",
        "/usr/lib/networkd-dispatcher/no-carrier.d/90-tagalong",
        "/usr/lib/networkd-dispatcher/off.d/90-tagalong",
    ] {
        assert_eq!(owner(script), "root:root 755", "{script}");
    }
    // Sourced, and chosen by run-parts(8)'s rules for names.
    for hook in [ENTER_HOOK, "/etc/dhcp/dhclient-exit-hooks.d/tagalong"] {
        assert_eq!(owner(hook), "root:root 644", "{hook}");
        let (folder, name) = hook.rsplit_once('/').unwrap();
        assert!(tree.ask(&format!("run-parts --list {folder}")).contains(name), "{hook}");
    }
    assert_eq!(owner("/etc/tagalong"), "root:root 755");
    assert_eq!(
        tree.ask("tagalong --version").trim(),
        format!("tagalong {}", env!("CARGO_PKG_VERSION"))
    );
    tree.ask("tagalong --config /usr/share/doc/tagalong/examples/config.toml config check");
    assert_eq!(
        tree.lease("192.0.2.1 192.0.2.2"),
        theirs,
        "without a configuration nothing changes"
    );

    tree.configure();
    tree.ask("tagalong once 2>&1");
    let ours = tree.ask("cat /etc/resolv.conf");
    assert!(ours.contains(&format!("nameserver {PRIMARY}\n")), "{ours}");
    // As an agent says that it runs.
    tree.ask(&format!("mkdir --parents /run/tagalong/hook; touch /run/tagalong/resolver; echo '# the fleet was here' >> {ENTER_HOOK}"));
    assert_eq!(tree.lease("192.0.2.9"), ours, "the hooks keep dhclient away");
    assert!(tree.ask(&format!("cat /run/tagalong/hook/{INTERFACE}:4")).contains("reason=RENEW"));

    tree.ask("dpkg --install /mnt/new.deb < /dev/null");
    assert_eq!(tree.ask("dpkg-query --show --showformat='${Version}' tagalong"), "0.1.1");
    assert_eq!(tree.ask("cat /etc/resolv.conf"), ours, "an upgrade does not touch the resolver");
    assert!(tree.ask(&format!("tail --lines=1 {ENTER_HOOK}")).contains("the fleet was here"));

    tree.ask("dpkg --remove tagalong");
    assert_eq!(tree.ask("cat /etc/resolv.conf"), theirs);
    assert_eq!(
        tree.lease("192.0.2.9"),
        theirs.replace("192.0.2.1\nnameserver 192.0.2.2", "192.0.2.9")
    );
    assert_eq!(tree.lease("192.0.2.1 192.0.2.2"), theirs);
    assert_eq!(tree.ask("test -e /run/tagalong || echo gone"), "gone\n");

    // The configuration is the fleet's.
    tree.ask(
        "dpkg --purge tagalong; test -e /etc/tagalong/config.toml; rm --recursive /etc/tagalong",
    );
    assert_same(&tree.everything(), &clean);

    // Another package takes the place of this one, and gives it back: nothing ends, and nothing is lost when the first one is purged.
    let wants = "/etc/systemd/system/multi-user.target.wants";
    let standing = format!("cat /etc/resolv.conf; ls /var/lib/tagalong {wants}");
    tree.ask("dpkg --install /mnt/new.deb");
    tree.configure();
    tree.ask(&format!(
        "tagalong once 2>&1; mkdir --parents {wants}; ln --symbolic /usr/lib/systemd/system/tagalong.service {wants}/"
    ));
    let used = tree.ask(&standing);
    assert!(used.contains("resolv.conf.found") && used.contains("tagalong.service"), "{used}");
    tree.ask(
        "cd /tmp; dpkg-deb --raw-extract /mnt/new.deb other; rm --recursive other/usr/share/doc other/usr/share/lintian
        sed --in-place 's/^Package: .*/Package: tagalong-kerberos/; s/tagalong-kerberos$/tagalong/' other/DEBIAN/control
        sed --in-place 's/^Package: .*/Package: tagalong-kerberos/' other/DEBIAN/control
        dpkg-deb --build -Znone other other.deb; dpkg --auto-deconfigure --install other.deb",
    );
    assert_eq!(tree.ask(&standing), used);
    tree.ask("dpkg --purge tagalong");
    assert_eq!(tree.ask(&standing), used);
    assert!(tree.ask(&format!("cat {ENTER_HOOK}")).contains("make_resolv_conf"));
    tree.ask("dpkg --auto-deconfigure --install /mnt/new.deb; dpkg --purge tagalong-kerberos");
    assert_eq!(tree.ask(&standing), used);
    tree.ask(&format!(
        "rm --recursive /tmp/other*; dpkg --remove tagalong; ! ls {wants}/tagalong.service"
    ));
    assert_eq!(tree.ask("cat /etc/resolv.conf"), theirs);
    tree.ask(&format!(
        "rm --recursive /etc/tagalong/*; dpkg --purge tagalong; rmdir --ignore-fail-on-non-empty {wants}"
    ));

    // Purged at once, as configuration managers do it, while the resolver is set.
    tree.ask("dpkg --install /mnt/new.deb");
    tree.configure();
    tree.ask("tagalong once 2>&1; rm --recursive /etc/tagalong/*; dpkg --purge tagalong");
    assert_same(&tree.everything(), &clean);

    // What could not be given back is not thrown away, even so.
    tree.ask("dpkg --install /mnt/new.deb");
    tree.configure();
    tree.ask(
        "mkdir /var/lib/systemd/timers; touch /var/lib/systemd/timers/stamp-tagalong-reap.timer",
    );
    let told = tree.ask(
        "tagalong once 2>&1; rm --recursive /etc/tagalong/*
        mount --bind /etc/resolv.conf /etc/resolv.conf; mount --options remount,bind,ro /etc/resolv.conf
        dpkg --purge tagalong 2>&1; umount /etc/resolv.conf; rm --recursive /run/mount",
    );
    let said = "the resolver could not be given back; what it was is in: /var/lib/tagalong/resolv.conf.found \n";
    assert!(told.contains(said), "{told}");
    assert_eq!(
        tree.ask("rmdir /var/lib/systemd/timers; ls /var/lib/tagalong"),
        "resolv.conf.found\n"
    );
    assert_eq!(tree.ask("cat /var/lib/tagalong/resolv.conf.found"), theirs);
    // The package again, and the way back is there.
    tree.ask("dpkg --install /mnt/new.deb; tagalong restore; dpkg --purge tagalong");
    assert_same(&tree.everything(), &clean);
}

#[test]
fn the_rpm_package_leaves_the_host_as_it_was() {
    let Some(tree) = Tree::new("clean-bookworm", "the RPM package's life") else { return };
    build("rpm", "0.1.0", &tree.packages().join("old.rpm"));
    build("rpm", "0.1.1", &tree.packages().join("new.rpm"));
    let theirs = tree.lease("192.0.2.1 192.0.2.2");
    let rpm = |arguments: &str| {
        let packages = tree.packages();
        let script = format!("rpm --root \"$TREE\" --dbpath /var/lib/rpm {arguments}");
        tree.outside(&script.replace("/mnt/", &format!("{}/", packages.display())))
    };
    rpm("--initdb");
    let clean = tree.everything();

    rpm("--nodeps --install /mnt/old.rpm");
    let told = rpm("--verify --nodeps tagalong");
    assert_eq!(told, "", "each file as the package has it");
    let modes = rpm(
        "--query --queryformat '[%{FILENAMES} %{FILEUSERNAME}:%{FILEGROUPNAME} %{FILEMODES:perms}\\n]' tagalong",
    );
    for (path, mode) in [
        ("/usr/lib/NetworkManager/dispatcher.d/90-tagalong", "-rwxr-xr-x"),
        // Red Hat's dhclient-script sources those that are executable.
        ("/etc/dhcp/dhclient-exit-hooks.d/tagalong.sh", "-rwxr-xr-x"),
        ("/usr/lib/systemd/system/tagalong.service", "-rw-r--r--"),
    ] {
        assert!(modes.contains(&format!("{path} root:root {mode}\n")), "{path}: {modes}");
    }
    tree.configure();
    tree.ask("tagalong once 2>&1");
    let ours = tree.ask("cat /etc/resolv.conf");
    assert!(ours.contains(&format!("nameserver {PRIMARY}\n")), "{ours}");
    rpm("--nodeps --upgrade /mnt/new.rpm");
    assert_eq!(rpm("--query --queryformat '%{VERSION}' tagalong"), "0.1.1");
    assert_eq!(tree.ask("cat /etc/resolv.conf"), ours, "an upgrade does not touch the resolver");
    rpm("--erase tagalong");
    assert_eq!(tree.ask("cat /etc/resolv.conf"), theirs);
    // What RPM never takes: the fleet's configuration, and what the host remembered.
    tree.ask("rm --recursive /etc/tagalong /var/lib/tagalong");
    assert_same(&tree.everything(), &clean);
}

#[test]
fn a_package_is_the_same_bytes_with_another_umask_time_zone_and_folder_a_second_later() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    for kind in ["deb", "rpm"] {
        let [one, other] = dirs.each_ref().map(|dir| dir.path().join(format!("tagalong.{kind}")));
        build(kind, "0.1.0", &one);
        let program = one.with_file_name("tagalong");
        std::thread::sleep(std::time::Duration::from_millis(1100));
        let script =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging").join(kind).join("build");
        let mut command = Command::new("sh");
        command.args(["-ec", "umask 077; exec \"$@\"", "sh"]).arg(script).args([&program, &other]);
        command.env("TZ", "Asia/Kathmandu").env("LC_ALL", "C").env("VERSION", "0.1.0");
        let output = command.envs(package::SETTINGS).current_dir("/").output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let [one, other] = [one, other].map(|package| fs::read(package).unwrap());
        assert!(one == other, "the .{kind} differs from build to build");
    }
}

#[test]
fn there_is_no_package_without_the_licences_of_what_is_in_it() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("cargo"), "#!/bin/sh\nexit 1\n").unwrap();
    let mut chmod = Command::new("chmod");
    assert!(chmod.arg("755").arg(dir.path().join("cargo")).status().unwrap().success());
    for kind in ["deb", "rpm"] {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("packaging/{kind}/build"));
        let package = dir.path().join(kind);
        let mut command = Command::new(script);
        command.arg(env!("CARGO_BIN_EXE_tagalong")).arg(&package);
        let path = std::env::var("PATH").unwrap();
        command.env("PATH", format!("{}:{path}", dir.path().display())).envs(package::SETTINGS);
        assert!(!command.output().unwrap().status.success() && !package.exists(), "{kind}");
    }
}

#[test]
fn what_the_manual_fetches_from_a_release_is_installed_if_it_is_what_was_released() {
    let mut seen = 0;
    for block in blocks("docs/install.md").into_iter().filter(|block| block.has("web")) {
        let root = if block.text.contains("dnf") { "al2023" } else { "debian" };
        let Some(tree) = Tree::new(root, "the commands that fetch a release") else { return };
        let _github = release(&tree);
        // The trees have no sudo, and of Red Hat's only rpm.
        let script = format!(
            "sudo() {{ \"$@\"; }}; dnf() {{ test \"$1 $2\" = 'install --assumeyes'; rpm --upgrade \"$3\"; }}
             export CURL_CA_BUNDLE=/mnt/certificate; mkdir -p /root/here; cd /root/here\n{}",
            block.text
        );
        let is_there = || tree.run("test -e /usr/bin/tagalong").status.success();
        let all = fs::read_dir(tree.packages()).unwrap().map(|entry| entry.unwrap().path());
        let released = all.filter(|path| path.display().to_string().contains("/packages/tagalong"));
        let released = released.map(|path| (fs::read(&path).unwrap(), path)).collect::<Vec<_>>();
        for (content, path) in &released {
            fs::write(path, [content.as_slice(), b"x"].concat()).unwrap();
        }
        let spoilt = tree.run(&script);
        assert!(!spoilt.status.success() && !is_there(), "{}: {spoilt:?}", block.place);
        let told = String::from_utf8_lossy(&spoilt.stderr);
        assert!(told.contains("computed checksum did NOT match"), "{}: {told}", block.place);
        for (content, path) in &released {
            fs::write(path, content).unwrap();
        }
        tree.ask(&script);
        let version = tree.ask("tagalong --version");
        assert_eq!(version.trim(), concat!("tagalong ", env!("CARGO_PKG_VERSION")));
        seen += 1;
    }
    assert_eq!(seen, 3);
}

/// Releases this build's packages and program at a github.com that the tree finds, and whose certificate is in /mnt.
fn release(tree: &Tree) -> Ends {
    let (packages, version) = (tree.packages(), env!("CARGO_PKG_VERSION"));
    build("deb", version, &packages.join(format!("tagalong_{version}_amd64.deb")));
    build("rpm", version, &packages.join(format!("tagalong-{version}-1.x86_64.rpm")));
    fs::rename(
        packages.join("tagalong"),
        packages.join(format!("tagalong-{version}-x86_64-linux")),
    )
    .unwrap();
    // As packaging/release does.
    let sums = ["-ec", "cd \"$1\"; sha256sum -- tagalong* > SHA256SUMS", "sh"];
    assert!(Command::new("sh").args(sums).arg(&packages).status().unwrap().success());
    let subject = ["-subj", "/CN=github.com", "-addext", "subjectAltName=DNS:github.com"];
    let (certificate, key) = (packages.join("certificate"), tree.dir.path().join("key"));
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "rsa:2048", "-noenc", "-days", "1"]).args(subject);
    openssl.arg("-out").arg(&certificate).arg("-keyout").arg(&key);
    let output = openssl.output().unwrap_or_else(|error| missing("openssl", &error));
    assert!(output.status.success(), "{output:?}");
    let etc = tree.dir.path().join("disk/etc");
    fs::create_dir_all(&etc).unwrap();
    fs::write(etc.join("hosts"), format!("127.0.0.1 localhost\n{ROUTER} github.com\n")).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/system/manual/github.py");
    let mut command = Command::new("python3");
    command.arg(script).arg(ROUTER.to_string()).args([&certificate, &key, &packages]);
    command.arg(format!("v{version}"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let github = tree.vpc.namespace.inside(|| Ends(command.spawn().unwrap()));
    let url = "https://github.com/assets/SHA256SUMS";
    let ask = format!("curl --silent --fail --cacert /mnt/certificate --output /dev/null {url}");
    until("there is a github.com", || tree.run(&ask).status.success());
    github
}

#[test]
fn cloud_init_takes_the_user_data() {
    let Some(tree) = Tree::new("debian", "the schema of user data") else { return };
    let mut seen = 0;
    for entry in
        fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/cloud-init")).unwrap()
    {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        fs::copy(&path, tree.packages().join(&name)).unwrap();
        let told = tree.ask(&format!("cloud-init schema --config-file /mnt/{name} 2>&1"));
        assert!(told.contains("Valid"), "{name}: {told}");
        seen += 1;
    }
    assert_eq!(seen, 5);
}

#[test]
fn lintian_and_rpmlint_have_nothing_to_say() {
    let dir = tempfile::tempdir().unwrap();
    let deb = dir.path().join("tagalong.deb");
    build("deb", "0.1.0", &deb);
    let mut lintian = Command::new("lintian");
    lintian.args([
        "--allow-root",
        "--pedantic",
        "--display-info",
        "--fail-on=error,warning,info,pedantic",
    ]);
    lintian.arg(&deb);
    let output = lintian.output().unwrap_or_else(|error| missing("lintian", &error));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let rpm = dir.path().join("tagalong.rpm");
    build("rpm", "0.1.0", &rpm);
    let mut rpmlint = Command::new("rpmlint");
    let answers = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/rpm/rpmlint.toml");
    rpmlint.args(["--strict", "--config", answers]).arg(&rpm);
    let output = rpmlint.output().unwrap_or_else(|error| missing("rpmlint", &error));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[track_caller]
fn assert_same(now: &[String], before: &[String]) {
    let new = now.iter().filter(|line| !before.contains(line)).collect::<Vec<_>>();
    let gone = before.iter().filter(|line| !now.contains(line)).collect::<Vec<_>>();
    assert!(new.is_empty() && gone.is_empty(), "new: {new:#?}\ngone: {gone:#?}");
}

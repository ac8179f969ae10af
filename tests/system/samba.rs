//! Active Directory's way: Samba as a domain controller with its own DNS server, in a network namespace, and machine accounts that
//! sign updates by their keytabs. A new domain is made for the test, and goes with it.

#[path = "../it/secrets.rs"]
mod secrets;

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use sandbox::{
    imds::Whom,
    instance::Instance,
    running::{Listen, Running},
    world::World,
};
use tempfile::TempDir;

use crate::lab::{Ends, Namespace, US, can_run, until};

const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 53, 0, 1);
const HOST: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 23);
const NAME: &str = "web-1.corp.test";
const REVERSE: &str = "23.1.0.10.in-addr.arpa";
const MARKER: &str = "\"tagalong-owner=i-0aaaaaaaaaaaaaaa1\" \"home=123456789012/us-east-1\"";
const PASSWORD: &str = "For-one-test-1";

/// A domain controller of `CORP.TEST` with machine accounts `WEB-1$` and `WEB-2$`, and an instance beside it.
struct Domain {
    dir: TempDir,
    world: World,
    metadata: Running,
    _samba: Ends,
    namespace: Namespace,
}

impl Domain {
    fn start() -> Self {
        let namespace = Namespace::new("ad");
        namespace.ip(&["addr", "add", &format!("{ADDRESS}/24"), "dev", "lo"]);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().display().to_string();
        let krb5 = format!(
            "[libdefaults]\n default_realm = CORP.TEST\n dns_lookup_kdc = false\n dns_lookup_realm = false\n\
             dns_canonicalize_hostname = false\n rdns = false\n[realms]\n CORP.TEST = {{\n  kdc = {ADDRESS}\n }}\n"
        );
        fs::write(dir.path().join("krb5.conf"), krb5).unwrap();
        fs::create_dir(dir.path().join("host")).unwrap();
        let directories = [
            "winbindd socket",
            "ntp signd socket",
            "binddns",
            "cache",
            "lock",
            "private",
            "state",
            "pid",
            "ncalrpc",
        ];
        let mut settings = vec![
            "dns forwarder=".to_owned(),
            "allow dns updates=secure only".to_owned(),
            "bind interfaces only=yes".to_owned(),
            format!("interfaces=lo {ADDRESS}/24"),
            format!("log file={path}/log"),
            "server services=rpc, ldap, cldap, kdc, dns".to_owned(),
        ];
        for directory in directories {
            let word = directory.replace(' ', "-");
            fs::create_dir_all(dir.path().join(&word)).unwrap();
            let key = match directory {
                "pid" => "pid directory".to_owned(),
                "ncalrpc" => "ncalrpc dir".to_owned(),
                "binddns" => "binddns dir".to_owned(),
                "private" => "private dir".to_owned(),
                other => format!("{other} directory"),
            };
            settings.push(format!("{key}={path}/{word}"));
        }
        for command in ["nsupdate", "dns update", "spn update", "gpo update"] {
            settings.push(format!("{command} command=/bin/true"));
        }
        fs::write(dir.path().join("empty.conf"), "").unwrap();
        let world = World::new();
        world.set_throttling(false);
        world.put_instance(
            Instance::new(US, "us-east-1a", HOST)
                .tag("Name", "web-1")
                .metadata_tags()
                .role("dns-agent"),
        );
        let listen = Listen {
            imds: vec![(SocketAddr::new(ADDRESS.into(), 80), Whom::Instance(US.to_owned()))],
            aws: Some(SocketAddr::new(ADDRESS.into(), 8080)),
            ..Listen::default()
        };
        let metadata = namespace.inside(|| Running::start(world.clone(), listen).unwrap());
        let provision = [
            "domain",
            "provision",
            "--configfile",
            &format!("{path}/empty.conf"),
            "--realm",
            "CORP.TEST",
            "--domain",
            "CORP",
            "--server-role",
            "dc",
            "--dns-backend",
            "SAMBA_INTERNAL",
            "--adminpass",
            PASSWORD,
            "--host-name",
            "dc1",
            "--host-ip",
            &ADDRESS.to_string(),
            "--targetdir",
            &path,
        ]
        .map(str::to_owned);
        let options = settings.iter().map(|setting| format!("--option={setting}"));
        let run = |program: &str, arguments: &[String]| {
            let mut command = Command::new(program);
            command
                .env("KRB5_CONFIG", dir.path().join("krb5.conf"))
                .args(arguments)
                .stdin(Stdio::null());
            let output = namespace
                .inside(|| command.output())
                .unwrap_or_else(|error| missing(program, &error));
            assert!(output.status.success(), "{command:?}: {output:?}");
        };
        run("samba-tool", &provision.into_iter().chain(options).collect::<Vec<_>>());
        let conf = format!("{path}/etc/smb.conf");
        let mut samba = Command::new("unshare");
        // Its many processes end with the first.
        samba.args([
            "--pid",
            "--fork",
            "--kill-child=KILL",
            "samba",
            "--foreground",
            "--no-process-group",
            "-s",
            &conf,
        ]);
        samba.env("KRB5_CONFIG", dir.path().join("krb5.conf"));
        let log = fs::File::create(dir.path().join("samba.log")).unwrap();
        samba.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let samba = Ends(namespace.inside(|| samba.spawn()).unwrap());
        until("the domain controller answers", || {
            namespace.inside(|| {
                [53, 88, 389, 135]
                    .iter()
                    .all(|port| std::net::TcpStream::connect((ADDRESS, *port)).is_ok())
            })
        });
        let tool = |words: &[&str]| {
            let words = [words, &["-s", &conf]].concat().into_iter().map(str::to_owned);
            run("samba-tool", &words.collect::<Vec<_>>());
        };
        for name in ["WEB-1", "WEB-2"] {
            let (account, keytab) = (format!("{name}$"), format!("{path}/host/{name}.keytab"));
            tool(&["computer", "create", name]);
            tool(&["user", "setpassword", &account, "--newpassword", PASSWORD]);
            tool(&["domain", "exportkeytab", &keytab, "--principal", &account]);
        }
        let administrator = format!("Administrator%{PASSWORD}");
        tool(&["dns", "zonecreate", &ADDRESS.to_string(), "10.in-addr.arpa", "-U", &administrator]);
        Self { dir, world, metadata, _samba: samba, namespace }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The account that signs; `None` for none.
    fn configure(&self, account: Option<&str>) {
        let credentials = account.map_or_else(String::new, |name| {
            let keytab = self.path(&format!("host/{name}.keytab"));
            format!("keytab = \"{}\"\nprincipal = \"{name}$@CORP.TEST\"\n", keytab.display())
        });
        let text = format!(
            "version = 1\n[metadata]\nendpoint = \"http://{}\"\n[aws]\nendpoint = \"http://{}\"\nvpc_resolver = [\"{ADDRESS}\"]\n\
             [[record]]\nname = \"{{tag:Name}}.corp.test\"\n\
             [backend.ad]\nkind = \"rfc2136\"\nservers = [\"{ADDRESS}\"]\n{credentials}[resolver]\nmanager = \"none\"\n",
            self.metadata.imds()[0],
            self.metadata.aws().unwrap()
        );
        fs::write(self.path("host/config.toml"), text).unwrap();
    }

    fn run(&self, program: &str, arguments: &[&str], keytab: &str) -> Output {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("KRB5_CONFIG", self.path("krb5.conf")).stdin(Stdio::null());
        if !keytab.is_empty() {
            let keytab = format!("FILE:{}", self.path(keytab).display());
            command.env("KRB5_CLIENT_KTNAME", keytab).env("KRB5CCNAME", "MEMORY:");
        }
        command.args(arguments);
        self.namespace.inside(|| command.output()).unwrap()
    }

    /// The program; what it printed and said.
    #[track_caller]
    fn tagalong(&self, verb: &[&str], code: i32) -> String {
        let [config, state, run, root] =
            ["config.toml", "state", "run", "root"].map(|name| self.path("host").join(name));
        fs::create_dir_all(root.join("etc")).unwrap();
        let [config, state, run, root] =
            [&config, &state, &run, &root].map(|path| path.to_str().unwrap());
        let places = ["--config", config, "--state-dir", state, "--run-dir", run, "--root", root];
        let output = self.run(env!("CARGO_BIN_EXE_tagalong"), &[&places, verb].concat(), "");
        let text = [output.stdout, output.stderr].concat();
        fs::write(self.path("host/told.log"), &text).unwrap();
        secrets::are_kept(&self.path("host"), &self.world.secrets());
        let text = String::from_utf8_lossy(&text).into_owned();
        assert_eq!(output.status.code(), Some(code), "{text}");
        text
    }

    fn dig(&self, name: &str, kind: &str) -> Vec<String> {
        let output = self.run("dig", &[&format!("@{ADDRESS}"), "+short", name, kind], "");
        String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
    }
}

fn missing(program: &str, error: &std::io::Error) -> ! {
    panic!(
        "cannot run `{program}` ({error}): this test needs the packages samba-ad-dc, samba-ad-provision and python3-samba (Debian)"
    )
}

const ONCE: &[&str] = &["once", "--deadline", "20s"];
const BRIEFLY: &[&str] = &["once", "--deadline", "3s"];

#[test]
fn a_machine_account_keeps_its_names_in_active_directory() {
    if !can_run("a domain of Samba") {
        return;
    }
    let domain = Domain::start();
    domain.configure(Some("WEB-1"));
    let told = domain.tagalong(ONCE, 0);
    assert!(
        told.contains("published web-1.corp.test. A 10.0.1.23, 23.1.0.10.in-addr.arpa. PTR"),
        "its answer was doubted: {told}"
    );
    assert_eq!(domain.dig(NAME, "A"), ["10.0.1.23"]);
    assert_eq!(domain.dig(NAME, "TXT"), [MARKER]);
    assert_eq!(domain.dig(REVERSE, "PTR"), [format!("{NAME}.")]);
    assert!(domain.tagalong(ONCE, 0).contains("unchanged"));
    let told = domain.tagalong(&["doctor"], 0);
    assert!(told.contains("knows this host as WEB-1$@CORP.TEST"), "{told}");

    // What others make of the same answers.
    let script = domain.path("update");
    fs::write(&script, format!("server {ADDRESS}\nupdate add beside.{NAME} 60 A 10.0.0.1\nsend\n"))
        .unwrap();
    let output = domain.run("nsupdate", &["-g", script.to_str().unwrap()], "host/WEB-1.keytab");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("tsig verify failure"), "{output:?}");
    assert_eq!(domain.dig(&format!("beside.{NAME}"), "A"), ["10.0.0.1"]);

    domain.world.update_instance(US, |host| host.move_to([10, 0, 1, 24].into()));
    domain.tagalong(ONCE, 0);
    assert_eq!(domain.dig(NAME, "A"), ["10.0.1.24"]);
    assert!(domain.dig(REVERSE, "PTR").is_empty());

    // Another account, of an instance that has the right marker: the directory says whose the name is.
    domain.world.update_instance(US, |host| host.move_to([10, 0, 1, 25].into()));
    domain.configure(Some("WEB-2"));
    let refused = domain.tagalong(BRIEFLY, 1);
    assert!(
        refused.contains("SERVFAIL") && refused.contains("Samba answers so where its policy"),
        "{refused}"
    );
    // And nobody's.
    domain.configure(None);
    let refused = domain.tagalong(BRIEFLY, 1);
    assert!(refused.contains("refused the unsigned update of corp.test."), "{refused}");
    assert_eq!(domain.dig(NAME, "A"), ["10.0.1.24"]);

    // A name that somebody else made is left alone.
    domain
        .world
        .update_instance(US, |host| drop(host.tags.insert("Name".to_owned(), "dc1".to_owned())));
    domain.configure(Some("WEB-1"));
    let refused = domain.tagalong(BRIEFLY, 1);
    assert!(refused.contains("dc1.corp.test."), "{refused}");
    assert_eq!(domain.dig("dc1.corp.test", "A"), [ADDRESS.to_string()]);

    domain
        .world
        .update_instance(US, |host| drop(host.tags.insert("Name".to_owned(), "web-1".to_owned())));
    domain.tagalong(ONCE, 0);
    assert_eq!(domain.dig(NAME, "A"), ["10.0.1.25"]);
    domain.tagalong(&["withdraw"], 0);
    assert!(
        domain.dig(NAME, "ANY").is_empty()
            && domain.dig("25.1.0.10.in-addr.arpa", "ANY").is_empty()
    );
    faults(&domain);
}

/// What else Samba answers in its own way: each is told, and nothing is changed.
fn faults(domain: &Domain) {
    // A name in no zone of the domain.
    let config = fs::read_to_string(domain.path("host/config.toml")).unwrap();
    let elsewhere = config.replace(".corp.test\"", ".elsewhere.test\"");
    fs::write(domain.path("host/config.toml"), elsewhere).unwrap();
    let told = domain.tagalong(BRIEFLY, 1);
    assert!(told.contains("no zone that the backend serves holds it"), "{told}");
    // No zone is given away.
    fs::write(domain.path("host/config.toml"), &config).unwrap();
    domain.tagalong(ONCE, 0);
    let told = domain.tagalong(&["reap"], 1);
    assert!(told.contains("corp.test."), "{told}");
    // DHCID records are unknown to it.
    let dhcid = config.replace("kind = \"rfc2136\"", "kind = \"rfc2136\"\nmarker = \"dhcid\"");
    fs::write(domain.path("host/config.toml"), dhcid).unwrap();
    rename(domain, "web-9");
    let told = domain.tagalong(BRIEFLY, 1);
    assert!(told.contains("NOTIMP"), "{told}");
    rename(domain, "web-1");
    // The account's password was changed, and the keytab was not.
    let conf = domain.path("etc/smb.conf").display().to_string();
    let words = ["user", "setpassword", "WEB-1$", "--newpassword", "Another-Passw0rd", "-s", &conf];
    let changed = domain.run("samba-tool", &words, "");
    assert!(changed.status.success(), "{changed:?}");
    fs::write(domain.path("host/config.toml"), &config).unwrap();
    domain.world.update_instance(US, |host| host.move_to([10, 0, 1, 26].into()));
    let told = domain.tagalong(BRIEFLY, 1);
    assert!(
        told.contains("Kerberos gives no ticket for DNS/dc1.corp.test by the keytab"),
        "{told}"
    );
    assert_eq!(domain.dig(NAME, "A"), ["10.0.1.25"]);
}

fn rename(domain: &Domain, name: &str) {
    domain
        .world
        .update_instance(US, |host| drop(host.tags.insert("Name".to_owned(), name.to_owned())));
}

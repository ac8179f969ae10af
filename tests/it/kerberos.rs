//! Updates that are signed by the machine's keytab: BIND, and a real Kerberos server (MIT krb5) that ends with its test.
//! Without the cargo feature `gssapi` all that can be promised is that it is said.

#[cfg(feature = "gssapi")]
mod with {
    use std::{
        io::{Read as _, Write as _},
        net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket},
        path::PathBuf,
        process::{Child, Command, Stdio},
        sync::{
            Arc,
            atomic::{AtomicU32, Ordering},
        },
        thread,
    };

    use tempfile::TempDir;

    use crate::{
        authority::{Named, ZoneFile, dig, fleet, free_port},
        support::{Lab, NAME, OUR_MARKER, REVERSE, Run, Started, US, ZONE, until},
    };

    /// A realm `LAB.TEST` with principals for the DNS server and for two hosts.
    struct Realm {
        dir: TempDir,
        kdc: Child,
    }

    impl Realm {
        fn start() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let port = free_port(Ipv4Addr::LOCALHOST.into()).port();
            let path = dir.path().display();
            let krb5 = format!(
                "[libdefaults]\n default_realm = LAB.TEST\n dns_lookup_kdc = false\n dns_lookup_realm = false\n\
                 dns_canonicalize_hostname = false\n rdns = false\n udp_preference_limit = 1\n\
                 [realms]\n LAB.TEST = {{\n  kdc = 127.0.0.1:{port}\n }}\n"
            );
            let kdc = format!(
                "[kdcdefaults]\n kdc_listen = \"\"\n kdc_tcp_listen = 127.0.0.1:{port}\n[realms]\n LAB.TEST = {{\n\
                 database_name = {path}/principal\n  key_stash_file = {path}/stash\n  acl_file = {path}/acl\n }}\n\
                 [logging]\n kdc = FILE:{path}/kdc.log\n default = FILE:{path}/kdc.log\n"
            );
            std::fs::write(dir.path().join("krb5.conf"), krb5).unwrap();
            std::fs::write(dir.path().join("kdc.conf"), kdc).unwrap();
            let command = |program: &str| {
                let mut command = Command::new(program);
                command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
                command.env("KRB5_CONFIG", dir.path().join("krb5.conf"));
                command.env("KRB5_KDC_PROFILE", dir.path().join("kdc.conf"));
                command.stdin(Stdio::null());
                command
            };
            let run = |program: &str, arguments: &[&str]| {
                let output = command(program).args(arguments).output();
                let output = output.unwrap_or_else(|error| missing(program, &error));
                assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
            };
            run("kdb5_util", &["-r", "LAB.TEST", "create", "-s", "-P", "for-one-test"]);
            let keytab = |file: &str, principals: &[&str]| {
                for principal in principals {
                    let path = dir.path().join(file).display().to_string();
                    let query =
                        |text: String| run("kadmin.local", &["-r", "LAB.TEST", "-q", &text]);
                    query(format!("addprinc -randkey {principal}"));
                    query(format!("ktadd -k {path} {principal}"));
                    assert!(std::fs::exists(&path).unwrap(), "no {principal}");
                }
            };
            keytab("dns.keytab", &["DNS/ns1.example"]);
            keytab("other.keytab", &["DNS/ns2.example"]);
            keytab("host.keytab", &["host/web-1.corp.internal", "host/web-2.corp.internal"]);
            let kdc =
                command("krb5kdc").args(["-n", "-r", "LAB.TEST"]).stderr(Stdio::null()).spawn();
            let mut kdc = kdc.unwrap_or_else(|error| missing("krb5kdc", &error));
            until("the Kerberos server listens", || {
                assert!(kdc.try_wait().unwrap().is_none(), "krb5kdc has ended");
                TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
            });
            Self { dir, kdc }
        }

        fn keytab(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }

        /// `named` with the keytab of `name`, where each host may change its own name, and where a PTR record points at itself.
        fn named(&self, name: &str) -> Named {
            let policies = [
                "update-policy { grant LAB.TEST krb5-self . A AAAA TXT; };",
                "update-policy { grant LAB.TEST krb5-subdomain-self-rhs 10.in-addr.arpa. PTR; \
                 grant LAB.TEST krb5-subdomain 10.in-addr.arpa. TXT; };",
            ];
            let zones = fleet().into_iter().zip(policies);
            let zones = zones.map(|(zone, policy)| ZoneFile { policy: policy.to_owned(), ..zone });
            let options = format!("tkey-gssapi-keytab \"{}\";", self.keytab(name).display());
            Named::primary_with(&options, &zones.collect::<Vec<_>>(), "")
        }

        /// The program, in this realm.
        fn tagalong(&self, lab: &Lab, arguments: &[&str]) -> Run {
            let mut command = lab.command(arguments);
            command.env("KRB5_CONFIG", self.keytab("krb5.conf"));
            Started::of(command).finish()
        }

        fn publish(&self, lab: &Lab, server: SocketAddr, more: &str) {
            self.publish_as(lab, server, more, "{tag:Name}");
        }

        fn publish_as(&self, lab: &Lab, server: SocketAddr, more: &str, name: &str) {
            // For the search of what the host has told and kept.
            std::fs::copy(self.keytab("host.keytab"), lab.path("host.keytab")).unwrap();
            lab.configure(&format!(
                "[[record]]\nname = \"{name}.{ZONE}\"\n[backend.internal]\nkind = \"rfc2136\"\nservers = [\"{server}\"]\n\
                 keytab = \"{}\"\n{more}\n[resolver]\nmanager = \"none\"\n",
                self.keytab("host.keytab").display()
            ));
        }
    }

    impl Drop for Realm {
        fn drop(&mut self) {
            let _ = self.kdc.kill();
            let _ = self.kdc.wait();
        }
    }

    fn missing(program: &str, error: &std::io::Error) -> ! {
        panic!(
            "cannot run `{program}` ({error}): these tests need the packages krb5-kdc and krb5-admin-server (Debian)"
        )
    }

    const ONCE: &[&str] = &["once", "--deadline", "20s"];
    const BRIEFLY: &[&str] = &["once", "--deadline", "3s"];

    #[test]
    fn a_host_publishes_its_own_name_by_its_keytab_and_takes_it_back() {
        let realm = Realm::start();
        let named = realm.named("dns.keytab");
        let lab = Lab::new();
        realm.publish(&lab, named.addr, "");
        realm.tagalong(&lab, ONCE).expect_code(0);
        let read = |name: &str, kind: &str| dig(named.addr, name, kind);
        assert_eq!(read(NAME, "A"), ["10.0.1.23"]);
        assert_eq!(read(NAME, "TXT"), [OUR_MARKER]);
        assert_eq!(read(REVERSE, "PTR"), [NAME]);
        realm.tagalong(&lab, ONCE).expect_code(0).prints(&["unchanged"]);
        let told = "proved to be the DNS server of corp.internal., and knows this host as host/web-1.corp.internal@LAB.TEST";
        realm.tagalong(&lab, &["doctor"]).prints(&[told, "there is a keytab "]);
        realm.tagalong(&lab, &["withdraw"]).expect_code(0);
        assert!(read(NAME, "ANY").is_empty() && read(REVERSE, "ANY").is_empty());
    }

    #[test]
    fn the_name_of_another_host_is_refused_unless_the_keytab_has_its_principal() {
        let realm = Realm::start();
        let named = realm.named("dns.keytab");
        let lab = Lab::new();
        realm.publish_as(&lab, named.addr, "", "web-2");
        let refused = realm.tagalong(&lab, ONCE).expect_code(1);
        refused.says(&["refused the Kerberos update of corp.internal.", "krb5-self"]);
        assert!(dig(named.addr, "web-2.corp.internal", "ANY").is_empty());
        let principal = "principal = \"host/web-2.corp.internal\"";
        realm.publish_as(&lab, named.addr, principal, "web-2");
        realm.tagalong(&lab, ONCE).expect_code(0);
        assert_eq!(dig(named.addr, "web-2.corp.internal", "A"), ["10.0.1.23"]);
    }

    #[test]
    fn whatever_is_in_the_way_of_a_ticket_is_told() {
        let realm = Realm::start();
        let named = realm.named("dns.keytab");
        let other = realm.named("other.keytab");
        let lab = Lab::new();
        let no_ticket = "Kerberos gives no ticket for DNS/ns1.example by the keytab";

        realm.publish(&lab, named.addr, "principal = \"host/nobody\"");
        realm.tagalong(&lab, BRIEFLY).expect_code(1).says(&[no_ticket, "klist -k"]);
        // A DNS server with another's key.
        realm.publish(&lab, other.addr, "");
        let refused = "does not take a Kerberos ticket for DNS/ns1.example";
        realm.tagalong(&lab, BRIEFLY).expect_code(1).says(&[
            refused,
            "BADKEY",
            "tkey-gssapi-keytab",
        ]);
        realm.tagalong(&lab, &["doctor"]).expect_code(1).prints(&[refused]);
        // One that the realm does not know.
        let unknown =
            fleet().into_iter().map(|zone| ZoneFile { mname: "ns9.example.".into(), ..zone });
        let unknown = Named::primary(
            &unknown.collect::<Vec<_>>(),
            "key agent-key { algorithm hmac-sha256; secret c2VjcmV0; };",
        );
        realm.publish(&lab, unknown.addr, "");
        let run = realm.tagalong(&lab, BRIEFLY).expect_code(1);
        run.says(&["no ticket for DNS/ns9.example", "not found in Kerberos database"]);
        // A keytab that is not there.
        realm.publish(&lab, named.addr, "");
        std::fs::remove_file(realm.keytab("host.keytab")).unwrap();
        realm.tagalong(&lab, BRIEFLY).expect_code(1).says(&[no_ticket]);
        realm.tagalong(&lab, &["config", "check"]).expect_code(1).says(&["there is no keytab "]);
        assert!(dig(named.addr, NAME, "ANY").is_empty());
    }

    #[test]
    fn a_realm_that_is_down_costs_no_more_than_the_deadline_and_the_name_comes_when_it_is_back() {
        let mut realm = Realm::start();
        let named = realm.named("dns.keytab");
        let lab = Lab::new();
        realm.publish(&lab, named.addr, "");
        let stop = |signal| {
            let kdc = rustix::process::Pid::from_child(&realm.kdc);
            rustix::process::kill_process(kdc, signal).unwrap();
        };
        stop(rustix::process::Signal::STOP);
        let run = realm.tagalong(&lab, BRIEFLY).expect_code(1);
        assert!(run.elapsed.as_secs() < 8, "{run}");
        stop(rustix::process::Signal::CONT);
        realm.tagalong(&lab, ONCE).expect_code(0);
        assert_eq!(dig(named.addr, NAME, "A"), ["10.0.1.23"]);
        let _ = realm.kdc.kill();
        let _ = realm.kdc.wait();
        // What is as it should be needs no ticket.
        realm.tagalong(&lab, ONCE).expect_code(0).prints(&["unchanged"]);
    }

    /// Stands before `server`, and changes updates and their answers on their way.
    fn liar_before(
        server: SocketAddr,
        update: impl Fn(&mut [u8]) + Clone + Send + 'static,
        answer: impl Fn(&mut [u8]) + Clone + Send + 'static,
    ) -> SocketAddr {
        let addr = free_port(Ipv4Addr::LOCALHOST.into());
        let (udp, tcp) = (UdpSocket::bind(addr).unwrap(), TcpListener::bind(addr).unwrap());
        thread::spawn(move || {
            let upstream = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let mut buffer = [0; 4096];
            while let Ok((length, client)) = udp.recv_from(&mut buffer) {
                upstream.send_to(&buffer[..length], server).unwrap();
                let length = upstream.recv(&mut buffer).unwrap();
                udp.send_to(&buffer[..length], client).unwrap();
            }
        });
        let of_updates = |change: &dyn Fn(&mut [u8]), message: &mut [u8]| {
            if message[2] >> 3 & 15 == 5 {
                change(message);
            }
        };
        thread::spawn(move || {
            for client in tcp.incoming().map_while(Result::ok) {
                let upstream = TcpStream::connect(server).unwrap();
                let (update, answer) = (update.clone(), answer.clone());
                let (from, to) = (client.try_clone().unwrap(), upstream.try_clone().unwrap());
                relay(from, to, move |message| of_updates(&update, message));
                relay(upstream, client, move |message| of_updates(&answer, message));
            }
        });
        addr
    }

    /// REFUSED becomes NOERROR.
    fn consent(message: &mut [u8]) {
        if message[3] & 15 == 5 {
            message[3] &= 0xf0;
        }
    }

    /// Hands on messages, each as `change` leaves it.
    fn relay(mut from: TcpStream, mut to: TcpStream, change: impl Fn(&mut [u8]) + Send + 'static) {
        thread::spawn(move || {
            let mut length = [0; 2];
            while from.read_exact(&mut length).is_ok() {
                let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
                if from.read_exact(&mut message).is_err() {
                    break;
                }
                change(&mut message);
                if to.write_all(&[&length, message.as_slice()].concat()).is_err() {
                    break;
                }
            }
            let _ = to.shutdown(Shutdown::Write);
        });
    }

    #[test]
    fn an_answer_that_was_changed_on_its_way_is_not_believed() {
        let realm = Realm::start();
        let named = realm.named("dns.keytab");
        let liar = liar_before(named.addr, |_| {}, consent);
        let lab = Lab::new();
        realm.publish_as(&lab, liar, "", "web-2");
        let run = realm.tagalong(&lab, BRIEFLY).expect_code(1);
        run.says(&["answered NOERROR, without a signature that verifies"]);
        // One that is true passes.
        realm.publish(&lab, liar, "");
        realm.tagalong(&lab, ONCE).expect_code(0);
        assert_eq!(dig(named.addr, NAME, "A"), ["10.0.1.23"]);
    }

    #[test]
    fn a_server_that_has_forgotten_what_was_agreed_is_agreed_with_once_more() {
        let realm = Realm::start();
        let named = realm.named("dns.keytab");
        let updates = Arc::new(AtomicU32::new(0));
        let seen = updates.clone();
        // The second update comes under a key that the server does not know.
        let rename = move |message: &mut [u8]| {
            if seen.fetch_add(1, Ordering::Relaxed) == 1 {
                let place = message.windows(4).rposition(|four| four == b"sig-").unwrap();
                message[place] = b'x';
            }
        };
        let liar = liar_before(named.addr, rename, |_| {});
        let lab = Lab::new();
        realm.publish(&lab, liar, "");
        let mut command = lab.command(ONCE);
        command.env("KRB5_CONFIG", realm.keytab("krb5.conf")).env("RUST_LOG", "tagalong=debug");
        let run = Started::of(command).finish().expect_code(0);
        assert_eq!(updates.load(Ordering::Relaxed), 3);
        assert!(!run.stderr.contains("tried again"), "{run}");
        assert_eq!(dig(named.addr, NAME, "A"), ["10.0.1.23"]);
    }

    #[test]
    fn the_agent_follows_addresses_by_its_keytab_and_says_that_another_one_takes_a_restart() {
        let realm = Realm::start();
        let named = realm.named("dns.keytab");
        let lab = Lab::new();
        realm.publish(&lab, named.addr, "");
        let config = std::fs::read_to_string(lab.path("config.toml")).unwrap();
        let config = config.replacen("[metadata]\n", "[metadata]\nrefresh = \"1s\"\n", 1);
        lab.file("config.toml", &config);
        let log = lab.path("agent.log");
        let mut command = lab.command(&["run"]);
        command.env("KRB5_CONFIG", realm.keytab("krb5.conf")).stdin(Stdio::null());
        let file = std::fs::File::create(&log).unwrap();
        command.stdout(file.try_clone().unwrap()).stderr(file);
        let agent = Ends(command.spawn().unwrap());
        until("it is published", || dig(named.addr, NAME, "A") == ["10.0.1.23"]);
        lab.world.update_instance(US, |us| us.move_to([10, 0, 1, 24].into()));
        until("the zone follows", || dig(named.addr, NAME, "A") == ["10.0.1.24"]);
        lab.file("config.toml", &config.replace("host.keytab", "other.keytab"));
        let pid = agent.0.id().to_string();
        assert!(Command::new("kill").args(["-s", "HUP", &pid]).status().unwrap().success());
        until("it says so", || {
            let log = std::fs::read_to_string(&log).unwrap();
            log.contains("`systemctl restart tagalong` makes it use")
        });
    }

    /// A process that ends with its test.
    struct Ends(Child);

    impl Drop for Ends {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn a_keytab_that_cannot_be_meant_is_an_error() {
        let lab = Lab::new();
        let check = |backends: &str, expect: &str| {
            lab.configure(&format!("[resolver]\nmanager = \"none\"\n{backends}"));
            lab.tagalong(&["config", "check"]).expect_code(1).says(&[expect]);
        };
        let backend =
            |name: &str, rest: &str| format!("[backend.{name}]\nkind = \"rfc2136\"\n{rest}\n");
        check(&backend("a", "principal = \"host/a\""), "there is none; write `keytab`");
        check(&backend("a", "keytab = \"/k\"\nkey_file = \"/t\""), "`key_file` is there too");
        check(&backend("a", "keytab = \"k\""), "no absolute path");
        let two = backend("a", "keytab = \"/k\"") + &backend("b", "keytab = \"/l\"");
        check(&two, "`/l` is not that of backend `a`");
        check(
            "[backend.a]\nkind = \"route53\"\nkeytab = \"/k\"\n",
            "means nothing to a backend of kind route53",
        );
    }
}

#[cfg(not(feature = "gssapi"))]
#[test]
fn without_kerberos_a_keytab_is_an_error_that_says_what_to_take() {
    let lab = crate::support::Lab::new();
    lab.configure("[backend.a]\nkind = \"rfc2136\"\nkeytab = \"/etc/krb5.keytab\"\n");
    lab.tagalong(&["config", "check"]).expect_code(1).says(&["built without Kerberos", "gssapi"]);
}

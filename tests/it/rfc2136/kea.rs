//! A zone that Kea updates too: its DDNS daemon and tagalong each know the other's names by DHCID (RFC 4703).

use std::{
    fmt::Write as _,
    fs,
    io::Write as _,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    process::{Child, Command, Stdio},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use tempfile::TempDir;

use super::dhcid::publish;
use crate::{
    authority::{Authority, Named, fleet, free_port, tsig_keygen},
    support::{Lab, NAME, until},
};

/// `kea-dhcp-ddns`, which ends with this.
struct Kea {
    child: Child,
    dir: TempDir,
    addr: SocketAddr,
}

impl Kea {
    /// One that updates the forward zone at `server` under `key`.
    fn start(server: SocketAddr, key: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let addr = free_port(Ipv4Addr::LOCALHOST.into());
        let secret = key.split("secret \"").nth(1).unwrap().split('"').next().unwrap();
        let config = serde_json::json!({"DhcpDdns": {
            "ip-address": addr.ip(), "port": addr.port(), "dns-server-timeout": 2000,
            "tsig-keys": [{"name": "agent-key", "algorithm": "HMAC-SHA256", "secret": secret}],
            "forward-ddns": {"ddns-domains": [{
                "name": "corp.internal.", "key-name": "agent-key",
                "dns-servers": [{"ip-address": server.ip(), "port": server.port()}],
            }]},
            "reverse-ddns": {},
            "loggers": [{"name": "kea-dhcp-ddns", "severity": "INFO",
                "output_options": [{"output": dir.path().join("log"), "flush": true}]}],
        }});
        fs::write(dir.path().join("conf"), config.to_string()).unwrap();
        let mut command = Command::new("kea-dhcp-ddns");
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("KEA_PIDFILE_DIR", dir.path()).env("KEA_LOCKFILE_DIR", dir.path());
        command.arg("-c").arg(dir.path().join("conf"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().unwrap_or_else(|error| {
            panic!("cannot run `kea-dhcp-ddns` ({error}): this test needs the package kea-dhcp-ddns-server (Debian)")
        });
        let kea = Self { child, dir, addr };
        until("Kea listens", || kea.log().contains("DHCP_DDNS_STARTED"));
        kea
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// A lease of `address` under [`NAME`] for the client with this DHCID came (0) or went (1); waits for what Kea says of it.
    fn lease(&self, change: u8, address: &str, dhcid: &str, outcome: &str) {
        let before = self.log().matches(outcome).count();
        let request = serde_json::json!({
            "change-type": change, "forward-change": true, "reverse-change": false, "fqdn": NAME, "ip-address": address,
            "dhcid": dhcid, "lease-expires-on": "20991231235959", "lease-length": 3600, "use-conflict-resolution": true,
        });
        let text = request.to_string();
        let length = u16::try_from(text.len()).unwrap().to_be_bytes();
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.send_to(&[&length, text.as_bytes()].concat(), self.addr).unwrap();
        until(outcome, || self.log().matches(outcome).count() > before);
    }
}

impl Drop for Kea {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let _ = writeln!(std::io::stderr(), "{}", self.log());
        }
    }
}

/// Another client's (the example of RFC 4701 section 3.6.1).
const THEIRS: &str = "000201636FC0B8271C82825BB1AC5C41CF5351AA69B4FEBD94E8F17CDB95000DA48C40";

#[test]
fn kea_and_a_host_leave_each_others_names_alone_and_know_their_own() {
    let key = tsig_keygen("hmac-sha256", "agent-key");
    let named = Authority::Bind(Named::primary(&fleet(), &key));
    let kea = Kea::start(named.addr(), &key);
    let lab = Lab::new();
    publish(&lab, &named, &key);

    kea.lease(0, "10.0.9.9", THEIRS, "DHCP_DDNS_ADD_SUCCEEDED");
    assert_eq!(named.read(NAME, "A"), ["10.0.9.9"]);
    lab.once_fails().says(&["web-1.corp.internal. is left alone: it holds records without"]);
    assert_eq!(named.read(NAME, "A"), ["10.0.9.9"]);

    kea.lease(1, "10.0.9.9", THEIRS, "DHCP_DDNS_REMOVE_SUCCEEDED");
    lab.once().prints(&["published"]);
    kea.lease(0, "10.0.9.9", THEIRS, "DHCP_DDNS_ADD_FAILED");
    assert_eq!(named.read(NAME, "A"), ["10.0.1.23"]);

    // The host's own DHCP client, whose identifier is the same, may move the name, and the host moves it back.
    let ours = named.read(NAME, "DHCID").concat().replace(' ', "");
    let ours = STANDARD.decode(ours).unwrap().iter().fold(String::new(), |mut text, octet| {
        write!(text, "{octet:02X}").unwrap();
        text
    });
    kea.lease(0, "10.0.9.8", &ours, "DHCP_DDNS_ADD_SUCCEEDED");
    assert_eq!(named.read(NAME, "A"), ["10.0.9.8"]);
    lab.once().prints(&["published"]);
    assert_eq!(named.read(NAME, "A"), ["10.0.1.23"]);
}

"""page.py PAGE TAGALONG SANDBOX: a page of docs/servers/ as a reader follows it, with the real server.

Every file, `sh server` and `sh host` block of the page is used as it is written: in a network namespace with nothing but loopback, which has
the page's addresses and the metadata service's own, and in a mount namespace with an /etc, /run and /var/lib of its own. After that the page's
secondary, then a host that is gone is reaped, and the records are withdrawn. Route 53 is the sandbox's: `sh aws` blocks need AWS's own.

What differs from the page is only what two servers on one machine need (`Both`), and that the servers are started here, and ended.
"""

import json
import pathlib
import re
import socket
import subprocess
import sys
import threading
import urllib.request

sys.dont_write_bytecode = True
from here import (CONTROL, ROOT, US, US_AT, VPC_RESOLVER, account, alone, blocks_of, expect, files_of, host, instance, machine, overlay, run,
                  shell, spawn, tells_no_secret, until, write)

GONE, ACCOUNT = "i-0bbbbbbbbbbbbbbb2", "123456789012"
PRIMARY, SECONDARY = "10.0.0.2", "10.0.1.2"
USERS = {"bind": ["/run/named", "/var/lib/bind", "/var/cache/bind"], "knot": ["/run/knot", "/var/lib/knot"],
         "pdns": ["/run/pdns", "/var/lib/powerdns"]}


def main():
    page, tagalong, sandbox = sys.argv[1:]
    work = alone("page-")
    text = (ROOT / "docs/servers" / page).read_text()
    servers = {"bind.md": Bind, "knot.md": Knot, "powerdns.md": PowerDns, "active-directory.md": Samba, "route53.md": Route53}
    server = servers[page](work, text)
    # Servers are started here, and by no service manager.
    machine(work, tagalong, (PRIMARY, SECONDARY), USERS, {"systemctl": "#!/bin/sh\n"})
    server.prepare()
    for name, content in server.files.items():
        write(name, content)
    world(work, sandbox, server)
    server.serve()
    for block in server.shell("host"):
        shell(block)
    expect(server.answers("web-1.corp.internal", "A"), [US_AT])
    expect(server.answers("web-1.corp.internal", "TXT"), [f'"tagalong-owner={US}" "home={ACCOUNT}/us-east-1"'])
    expect(server.answers("23.1.0.10.in-addr.arpa", "PTR"), ["web-1.corp.internal."])
    if server.has_secondary:
        until(f'[ "$(dig +short @{SECONDARY} web-1.corp.internal)" = 10.0.1.23 ]')
    if server.reaps:
        gone(work, "once")
        expect(server.answers("web-2.corp.internal", "A"), ["10.0.1.24"])
        shell(f"curl -sS --fail -X PUT --data '{json.dumps(host(GONE, 'web-2', '10.0.1.24') | {'state': 'terminated'})}' "
              f"http://{CONTROL}/instances/{GONE}")
        shell("tagalong reap --grace 1ms --yes")
        expect(server.answers("web-2.corp.internal", "A"), [])
    shell("tagalong withdraw")
    expect(server.answers("web-1.corp.internal", "A"), [])
    expect(tells_no_secret(server.files.values()), server.secrets)
    print(f"{page}: as it is written")


class Both:
    """A server's page, and what it takes to run it and its secondary on one machine."""

    has_secondary = reaps = True
    secrets = 1
    zones, sandbox = [], []

    def __init__(self, work, text):
        self.work, self.blocks = work, blocks_of(text)
        self.files = files_of(self.blocks)

    def shell(self, where):
        return [content for language, words, content in self.blocks if language == "sh" and where in words]

    def prepare(self):
        pass

    def serve(self):
        vpc_resolver()
        blocks = self.shell("server")
        shell(blocks[0])
        self.start()
        until(f"dig +short @{PRIMARY} corp.internal SOA | grep -q '^[^;]'")
        for block in blocks[1:]:
            shell(block)
        until(f"dig +short @{PRIMARY} 0.10.in-addr.arpa SOA | grep -q '^[^;]'")
        self.start_secondary()

    def answers(self, name, kind):
        dig = subprocess.run(["dig", f"@{PRIMARY}", "+short", "+norecurse", "+time=2", name, kind], capture_output=True, text=True)
        return sorted(dig.stdout.split("\n"))[1:]


class Bind(Both):
    def options(self, address, name, directory="/var/cache/bind", more=""):
        return f"""options {{ directory "{directory}"; listen-on {{ {address}; {more}}}; listen-on-v6 {{ none; }}; query-source address {address};
            transfer-source {address}; notify-source {address}; recursion no; dnssec-validation no;
            pid-file "/run/named/{name}.pid"; session-keyfile "/run/named/{name}.session"; }};\n"""

    def prepare(self):
        write("/etc/bind/named.conf", self.options(PRIMARY, "a", more="127.0.0.1; ") + 'include "/etc/bind/named.conf.local";\n')
        write("/etc/bind/named.conf.local", "")
        run("rndc-confgen -a -u bind")
        # The page reloads one that runs.
        self.named()

    def named(self, *options):
        spawn(["named", "-g", "-u", "bind", *options])
        if not options:
            until("rndc status")

    def start(self):
        pass

    def start_secondary(self):
        run("install --directory --owner=bind --group=bind /var/cache/bind/b")
        conf = self.options(SECONDARY, "b", "/var/cache/bind/b")
        write("/etc/bind/b.conf", f"{conf}controls {{ }};\n{self.files['secondary.named.conf.local']}")
        self.named("-c", "/etc/bind/b.conf")
        serves(SECONDARY)
        # What is looked at on a server that is respawned.
        for block in Both(self.work, (ROOT / "docs/respawn.md").read_text()).shell("server"):
            shell(block)


class Knot(Both):
    def start(self):
        path = pathlib.Path("/etc/knot/knot.conf")
        path.write_text(path.read_text().replace(f"address: {SECONDARY}@53", f"address: {SECONDARY}@53\n    via: {PRIMARY}"))
        spawn(["knotd", "-c", str(path)])

    def start_secondary(self):
        run("install --directory --owner=knot --group=knot /run/knot/b /var/lib/knot/b")
        text = self.files["secondary.knot.conf"].replace("/run/knot", "/run/knot/b").replace("/var/lib/knot", "/var/lib/knot/b")
        write("/etc/knot/b.conf", text.replace(f"address: {PRIMARY}@53", f"address: {PRIMARY}@53\n    via: {SECONDARY}"))
        spawn(["knotd", "-c", "/etc/knot/b.conf"])
        serves(SECONDARY)


class PowerDns(Both):
    options = ["--guardian=no", "--daemon=no", "--disable-syslog", "--write-pid=no"]

    def start(self):
        with open("/etc/powerdns/pdns.conf", "a") as conf:
            conf.write(f"query-local-address={PRIMARY}\n")
        spawn(["pdns_server", *self.options])

    def start_secondary(self):
        run("install --directory --owner=pdns --group=pdns /run/pdns-b /var/lib/powerdns/b")
        run("sqlite3 /var/lib/powerdns/b/pdns.sqlite3 < /usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql")
        run("chown pdns:pdns /var/lib/powerdns/b/pdns.sqlite3")
        text = self.files["secondary.pdns.conf"].replace("/var/lib/powerdns/", "/var/lib/powerdns/b/")
        write("/etc/pdns-b/pdns.conf", f"{text}socket-dir=/run/pdns-b\nquery-local-address={SECONDARY}\n")
        util = "pdnsutil --config-dir=/etc/pdns-b"
        for zone in ("corp.internal", "0.10.in-addr.arpa"):
            run(f"{util} create-secondary-zone {zone} {PRIMARY}")
        run(f"{util} import-tsig-key agent-key hmac-sha256 ZXhhbXBsZSBvbmx5OiBtYWtlIHlvdXIgb3duIGtleSE=")
        spawn(["pdns_server", "--config-dir=/etc/pdns-b", *self.options])
        serves(SECONDARY)


class Samba(Both):
    has_secondary = reaps = False
    secrets = 0

    def prepare(self):
        for folder in ("/var/lib/samba", "/var/log/samba", "/var/cache/samba"):
            overlay(self.work, folder)
        # It serves no address of loopback's.
        run(f"ip addr del {PRIMARY}/32 dev lo; ip link add dc type bridge; ip link set dc up; ip addr add {PRIMARY}/24 dev dc")
        run("rm -f /etc/samba/smb.conf; mkdir -p /var/lib/samba/private /run/samba")

    def start(self):
        spawn(["samba", "--foreground", "--no-process-group", "--debug-stdout"])
        until(f"for port in 53 88 135 389; do (exec 3<>/dev/tcp/{PRIMARY}/$port) || exit 1; done")

    def start_secondary(self):
        pass


class Route53(Both):
    """The zones are there from the start, with the id that the page has; the VPC's resolver knows of them, and of no record."""

    has_secondary = False
    secrets = 0
    zones = [{"id": id, "name": f"{name}.", "vpcs": [{"region": "us-east-1", "id": "vpc-0123456789abcdef0"}]}
             for id, name in (("Z0123456789", "corp.internal"), ("Z9876543210", "0.10.in-addr.arpa"))]
    sandbox = ["--dns", f"{VPC_RESOLVER}:53=replica", "--zone", "corp.internal"]

    def prepare(self):
        write("/etc/resolv.conf", f"nameserver {VPC_RESOLVER}\n")

    def serve(self):
        pass

    def answers(self, name, kind):
        with urllib.request.urlopen(f"http://{CONTROL}/state") as state:
            records = [record for zone in json.load(state)["zones"] for record in zone["records"]]
        return sorted(value for record in records if (record["name"], record["type"]) == (f"{name}.", kind) for value in record["values"])


def world(work, sandbox, server):
    """The account, and the metadata service."""
    servers = [instance(f"i-0ccccccccccccccc{number}", address, tags={"tagalong:dns-server": "corp.internal"})
               for number, address in enumerate((PRIMARY, SECONDARY))]
    instances = [host(US, "web-1", US_AT), host(GONE, "web-2", "10.0.1.24"), *servers]
    account(work, sandbox, {"instances": instances, "zones": server.zones}, "--imds", f"127.0.0.1:8081={GONE}", *server.sandbox)


def vpc_resolver():
    """It knows of nothing."""
    udp, tcp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.socket()
    udp.bind((VPC_RESOLVER, 53))
    tcp.bind((VPC_RESOLVER, 53))
    tcp.listen()

    def nothing(query):
        end = 12
        while query[end]:
            end += 1 + query[end]
        return query[:2] + b"\x81\x80" + query[4:6] + bytes(6) + query[12:end + 5]

    def by_udp():
        while True:
            query, whom = udp.recvfrom(4096)
            udp.sendto(nothing(query), whom)

    def by_tcp():
        while True:
            with tcp.accept()[0] as peer:
                answer = nothing(peer.recv(int.from_bytes(peer.recv(2), "big")))
                peer.sendall(len(answer).to_bytes(2, "big") + answer)

    for work_of in (by_udp, by_tcp):
        threading.Thread(target=work_of, daemon=True).start()


def gone(work, verb):
    """The same on the host that is gone later, with places of its own."""
    config = pathlib.Path("/etc/tagalong/config.toml").read_text()
    places = '[metadata]\nendpoint = "http://127.0.0.1:8081"\n[resolver]\nmanager = "none"'
    config = re.sub(r'\[resolver\](\nmanager *= "none")?', places, config)
    write("/etc/tagalong/gone.toml", config)
    shell(f"tagalong --config /etc/tagalong/gone.toml --state-dir {work}/gone-state --run-dir {work}/gone-run --root {work} {verb}")


def serves(server):
    for zone in ("corp.internal", "0.10.in-addr.arpa"):
        until(f"dig +short @{server} {zone} SOA | grep -q ns1")


main()

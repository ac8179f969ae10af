"""page.py PAGE TAGALONG SANDBOX: a page of docs/servers/ as a reader follows it, with the real server.

Every file, `sh server` and `sh host` block of the page is used as it is written and in the page's order: in a network namespace with nothing but
loopback, which has the page's addresses and the metadata service's own, and in a mount namespace with an /etc, /run and /var/lib of its own.
`sh server secondary` blocks are run on a second such machine. After each block it is looked at whether it did what the page says (`checks`);
at the end a host that is gone is reaped, and the records are withdrawn. Route 53 is the sandbox's: `sh aws` blocks need AWS's own.

What differs from the page is only that the servers are started here, where the page says `systemctl restart`, and ended.
"""

import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.request

sys.dont_write_bytecode = True
from here import (CONTROL, ROOT, TOLD, US, US_AT, VPC_RESOLVER, account, alone, blocks_of, expect, files_of, host, instance, machine, overlay,
                  run, shell, spawn, tells_no_secret, until, write)

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
    addresses = (PRIMARY,) if server.has_secondary else (PRIMARY, SECONDARY)
    machine(work, tagalong, addresses, USERS, {"systemctl": "#!/bin/sh\n"})
    server.second = Second(work) if server.has_secondary else None
    server.prepare()
    world(work, sandbox, server)
    for section in text.split("\n## ")[1:]:
        server.follow(section.split("\n")[0], blocks_of(section))
    expect(set(server.checks) - set(server.followed), set())
    server.is_published()
    if server.reaps:
        gone(work, "once")
        server.has("web-2.corp.internal", "A", ["10.0.1.24"])
        shell(f"curl -sS --fail -X PUT --data '{json.dumps(host(GONE, 'web-2', '10.0.1.24') | {'state': 'terminated'})}' "
              f"http://{CONTROL}/instances/{GONE}")
        shell("tagalong reap --grace 1ms --yes")
        server.has("web-2.corp.internal", "A", [])
    shell("tagalong withdraw")
    server.has("web-1.corp.internal", "A", [])
    made = [pathlib.Path(name).read_text() for name in server.made]
    expect(tells_no_secret([*server.files.values(), *made]), server.secrets)
    print(f"{page}: as it is written")


class Both:
    """A server's page, and what it takes to run it and its secondary."""

    has_secondary = reaps = True
    # Key files that the page's commands have made, and secrets in all.
    made, secrets = ["new.key"], 2
    # By section, what to look at after each of its blocks that are run; it gets what the block printed.
    checks = {}
    # What the page starts, and how it is started here.
    unit, program = "", []
    zones, sandbox = [], []

    def __init__(self, work, text):
        self.work, self.text, self.followed = work, text, []
        self.files = files_of(blocks_of(text))

    def prepare(self):
        vpc_resolver()

    def follow(self, heading, blocks):
        ran = 0
        self.followed.append(heading)
        checks = self.checks.get(heading)
        for block in blocks:
            language, words, content = block
            for name, text in files_of([block]).items():
                write(name, text)
            if language == "sh" and "host" in words:
                self.before_host()
                told = shell(content)
            elif language == "sh" and "server" in words:
                second = self.second if "secondary" in words else None
                told = shell(content, *(second.around if second else ()))
                # Servers' programs may tell a key.
                TOLD.pop()
                if f"systemctl restart {self.unit}\n" in content:
                    self.start(second)
            else:
                continue
            if checks:
                expect(ran < len(checks), True)
                checks[ran](self, told)
            ran += 1
        expect(ran, len(checks) if checks else ran)

    def start(self, second):
        spawn([*(second.enter if second else ()), *self.program])
        until(f"dig +short @{SECONDARY if second else PRIMARY} corp.internal SOA | grep -q ns1")

    def before_host(self):
        until(f"dig +short @{PRIMARY} 0.10.in-addr.arpa SOA | grep -q '^[^;]'")

    def answers(self, name, kind):
        dig = subprocess.run(["dig", f"@{PRIMARY}", "+short", "+norecurse", "+time=2", name, kind], capture_output=True, text=True)
        return sorted(dig.stdout.split("\n"))[1:]

    def has(self, name, kind, values):
        """Soon: a server that has just read its configuration may still be loading the zone."""
        for _ in range(100):
            if self.answers(name, kind) == values:
                return
            time.sleep(0.1)
        expect(self.answers(name, kind), values)

    def is_published(self, told=""):
        self.has("web-1.corp.internal", "A", [US_AT])
        self.has("web-1.corp.internal", "TXT", [f'"tagalong-owner={US}" "home={ACCOUNT}/us-east-1"'])
        self.has("23.1.0.10.in-addr.arpa", "PTR", ["web-1.corp.internal."])
        if self.has_secondary:
            for zone in ("corp.internal", "0.10.in-addr.arpa"):
                until(f'soa=$(dig +short @{PRIMARY} {zone} SOA) && [ "$soa" ] && [ "$soa" = "$(dig +short @{SECONDARY} {zone} SOA)" ]')

    def made_a_key(self, told):
        """It is as the page's own, which takes its place then."""
        expect(without_secret(pathlib.Path("tsig.key").read_text()), without_secret(self.files["tsig.key"]))

    def serves_by_hand(self, *names):
        for name, address in names:
            self.has(f"{name}.corp.internal", "A", [address])
        self.is_published()
        for name, address in names:
            run(f'[ "$(dig +short @{SECONDARY} {name}.corp.internal A)" = {address} ]')


def takes(old, new, *at_second):
    """A check: whether the primary takes updates under these keys, and hands out the zone to them, and the agent goes by them; for `at_second`
    whether the secondary knows them."""

    def check(server, told):
        if at_second:
            expect((asks("tsig.key"), asks("new.key")), at_second)
        for does in (updates, transfers):
            expect((does.__name__, does("tsig.key"), does("new.key")), (does.__name__, old, new))
        run("tagalong withdraw")
        server.has("web-1.corp.internal", "A", [])
        run("tagalong once")
        server.is_published()

    return check


def updates(key):
    update = f"server {PRIMARY}\nzone corp.internal\nupdate delete probe.corp.internal. A\nupdate add probe.corp.internal. 60 A 10.0.2.1\nsend\n"
    return not subprocess.run(["nsupdate", "-k", key], input=update, capture_output=True, text=True).returncode


def transfers(key):
    dig = subprocess.run(["dig", f"@{PRIMARY}", "-k", key, "corp.internal", "AXFR"], capture_output=True, text=True)
    return "\nns1.corp.internal." in dig.stdout


def asks(key):
    dig = subprocess.run(["dig", f"@{SECONDARY}", "-k", key, "corp.internal", "SOA"], capture_output=True, text=True)
    return "status: NOERROR" in dig.stdout


def without_secret(text):
    return re.sub(r"""(secret:?) "?[A-Za-z0-9+/=]{20,}"?""", r"\1 ...", re.sub(r"\s+", " ", text)).strip()


class Second:
    """A machine for the secondary, beside the first one."""

    def __init__(self, work):
        etc = work / "etc-of-second"
        run(f"cp --archive /etc {etc}")
        process = spawn(["unshare", "--net", "--mount", "sleep", "infinity"])
        until(f"grep -q sleep /proc/{process.pid}/comm")
        self.enter = ["nsenter", f"--target={process.pid}", "--net", "--mount"]
        self.around = (f"{' '.join(self.enter)} bash -euo pipefail -c \"$(cat << 'END OF BLOCK'\ncd {os.getcwd()}\n", "END OF BLOCK\n)\"\n")
        run("ip link add name to-second type veth peer name to-first "
            f"netns {process.pid}; ip link set to-second up; ip route add {SECONDARY} dev to-second src {PRIMARY}")
        self.run(f"ip link set lo up; ip link set to-first up; ip addr add {SECONDARY}/32 dev to-first; ip route add default dev to-first")
        self.run(f"mount --bind {etc} /etc; mount -t tmpfs none /run")
        for user, (runs, *folders) in USERS.items():
            self.run(f"mkdir -p {runs}; chown {user}:{user} {runs}")
            for folder in folders:
                mine = work / "second" / folder.strip("/")
                self.run(f"mkdir -p {mine}; chown {user}:{user} {mine}; mount --bind {mine} {folder}")

    def run(self, command):
        before, after = self.around
        run(f"{before}{command}\n{after}")


class Bind(Both):
    def has_by_hand(self, told):
        self.serves_by_hand(("printer", "10.0.2.9"))
        # While it is frozen it takes no updates.
        run("rndc freeze corp.internal")
        expect(updates("new.key"), False)
        run("rndc thaw corp.internal")
        expect(updates("new.key"), True)

    checks = {
        "The key": [Both.made_a_key],
        "Check it": [Both.is_published],
        "Rotating the key": [takes(True, False), takes(True, False), takes(True, True), takes(False, True), takes(False, True)],
        "Names by hand": [has_by_hand, lambda self, told: self.serves_by_hand(("printer", "10.0.2.9"), ("scanner", "10.0.2.10"))],
    }

    def prepare(self):
        super().prepare()
        # The page reloads one that runs.
        for address, second in ((PRIMARY, None), (SECONDARY, self.second)):
            conf = f"""options {{ directory "/var/cache/bind"; listen-on {{ {address}; 127.0.0.1; }}; listen-on-v6 {{ none; }}; recursion no;
                dnssec-validation no; }};\ninclude "/etc/bind/named.conf.local";\n"""
            write((self.work / "etc-of-second" if second else pathlib.Path("/etc")) / "bind/named.conf", conf)
            here = second.run if second else run
            here("> /etc/bind/named.conf.local; rndc-confgen -a -u bind")
            spawn([*(second.enter if second else ()), "named", "-g", "-u", "bind"])
            here("for i in {1..100}; do rndc status && exit; sleep 0.1; done; exit 1")

    def before_host(self):
        super().before_host()
        if "looked" not in vars(self):
            self.looked = True
            # What is looked at on a server that is respawned.
            for language, words, content in blocks_of((ROOT / "docs/respawn.md").read_text()):
                if language == "sh" and "server" in words:
                    shell(content)


class Knot(Both):
    def made_both_keys(self, told):
        self.made_a_key(told)
        made = without_secret("".join(pathlib.Path("key.yaml").read_text().splitlines(True)[1:]))
        expect(made in without_secret(self.files["knot.conf"]), True)

    unit, program = "knot", ["knotd"]
    checks = {
        "The key": [made_both_keys],
        "Check it": [Both.is_published],
        "Rotating the key": [takes(True, False), takes(True, False), takes(True, True), takes(False, True), takes(False, True)],
        "Names by hand": [lambda self, told: self.serves_by_hand(("printer", "10.0.2.9")),
                          lambda self, told: self.serves_by_hand(("printer", "10.0.2.9"), ("scanner", "10.0.2.10"))],
    }


class PowerDns(Both):
    unit, program = "pdns", ["pdns_server", "--guardian=no", "--daemon=no", "--disable-syslog", "--write-pid=no"]
    checks = {
        "The key": [Both.made_a_key],
        "Check it": [Both.is_published],
        "Rotating the key": [takes(True, False), takes(True, False), takes(True, True, True, False), takes(True, True, True, True),
                             takes(False, True, True, True), takes(False, True, False, True), takes(False, True)],
        "Known limits": [lambda self, told: expect(re.findall(r"^(\S+)\. hmac-sha256\. \S+$", told, re.M), ["agent-key-2027"])],
    }


class Samba(Both):
    has_secondary = reaps = False
    made, secrets = [], 0
    unit, program = "samba-ad-dc", ["samba", "--foreground", "--no-process-group", "--debug-stdout"]
    checks = {"Check it": [Both.is_published]}

    def prepare(self):
        super().prepare()
        for folder in ("/var/lib/samba", "/var/log/samba", "/var/cache/samba"):
            overlay(self.work, folder)
        # It serves no address of loopback's.
        run(f"ip addr del {PRIMARY}/32 dev lo; ip link add dc type bridge; ip link set dc up; ip addr add {PRIMARY}/24 dev dc")
        run("rm -f /etc/samba/smb.conf; mkdir -p /var/lib/samba/private /run/samba")

    def start(self, second):
        spawn(self.program)
        until(f"for port in 53 88 135 389; do (exec 3<>/dev/tcp/{PRIMARY}/$port) || exit 1; done")
        until(f"dig +short @{PRIMARY} corp.internal SOA | grep -q '^[^;]'")


class Route53(Both):
    """The zones are there from the start, with the id that the page has; the VPC's resolver knows of them, and of no record."""

    def is_the_tables(self, told):
        """The policy allows the actions that the page's table has, and changes of the page's names alone."""
        statements = json.loads(pathlib.Path("policy.json").read_text())["Statement"]
        rows = re.findall(r"^\| (`(?:route53|ec2):.*?) \| ", self.text, re.M)
        actions = {action.split(":")[1] for statement in statements for action in statement["Action"]}
        named = {action for row in rows for action in re.findall(r"`(?:\w+:)?(\w+)`", row)}
        # This instance's metadata have its tags.
        expect(actions, named - {"DescribeTags"})
        names = [name for it in statements for name in it.get("Condition", {}).get("ForAllValues:StringLike", {}).values()]
        expect(names, [["*.corp.internal"], ["*.in-addr.arpa"]])

    has_secondary = False
    made, secrets = [], 0
    checks = {"The agent": [is_the_tables], "Check it": [Both.is_published]}
    zones = [{"id": id, "name": f"{name}.", "vpcs": [{"region": "us-east-1", "id": "vpc-0123456789abcdef0"}]}
             for id, name in (("Z0123456789", "corp.internal"), ("Z9876543210", "0.10.in-addr.arpa"))]
    sandbox = ["--dns", f"{VPC_RESOLVER}:53=replica", "--zone", "corp.internal"]

    def prepare(self):
        write("/etc/resolv.conf", f"nameserver {VPC_RESOLVER}\n")

    def before_host(self):
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


main()

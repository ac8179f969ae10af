"""runbook.py TAGALONG SANDBOX: docs/respawn.md as a reader follows it, while a program looks a name up ten times a second.

In namespaces of its own there are three servers of BIND: the primary of corp.internal, and two secondaries, the old server and the new one; a
host with an agent and a resolv.conf that getent reads; and the sandbox's EC2. Each block of the page is run as it is written, in the page's
order, but for those from "By Auto Scaling" on. What differs from the page:

- `aws` is a script (`AWS`), which makes the page's calls at the sandbox: what it launches is a named, and what it terminates is killed, with
  an address that never answers from then on.
- `systemctl` starts the agent, or sends it SIGHUP.
- All times are a tenth: `sleep` sleeps a tenth, and the agent lists every 6 s and probes every second.
- What the page has the reader look for, in `status` and at servers, is waited for.
- 127.0.0.1 is the new server's, and `rndc` the old one's.

It fails if a look-up fails or takes a second, if the old server is asked for more than the zone's SOA when it is watched, or if the new server
is not the only one at the end. That takes three quarters of a minute.
"""

import json
import re
import subprocess
import sys
import threading
import time

sys.dont_write_bytecode = True
from here import (CONTROL, ROOT, US, US_AT, VPC_RESOLVER, account, alone, blocks_of, expect, files_of, host, instance, machine, run, shell,
                  until, write)

PAGE = "respawn.md"
PRIMARY_AT, OLD_AT, NEW_AT, APP_AT, WORLD_AT = "10.0.0.9", "10.0.0.2", "10.0.1.2", "10.0.0.50", "192.0.2.1"
# The old one's is the page's.
OLD, NEW = "i-0123456789abcdef0", "i-0ddddddddddddddd1"
SOA = "1 3600 600 86400 60"


def main():
    tagalong, sandbox = sys.argv[1:]
    work = alone("runbook-")
    text = (ROOT / "docs" / PAGE).read_text()
    followed, rest = text.split("\n## By Auto Scaling\n")
    commands = [(words[0], block) for language, words, block in blocks_of(followed) if language == "sh"]
    places, blocks = zip(*commands)
    expect(places, ("host", "aws", "server", "aws", "host", "host", "aws", "aws", "host", "server", "aws"))
    setup, launch, look, tag, see, reload, drain, untag, see_again, watch, terminate = blocks

    for _, words, block in blocks_of(rest):
        print(f"not run, {' '.join(words)}: {block.strip()}")

    machine(work, tagalong, (PRIMARY_AT, OLD_AT, NEW_AT), {"bind": ["/run/named", "/var/cache/bind"]}, stand_ins(work))
    for name, content in files_of(blocks_of(text)).items():
        write(name, content)
    write("/etc/tagalong/config.d/tenth.toml", '[discovery]\nrefresh = "6s"\n[resolver]\nprobe = "1s"\n')
    write("/etc/resolv.conf", f"nameserver {OLD_AT}\n")
    world(work, sandbox)
    with LookUps() as look_ups:
        shell(setup)
        until(f"grep tagalong /etc/resolv.conf && {uses(OLD_AT)}")
        aws(work, launch)
        until(serves(NEW_AT))
        seen = shell(look)
        wanted = "flags: qr aa", f"\nns1.corp.internal. hostmaster.corp.internal. {SOA}\n", f"\n{WORLD_AT}\n"
        expect([it for it in wanted if it not in seen], [])
        aws(work, tag)
        # The old one is nearer.
        until(uses(OLD_AT, NEW_AT))
        expect(f"{NEW_AT}:53 in use" in shell(see), True)
        shell(reload)
        aws(work, drain)
        until(uses(NEW_AT, OLD_AT))
        aws(work, untag)
        until(uses(NEW_AT))
        expect(OLD_AT in shell(see_again), False)
        shell(watch)
        log = (work / f"{OLD}.log").read_text()
        expect("query logging is now on" in log, True)
        expect(set(re.findall(r"query: (\S+ IN \S+)", log)) - {"corp.internal IN SOA"}, set())
        aws(work, terminate)
        # Longer than a listing takes to come.
        time.sleep(8)
        run(uses(NEW_AT))
    if look_ups.failed or look_ups.longest >= 1:
        sys.exit("FAILED: a look-up failed, or took a second")


class LookUps:
    """A thread for each, so that none waits for another."""

    def __enter__(self):
        self.count = self.failed = self.longest = 0
        self.lock, self.over = threading.Lock(), threading.Event()
        self.clock = threading.Thread(target=self.ten_a_second)
        self.clock.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.clock.join()
        print(f"{PAGE}: {self.count} look-ups, {self.failed} failed, the longest {self.longest * 1000:.0f} ms", flush=True)

    def ten_a_second(self):
        threads, next = [], time.monotonic()
        while not self.over.wait(max(0, next - time.monotonic())):
            threads.append(threading.Thread(target=self.look_up))
            threads[-1].start()
            next += 0.1
        for thread in threads:
            thread.join()

    def look_up(self):
        began = time.monotonic()
        getent = subprocess.run(["timeout", "30", "getent", "ahosts", "app.corp.internal"], capture_output=True, text=True)
        with self.lock:
            self.count += 1
            self.failed += APP_AT not in getent.stdout.split()
            self.longest = max(self.longest, time.monotonic() - began)


def world(work, sandbox):
    write(work / "launched.json", json.dumps(instance(NEW, NEW_AT, availability_zone="us-east-1b")))
    write(work / "zone", f"$TTL 60\n@ SOA ns1 hostmaster {SOA}\n@ NS ns1\nns1 A {PRIMARY_AT}\napp A {APP_AT}\n")
    secondary = f"type secondary; primaries {{ {PRIMARY_AT}; }}; masterfile-format text;"
    configure(work, "primary", PRIMARY_AT, f'type primary; file "{work}/zone"; also-notify {{ {OLD_AT}; {NEW_AT}; }};', "controls { };")
    configure(work, OLD, OLD_AT, secondary)
    configure(work, NEW, f"{NEW_AT}; 127.0.0.1", secondary, "controls { };")
    run("rndc-confgen -a -u bind")
    for id, address in (("primary", PRIMARY_AT), (OLD, OLD_AT)):
        run(f"launch {id}")
        until(serves(address))
    state = {"instances": [host(US, "web-1", US_AT), instance(OLD, OLD_AT, tags={"tagalong:dns-server": "corp.internal"})],
             "dns": {"zones": [{"name": "example.com.", "records": [f"@ 60 A {WORLD_AT}"]}]}}
    account(work, sandbox, state, "--dns", f"{VPC_RESOLVER}:53=replica")


def configure(work, id, addresses, zone, more=""):
    address = addresses.split(";")[0]
    write(work / f"{id}.conf", f"""options {{ directory "/var/cache/bind"; listen-on {{ {addresses}; }}; listen-on-v6 {{ none; }};
        query-source address {address}; transfer-source {address}; notify-source {address}; dnssec-validation no;
        allow-query {{ any; }}; forward only; forwarders {{ {VPC_RESOLVER}; }};
        pid-file "/run/named/{id}.pid"; session-keyfile "/run/named/{id}.session"; }};
        {more} zone "corp.internal" {{ {zone} }};\n""")


def uses(*addresses):
    return f"diff <(grep ^nameserver /etc/resolv.conf) <(printf 'nameserver %s\\n' {' '.join(addresses)})"


def serves(address):
    return f"dig @{address} +short corp.internal SOA | grep -q ^ns1"


def aws(work, block):
    """What a block sets is there for the next one, as in the reader's shell."""
    shell(block, before=f"set -a; touch {work}/variables; source {work}/variables\n", after=f"export -p > {work}/variables\n")


def stand_ins(work):
    python = f"#!{sys.executable}\n"
    return {
        "aws": python + AWS.replace("WORK", str(work)).replace("CONTROL", CONTROL),
        "sleep": python + "import sys, time\ntime.sleep(float(sys.argv[1]) / 10)\n",
        "launch": f'#!/bin/sh\nnamed -g -u bind -c {work}/$1.conf > {work}/$1.log 2>&1 &\necho $! > {work}/$1.pid\n',
        "systemctl": f"""#!/bin/sh
            [ -e {work}/agent.pid ] && exec kill -HUP "$(cat {work}/agent.pid)"
            tagalong run >> {work}/servers.log 2>&1 &
            echo $! > {work}/agent.pid
            """,
    }


# What the page asks of the AWS CLI.
AWS = """
import json, os, signal, subprocess, sys, urllib.request

def ask(method, path, body=None):
    request = urllib.request.Request(f"http://CONTROL/{path}", json.dumps(body).encode(), method=method)
    return urllib.request.urlopen(request, timeout=10).read()

service, call, *rest = sys.argv[1:]
words = dict(zip(rest, rest[1:]))
instances = {instance["id"]: instance for instance in json.loads(ask("GET", "state"))["instances"]}
id = words.get("--instance-ids", words.get("--resources"))
if call == "run-instances":
    launched = json.load(open("WORK/launched.json"))
    id = launched["id"]
    ask("PUT", f"instances/{id}", launched)
    subprocess.run(["launch", id], check=True)
    print(id)
    sys.exit()
instance = instances[id]
address, tags = instance["interfaces"][0]["private_ipv4s"][0], instance["tags"]
tag = dict(word.split("=", 1) for word in words.get("--tags", "Key=").split(","))
if call == "wait" and rest[0] == "instance-status-ok":
    assert instance["state"] == "running"
elif call == "describe-instances":
    print(address)
elif call == "create-tags":
    ask("PUT", f"instances/{id}/tags", tags | {tag["Key"]: tag["Value"]})
elif call == "delete-tags":
    del tags[tag["Key"]]
    ask("PUT", f"instances/{id}/tags", tags)
elif call == "terminate-instances":
    os.kill(int(open(f"WORK/{id}.pid").read()), signal.SIGKILL)
    ask("PUT", f"dns/{address}:53", "black-hole")
    ask("PUT", f"instances/{id}", instance | {"state": "terminated"})
else:
    sys.exit(f"no such call here: {sys.argv[1:]}")
"""


main()

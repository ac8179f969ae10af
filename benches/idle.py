#!/usr/bin/env python3
"""What an idle agent costs: CPU time, wake-ups, resident memory, and calls of EC2, over some minutes.

usage: benches/idle.py TAGALONG SANDBOX [--seconds 600]

TAGALONG and SANDBOX are release binaries. On loopback: the metadata service and AWS of `sandbox`, its DNS server as the backend and as
the one server in use, the default rhythm (looks every 5 s, probes every 10 s, the list every 60 s). The agent is given 10 s to settle.
CPU time is of /proc/PID/stat, wake-ups are the voluntary context switches of its threads (those of threads that have ended are lost),
memory is VmRSS and its peak VmHWM.
"""
import argparse, json, os, subprocess, sys, tempfile, time, urllib.request
from pathlib import Path

INSTANCE = "i-0123456789abcdef0"
KEY = 'key "bench." {\n\talgorithm hmac-sha256;\n\tsecret "EZHQ9xJsTwEW01CWk0anu1Tjc0ml3XBtGa8q5TYB36I=";\n};\n'


def fields_of(path):
    return dict(line.split(":\t", 1) for line in path.read_text().splitlines() if ":\t" in line)


def status(pid):
    fields = fields_of(Path(f"/proc/{pid}/status"))
    wakes = sum(int(fields_of(path)["voluntary_ctxt_switches"]) for path in Path(f"/proc/{pid}/task").glob("*/status"))
    ticks = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    cpu = (int(ticks[11]) + int(ticks[12])) / os.sysconf("SC_CLK_TCK")
    kib = lambda name: int(fields[name].split()[0]) / 1024
    return cpu, wakes, kib("VmRSS"), kib("VmHWM")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tagalong")
    parser.add_argument("sandbox")
    parser.add_argument("--seconds", type=int, default=600)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        base = Path(directory)
        (base / "key").write_text(KEY)
        host = {"id": INSTANCE, "availability_zone": "us-east-1a", "vpc_id": "vpc-1", "role": "agent", "metadata_tags": True,
                "tags": {"Name": "web-1"}, "interfaces": [{"private_ipv4s": ["10.0.0.1"]}]}
        server = {"id": "i-0123456789abcdef1", "availability_zone": "us-east-1a", "vpc_id": "vpc-1",
                  "tags": {"tagalong:dns-server": "corp.internal"}, "interfaces": [{"private_ipv4s": ["127.0.0.1"]}]}
        (base / "state.json").write_text(json.dumps({"instances": [host, server]}))
        command = [options.sandbox, "serve", "--state", base / "state.json", "--imds", f"127.0.0.1:0={INSTANCE}",
                   "--dns", "127.0.0.1:0", "--zone", "corp.internal", "--key-file", base / "key"]
        children = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True)]
        try:
            ready = json.loads(children[0].stdout.readline())
            dns = ready["dns"][0]
            (base / "root/etc").mkdir(parents=True)
            (base / "config.toml").write_text(
                f'version = 1\n[metadata]\nendpoint = "http://{ready["imds"][0]}"\n[aws]\nendpoint = "http://{ready["aws"]}"\n'
                f'[[record]]\nname = "{{tag:Name}}.corp.internal"\nreverse = false\n[backend.internal]\nkind = "rfc2136"\n'
                f'servers = ["{dns}"]\nkey_file = "{base / "key"}"\n[discovery]\nport = {dns.rsplit(":", 1)[1]}\n'
                '[resolver]\nsearch = ["corp.internal"]\nfallback = "none"\n')
            places = ["--config", base / "config.toml", "--state-dir", base / "state", "--run-dir", base / "run", "--root", base / "root"]
            log = open(base / "log", "w")
            agent = subprocess.Popen([options.tagalong, *places, "run"], stdout=log, stderr=log, env={"PATH": os.environ["PATH"]})
            children.append(agent)
            time.sleep(10)
            calls = lambda: len(json.loads(urllib.request.urlopen(f"http://{ready['control']}/requests", timeout=5).read())["ec2"])
            before, calls_before = status(agent.pid), calls()
            time.sleep(options.seconds)
            after, calls_after = status(agent.pid), calls()
            minutes = options.seconds / 60
            print(f"over {options.seconds} s: CPU time {(after[0] - before[0]) * 1000:.0f} ms ({(after[0] - before[0]) / options.seconds * 100:.3f} %), "
                  f"wake-ups {(after[1] - before[1]) / minutes:.0f} a minute, resident {after[2]:.1f} MiB (peak {after[3]:.1f}), "
                  f"calls of EC2 {(calls_after - calls_before) / minutes:.1f} a minute")
            print(f"what it logged: {(base / 'log').read_text().count(chr(10))} lines")
        finally:
            for child in reversed(children):
                child.terminate()
                child.wait(10)


if __name__ == "__main__":
    main()

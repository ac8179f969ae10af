#!/usr/bin/env python3
"""What one registration costs, against a shell script with curl and nsupdate, and against boto3 and the AWS CLI.

usage: benches/once.py TAGALONG SANDBOX [--runs N] [--python VENV/bin/python] [--aws AWS]

TAGALONG and SANDBOX are release binaries. Everything runs on loopback: the stand-ins of `sandbox`, and a real named. The two
sides of each comparison run in turn, A B A B ..., and before each run the instance moves to another address, so that each run
has an update to make. Printed are medians, the ratio of the medians, and the median of the ratios pair by pair. Needs named, nsupdate, curl and time.
"""
import argparse, json, os, shutil, socket, statistics, subprocess, sys, tempfile, time, urllib.request
from pathlib import Path

INSTANCE = "i-0123456789abcdef0"
KEY = 'key "bench." {\n\talgorithm hmac-sha256;\n\tsecret "EZHQ9xJsTwEW01CWk0anu1Tjc0ml3XBtGa8q5TYB36I=";\n};\n'


def free_port():
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp:
            tcp.bind(("127.0.0.1", 0))
            port = tcp.getsockname()[1]
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
                try:
                    udp.bind(("127.0.0.1", port))
                    return port
                except OSError:
                    continue


def call(method, url, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, method=method, headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=5) as answer:
        return answer.read()


class Lab:
    """sandbox, named, and the files of both sides."""

    def __init__(self, options, directory):
        self.options, self.dir = options, Path(directory)
        self.run = tempfile.mkdtemp(dir="/dev/shm")  # as /run, which is in memory
        self.children = []

    def __enter__(self):
        self.start_sandbox()
        self.start_named()
        self.write_files()
        return self

    def __exit__(self, *_):
        for child in self.children:
            child.terminate()
            child.wait(10)
        shutil.rmtree(self.run, ignore_errors=True)

    def start_sandbox(self):
        state = self.dir / "state.json"
        zone = {"id": "ZBENCH", "name": "corp.internal.", "vpcs": []}
        state.write_text(json.dumps({"instances": [self.instance("10.0.0.1")], "zones": [zone]}))
        (self.dir / "key").write_text(KEY)
        command = [self.options.sandbox, "serve", "--state", str(state), "--imds", f"127.0.0.1:0={INSTANCE}",
                   "--dns", "127.0.0.1:0", "--zone", "corp.internal", "--key-file", str(self.dir / "key")]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.children.append(child)
        ready = json.loads(child.stdout.readline())
        self.imds, self.aws, self.control, self.slow_dns = ready["imds"][0], ready["aws"], ready["control"], ready["dns"][0]

    def start_named(self):
        self.dns = free_port()
        (self.dir / "db").write_text("$TTL 60\n@ SOA ns1 admin 1 3600 600 86400 60\n@ NS ns1\nns1 A 127.0.0.1\n")
        (self.dir / "named.conf").write_text(
            f'include "{self.dir}/key";\n'
            f'options {{ directory "{self.dir}"; listen-on port {self.dns} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};\n'
            'pid-file "named.pid"; session-keyfile "session.key"; recursion no; dnssec-validation no; notify no; };\n'
            'controls { };\nzone "corp.internal" { type primary; file "db"; update-policy { grant bench. zonesub ANY; }; };\n'
        )
        command = ["named", "-g", "-4", "-n", "1", "-c", str(self.dir / "named.conf")]
        child = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        self.children.append(child)
        for line in child.stderr:
            if line.rstrip().endswith("running"):
                break
        else:
            sys.exit("named did not start")
        import threading
        threading.Thread(target=lambda: [None for _ in child.stderr], daemon=True).start()

    def instance(self, address):
        return {
            "id": INSTANCE, "state": "running", "availability_zone": "us-east-1a", "vpc_id": "vpc-1", "role": "agent",
            "metadata_tags": True, "tags": {"Name": "web-1"}, # An interface keeps its hardware address when its address changes.
            "interfaces": [{"mac": "02:00:00:00:00:01", "private_ipv4s": [address]}],
        }

    def move(self, number):
        address = f"10.0.{number // 250}.{number % 250 + 1}"
        call("PUT", f"http://{self.control}/instances/{INSTANCE}", self.instance(address))
        return address

    def write_files(self):
        head = f'version = 1\n[metadata]\nendpoint = "http://{self.imds}"\n[aws]\nendpoint = "http://{self.aws}"\n[resolver]\nmanager = "none"\n'
        for name, server in (("rfc2136.toml", f"127.0.0.1:{self.dns}"), ("delayed.toml", self.slow_dns)):
            (self.dir / name).write_text(
                head + '[[record]]\nname = "{tag:Name}.corp.internal"\nreverse = false\n'
                f'[backend.internal]\nkind = "rfc2136"\nservers = ["{server}"]\nkey_file = "{self.dir}/key"\n'
            )
        (self.dir / "route53.toml").write_text(
            head + '[[record]]\nname = "{tag:Name}.corp.internal"\n[backend.aws]\nkind = "route53"\nzone_id = "ZBENCH"\n'
        )
        imds = f"http://{self.imds}/latest"
        script = self.dir / "register.sh"
        script.write_text(f"""#!/bin/bash
set -eu
T=$(curl -sf -X PUT {imds}/api/token -H 'X-aws-ec2-metadata-token-ttl-seconds: 300')
get() {{ curl -sf -H "X-aws-ec2-metadata-token: $T" {imds}/meta-data/$1; }}
ID=$(get instance-id)
IP=$(get local-ipv4)
NAME=$(get tags/instance/Name)
nsupdate -k {self.dir}/key <<END
server 127.0.0.1 {self.dns}
zone corp.internal
update delete $NAME-sh.corp.internal A
update delete $NAME-sh.corp.internal TXT
update add $NAME-sh.corp.internal 60 A $IP
update add $NAME-sh.corp.internal 60 TXT "owner=$ID"
send
END
""")
        script.chmod(0o755)
        (self.dir / "register.py").write_text(f"""
import boto3, urllib.request
def imds(method, path, **headers):
    request = urllib.request.Request("{imds}" + path, method=method, headers=headers)
    return urllib.request.urlopen(request).read().decode()
token = imds("PUT", "/api/token", **{{"X-aws-ec2-metadata-token-ttl-seconds": "300"}})
head = {{"X-aws-ec2-metadata-token": token}}
name, ip = imds("GET", "/meta-data/tags/instance/Name", **head), imds("GET", "/meta-data/local-ipv4", **head)
client = boto3.client("route53", endpoint_url="http://{self.aws}", region_name="us-east-1")
client.change_resource_record_sets(HostedZoneId="ZBENCH", ChangeBatch={{"Changes": [{{"Action": "UPSERT",
  "ResourceRecordSet": {{"Name": name + "-py.corp.internal", "Type": "A", "TTL": 60, "ResourceRecords": [{{"Value": ip}}]}}}}]}})
""")

    def once(self, config):
        return [self.options.tagalong, "--config", str(self.dir / config), "--state-dir", str(self.dir / f"state-{config}"),
                "--run-dir", self.run, "once", "--deadline", "20s"]


def timed(command, environment):
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
    elapsed = (time.perf_counter() - began) * 1000
    if done.returncode != 0:
        sys.exit(f"{command} failed ({done.returncode}):\n{done.stdout}{done.stderr}")
    return elapsed


def compare(lab, title, ours, theirs, runs, pause=0.0):
    environment = {"PATH": os.environ["PATH"], "AWS_EC2_METADATA_DISABLED": "true", "HOME": str(lab.dir),
                   "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    pairs = []
    for number in range(runs + 2):
        pair = []
        for side, command in enumerate((ours, theirs)):
            lab.move(2 * number + side)
            time.sleep(pause)
            pair.append(timed(command, environment))
        if number >= 2:  # two warm-ups
            pairs.append(pair)
    medians = [statistics.median(side) for side in zip(*pairs)]
    ratio = statistics.median(a / b for a, b in pairs)
    print(f"{title:44} {medians[0]:8.1f} ms {medians[1]:8.1f} ms   ratio {medians[0] / medians[1]:.3f} (pairwise {ratio:.3f}), {runs} runs")


def round_trips(lab, config, runs, first=False):
    """Each stand-in answers 5 ms and then 25 ms late: the difference of the medians, in units of 20 ms, is the sequential trips.

    Credentials are those of the instance's role; `first` has no memory of an earlier pass."""
    environment = {"PATH": os.environ["PATH"]}
    medians = {}
    for delay in (5, 25):
        for service in ("imds", "ec2", "route53", "dns"):
            call("PUT", f"http://{lab.control}/faults/{service}", {"delay_ms": delay})
        times = []
        for number in range(runs):
            lab.move(1000 + number + delay)
            time.sleep(0.5 if config == "route53.toml" else 0)
            if first:
                shutil.rmtree(lab.dir / f"state-{config}", ignore_errors=True)
            times.append(timed(lab.once(config), environment))
        medians[delay] = statistics.median(times)
    call("DELETE", f"http://{lab.control}/faults")
    return (medians[25] - medians[5]) / 20


def peak_memory(lab, command, environment):
    """By time(1): what a Python process starts itself is charged with Python's own memory until it is replaced."""
    report = lab.dir / "memory"
    done = subprocess.run(["/usr/bin/time", "--format", "%M", "--output", str(report), *command], env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(done.stderr)
    return int(report.read_text()) / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tagalong")
    parser.add_argument("sandbox")
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--python", help="a Python that has boto3")
    parser.add_argument("--aws", help="the AWS CLI")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, Lab(options, directory) as lab:
        print(f"{'':44} {'tagalong':>11} {'peer':>11}")
        compare(lab, "register by RFC 2136, against curl + nsupdate", lab.once("rfc2136.toml"), [str(lab.dir / "register.sh")], options.runs)
        call("PUT", f"http://{lab.control}/throttling", False)
        if options.python:
            compare(lab, "register in Route 53, against boto3", lab.once("route53.toml"), [options.python, str(lab.dir / "register.py")], max(10, options.runs // 3))
        if options.aws:
            batch = lab.dir / "batch.json"
            batch.write_text(json.dumps({"Changes": [{"Action": "UPSERT", "ResourceRecordSet": {
                "Name": "cli.corp.internal", "Type": "A", "TTL": 60, "ResourceRecords": [{"Value": "10.0.0.1"}]}}]}))
            command = [options.aws, "route53", "change-resource-record-sets", "--hosted-zone-id", "ZBENCH", "--change-batch",
                       f"file://{batch}", "--endpoint-url", f"http://{lab.aws}", "--region", "us-east-1"]
            compare(lab, "register in Route 53, against the AWS CLI", lab.once("route53.toml"), command, max(10, options.runs // 3))
        for title, config in (("RFC 2136", "delayed.toml"), ("Route 53", "route53.toml")):
            trips = [round_trips(lab, config, 9, first) for first in (False, True)]
            print(f"sequential round trips, {title}: {trips[0]:.1f}; of the first pass {trips[1]:.1f}")
        environment = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "PATH": os.environ["PATH"]}
        for config in ("rfc2136.toml", "route53.toml"):
            lab.move(5000)
            print(f"peak memory of once, {config}: {peak_memory(lab, lab.once(config), environment):.1f} MiB")
        print(f"size of the binary: {os.path.getsize(options.tagalong) / 1e6:.2f} MB")


if __name__ == "__main__":
    main()

"""What page.py and runbook.py stand on: namespaces of their own, a page's blocks, and processes that end with them."""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[3]
US, US_AT, METADATA, VPC_RESOLVER = "i-0aaaaaaaaaaaaaaa1", "10.0.1.23", "169.254.169.254", "169.254.169.253"
CONTROL = "127.0.0.1:8082"
# What each command printed.
TOLD = []


def alone(prefix):
    """Runs the script again in new namespaces; there, its work directory."""
    if "WORK" not in os.environ:
        with tempfile.TemporaryDirectory(prefix=prefix) as work:
            unshare = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
            sys.exit(subprocess.call([*unshare, sys.executable, *sys.argv], env=os.environ | {"WORK": work}))
    return pathlib.Path(os.environ["WORK"])


def blocks_of(text):
    """Each fenced block of a page: its language, the other words of its head, and what is in it."""
    found = re.findall(r"^```(\w+)([^\n]*)\n(.*?)^```$", text, re.M | re.S)
    return [(language, words.split(), content) for language, words, content in found]


def files_of(blocks):
    return {word[5:]: content for _, words, content in blocks for word in words if word.startswith("file=")}


def machine(work, tagalong, servers, users, stand_ins):
    """A host with `servers` beside it: their addresses, an /etc, /run and /var/lib of its own, and `stand_ins` before all programs."""
    addresses = (*servers, US_AT, METADATA, VPC_RESOLVER)
    run("ip link set lo up; " + "; ".join(f"ip addr add {address}/32 dev lo" for address in addresses))
    run(f"chmod 755 {work}; mount --make-rprivate /; cp --archive /etc {work}/etc; mount --bind {work}/etc /etc; mount -t tmpfs none /run")
    run("mkdir -p /run/lock /run/systemd/journal")
    overlay(work, "/var/lib/tagalong")
    for user, (runs, *folders) in users.items():
        for folder in folders:
            overlay(work, folder)
        run(f"mkdir -p {runs}; chown {user}:{user} {runs} {' '.join(folders)}")
    run("rm -rf /etc/resolv.conf /etc/tagalong; echo 'nameserver 10.0.0.9' > /etc/resolv.conf")
    bin = work / "bin"
    for name, text in stand_ins.items():
        write(bin / name, text, 0o755)
    (bin / "tagalong").symlink_to(tagalong)
    os.environ["PATH"] = f"{bin}:/usr/sbin:/usr/bin:/sbin:/bin"
    os.environ["AWS_ENDPOINT_URL"] = "http://127.0.0.1:8080"
    here = work / "here"
    here.mkdir()
    os.chdir(here)


def overlay(work, folder):
    mine = work / folder.strip("/").replace("/", "-")
    mine.mkdir()
    run(f"mkdir -p {folder}; mount --bind {mine} {folder}")


def instance(id, address, **more):
    return {"id": id, "availability_zone": "us-east-1a", "interfaces": [{"private_ipv4s": [address]}]} | more


def host(id, name, address):
    return instance(id, address, metadata_tags=True, tags={"Name": name}, role="dns-agent")


def account(work, sandbox, state, *more):
    """EC2, Route 53, and the metadata service."""
    write(work / "world.json", json.dumps(state))
    spawn([sandbox, "serve", "--state", str(work / "world.json"), "--imds", f"{METADATA}:80={US}", "--aws", "127.0.0.1:8080",
           "--control", CONTROL, *more])
    until(f"curl -s -o /dev/null http://{CONTROL}/")


def expect(found, wanted):
    if found != wanted:
        sys.exit(f"FAILED: {found}, not {wanted}")


def write(path, text, mode=0o644):
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def spawn(command):
    # It ends with the namespace of process ids.
    log = open(f"{os.environ['WORK']}/servers.log", "a")
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def run(command):
    done = subprocess.run(["bash", "-euc", command], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"FAILED: {command}\n{done.stdout}{done.stderr}")


def shell(block, before="", after=""):
    """Runs a block of a page, shows it, and gives what it printed."""
    print("$ " + block.strip().replace("\n", "\n  "), flush=True)
    bash = ["timeout", "100", "bash", "-euo", "pipefail", "-c", before + block + after]
    done = subprocess.run(bash, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    print(done.stdout, end="", flush=True)
    TOLD.append(done.stdout)
    if done.returncode:
        sys.exit(f"FAILED with {done.returncode}\n{servers_log()}")
    return done.stdout


def tells_no_secret(files):
    """Fails if what was told or kept here holds the secret of a key that one of these texts has."""
    secrets = {it for text in files for it in re.findall(r"""secret:? ["']?([A-Za-z0-9+/=]{20,})""", text)}
    kept = [file for folder in ("/var/lib/tagalong", "/run/tagalong") for file in pathlib.Path(folder).rglob("*") if file.is_file()]
    for text in (*TOLD, *(file.read_text(errors="replace") for file in kept)):
        if any(it in text for it in secrets):
            sys.exit(f"FAILED: this holds a secret:\n{text}")
    return len(secrets)


def until(command):
    end = time.monotonic() + 100
    while subprocess.run(["bash", "-c", command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode:
        if time.monotonic() > end:
            sys.exit(f"never: {command}\n{servers_log()}")
        time.sleep(0.1)


def servers_log():
    log = pathlib.Path(os.environ["WORK"], "servers.log")
    return log.read_text()[-4000:] if log.exists() else ""

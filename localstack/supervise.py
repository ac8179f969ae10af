"""Runs LocalStack for as long as it is wanted. Started by localstack/start, which says what the options mean.

LocalStack, and everything that it writes, is gone when this process ends, however it ends: on SIGTERM, when stdin
closes (--foreground), and, since the kernel then ends the child, even when it is killed.
"""

import argparse
import ctypes
import fcntl
import http.client
import importlib.metadata
import json
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SERVICES = ("cloudformation", "ec2", "iam", "route53", "sts")


def main():
    options = parse()
    scratch = Path(options.dir or tempfile.mkdtemp(prefix="localstack-")).resolve()
    scratch.mkdir(parents=True, exist_ok=True)
    log = scratch / "localstack.log"
    stdout = sys.stdout if options.foreground else detach()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(0))
    server = None
    try:
        if options.isolation != "host":
            bring_loopback_up()
        if options.port == 0:
            options.port = find_free_port()
        if answers(options.port):
            sys.exit(f"localstack/start: something listens on 127.0.0.1:{options.port} already")
        if not is_localstack():
            warning = "localstack/start: NOT LOCALSTACK but moto, for want of Python 3.13; see localstack/setup"
            print(warning, file=sys.stderr, flush=True)
        server = launch(options.port, scratch, log)
        wait_until_ready(server, options, log)
        started = json.dumps(describe(options, scratch, log))
        (scratch / "started.json").write_text(started + "\n")
        print(started, file=stdout, flush=True)
        if not options.foreground:
            stdout.close()
            go_quiet(log)
        while not is_unwanted(server, options, patience=None):
            pass
        if server.poll() is not None:
            sys.exit(f"localstack/start: LocalStack ended by itself, see {log}")
    finally:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        clean_up(server, options, scratch)


def parse():
    parser = argparse.ArgumentParser()
    parser.add_argument("--dir")
    parser.add_argument("--port", type=int, default=4566)
    parser.add_argument("--timeout", type=float, default=120)
    parser.add_argument("--foreground", action="store_true")
    # from localstack/start
    parser.add_argument("--isolation", choices=("host", "own", "user", "named"), required=True)
    parser.add_argument("--namespace")
    parser.add_argument("--is-namespace-ours", action="store_true")
    return parser.parse_args()


def detach():
    """Goes on in the background; the process that was started waits for the line with the endpoint and prints it."""
    reader, writer = os.pipe()
    if os.fork() > 0:
        os.close(writer)
        with open(reader) as pipe:
            line = pipe.readline()
        sys.stdout.write(line)
        sys.stdout.flush()
        os._exit(0 if line else 1)
    os.close(reader)
    os.setsid()
    return open(writer, "w")


def go_quiet(log):
    """Lets go of the terminal, so that nobody who reads our output waits for more."""
    with open(os.devnull) as null, open(log, "a") as file:
        os.dup2(null.fileno(), 0)
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)


def bring_loopback_up():
    """A new network namespace has a `lo`, but it is down."""
    get_flags, set_flags, is_up = 0x8913, 0x8914, 0x1
    with socket.socket() as any_socket:
        request = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(any_socket, get_flags, request))[1]
        if not flags & is_up:
            fcntl.ioctl(any_socket, set_flags, struct.pack("16sh14x", b"lo", flags | is_up))


def find_free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answers(port):
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def launch(port, scratch, log):
    root = scratch / "root"
    root.mkdir(exist_ok=True)
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "LANG": "C.UTF-8",
        "HOME": str(root),
        "TMPDIR": str(root),
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "SERVICES": ",".join(SERVICES),
        "EAGER_SERVICE_LOADING": "1",
        # the default server, twisted, listens on 0.0.0.0 whatever GATEWAY_LISTEN says (4.14, and 2026.3)
        "GATEWAY_SERVER": "hypercorn",
        "GATEWAY_LISTEN": f"127.0.0.1:{port}",
        "DNS_ADDRESS": "0",
        # it asks nothing of the internet
        "DISABLE_EVENTS": "1",
        "SKIP_SSL_CERT_DOWNLOAD": "1",
        "SKIP_INFRA_DOWNLOADS": "1",
        # it writes nowhere else
        "FILESYSTEM_ROOT": str(root),
        "LOCALSTACK_VOLUME_DIR": str(root / "volume"),
        "CONFIG_DIR": str(root / "config"),
    }
    if is_localstack():
        command = [sys.executable, "-m", "localstack.runtime.main"]
    else:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    supervisor = os.getpid()

    def die_with_the_supervisor():
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)
        if os.getppid() != supervisor:
            os._exit(1)

    with open(log, "wb") as output:
        return subprocess.Popen(
            command,
            cwd=root,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=die_with_the_supervisor,
        )


def is_localstack():
    try:
        importlib.metadata.version("localstack-core")
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def wait_until_ready(server, options, log):
    deadline = time.monotonic() + options.timeout
    while not is_unwanted(server, options, patience=0.1):
        if problem := find_problem(options.port):
            if time.monotonic() < deadline:
                continue
            sys.exit(f"localstack/start: not ready after {options.timeout:.0f} s: {problem}; see {log}")
        return
    if server.poll() is None:
        sys.exit("localstack/start: stdin is closed, so nobody wants LocalStack; leave out --foreground to keep it")
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
    sys.exit(f"localstack/start: LocalStack ended before it was ready. The end of {log}:\n{tail}")


def find_problem(port):
    """Why it is not ready, or None: health alone is told before the services can be loaded, so call each of them."""
    calls = (
        ("sts", "POST", "/", "Action=GetCallerIdentity&Version=2011-06-15"),
        ("ec2", "POST", "/", "Action=DescribeInstances&Version=2016-11-15"),
        ("iam", "POST", "/", "Action=ListUsers&Version=2010-05-08"),
        ("route53", "GET", "/2013-04-01/hostedzone", None),
    )
    for service, method, path, body in calls:
        scope = f"test/20260101/us-east-1/{service}/aws4_request"
        headers = {
            "Authorization": f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature={'0' * 64}",
            "X-Amz-Date": "20260101T000000Z",
        }
        if body:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            connection.request(method, path, body, headers)
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            return f"{service}: {error}"
        finally:
            connection.close()
        if status != 200:
            return f"{service}: HTTP {status}"
    return None


def is_unwanted(server, options, patience):
    """Waits `patience` seconds (None: for ever) for the end of LocalStack or, in the foreground, of stdin."""
    ending = os.pidfd_open(server.pid)
    try:
        watched = [ending, 0] if options.foreground else [ending]
        readable, _, _ = select.select(watched, [], [], patience)
        if ending in readable:
            server.wait()
            return True
        return 0 in readable and not os.read(0, 4096)
    except OSError:
        return True
    finally:
        os.close(ending)


def describe(options, scratch, log):
    pid = os.getpid()
    enter, netns = {
        "host": ([], None),
        "own": (["nsenter", f"--net=/proc/{pid}/ns/net"], f"/proc/{pid}/ns/net"),
        "user": (["nsenter", f"--target={pid}", "--user", "--net", "--preserve-credentials"], f"/proc/{pid}/ns/net"),
        "named": (["nsenter", f"--net=/run/netns/{options.namespace}"], f"/run/netns/{options.namespace}"),
    }[options.isolation]
    package = "localstack-core" if is_localstack() else "moto"
    return {
        "endpoint": f"http://127.0.0.1:{options.port}",
        "pid": pid,
        "enter": enter,
        "netns": netns,
        "dir": str(scratch),
        "log": str(log),
        "server": f"{package.removesuffix('-core')} {importlib.metadata.version(package)}",
    }


def clean_up(server, options, scratch):
    if server is not None:
        # nothing is kept, so there is nothing to end in good order; on SIGTERM under hypercorn it hangs
        server.kill()
        server.wait()
    if options.is_namespace_ours:
        subprocess.run(["ip", "netns", "delete", options.namespace], check=False)
    if options.dir is None:
        shutil.rmtree(scratch, ignore_errors=True)
    else:
        shutil.rmtree(scratch / "root", ignore_errors=True)
        (scratch / "started.json").unlink(missing_ok=True)


main()

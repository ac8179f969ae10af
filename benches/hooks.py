#!/usr/bin/env python3
"""What the packaged hooks add to a renewal: dhclient-script itself, run as dhclient runs it, with and without them.

usage: benches/hooks.py [--runs N]

In a network namespace of its own, with its own /etc, /run and no agent, a DNS server that never answers and no metadata service: all is
dead. The set-ups run in turn, A B C D E A B ..., each as `dhclient-script` with the environment of a RENEW: without any hook; with the
packaged hooks where tagalong manages resolv.conf (then dhclient's own make_resolv_conf is saved), where it does not, and where it is not
installed; with the last hook of the article of 2015 (an `echo` of a sortlist line); and, a few times only, with its first one (sleep 5,
dig). Printed are median, 99th percentile, and what each adds to the script without hooks. Needs root, dhclient-script and dig.
"""
import argparse, os, shutil, socket, statistics, subprocess, sys, tempfile, time
from pathlib import Path

HOOKS = Path(__file__).resolve().parent.parent / "packaging" / "hooks"
ECHO = 'echo "sortlist 10.0.2.0/255.255.255.0" >> /etc/resolv.conf\n'
SLOW = 'sleep 5\nmaster=$(dig +short puppet.corp.internal | head -n 1)\necho "sortlist $master" >> /etc/resolv.conf\n'
ENVIRONMENT = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "reason": "RENEW", "interface": "lo", "new_ip_address": "127.0.0.1",
    "old_ip_address": "127.0.0.1", "new_subnet_mask": "255.0.0.0", "old_subnet_mask": "255.0.0.0",
    "new_domain_name_servers": "127.0.0.9", "old_domain_name_servers": "127.0.0.9",
}


def inside():
    """In the namespaces: the set-ups, in turn."""
    runs, slow_runs = int(sys.argv[2]), int(sys.argv[3])
    enter, leave = Path("/etc/dhcp/dhclient-enter-hooks.d"), Path("/etc/dhcp/dhclient-exit-hooks.d")

    def set_up(enter_hook=None, exit_hook=None, installed=False, managed=False):
        for folder in (enter, leave):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        shutil.rmtree("/run/tagalong", ignore_errors=True)
        if installed:
            Path("/run/tagalong/hook").mkdir(parents=True)
        if managed:
            Path("/run/tagalong/resolver").write_text("127.0.0.9\n")
        if enter_hook:
            (enter / "zz-tagalong").write_text(enter_hook)
        if exit_hook:
            (leave / "hook").write_text(exit_hook)
        marker = "# Managed by tagalong: the fleet's living DNS servers, found by EC2 tag.\n" if managed else ""
        Path("/etc/resolv.conf").write_text(f"{marker}nameserver 127.0.0.9\n")

    ours = ((HOOKS / "dhclient-enter-hook").read_text(), (HOOKS / "dhclient-exit-hook").read_text())
    cases = {
        "no hook": lambda: set_up(),
        "ours, resolv.conf managed": lambda: set_up(*ours, installed=True, managed=True),
        "ours, resolv.conf not managed": lambda: set_up(*ours, installed=True),
        "ours, no agent installed": lambda: set_up(*ours),
        "the article's last hook (echo)": lambda: set_up(exit_hook=ECHO),
    }

    # A dead server takes what it is sent, and does not answer.
    silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    silent.bind(("127.0.0.9", 53))

    def once(prepare):
        prepare()
        began = time.perf_counter()
        subprocess.run(["/sbin/dhclient-script"], env=ENVIRONMENT, stdin=subprocess.DEVNULL, check=False,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return (time.perf_counter() - began) * 1000

    # What is measured is what is meant.
    for name, is_left in (("no hook", False), ("ours, resolv.conf managed", True), ("ours, resolv.conf not managed", False)):
        cases[name]()
        before = os.stat("/etc/resolv.conf").st_mtime_ns
        once(lambda: None)
        assert (os.stat("/etc/resolv.conf").st_mtime_ns == before) == is_left, name
    times = {name: [] for name in cases}
    for _ in range(runs):
        for name, prepare in cases.items():
            times[name].append(once(prepare))
    slow = "the article's first hook (sleep 5, dig)"
    if slow_runs:
        times[slow] = [once(lambda: set_up(exit_hook=SLOW)) for _ in range(slow_runs)]
    none = times["no hook"]
    print(f"{'dhclient-script, RENEW, all is dead':<42} {'median':>10} {'p99':>10} {'adds':>10}  runs")
    for name, values in times.items():
        # Pair by pair: each run beside the one without hooks in the same round.
        added = statistics.median(value - other for value, other in zip(values, none))
        values = sorted(values)
        p99 = values[min(len(values) - 1, int(len(values) * 0.99))]
        print(f"{name:<42} {statistics.median(values):>7.2f} ms {p99:>7.2f} ms {added:>+7.2f} ms  {len(values)}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--slow-runs", type=int, default=3)
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("benches/hooks.py needs root, for namespaces")
    with tempfile.TemporaryDirectory() as directory:
        script = """
            ip link set lo up
            mkdir "$1/etc" "$1/work"; : > "$1/etc/resolv.conf"
            mount -t overlay -o lowerdir=/etc,upperdir="$1/etc",workdir="$1/work" none /etc
            mount -t tmpfs none /run
            exec "$2" "$3" --inside "$4" "$5"
        """
        subprocess.run(["unshare", "--net", "--mount", "sh", "-ec", script, "sh", directory, sys.executable, __file__,
                        str(options.runs), str(options.slow_runs)], check=True)


if __name__ == "__main__":
    inside() if sys.argv[1:2] == ["--inside"] else main()

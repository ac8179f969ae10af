#!/usr/bin/env python3
"""localstack.py TAGALONG SANDBOX: localstack/README.md as a reader follows it, in a namespace of its own.

Every `sh checkout` block is run as it is written, with what `localstack/start` printed for PID, a program for COMMAND, and the built programs
for `cargo run`. Faults are given to a `sandbox serve --control` that is started here. Where moto stands in for LocalStack, what LocalStack
answers is not asked.
"""

import json
import os
import shutil
import sys

sys.dont_write_bytecode = True
from here import ROOT, alone, blocks_of, expect, run, shell, spawn, until, write

# What cargo makes of `--package` is found by its name, as built.
CARGO = """#!/bin/bash
program=TAGALONG
while [ "$1" != -- ]; do case $1 in sandbox) program=SANDBOX;; esac; shift; done
shift
exec "$program" "$@"
"""

# What a block leaves running.
END_ALL = "trap 'kill $(jobs -p)' EXIT\n"


def main():
    tagalong, sandbox = sys.argv[1:]
    work = alone("localstack-")
    run("ip link set lo up")
    here = work / "here"
    here.mkdir()
    shutil.copytree(ROOT / "localstack", here / "localstack", ignore=shutil.ignore_patterns("src"))
    (here / ".venv").symlink_to(ROOT / ".venv")
    write(work / "bin/cargo", CARGO.replace("TAGALONG", tagalong).replace("SANDBOX", sandbox), 0o755)
    os.environ["PATH"] = f"{work}/bin:{os.environ['PATH']}"
    os.chdir(here)
    blocks = [text for language, words, text in blocks_of((ROOT / "localstack/README.md").read_text()) if "checkout" in words]
    alone_, on_host, plan, faults, fidelity = blocks

    first, rest = alone_.split("\n", 1)
    started = json.loads(shell(first))
    shell(rest.replace("PID", str(started["pid"])).replace("COMMAND", "true"))

    started = json.loads(shell(on_host.splitlines()[0]))
    shell("\n".join(on_host.splitlines()[1:]))
    # 2: it would change something, and says what
    told = shell(plan.rstrip() + " || test $? = 2\n", END_ALL)
    expect("+ web-1.corp.internal. " in told, True)
    shell(f"localstack/stop {started['pid']}")

    spawn([sandbox, "serve", "--control", "127.0.0.1:4568"])
    until("curl -s -o /dev/null http://127.0.0.1:4568/")
    shell(faults, 'curl() { command curl --silent --show-error --fail "$@"; }\n')

    started = json.loads(shell("localstack/start"))
    if not started["server"].startswith("localstack"):
        fidelity = "\n".join(line for line in fidelity.splitlines() if "--kind localstack" not in line) + "\n"
    shell(fidelity.replace("PID", str(started["pid"])), END_ALL)
    shell(f"localstack/stop {started['pid']}")
    print("localstack/README.md: as it is written")


main()

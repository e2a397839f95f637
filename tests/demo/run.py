#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tools/demo as a test: in private namespaces, beside a bridge and a daemon of somebody else's, within its time; and what --keep prints."""
from __future__ import annotations

import pathlib
import shutil
import subprocess
import sys
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests" / "e2e"))
from lib import audit, harness  # noqa: E402
from lib.daemon import Daemon, Failed, wait_for  # noqa: E402


def run_demo(*options: str) -> tuple[str, float]:
    """What it printed, and how many seconds it took."""
    started = time.monotonic()
    done = subprocess.run([sys.executable, str(TOP / "tests/demo/demo.py"), *options], text=True, errors="replace", stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=400, check=False)
    if done.returncode != 0:
        print(done.stdout, flush=True)
        raise Failed(f"the demo ended with {done.returncode}")
    return done.stdout, time.monotonic() - started


def test_the_demo_ends_well_within_three_minutes_beside_a_bridge_and_another_daemon() -> None:
    subprocess.run(["ip", "link", "add", "other0", "type", "bridge"], check=True)
    subprocess.run(["ip", "addr", "add", "10.63.0.1/24", "dev", "other0"], check=True)
    subprocess.run(["ip", "link", "set", "other0", "up"], check=True)
    other = Daemon()
    try:
        other.start()
        wait_for("the network of the other daemon", lambda: other.condition("network", "default", "Ready").get("status") == "True")
        links = audit.links()
        _, took = run_demo()
        print(f"    {took:.0f} s", flush=True)
        if took > 180:
            raise Failed(f"the demo took {took:.0f} s")
        if audit.links() != links:
            raise Failed(f"the links of others are not as they were: {audit.links() ^ links}")
        if other.condition("network", "default", "Ready").get("status") != "True":
            raise Failed("the other daemon's network is not ready any more")
    finally:
        other.clean_up()
        subprocess.run(["ip", "link", "del", "other0"], check=False)


def test_what_keep_prints_works_and_leaves_nothing() -> None:
    before = audit.Look()
    said, _ = run_demo("--keep")
    lines = [line.strip() for line in said.splitlines()]
    at = next(i for i, line in enumerate(lines) if line.startswith("export BANGER_SOCKET="))
    end = lines.index("to end it and leave nothing:")
    scratch = pathlib.Path(lines[-1].split()[-1])
    try:
        talk = [line for line in lines[at:end] if not line.startswith("$EDITOR")]
        subprocess.run(["bash", "-euc", "\n".join(talk).replace("ssh web", "ssh web -- true")], stdin=subprocess.DEVNULL, check=True)
        subprocess.run(["bash", "-euc", "\n".join([lines[at], *lines[end + 1:]])], stdin=subprocess.DEVNULL, check=True, timeout=120)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    left = audit.changes(before, set(), [scratch])
    if left or scratch.exists():
        raise Failed(f"left behind: {left or scratch}")


if __name__ == "__main__":
    harness.enter_private_namespace()
    sys.exit(harness.run([test_the_demo_ends_well_within_three_minutes_beside_a_bridge_and_another_daemon, test_what_keep_prints_works_and_leaves_nothing],
                         sys.argv[1:]))

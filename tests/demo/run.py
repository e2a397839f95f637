#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tools/demo as a test: in private namespaces, beside a bridge of somebody else's, within its time."""
from __future__ import annotations

import pathlib
import subprocess
import sys
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests" / "e2e"))
from lib import harness  # noqa: E402
from lib.daemon import Failed  # noqa: E402


def test_the_demo_ends_well_within_three_minutes() -> None:
    subprocess.run(["ip", "link", "add", "other0", "type", "bridge"], check=True)
    subprocess.run(["ip", "addr", "add", "10.63.0.1/24", "dev", "other0"], check=True)
    subprocess.run(["ip", "link", "set", "other0", "up"], check=True)
    started = time.monotonic()
    done = subprocess.run([sys.executable, str(TOP / "tests/demo/demo.py")], text=True, errors="replace", stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=400, check=False)
    took = time.monotonic() - started
    print(done.stdout if done.returncode else f"    {took:.0f} s", flush=True)
    if done.returncode != 0:
        raise Failed(f"the demo ended with {done.returncode}")
    if took > 180:
        raise Failed(f"the demo took {took:.0f} s")


if __name__ == "__main__":
    harness.enter_private_namespace()
    sys.exit(harness.run([test_the_demo_ends_well_within_three_minutes], sys.argv[1:]))

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the README's tour as it stands: its sh blocks in order, in one shell, in private namespaces with a /tmp of their own."""
from __future__ import annotations

import pathlib
import re
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from lib import audit, harness  # noqa: E402
from lib.daemon import TOP, Failed  # noqa: E402

# What a reader of the tour is promised to see.
PROMISED = ["NAME", "web", "Linux web", "memory 128Mi → 192Mi waits for a restart", "precious", "did you mean"]


def tour() -> str:
    text = (TOP / "README.md").read_text()
    section = text.split("## Five-minute tour", 1)[1].split("\n## ", 1)[0]
    return "\n".join(re.findall(r"```sh\n(.*?)```", section, re.DOTALL))


def test_the_tour_runs_as_written() -> None:
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/tmp"], check=True)
    before = audit.Look()
    # -m: job control, for the tour's "kill %1"; the wait shows that the daemon ended by it.
    script = "set -eum\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n" + tour() + "\nwait %1 || true\n"
    done = subprocess.run(["bash", "-c", script], cwd=TOP, text=True, errors="replace", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=300, check=False)
    log = pathlib.Path("/tmp/tour/log")
    if done.returncode != 0:
        print(done.stdout, log.read_text(errors="replace")[-4000:] if log.exists() else "", sep="\n--- log\n", flush=True)
        raise Failed(f"the tour ended with {done.returncode}")
    missing = [word for word in PROMISED if word not in done.stdout]
    if missing:
        print(done.stdout, flush=True)
        raise Failed(f"the tour did not show: {', '.join(missing)}")
    # The network `default` is the daemon's and stays until the host reboots or it is deleted; nothing of the VM may.
    changed = [t for t in audit.changes(before, set(), [pathlib.Path("/tmp/tour")])
               if not re.match(r"left: (link bgb|(address|route) \S+ (on|over) bgb|nft \w+ ip banger-)", t)]
    if changed:
        raise Failed(f"the host is not as it was: {changed}")


if __name__ == "__main__":
    harness.enter_private_namespace()
    sys.exit(harness.run([test_the_tour_runs_as_written], sys.argv[1:]))

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""clang-tidy over the product's sources (tests are left out: they cost as much again), one a core; prints what it finds."""
import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys

TOP = pathlib.Path(__file__).resolve().parents[2]
# Warnings that GCC knows and clang does not must not become errors here.
EXTRA = ["--extra-arg=-Wno-unknown-warning-option", "--extra-arg=-Wno-error"]


def check(source: str) -> tuple[str, int, str]:
    done = subprocess.run(["clang-tidy-19", "-p", "build", "--quiet", *EXTRA, source], cwd=TOP, check=False, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return source, done.returncode, done.stdout


def main() -> int:
    database = json.loads((TOP / "build" / "compile_commands.json").read_text())
    sources = sorted({str((pathlib.Path(e["directory"]) / e["file"]).resolve()) for e in database if not e["file"].endswith("_test.cpp") and "tests/sim/" not in e["file"]})
    only = [s for s in sources if any(part in s for part in sys.argv[1:])] if len(sys.argv) > 1 else sources
    bad = 0
    with concurrent.futures.ThreadPoolExecutor(max_workers=os.cpu_count() or 2) as pool:
        for source, code, output in pool.map(check, only):
            if code != 0 or "warning:" in output or "error:" in output:
                bad += 1
                print(output or f"{source}: clang-tidy ended with {code}", flush=True)
    print(f"tidy: {len(only)} sources, {bad} with findings")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the suites and sums them up. Called by tools/test once packages are there; the last line is 'N passed, N failed, N skipped'."""
from __future__ import annotations

import concurrent.futures
import dataclasses
import json
import os
import pathlib
import re
import subprocess
import sys
import time
from collections.abc import Callable

TOP = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TOP / "tests"))

# Tests that wait more than they compute run so many at once.
SIDE_BY_SIDE = min(4, os.cpu_count() or 1)

# Unit suites: name -> program below the build directory. One a room, as the meson files make them.
UNIT = {
    "base": "src/base/test_base",
    "api": "src/api/test_api",
    "store": "src/store/test_store",
    "actuators": "src/actuators/test_actuators",
    "net": "src/actuators/net/test_actuators_net",
    "guest": "src/actuators/guest/test_actuators_guest",
    "block": "src/actuators/block/test_actuators_block",
    "image": "src/actuators/image/test_actuators_image",
    "boot": "src/actuators/image/test_boot",
    "vmm": "src/actuators/vmm/test_actuators_vmm",
    "sim-host": "src/actuators/sim/test_actuators_sim",
    "local-host": "src/actuators/test_local_host",
    "guest-init": "src/guest_init/test_guest_init",
    "shim": "src/shim/test_shim",
    "intake": "src/intake/test_intake",
    "reconcilers": "src/reconcilers/test_reconcilers",
    "controller": "src/controller/test_controller",
    "server": "src/server/test_server",
    "client": "src/client/test_client",
    "cli": "src/cli/test_cli",
    "daemon": "src/daemon/test_daemon",
}
# What runs under which sanitizer: address and undefined take every unit suite; thread takes what is shared between threads.
# What unit tests start as programs of their own.
BESIDE = ["src/shim/banger-shim", "src/shim/test_vmm", "src/guest_init/banger-init", "src/actuators/vmm/test_guest_init", "src/cli/bangerctl"]
UNSANITIZED = {"boot"}  # real guests, whose own code is not what is looked at
THREADED = ["base", "store", "intake", "controller", "server"]


@dataclasses.dataclass
class Outcome:
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    notes: list[str] = dataclasses.field(default_factory=list)

    def add(self, other: "Outcome") -> None:
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped
        self.notes += other.notes


def as_root(command: list[str]) -> list[str]:
    return command if os.geteuid() == 0 else ["sudo", "-E", *command]


class DoesNotBuild(Exception):
    """This suite's build directory; what the compiler said has been printed."""


BROKEN: set[str] = set()  # build directories that are not tried again


def build(directory: str, *options: str, targets: str = "") -> None:
    """Brings a build directory up to date."""
    if directory in BROKEN:
        raise DoesNotBuild(directory)
    command = ["bash", "-c", '. tools/lib/setup.sh; build_dir "$@"', "build", directory, *options]
    if subprocess.run(command, cwd=TOP, env={**os.environ, "targets": targets}, check=False).returncode != 0:
        BROKEN.add(directory)
        raise DoesNotBuild(directory)


# So many sources of one target are compiled as one, in the sanitizers' directories only: what most of them spend their time on, the same
# headers and templates, is done once for all. build/ compiles each by itself, which shows a missing #include.
TOGETHER = 8


def build_together(directory: str, *options: str, targets: str) -> list[str]:
    """As build(), several sources at a time. Where two of them cannot be, because of one name in both, each is compiled by itself.
    Says so in what it returns."""
    try:
        build(directory, "-Dunity=on", f"-Dunity_size={TOGETHER}", *options, targets=targets)
        return []
    except DoesNotBuild:
        if not together(directory):
            raise
    print(f"    {directory}: trying again, each source by itself", flush=True)
    subprocess.run(["meson", "configure", directory, "-Dunity=off"], cwd=TOP, check=True, stdout=subprocess.DEVNULL)
    BROKEN.discard(directory)
    build(directory, *options, targets=targets)
    return [f"{directory} was slow to build: sources of one target have a name in common, see above; remove {directory} when that is mended"]


def together(directory: str) -> bool:
    listed = TOP / directory / "meson-info" / "intro-buildoptions.json"
    return listed.exists() and any(o["name"] == "unity" and o["value"] == "on" for o in json.loads(listed.read_text()))


DOCTEST = re.compile(r"test cases:\s*(\d+) \|\s*(\d+) passed \|\s*(\d+) failed \|\s*(\d+) skipped")
SKIP = re.compile(r"\bskipped: (.+)", re.IGNORECASE)


def run_doctest(program: pathlib.Path, environment: dict[str, str] | None = None, limit: int = 600) -> Outcome:
    """One doctest program. A test case that cannot run here prints 'skipped: <reason>' and counts as skipped, not passed."""
    if not program.exists():
        return Outcome(failed=1, notes=[f"{program} was not built"])
    try:
        done = subprocess.run(as_root([str(program)]), cwd=TOP, env={**os.environ, **(environment or {})}, text=True,
                              errors="replace", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=limit, check=False)
        output, code = done.stdout, done.returncode
    except subprocess.TimeoutExpired as late:
        output = late.stdout if isinstance(late.stdout, str) else (late.stdout or b"").decode(errors="replace")
        code = -1
        output += f"\nno end within {limit} s"
    summary = DOCTEST.search(output)
    reasons = SKIP.findall(output)
    if summary is None:
        print(output, flush=True)
        return Outcome(failed=1, notes=[f"{program.name} ended with {code} and no summary"])
    # What doctest calls skipped are cases that other cases start as child processes.
    passed, failed = (int(summary.group(n)) for n in (2, 3))
    if code != 0:
        print(output, flush=True)
        failed = max(failed, 1)
    return Outcome(passed - min(len(reasons), passed), failed, len(reasons), [f"skipped: {r}" for r in reasons])


def unit(name: str) -> Callable[[], Outcome]:
    def run() -> Outcome:
        build("build", "-Dwerror=true")
        return run_doctest(TOP / "build" / UNIT[name])
    return run


def sanitized(directory: str, sanitizers: str, names: list[str], environment: dict[str, str]) -> Callable[[], Outcome]:
    def run() -> Outcome:
        # Unoptimised: GCC takes more than twice as long for the largest files otherwise. -fno-wrapv: signed overflow is to be seen here.
        slow = build_together(directory, f"-Db_sanitize={sanitizers}", "-Db_lundef=false", "-Doptimization=0", "-Dcpp_args=-fno-wrapv",
                              targets=" ".join([*(UNIT[n] for n in names), *BESIDE]))
        total = Outcome(notes=slow)

        def run_one(name: str) -> None:
            started = time.monotonic()
            one = run_doctest(TOP / directory / UNIT[name], environment, limit=1200)
            print(f"    {name:<14}{one.passed:>5} passed {one.failed:>3} failed {one.skipped:>3} skipped {time.monotonic() - started:7.1f} s",
                  flush=True)
            total.add(one)

        with concurrent.futures.ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
            for done in [pool.submit(run_one, name) for name in names]:
                done.result()
        total.notes = sorted(set(total.notes))
        return total
    return run


def checks(*commands: list[str]) -> Callable[[], Outcome]:
    def run() -> Outcome:
        total = Outcome()
        for command in commands:
            done = subprocess.run(command, cwd=TOP, text=True, errors="replace", stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  check=False)
            if done.returncode == 0:
                total.passed += 1
            else:
                total.failed += 1
                print(done.stdout, flush=True)
        return total
    return run


def tidy() -> Outcome:
    build("build", "-Dwerror=true")
    return checks(["/usr/bin/python3", "tests/style/tidy.py"])()


def python_suite(script: str, *arguments: str) -> Callable[[], Outcome]:
    """A Python suite prints its own lines and ends with 'N passed, N failed, N skipped'."""
    def run() -> Outcome:
        build("build", "-Dwerror=true")
        process = subprocess.Popen(as_root(["/usr/bin/python3", str(TOP / script), *arguments]), cwd=TOP, text=True, errors="replace",
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        last, notes = "", []
        assert process.stdout is not None
        for line in process.stdout:
            print("    " + line, end="", flush=True)
            if SKIP.search(line):
                notes.append(f"skipped: {SKIP.search(line).group(1).strip()}")
            last = line.strip() or last
        code = process.wait()
        counts = re.fullmatch(r"(\d+) passed, (\d+) failed, (\d+) skipped", last)
        if counts is None:
            return Outcome(failed=1, notes=[f"{script} ended with {code} and no summary"])
        passed, failed, skipped = (int(n) for n in counts.groups())
        return Outcome(passed, max(failed, 1) if code != 0 else failed, skipped, notes)
    return run


@dataclasses.dataclass(frozen=True)
class Search:
    """So many schedules from seed 1 on, so many of them on RocksDB."""
    schedules: int
    on_rocksdb: int


def search(program: list[str], of: Search) -> Outcome:
    """The same seeds each time, whatever the machine: how long they take is its business. What breaks a rule is printed with the line
    that runs it again."""
    command = [*program, "--schedules", str(of.schedules), "--rocksdb", str(of.on_rocksdb), "--seed", "1", "--coverage"]
    process = subprocess.Popen(command, cwd=TOP, text=True, errors="replace", stdout=subprocess.PIPE)
    last = ""
    assert process.stdout is not None
    for line in process.stdout:
        print("    " + line, end="", flush=True)
        last = line.strip() or last
    code = process.wait()
    counts = re.fullmatch(r"sim: schedules=(\d+) steps=\d+ faults=\d+ violations=(\d+)", last)
    if counts is None:
        return Outcome(failed=1, notes=[f"the search ended with {code} and no summary"])
    done, violations = (int(n) for n in counts.groups())
    outcome = Outcome(passed=1 if code == 0 else 0, failed=violations)
    if done < of.schedules:
        outcome.notes.append(f"{done} of {of.schedules} schedules ran")
    if code != 0 and not violations:
        outcome.failed = 1
    return outcome


SEARCH = Search(schedules=2_000, on_rocksdb=40)
LONG_SEARCH = Search(schedules=100_000, on_rocksdb=2_000)


def sim() -> Outcome:
    build("build", "-Dwerror=true", targets="tests/sim/sim")
    return search(["build/tests/sim/sim"], SEARCH)


SUITES: dict[str, tuple[str, Callable[[], Outcome]]] = {
    "style": ("format, layer table, licence headers, syntax and names of scripts, links in the docs, the tests behind docs/guarantees.md",
              checks(["/usr/bin/python3", "tests/style/style.py"], ["/usr/bin/python3", "tools/check_layers.py"])),
    **{name: (f"unit tests of {pathlib.Path(program).parent}", unit(name)) for name, program in UNIT.items()},
    "boot": ("real guests boot from what the image room makes", unit("boot")),
    "e2e": ("real guests, taps, bridge, nft and cgroup in a private network namespace", python_suite("tests/e2e/run.py", "--jobs", str(SIDE_BY_SIDE))),
    "readme": ("the README's tour, its commands run as they stand", python_suite("tests/e2e/readme.py")),
    "demo": ("tools/demo in a private network namespace", python_suite("tests/demo/run.py")),
    "testhost": ("a host with device-mapper and KVM in QEMU: its runner, unit programs, marked end-to-end tests", python_suite("tests/testhost/run.py")),
    "testhost-full": ("all of e2e in the test host; runs only when it is named", python_suite("tests/testhost/run.py", "--full")),
    "sim": ("the whole daemon on a simulated host by random schedules of mishaps", sim),
    "sim-full": (f"{LONG_SEARCH.schedules} of them, built with optimisation; runs only when it is named",
                 lambda: search(["./tools/sim"], LONG_SEARCH)),
    "mutants": ("the product broken on purpose, one way at a time, and the search must notice; runs only when it is named",
                python_suite("tests/sim/mutants.py")),
    "asan": ("unit suites under the address and undefined-behaviour sanitizers",
             sanitized("build-asan", "address,undefined", [name for name in UNIT if name not in UNSANITIZED],
                       {"ASAN_OPTIONS": "detect_leaks=1:abort_on_error=1", "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1"})),
    "tsan": ("queue, store, watch and server under the thread sanitizer",
             sanitized("build-tsan", "thread", THREADED,
                       {"TSAN_OPTIONS": f"halt_on_error=1:suppressions={TOP}/tests/style/tsan.supp"})),
    "tidy": ("clang-tidy over the product's sources", tidy),
}


ON_DEMAND = {"testhost-full": "takes an hour; runs when it is named, and testhost runs what only a test host shows",
             "sim-full": "takes many minutes; runs when it is named, and sim runs the first seeds of it",
             "mutants": "says of the search, not of the product, whether it is good; runs when it is named"}


def main(arguments: list[str]) -> int:
    if "-h" in arguments or "--help" in arguments:
        print("tools/test [--list] [SUITE...]   every suite, or those named; --list says what each is")
        return 0
    if "--list" in arguments:
        for name, (what, _) in SUITES.items():
            print(f"{name:<14}{what}")
        return 0
    unknown = [a for a in arguments if a not in SUITES]
    if unknown:
        print(f"no such suite: {', '.join(unknown)}; ./tools/test --list names them", file=sys.stderr)
        return 2
    total = Outcome()
    for name in arguments or SUITES:
        total.add(run_one(name) if arguments or name not in ON_DEMAND else leave_out(name))
    print(f"{total.passed} passed, {total.failed} failed, {total.skipped} skipped", flush=True)
    return 1 if total.failed else 0


def run_one(name: str) -> Outcome:
    started = time.monotonic()
    try:
        one = SUITES[name][1]()
    except DoesNotBuild as directory:
        one = Outcome(failed=1, notes=[f"{directory} does not build"])
    tell(name, one, time.monotonic() - started)
    return one


def leave_out(name: str) -> Outcome:
    one = Outcome(skipped=1, notes=[f"skipped: {ON_DEMAND[name]}"])
    tell(name, one, 0)
    return one


def tell(name: str, one: Outcome, seconds: float) -> None:
    print(f"{name:<14}{one.passed:>5} passed {one.failed:>3} failed {one.skipped:>3} skipped {seconds:7.1f} s", flush=True)
    for note in one.notes:
        print(f"    {note}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

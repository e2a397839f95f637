# SPDX-License-Identifier: Apache-2.0
"""Runs test functions in a private network namespace and prints one line each; the last line sums up.

Arguments are parts of test names; --testhost stands for the tests that are marked for the suite testhost."""
from __future__ import annotations

import functools
import os
import pathlib
import re
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable

IN_TESTHOST = os.environ.get("BANGER_TESTHOST") == "1"
PATIENCE = 3 if IN_TESTHOST else 1  # every limit is so much longer: an emulated host is slower, the more the busier this machine is


class Skip(Exception):
    """This test cannot run here; the message says why."""


def for_testhost(test: Callable[[], None]) -> Callable[[], None]:
    """Marks a test of the suite testhost: it runs on this machine and in a test host, where the guests have KVM."""
    test.for_testhost = True  # type: ignore[attr-defined]
    return test


def has_device_mapper() -> bool:
    return "device-mapper" in pathlib.Path("/proc/misc").read_text()  # a node in /dev may be there without it


def needs_device_mapper(test: Callable[[], None]) -> Callable[[], None]:
    """Marks a test of the suite testhost that other kernels cannot run."""
    @functools.wraps(test)
    def run_it() -> None:
        if not has_device_mapper():
            raise Skip("this kernel has no device-mapper; ./tools/test testhost runs it")
        test()
    return for_testhost(run_it)


def left_to_testhost_full(test: Callable[[], None]) -> Callable[[], None]:
    """Marks a test that the suite testhost leaves out for the time it takes; testhost-full runs it there."""
    test.for_testhost = False  # type: ignore[attr-defined]
    return test


def mount_propagation() -> str:
    """What unshare is to do with the mounts it copies: make them private, so that none spreads.

    In a chroot whose root is no mount point it could not; there they are left as they are, which is private unless one is marked shared.
    """
    mounts = [line.split() for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines()]  # proc_pid_mountinfo(5)
    shared = any(field.startswith("shared:") for mount in mounts for field in mount[6:mount.index("-")])
    return "private" if shared or any(mount[4] == "/" for mount in mounts) else "unchanged"


def enter_private_namespace() -> None:
    """Starts this program again in network, mount and pid namespaces of its own, with the loopback link up and a reaper as pid 1.

    The pid namespace ends every process that a crashed run left, and nothing in it can see or signal the machine's.
    A test host (tests/testhost) is all this already: there the tests see a host as a user's daemon does.
    """
    if os.environ.get("BANGER_PRIVATE") == "1" or IN_TESTHOST:
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        return
    os.environ["BANGER_PRIVATE"] = "1"
    command = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", mount_propagation(),
               sys.executable, os.path.abspath(sys.argv[0]), *sys.argv[1:]]
    done = subprocess.run(command, check=False)
    sys.exit(done.returncode)


def chosen(tests: list[Callable[[], None]], only: list[str]) -> list[Callable[[], None]]:
    """All without names, else those whose names contain one of them, or are one of them when it begins with test_."""
    if "--testhost" in only:
        tests, only = [t for t in tests if getattr(t, "for_testhost", False)], [o for o in only if o != "--testhost"]
    return [t for t in tests if not only or any(t.__name__ == o if o.startswith("test_") else o in t.__name__ for o in only)]


def run_side_by_side(tests: list[Callable[[], None]], only: list[str], jobs: int) -> int:
    """Each test in a process and namespaces of its own, jobs at a time; the output of one comes out whole when it has ended."""
    counts = [0, 0, 0]
    waiting = [t.__name__ for t in reversed(chosen(tests, only))]
    lock = threading.Lock()

    def work() -> None:
        while True:
            with lock:
                if not waiting:
                    return
                name = waiting.pop()
            done = subprocess.run([sys.executable, os.path.abspath(sys.argv[0]), name], text=True, errors="replace",
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
            lines = done.stdout.splitlines()
            last = re.fullmatch(r"(\d+) passed, (\d+) failed, (\d+) skipped", lines[-1]) if lines else None
            with lock:
                if last is None:
                    print(f"{done.stdout}FAILED  {name}: ended with {done.returncode} and no summary", flush=True)
                    counts[1] += 1
                else:
                    print("\n".join(lines[:-1]), flush=True)
                    for i in range(3):
                        counts[i] += int(last.group(i + 1))

    workers = [threading.Thread(target=work) for _ in range(jobs)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    print(f"{counts[0]} passed, {counts[1]} failed, {counts[2]} skipped", flush=True)
    return 1 if counts[1] else 0


def run(tests: list[Callable[[], None]], only: list[str]) -> int:
    passed = failed = skipped = 0
    for test in chosen(tests, only):
        name = test.__name__.removeprefix("test_").replace("_", " ")
        started = time.monotonic()
        try:
            test()
            passed += 1
            print(f"ok      {name} ({time.monotonic() - started:.1f} s)", flush=True)
        except Skip as why:
            skipped += 1
            print(f"skipped: {name}: {why}", flush=True)
        except Exception as error:  # noqa: BLE001 - every failure of a test is reported alike
            failed += 1
            print(f"FAILED  {name} ({time.monotonic() - started:.1f} s): {error}", flush=True)
            if not isinstance(error, AssertionError):
                traceback.print_exc(file=sys.stdout)
    print(f"{passed} passed, {failed} failed, {skipped} skipped", flush=True)
    return 1 if failed else 0

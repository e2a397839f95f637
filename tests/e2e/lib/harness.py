# SPDX-License-Identifier: Apache-2.0
"""Runs test functions in a private network namespace and prints one line each; the last line sums up.

Arguments are parts of test names; --testhost stands for the tests that are marked for the suite testhost."""
from __future__ import annotations

import functools
import os
import pathlib
import subprocess
import sys
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


def needs_device_mapper(test: Callable[[], None]) -> Callable[[], None]:
    """Marks a test of the suite testhost that other kernels cannot run."""
    @functools.wraps(test)
    def run_it() -> None:
        if "device-mapper" not in pathlib.Path("/proc/misc").read_text():
            raise Skip("this kernel has no device-mapper; ./tools/test testhost runs it")
        test()
    return for_testhost(run_it)


def enter_private_namespace() -> None:
    """Starts this program again in network, mount and pid namespaces of its own, with the loopback link up and a reaper as pid 1.

    The pid namespace ends every process that a crashed run left, and nothing in it can see or signal the machine's.
    A test host (tests/testhost) is all this already: there the tests see a host as a user's daemon does.
    """
    if os.environ.get("BANGER_PRIVATE") == "1" or IN_TESTHOST:
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        return
    os.environ["BANGER_PRIVATE"] = "1"
    command = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private",
               sys.executable, os.path.abspath(sys.argv[0]), *sys.argv[1:]]
    done = subprocess.run(command, check=False)
    sys.exit(done.returncode)


def run(tests: list[Callable[[], None]], only: list[str]) -> int:
    passed = failed = skipped = 0
    if "--testhost" in only:
        tests, only = [t for t in tests if getattr(t, "for_testhost", False)], [o for o in only if o != "--testhost"]
    for test in tests:
        name = test.__name__.removeprefix("test_").replace("_", " ")
        if only and not any(o in test.__name__ for o in only):
            continue
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

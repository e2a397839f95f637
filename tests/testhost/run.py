#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The suite testhost: the runner itself, then what needs real kernel objects: unit programs and the end-to-end tests that are marked for it.

    tests/testhost/run.py [--full]     --full: all of tests/e2e in the test host
"""
from __future__ import annotations

import collections
import math
import os
import pathlib
import re
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "e2e"), str(HERE)]
import run as e2e  # noqa: E402
from lib import harness  # noqa: E402
from initrd import Missing  # noqa: E402
from testhost import TIMED_OUT, TOP, Done, Failed, Silent, TestHost  # noqa: E402

BUILD = pathlib.Path(os.environ.get("BANGER_BUILD", TOP / "build"))
# Without the real guests of the VMM's tests: their TCG inside this TCG takes minutes; the end-to-end tests boot theirs by KVM.
UNIT = ["src/actuators/block/test_actuators_block", "src/actuators/net/test_actuators_net",
        "src/actuators/vmm/test_actuators_vmm -sfe=*machines_qemu_test.cpp"]
ENDED = re.compile(r"(ok|FAILED|skipped:) +(.+?)(?: \(\d|: )")
SUMMARY = re.compile(r"(\d+) passed, (\d+) failed, (\d+) skipped")
DOCTEST = re.compile(r"test cases:\s*\d+ \|\s*(\d+) passed \|\s*(\d+) failed")
OVERHEAD = 20.0  # seconds, on a machine that does nothing else
KERNELS = 5  # what so many of them die of has failed; the test of two guests that write kills one in three
SILENCE = 600.0  # seconds without a word from a test or unit program; the longest takes 150 where nothing else runs


class Tally:
    def __init__(self) -> None:
        self.passed = self.failed = self.skipped = 0

    def add(self, passed: int, failed: int, skipped: int = 0) -> None:
        self.passed, self.failed, self.skipped = self.passed + passed, self.failed + failed, self.skipped + skipped

    def check(self, what: str, good: bool, why: str = "") -> None:
        print(f"{'ok     ' if good else 'FAILED '} {what}{'' if good else ': ' + why}", flush=True)
        self.add(int(good), int(not good))


def report(what: str, done: Done) -> None:
    busy = f", more than {OVERHEAD:.0f} s: this machine is busy (load {os.getloadavg()[0]:.0f})" if done.overhead > OVERHEAD else ""
    print(f"        {what}: {done.times()}{busy}", flush=True)


LOOK = r"""
test "$(cat /proc/1/comm)" = busybox -o "$(cat /proc/1/comm)" = sh || echo "pid 1 is $(cat /proc/1/comm)"
test -c /dev/mapper/control -a -c /dev/net/tun -a -c /dev/kvm || echo "a device is missing: $(ls /dev)"
test -e /sys/module/kvm_amd || echo "no kvm_amd"
test -e /sys/fs/cgroup/cgroup.controllers || echo "no cgroup v2"
for d in /tmp /run /var/tmp; do touch $d/x && rm $d/x || echo "$d cannot be written"; done
! touch /etc/x 2>/dev/null || echo "this machine's files can be written"
fallocate -l 64M /var/tmp/f && rm /var/tmp/f || echo "no fallocate in /var/tmp"
test -z "$(ip -o link show | grep -v ': lo:')" || echo "there are links"
grep -q device-mapper /proc/misc || echo "no device-mapper"
printf 'to stderr\n' >&2; printf 'no newline at the end'; exit 7
"""


def its_own_tests(tally: Tally) -> None:
    """Four hosts: one is looked at while, beside it, another hangs; one says nothing; one dies."""
    done: dict[str, Done | str] = {}

    def run(name: str, command: str, timeout: float, silence: float = math.inf) -> None:
        try:
            done[name] = TestHost(memory=512).run(["sh", "-c", command], timeout=timeout, silence=silence)
        except Failed as why:
            done[name] = f"{type(why).__name__}: {why}"

    before = {p for p in pathlib.Path("/var/tmp").glob("testhost-*")}
    for pair in ((("look", LOOK, 120.0), ("hang", "echo begun; exec sleep 1000", 12.0)),
                 (("silence", "echo begun; exec sleep 1000", 60.0, 3.0), ("panic", "echo begun; echo c >/proc/sysrq-trigger; sleep 100", 60.0))):
        threads = [threading.Thread(target=run, args=arguments) for arguments in pair]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    look, hang, silence, panic = (done[name] for name in ("look", "hang", "silence", "panic"))
    if isinstance(look, Done):
        report("a host beside another", look)
    tally.check("a test host is a host with device-mapper, KVM and disks of its own, and tells output and exit code",
                isinstance(look, Done) and look.code == 7 and look.lines == ["to stderr", "no newline at the end"], str(look))
    tally.check("a command that hangs ends at its limit and is shown", isinstance(hang, Done) and hang.code == TIMED_OUT and hang.lines[0] == "begun"
                and any("sleep 1000" in line for line in hang.lines[1:]) and hang.command < 20, str(hang))
    tally.check("a host that says nothing is given up before its limit", isinstance(silence, str) and silence.startswith("Silent: "), str(silence))
    tally.check("a host that dies is told with the end of its console", isinstance(panic, str) and "Kernel panic" in panic, str(panic))
    left = {p for p in pathlib.Path("/var/tmp").glob("testhost-*")} - before
    tally.check("nothing of them is left", not left, str(left))


def of_the_emulation(why: Failed) -> bool:
    """An emulated kernel with KVM guests in it dies or stands still once in a while; what was to run there is tried in a new one."""
    return isinstance(why, Silent) or "Kernel panic" in str(why)


def unit_programs(tally: Tally) -> None:
    waiting, deaths = list(UNIT), collections.Counter[str]()
    part: list[str] = []

    def show(line: str) -> None:
        if line.startswith("# src"):
            part[:] = [line[2:]]
        elif line.startswith("# ended"):
            count_program(tally, part, int(line.rpartition(" ")[2]))
            waiting.pop(0)
            part.clear()
        elif part:
            part.append(line)

    while waiting:
        script = "\n".join(f"echo '# {p}'; {BUILD / p}; echo \"# ended with $?\"" for p in waiting)
        try:
            report("unit programs", TestHost().run(["sh", "-c", script], timeout=900, on_line=show, silence=SILENCE))
        except Failed as why:
            print("\n".join(part), flush=True)
            deaths[waiting[0]] += 1
            if not of_the_emulation(why) or deaths[waiting[0]] == KERNELS:
                raise
            print(f"        the test host's kernel died in {waiting[0]}, which goes on in a new one\n{why}", flush=True)
            continue
        if waiting:
            print("\n".join(part), flush=True)
            tally.check("the unit programs end", False, f"cut off at {waiting[0]}")
        return


def count_program(tally: Tally, part: list[str], code: int) -> None:
    """part: a program's name, then what it printed."""
    summary = [m for x in part if (m := DOCTEST.search(x))]
    skips = [m.group(1) for x in part if (m := re.search(r"skipped: (.+)", x))]
    passed, failed = (int(summary[-1].group(n)) for n in (1, 2)) if summary else (0, 1)
    if code != 0:
        failed = max(failed, 1)
        print("\n".join(part), flush=True)
    print(f"{'ok     ' if not failed else 'FAILED '} {part[0]} ({passed} passed, {failed} failed)", flush=True)
    for reason in skips:
        print(f"skipped: {pathlib.Path(part[0]).name}: {reason}", flush=True)
    tally.add(passed - min(len(skips), passed), failed, len(skips))


def end_to_end(tally: Tally, which: list[str], timeout: float) -> None:
    """All in one host; what its kernel's death leaves over goes on in a new one. timeout: seconds for all of it."""
    waiting = {t.__name__.removeprefix("test_").replace("_", " "): t.__name__ for t in harness.chosen(e2e.TESTS, which)}
    deaths, before, end = collections.Counter[str](), 0.0, time.monotonic() + timeout

    def show(line: str) -> None:
        nonlocal before
        if SUMMARY.fullmatch(line):
            return
        now = host.processor()
        print(f"{line}, {now - before:.0f} s of processor" if line.startswith("ok ") else line, flush=True)
        if ended := ENDED.match(line):
            before = now
            waiting.pop(ended.group(2), None)
            tally.add(int(ended.group(1) == "ok"), int(ended.group(1) == "FAILED"), int(ended.group(1) == "skipped:"))

    while waiting:
        host, before = TestHost(memory=3072), 0.0
        try:
            done = host.run(["python3", str(TOP / "tests/e2e/run.py"), *waiting.values()], timeout=max(end - time.monotonic(), 1), cwd=TOP, on_line=show,
                            silence=SILENCE)
        except Failed as why:
            under_way = next(iter(waiting), "")
            deaths[under_way] += 1
            if not of_the_emulation(why) or deaths[under_way] == KERNELS:
                raise
            print(f"        the test host's kernel {'stood still' if isinstance(why, Silent) else 'died'} during \"{under_way}\"; {len(waiting)} tests go on in a new one\n{host.last_console()}", flush=True)
            continue
        report("end to end", done)
        if waiting:
            tally.check("the end-to-end tests end", False, f"exit {done.code}, without {list(waiting)}\n{host.last_console()}")
        return


def main() -> int:
    started = time.monotonic()
    tally = Tally()
    try:
        its_own_tests(tally)
        unit_programs(tally)
        if "--full" in sys.argv[1:]:
            end_to_end(tally, [], timeout=5400)
        else:
            end_to_end(tally, ["--testhost"], timeout=1800)
    except (Failed, Missing) as why:
        tally.check("the test host works", False, str(why))
    print(f"        all in {time.monotonic() - started:.0f} s", flush=True)
    print(f"{tally.passed} passed, {tally.failed} failed, {tally.skipped} skipped", flush=True)
    return 1 if tally.failed else 0


if __name__ == "__main__":
    sys.exit(main())

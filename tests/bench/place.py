# SPDX-License-Identifier: Apache-2.0
"""A place of the benchmark's own on this machine: namespaces, a cgroup subtree, a directory on the root disk. Nothing of it stays."""
from __future__ import annotations

import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

PREFIX = "banger-bench-"
SCRATCH = pathlib.Path("/var/tmp")


def cgroup_root() -> pathlib.Path:
    """Where cgroup v2 is mounted."""
    for line in pathlib.Path("/proc/self/mounts").read_text().splitlines():
        if line.split()[2] == "cgroup2":
            return pathlib.Path(line.split()[1])
    sys.exit("bench: no cgroup v2 is mounted here")


def remove_cgroups(top: pathlib.Path) -> None:
    """Ends what lives in a subtree and removes it."""
    if not top.exists():
        return
    (top / "cgroup.kill").write_text("1")
    end = time.monotonic() + 10
    while "populated 1" in (top / "cgroup.events").read_text() and time.monotonic() < end:
        time.sleep(0.01)
    for directory, _, _ in os.walk(top, topdown=False):
        os.rmdir(directory)


def sweep() -> None:
    """What a run that was killed left: its name says which process it was."""
    for parent in (SCRATCH, cgroup_root()):
        for path in parent.glob(PREFIX + "*"):
            pid = re.fullmatch(PREFIX + r"(\d+)", path.name)
            if pid and not os.path.exists(f"/proc/{pid.group(1)}"):
                remove_cgroups(cgroup_root() / path.name)
                for device in loops(SCRATCH / path.name):
                    subprocess.run(["losetup", "--detach", f"/dev/{device}"], check=False)
                shutil.rmtree(SCRATCH / path.name, ignore_errors=True)


def reap_until(child: int) -> int:
    """As pid 1: whatever is orphaned in here is ours to reap."""
    while True:
        pid, status = os.wait()
        if pid == child:
            return os.waitstatus_to_exitcode(status)


def enter() -> pathlib.Path:
    """Starts this program again inside; answers the scratch directory there. Outside, it cleans up and exits."""
    if "BANGER_BENCH" in os.environ:
        child = os.fork()
        if child:
            sys.exit(reap_until(child))
        root = cgroup_root()
        subprocess.run(["umount", str(root)], check=True)  # what is mounted now shows the whole machine
        subprocess.run(["mount", "-t", "cgroup2", "none", str(root)], check=True)
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        return pathlib.Path(os.environ["BANGER_BENCH"])
    sweep()
    name = f"{PREFIX}{os.getpid()}"
    scratch, group = SCRATCH / name, cgroup_root() / name
    scratch.mkdir(mode=0o700)
    group.mkdir()
    command = ["unshare", "--net", "--mount", "--pid", "--cgroup", "--fork", "--kill-child", "--mount-proc", "--propagation", "private",
               sys.executable, os.path.abspath(sys.argv[0]), *sys.argv[1:]]
    try:
        done = subprocess.run(command, check=False, env={**os.environ, "BANGER_BENCH": str(scratch)},
                              preexec_fn=lambda: (group / "cgroup.procs").write_text("0"))
    finally:
        remove_cgroups(group)
        for device in loops(scratch):
            subprocess.run(["losetup", "--detach", f"/dev/{device}"], check=False)
        shutil.rmtree(scratch, ignore_errors=True)
    sys.exit(done.returncode)


def idle_percent(seconds: float = 1.0) -> float:
    """How much of the machine nobody used just now."""
    def look() -> tuple[int, int]:
        fields = [int(f) for f in pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        return fields[3] + fields[4], sum(fields)
    idle, total = look()
    time.sleep(seconds)
    idle_after, total_after = look()
    return 100 * (idle_after - idle) / max(1, total_after - total)


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mb(pid: int) -> float:
    return int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text()).group(1)) / 1024


def own_links() -> list[str]:
    """Of this network namespace, loopback left out."""
    names = [line.split(":")[0].strip() for line in pathlib.Path("/proc/net/dev").read_text().splitlines()[2:]]
    return [name for name in names if name != "lo"]


def processes(word: str) -> list[str]:
    """Living processes of this pid namespace whose command line holds the word."""
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            line = pathlib.Path("/proc", entry, "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue  # ended
        if word in line:
            found.append(entry)
    return found


def loops(directory: pathlib.Path) -> list[str]:
    found = []
    for device in pathlib.Path("/sys/block").glob("loop*"):
        try:
            if str(directory) in (device / "loop/backing_file").read_text():
                found.append(device.name)
        except OSError:
            continue  # not bound
    return found

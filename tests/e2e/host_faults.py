# SPDX-License-Identifier: Apache-2.0
"""What the host refuses or lacks while a VM is made: memory, space, loop devices, minor numbers, the snapshot target. It is said, nothing half
made is left, and it heals by itself. The VMMs do nothing (tests/bench): what is looked at is what stands around them. Tests of run.py."""
from __future__ import annotations

import contextlib
import os
import pathlib
import subprocess
import time
from collections.abc import Iterator

from hard_times import fill, resize, small_state
from lib import audit, devices
from lib.daemon import Daemon, Failed, wait_for
from lib.harness import left_to_testhost_full, needs_device_mapper
from lib.world import NOOP_VMM, check, daemon, ready_for_vms, running, small_vm

# 5 ms apart, then twice as long each time: two and a half seconds in which to look, ten where a look takes one.
TRIES = 11 if "BANGER_TESTHOST" in os.environ else 9


def said_of(d: Daemon, name: str) -> str:
    return "\n".join(c.get("message", "") for c in d.get("vm", name).get("status", {}).get("conditions", []))


def kernel_objects(uid: str) -> list[str]:
    """Links, groups, loops, nodes and processes of a VM. An empty group is no more than a name."""
    seen = audit.links() | audit.loops() | audit.mappings() | audit.processes()
    return sorted(thing for thing in seen if uid in thing or audit.short_id(uid) in thing)


REFUSED = {  # what stands for what the kernel would say
    "step.MakeVmDirectory.before": "ENOSPC", "step.WriteSidecar.before": "ENOSPC", "step.WriteVmInitrd.before": "ENOSPC",
    "step.MakeTap.before": "ENFILE", "step.LaunchVmm.before": "ENOMEM",
}
REFUSED_DEVICES = {  # no space for its file, no free loop device, no free minor number, no memory for a table or for what a resume takes
    "root-disk.preallocate": "ENOSPC", "loop.attach": "ENOSPC", "dm.create": "ENXIO", "dm.load": "ENOMEM", "dm.resume": "ENOMEM",
}


def refused_everywhere(points: dict[str, str]) -> None:
    with daemon(*NOOP_VMM) as d:
        ready_for_vms(d)
        for index, (point, error) in enumerate(points.items()):
            d.stop()
            before = audit.Look()
            d.environment = {"BANGER_FAILPOINTS": f"{point}={TRIES}*error({error})"}
            d.start()
            name = f"vm{index}"
            path = d.write(f"{name}.yaml", small_vm(name))
            wait_for(f"{name}", lambda name=name: d.ctl("get", "vm", name, check=False).returncode == 0)
            wait_for(f"the refusal at {point} to be said", lambda name=name, point=point: f"failpoint {point}" in said_of(d, name), limit=20, pause=0.05)
            uid = d.get("vm", name)["metadata"]["uid"]
            # A try may be under way at any one look.
            wait_for("nothing half made", lambda uid=uid: not kernel_objects(uid), limit=2, pause=0.02)
            check(d.get("vm", name)["status"].get("phase") != "Running", f"{point}: it was over before it could be looked at")
            started = time.monotonic()
            wait_for(f"{name} to run after {point}", lambda name=name: running(d, name), limit=30)
            print(f"        {point} {error}: runs {time.monotonic() - started:.1f} s after the look", flush=True)
            path.unlink()
            d.wait_gone("vm", name)
            d.stop()
            d.environment = {}
            changed = audit.changes(before, {uid}, [d.scratch])
            check(not changed, f"not as before after {point}: {changed}")
            d.start()


def test_what_the_host_refuses_a_start_is_said_and_heals_by_itself() -> None:
    check(len(REFUSED) >= 5, f"only {len(REFUSED)} refusals are tried")
    refused_everywhere(REFUSED)


@left_to_testhost_full
@needs_device_mapper
def test_what_the_kernel_refuses_a_root_disk_is_said_and_heals_by_itself() -> None:
    refused_everywhere(REFUSED_DEVICES)


@contextlib.contextmanager
def without_snapshot_target() -> Iterator[None]:
    """A kernel that has device-mapper, but neither the target nor a way to its module."""
    helper = pathlib.Path("/proc/sys/kernel/modprobe")
    before = helper.read_text().strip()
    helper.write_text("/bin/false\n")
    subprocess.run(["rmmod", "dm_snapshot"], check=True)
    try:
        yield
    finally:
        helper.write_text(f"{before}\n")
        subprocess.run(["modprobe", "dm-snapshot"], check=True)


@needs_device_mapper
def test_a_device_mapper_without_its_target_is_said_and_used_once_it_is_there() -> None:
    with daemon(*NOOP_VMM) as d:
        d.stop()
        with without_snapshot_target():
            d.start()
            ready_for_vms(d)
            d.write("any.yaml", small_vm("any"))
            d.write("asks.yaml", small_vm("asks", ", backend: dm-snapshot"))
            wait_for("any to run", lambda: running(d, "any"))
            root = d.get("vm", "any")["status"]["disks"][0]
            check(root["backend"] in ("copy", "reflink") and "dm-snapshot" in root.get("backendReason", ""), f"what it chose instead: {root}")
            wait_for("the missing target to be said", lambda: "load the module dm-snapshot" in said_of(d, "asks"), limit=30)
            uid = d.get("vm", "asks")["metadata"]["uid"]
            check(not kernel_objects(uid), f"half made: {kernel_objects(uid)}")
            check(not list((d.state / "vms" / uid).glob("root.*")), "files of a root disk that cannot be made are left")
        started = time.monotonic()
        wait_for("asks to run", lambda: running(d, "asks"), limit=60)
        print(f"        runs {time.monotonic() - started:.1f} s after the module was loaded", flush=True)
        check(any(uid in node.uuid for node in devices.nodes()), "it runs without a device")


def test_a_vm_made_on_a_disk_that_is_too_full_is_said_leaves_no_half_file_and_heals() -> None:
    """With ever more room, so that each of its allocations is the one that fails, until there is enough for a whole VM."""
    with small_state("700m", *NOOP_VMM) as (d, state):
        ready_for_vms(d)
        refused = 0
        for room in (0, *(1 << bits for bits in range(16, 28, 2))):
            leave_free(state, room)
            name = f"vm{refused}"
            path = d.write(f"{name}.yaml", small_vm(name))
            said = wait_for(f"the full disk to be said, with {room} bytes free", lambda name=name: full_sentence(d, name) or runs(d, name), limit=30)
            print(f"        {room >> 10} KiB free: {said[:140]}", flush=True)
            if said == "it runs":
                break
            refused += 1
            wait_for("no half file", lambda: not list(state.glob("vms/*/.*.tmp")), limit=5, pause=0.02)  # a try may be under way at any one look
            for vm in state.glob("vms/*"):
                names = {p.name for p in vm.iterdir()}
                check("root.cow" not in names or "root.base" in names, f"half of a root disk: {names}")
            resize(state, "700m")
            uid = wait_for(f"{name} to run", lambda name=name: running(d, name), limit=60)
            path.unlink()
            d.wait_gone("vm", name)
            check(not kernel_objects(uid), f"left: {kernel_objects(uid)}")
        check(refused >= 3, f"only {refused} amounts of room were too little for a VM")
        resize(state, "700m")


def leave_free(state: pathlib.Path, room: int) -> None:
    fill(state)
    usage = os.statvfs(state)
    resize(state, str((usage.f_blocks - usage.f_bfree) * usage.f_frsize + room))


def runs(d: Daemon, name: str) -> str:
    with contextlib.suppress(Failed):
        return running(d, name) and "it runs"
    return ""


def full_sentence(d: Daemon, name: str) -> str:
    """Where it is said that there is no space: on the VM, or, where not even that can be written, by what holds its file."""
    there = d.ctl("get", "vm", name, check=False).returncode == 0
    texts = said_of(d, name).splitlines() if there else d.ctl("get", "sources").stdout.splitlines()
    return next((t for t in texts if "full" in t or "No space" in t), "")

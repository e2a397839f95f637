# SPDX-License-Identifier: Apache-2.0
"""A daemon killed before and after each step and each write of a VM's creation and deletion. Tests of run.py.

Each round arms one point for the creation and one for the deletion. After each kill a daemon without armed points must come to the
state that was asked for by itself, with one VMM or none, and leave nothing on the host. Once with guests and every point, once, quicker, with
VMMs that do nothing and the steps alone: those with device-mapper's nodes are for a test host.
"""
from __future__ import annotations

import time

from lib import audit
from lib.daemon import Daemon, wait_for
from lib.harness import has_device_mapper, left_to_testhost_full, needs_device_mapper
from lib.world import NOOP_VMM, check, daemon, ready_for_vms, running

VM = """\
apiVersion: banger.dev/v1alpha1
kind: VirtualMachine
metadata: {{name: {name}}}
spec:
  image: demo
  memory: 128Mi
  rootDisk: {{size: 256Mi}}
  disks: [{{name: data, size: 16Mi}}]
  networkInterfaces: [{{network: default}}]
"""
HAS_DM = has_device_mapper()


def around(*steps: str) -> list[str]:
    return [f"step.{step}.{side}=kill" for step in steps for side in ("before", "after")]


def counted(point: str, upto: int) -> list[str]:
    return [f"{point}={n}*off->kill" if n else f"{point}=kill" for n in range(upto)]


CREATE_STEPS = (*("MakeVmDirectory", "StartJob", "WriteVmInitrd"), *(["ActivateRootDisk"] if HAS_DM else []), "MakeTap", "LaunchVmm")
DELETE_STEPS = ("KillVmm", "RemoveLink", "ClearRunDirectory", *(["DeactivateRootDisk"] if HAS_DM else []), "RemoveCgroup", "RemoveVmDirectory")
CREATE = (around(*CREATE_STEPS) + counted("step.WriteSidecar.before", 3) + counted("step.WriteSidecar.after", 3)
          + counted("store.write.before", 6) + counted("store.write.after", 6))
DELETE = (around(*DELETE_STEPS) + counted("step.WriteSidecar.before", 1) + counted("step.WriteSidecar.after", 1)
          + counted("store.write.before", 5) + counted("store.write.after", 5))


def vmms(d: Daemon, uid: str) -> list[str]:
    """Processes other than the shim that name the VM's monitor socket, as pgrep -f would find them."""
    mark = f"{d.run_dir}/vm/{audit.short_id(uid)}/"
    return [p for p in audit.processes() if mark in p and "banger-shim" not in p]


def killed_by(d: Daemon, point: str, act) -> bool:
    """Runs act under a daemon with this point armed, and waits for the daemon's death. False: the point was not met."""
    d.environment = {"BANGER_FAILPOINTS": point}
    try:
        try:
            d.start()
        except SystemExit:
            act()  # it died before it answered: what it finds at its start already meets the point
            return True
        act()
        assert d.process is not None
        end = time.monotonic() + 12
        while time.monotonic() < end:
            if d.process.poll() is not None:
                return True
            time.sleep(0.05)
        d.stop()
        return False
    finally:
        d.environment = {}
        if d.process is not None:
            d.process.wait(timeout=10)
            d.process = None


def sweep_round(d: Daemon, index: int, create: str, delete: str) -> list[str]:
    """One VM through both points; answers the points that were not met."""
    name, missed = f"vm{index}", []
    d.stop()
    before = audit.Look()
    if not killed_by(d, create, lambda: d.write(f"{name}.yaml", VM.format(name=name))):
        missed.append(f"create {create}")
    d.start()
    uid = wait_for(f"{name} to run after {create}", lambda: running(d, name), limit=40)
    check(len(vmms(d, uid)) == 1, f"after {create}: not one VMM, but {vmms(d, uid)}")
    check(len(d.names("virtualmachines")) == 1, f"after {create}: {d.names('virtualmachines')}")
    d.stop()
    check(len(vmms(d, uid)) == 1, f"after {create} and a daemon's end: not one VMM, but {vmms(d, uid)}")
    if not killed_by(d, delete, (d.manifests / f"{name}.yaml").unlink):
        missed.append(f"delete {delete}")
    d.start()
    d.wait_gone("vm", name, limit=40)
    d.stop()
    changed = audit.changes(before, {uid}, [d.scratch])
    check(not changed, f"not as before after {create}, {delete}: {changed}")
    check(not [f for f in audit.files_of_objects(d.state, d.run_dir) if uid in f or audit.short_id(uid) in f], f"files left after {create}, {delete}")
    d.start()
    return missed


def sweep(create: list[str], delete: list[str], *options: str) -> None:
    with daemon(*options) as d:
        ready_for_vms(d)
        missed: list[str] = []
        rounds = max(len(create), len(delete))
        for index in range(rounds):
            missed += sweep_round(d, index, create[index % len(create)], delete[index % len(delete)])
        points = len(create) + len(delete)
        print(f"        {rounds} VMs, {points} points, {points - len(set(missed))} met{'; not met: ' + ', '.join(sorted(set(missed))) if missed else ''}",
              flush=True)
        check(points - len(set(missed)) >= 20, f"only {points - len(set(missed))} points were met: {missed}")
        check(not missed, f"points that nothing meets any more: {missed}")


def test_a_daemon_killed_in_any_step_of_create_and_delete_gets_there_and_leaves_nothing() -> None:
    check(len(CREATE) + len(DELETE) >= 50, f"only {len(CREATE) + len(DELETE)} points are armed")
    sweep(CREATE, DELETE)


@left_to_testhost_full
@needs_device_mapper
def test_a_daemon_killed_around_each_step_with_devices_gets_there_and_leaves_nothing() -> None:
    sweep(around(*CREATE_STEPS), around(*DELETE_STEPS), *NOOP_VMM)


def test_a_daemon_killed_between_a_bridge_and_its_label_finishes_or_removes_it() -> None:
    network = "apiVersion: banger.dev/v1alpha1\nkind: Network\nmetadata: {{name: {0}}}\nspec: {{cidr: 10.77.{1}.0/24}}\n"
    with daemon() as d:
        wait_for("the built-in network", lambda: d.condition("network", "default", "Ready").get("status") == "True")
        for name, number, wanted in (("kept", 8, True), ("dropped", 9, False)):
            d.stop()
            before = audit.links()
            check(killed_by(d, "net.bridge-unlabelled=kill", lambda: d.write(f"{name}.yaml", network.format(name, number))), "the point was not met")
            check(len(audit.links() - before) == 1, f"not one bridge without a label: {audit.links() - before}")
            if not wanted:
                (d.manifests / f"{name}.yaml").unlink()
            d.environment = {}
            d.start()
            if wanted:
                d.wait_condition("network", name, "Ready", limit=30)
            else:
                d.wait_gone("network", name, limit=30)
                check(audit.links() == before, f"the bridge is left: {audit.links() ^ before}")

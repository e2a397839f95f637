# SPDX-License-Identifier: Apache-2.0
"""Root disks on real device-mapper: shared, filled, grown, given up by the kernel, and what others do to them behind our back. Tests of run.py."""
from __future__ import annotations

import os
import pathlib
import re
import subprocess
import time

from lib import audit, devices
from lib.daemon import Daemon, Failed, wait_for
from lib.harness import needs_device_mapper
from lib.world import NOOP_VMM, check, daemon, ready_for_vms, small_vm, vm_manifest, vmm_of


def manifest(name: str, cow: str = "") -> str:
    """A VM whose only disk is its root: what it writes is what its snapshot keeps."""
    text = re.sub(r"  disks: .*\n", "", vm_manifest(name))
    return text.replace("rootDisk: {size: 256Mi}", f"rootDisk: {{size: 256Mi, backend: dm-snapshot{f', cow: {cow}' if cow else ''}}}")


def uid_of(d: Daemon, vm: str) -> str:
    return d.get("vm", vm)["metadata"]["uid"]


def node_of(uid: str) -> devices.Node:
    found = [node for node in devices.nodes() if uid in node.uuid]
    if len(found) != 1:
        raise Failed(f"not one device-mapper node of {uid}: {[str(n) for n in devices.nodes()]}")
    return found[0]


def loops_of(node: devices.Node) -> tuple[devices.Loop, devices.Loop]:
    """Its base and its copy-on-write loop, as the live table names them."""
    words = node.table[0].split()
    check(words[2] == "snapshot" and words[5].startswith("P"), f"its table is {node.table}")
    by_number = {f"7:{loop.name.removeprefix('loop')}": loop for loop in devices.loops()}
    return by_number[words[3]], by_number[words[4]]


def fill_of(node: devices.Node) -> str:
    """ "128/131072 16", "Overflow", "Invalid"."""
    return " ".join(node.status[0].split()[3:])


def root_disk(d: Daemon, vm: str) -> dict:
    return next(disk for disk in d.get("vm", vm)["status"]["disks"] if disk["name"] == "root")


def check_shown(d: Daemon, vm: str) -> None:
    """In get -o wide, describe and the metrics, as the status has it."""
    disk = root_disk(d, vm)
    used, size = disk["cowUsedPercent"], disk["cowSize"]
    row = next(line for line in d.ctl("get", "vm", "-o", "wide").stdout.splitlines() if line.startswith(vm))
    check(f"{used}% of {size}" in row, f"get -o wide does not show {used}% of {size}: {row}")
    check(re.search(rf"cow used +{used} %", d.ctl("describe", "vm", vm).stdout) is not None, f"describe does not show {used} %")
    sizes = [line for line in d.raw("/metrics").splitlines() if line.startswith("banger_root_disk_cow_size_bytes{") and f'"{vm}"' in line]
    check(len(sizes) == 1 and float(sizes[0].split()[-1]) == int(size.removesuffix("Mi")) << 20, f"the metrics do not show {size}: {sizes}")


def has_condition(d: Daemon, vm: str, type_: str) -> bool:
    return d.condition("vm", vm, type_).get("status") == "True"


def write_mib(d: Daemon, vm: str, name: str, count: int) -> str:
    """Through to the disk, as root in the guest."""
    return d.ssh(vm, f"dd if=/dev/zero of={name} bs=1M count={count} 2>&1; sync", check=False)


@needs_device_mapper
def test_two_vms_of_one_image_share_its_base_and_nothing_else() -> None:
    with daemon() as d:
        started = time.monotonic()
        d.write("pair.yaml", manifest("one") + "---\n" + manifest("two"))
        for vm in ("one", "two"):
            d.wait_ready(vm, limit=120)
            disk = root_disk(d, vm)
            check(disk["backend"] == "dm-snapshot" and disk["cowSize"] and "cowUsedPercent" in disk, f"its status tells {disk}")
        print(f"        two VMs ready after {time.monotonic() - started:.1f} s", flush=True)
        uids = {vm: uid_of(d, vm) for vm in ("one", "two")}
        (base, cow), (base2, cow2) = (loops_of(node_of(uid)) for uid in uids.values())
        check(base == base2, f"two base loops of one image: {base}, {base2}")
        check(bool(base.flags & devices.READ_ONLY), f"the base can be written: {base}")
        for uid, loop in zip(uids.values(), (cow, cow2)):
            check(uid in loop.label and uid in loop.file, f"the loop does not tell its VM: {loop}")
        check(all(loop.flags & devices.AUTOCLEAR for loop in (base, cow, cow2)), "a loop would outlive its user")
        d.ssh("one", "echo mine > /root/note; sync")
        check(d.ssh("two", "cat /root/note /etc/motd 2>&1", check=False).count("hello") == 1, "the second VM does not have the image's content")
        check("mine" not in d.ssh("two", "cat /root/note 2>&1", check=False), "the second VM sees what the first wrote")
        d.write("pair.yaml", manifest("one"))
        wait_for("two to be gone", lambda: not [n for n in devices.nodes() if uids["two"] in n.uuid], limit=60)
        check(node_of(uids["one"]).table != (), "the other VM's disk went with it")
        check(d.ssh("one", "cat /root/note") == "mine", "the other VM lost what it wrote")


@needs_device_mapper
def test_a_root_disk_that_fills_is_said_and_grown_or_only_said() -> None:
    with daemon() as d:
        d.write("grows.yaml", manifest("grows", "{size: 24Mi}"))
        d.write("full.yaml", manifest("full", "{size: 24Mi, growth: never}"))
        for vm in ("grows", "full"):
            d.wait_ready(vm, limit=120)
        before, first = vmm_of(d, "grows"), root_disk(d, "grows")["cowUsedPercent"]
        d.ssh("full", "echo kept > /root/kept; sync")
        for vm in ("grows", "full"):
            write_mib(d, vm, "/root/some", 19)
        wait_for("the fill to be grown away", lambda: root_disk(d, "grows")["cowSize"] in ("48Mi", "96Mi"), limit=30)
        print(f"        {first} % used after the boot; grown to {root_disk(d, 'grows')['cowSize']}: {fill_of(node_of(uid_of(d, 'grows')))}", flush=True)
        wait_for("the warning", lambda: has_condition(d, "full", "RootDiskFilling"), limit=30)
        check("RootDiskFilling" in d.ctl("events").stdout, "no event tells that a root disk fills")
        check_shown(d, "full")
        check(root_disk(d, "full")["cowSize"] == "24Mi", "growth: never is not never")
        write_mib(d, "grows", "/root/more", 20)
        check(d.ssh("grows", "wc -c < /root/more; echo on > /root/on; cat /root/on").split() == [str(20 << 20), "on"], "the grown disk takes no writes")
        check(vmm_of(d, "grows") == before, "the VM was restarted to grow its disk")
        write_mib(d, "full", "/root/more", 20)
        wait_for("the condition", lambda: has_condition(d, "full", "RootDiskFull"), limit=30)
        check(fill_of(node_of(uid_of(d, "full"))) == "Overflow", fill_of(node_of(uid_of(d, "full"))))
        message = d.condition("vm", "full", "RootDiskFull")["message"]
        check("24Mi" in message and "restart" in message, f"it does not say what to do: {message}")
        # What to do is done: more space and a restart. What had been written before is there.
        d.write("full.yaml", manifest("full", "{size: 96Mi, growth: never}"))
        wait_for("more space", lambda: root_disk(d, "full")["cowSize"] == "96Mi", limit=30)
        pid = d.get("vm", "full")["status"].get("vmm", {}).get("pid", 0)
        d.ctl("restart", "full")
        wait_for("another VMM", lambda: d.get("vm", "full")["status"].get("vmm", {}).get("pid", pid) != pid, limit=90)
        wait_for("the end of the condition", lambda: not has_condition(d, "full", "RootDiskFull"), limit=90)
        d.wait_ready("full", limit=120)
        check(d.ssh("full", "cat /root/kept") == "kept", "what was written before the overflow is lost")


@needs_device_mapper
def test_a_snapshot_that_the_kernel_gave_up_is_said_and_never_rebuilt() -> None:
    """Its copy-on-write file is put on a file system that gets full, so that the kernel cannot write there."""
    with daemon() as d:
        d.write("web.yaml", manifest("web"))
        d.wait_ready("web", limit=120)
        d.ctl("stop", "web", "--wait")
        wait_for("phase Stopped", lambda: d.get("vm", "web")["status"]["phase"] == "Stopped", limit=60)
        uid = uid_of(d, "web")
        wait_for("its device to be gone", lambda: not [n for n in devices.nodes() if uid in n.uuid], limit=30)
        cow, small = d.state / "vms" / uid / "root.cow", d.scratch / "small"
        small.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "small", str(small)], check=True)
        subprocess.run(["cp", "--sparse=always", str(cow), str(small / "cow")], check=True)
        subprocess.run(["mount", "--bind", str(small / "cow"), str(cow)], check=True)
        try:
            d.ctl("start", "web")
            d.wait_ready("web", limit=120)
            before = vmm_of(d, "web")
            with (small / "rest").open("wb") as rest:
                free = os.statvfs(small).f_bavail * os.statvfs(small).f_frsize
                os.posix_fallocate(rest.fileno(), 0, free)
            write_mib(d, "web", "/root/some", 30)
            wait_for("the kernel to give it up", lambda: fill_of(node_of(uid)) == "Invalid", limit=30)
            wait_for("the condition", lambda: has_condition(d, "web", "RootDiskInvalid"), limit=30)
            message = d.condition("vm", "web", "RootDiskInvalid")["message"]
            for words in (str(cow), "cannot be read", "data disks are whole", "delete the VM"):
                check(words in message, f"the condition does not say \"{words}\": {message}")
            check("RootDiskInvalid" in d.ctl("events").stdout, "no event tells of it")
            ready = d.condition("vm", "web", "Ready")
            check(ready["status"] == "False" and ready["reason"] == "RootDiskInvalid", f"it is told to be ready: {ready}")
            table = node_of(uid).table
            time.sleep(3)
            check(node_of(uid).table == table and cow.stat().st_size > 0, "it was rebuilt silently")
            check(vmm_of(d, "web") == before, "the VM was restarted for it")
            (d.manifests / "web.yaml").unlink()
            wait_for("its device to be gone", lambda: not [n for n in devices.nodes() if uid in n.uuid], limit=60)
        finally:
            subprocess.run(["umount", "--lazy", str(cow)], check=False)
            subprocess.run(["umount", "--lazy", str(small)], check=False)
        d.wait_gone("vm", "web", limit=60)


@needs_device_mapper
def test_what_others_do_to_its_devices_is_healed() -> None:
    with daemon() as d:
        d.write("web.yaml", manifest("web"))
        d.wait_ready("web", limit=120)
        uid, before = uid_of(d, "web"), vmm_of(d, "web")
        node = node_of(uid)
        d.ssh("web", "echo kept > /root/kept; sync")
        # Under a living VMM: the kernel refuses the removal, and puts the detaching of loops off until their last user goes.
        removed = subprocess.run(["dmsetup", "remove", "--noudevsync", node.name], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        check(removed.returncode != 0 and "busy" in removed.stdout.lower(), f"the kernel removed a disk under a VMM: {removed.stdout}")
        for loop in loops_of(node):
            subprocess.run(["losetup", "-d", f"/dev/{loop.name}"], check=False)
        check(d.ssh("web", "cat /root/kept; echo 3 > /proc/sys/vm/drop_caches; ls / >/dev/null; echo on > /root/on; sync; cat /root/on") == "kept\non",
              "the guest cannot use its disk")
        # Suspended: every access waits until the daemon resumes it.
        subprocess.run(["dmsetup", "suspend", "--noudevsync", "--nolockfs", node.name], check=True)
        wait_for("the device to be resumed", lambda: not node_of(uid).suspended, limit=60)
        check(d.ssh("web", "echo again > /root/on; sync; cat /root/on") == "again", "the guest cannot use its resumed disk")
        check(vmm_of(d, "web") == before, "the VM was restarted for what could be healed under it")
        # Stopped, with the daemon away: its devices are gone, whoever removed them; what was written is in the file.
        d.ctl("stop", "web", "--wait")
        wait_for("phase Stopped", lambda: d.get("vm", "web")["status"]["phase"] == "Stopped", limit=60)
        d.kill()
        subprocess.run(["dmsetup", "remove", "--noudevsync", node.name], stderr=subprocess.DEVNULL, check=False)
        check(not [n for n in devices.nodes() if uid in n.uuid], "the node is still there")
        d.start()
        d.ctl("start", "web")
        d.wait_ready("web", limit=120)
        check(d.ssh("web", "cat /root/kept") == "kept", "what was written is lost")
        # Its table taken away (dmsetup remove --force does that): the VMM's disk fails; that is said, and a restart cures it.
        pid, name = vmm_of(d, "web")[0], node_of(uid).name
        subprocess.run(["dmsetup", "remove", "--noudevsync", "--force", name], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        wait_for("it to be said or cured", lambda: has_condition(d, "web", "RootDeviceLost") or vmm_of(d, "web")[0] != pid, limit=60)
        if vmm_of(d, "web")[0] == pid:
            d.ctl("restart", "web")
        wait_for("another VMM", lambda: d.get("vm", "web")["status"].get("vmm", {}).get("pid", pid) != pid, limit=90)
        d.wait_ready("web", limit=120)
        check(d.ssh("web", "cat /root/kept") == "kept", "what was written is lost")


@needs_device_mapper
def test_foreign_devices_of_our_names_are_left_alone() -> None:
    with daemon(*NOOP_VMM) as d:
        ready_for_vms(d)
        d.write("web.yaml", small_vm("web", ", backend: dm-snapshot").replace("  image: demo", "  powerState: Stopped\n  image: demo"))
        wait_for("the VM", lambda: d.ctl("get", "vm", "web", check=False).returncode == 0)
        name = f"banger-{uid_of(d, 'web')}-root"
        subprocess.run(["dmsetup", "create", "--noudevsync", name, "--table", "0 2048 zero"], check=True)
        try:
            d.ctl("start", "web")
            d.wait_condition("vm", "web", "NameConflict", limit=60)
            message = d.condition("vm", "web", "NameConflict")["message"]
            check(name in message, f"the condition does not name the device: {message}")
            check(any(name in thing and "zero" in thing for thing in audit.mappings()), "the foreign device was changed")
        finally:
            subprocess.run(["dmsetup", "remove", "--noudevsync", name], check=True)
        wait_for("the VM to run", lambda: d.get("vm", "web")["status"].get("phase") == "Running", limit=60)
        d.ctl("stop", "web", "--wait")
        wait_for("phase Stopped", lambda: d.get("vm", "web")["status"]["phase"] == "Stopped", limit=60)
        cow = pathlib.Path(d.state, "vms", uid_of(d, "web"), "root.cow")
        foreign = subprocess.run(["losetup", "--find", "--show", str(cow)], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
        try:
            d.ctl("start", "web")
            d.wait_condition("vm", "web", "NameConflict", limit=60)
            message = d.condition("vm", "web", "NameConflict")["message"]
            check(foreign in message, f"the condition does not name the loop device: {message}")
            check(any(loop.name == pathlib.Path(foreign).name for loop in devices.loops()), "the foreign loop device was removed")
        finally:
            subprocess.run(["losetup", "--detach", foreign], check=True)
        wait_for("the VM to run", lambda: d.get("vm", "web")["status"].get("phase") == "Running", limit=60)

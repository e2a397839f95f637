# SPDX-License-Identifier: Apache-2.0
"""What belongs to no object: listed, collected when it is provably this daemon's, and nothing else touched. Real links, tables, groups,
loops and a real guest; what is foreign is made by ip, nft, mkdir and a loop ioctl."""
from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import pathlib
import shutil
import struct
import subprocess
import uuid
from collections.abc import Iterator
from typing import Any

from lib import audit
from lib.daemon import Daemon, wait_for
from lib.harness import Skip, for_testhost
from lib.world import alive, check, daemon, ready_for_vms, vm_manifest, vmm_of

LOOP_CTL_GET_FREE, LOOP_CONFIGURE, LO_FLAGS_AUTOCLEAR = 0x4C82, 0x4C0A, 4


def run(*words: str) -> str:
    return subprocess.run(words, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout


def label(d: Daemon, uid: str, name: str) -> str:
    by = hashlib.sha256(f"banger {d.state.resolve()}".encode()).hexdigest()[:8]
    return f"banger:uid={uid} by={by} of=VirtualMachine/default/{name}"


def listed(d: Daemon) -> dict[str, dict[str, Any]]:
    """Everything that gc --dry-run shows, by name."""
    return {item["name"]: item for item in json.loads(d.ctl("gc", "--dry-run", "-o", "json").stdout)["items"]}


def fates(d: Daemon, *names: str) -> list[str]:
    seen = listed(d)
    return [seen.get(name, {}).get("fate", "absent") for name in names]


def cgroup_root() -> pathlib.Path:
    """The hierarchy that bangerd uses: cgroup v2 where it can kill, else the v1 freezer."""
    mounts = [line.split() for line in pathlib.Path("/proc/self/mounts").read_text().splitlines()]
    for words in mounts:
        root = pathlib.Path(words[1])
        if words[2] != "cgroup2" or not os.access(root, os.W_OK):
            continue
        slice_ = root / "banger.slice"
        slice_.mkdir(exist_ok=True)
        if (slice_ / "cgroup.kill").exists():
            return root
    for words in mounts:
        if words[2] == "cgroup" and "freezer" in words[3].split(",") and os.access(words[1], os.W_OK):
            return pathlib.Path(words[1])
    raise Skip("no writable cgroup hierarchy")


@contextlib.contextmanager
def group(uid: str) -> Iterator[pathlib.Path]:
    """A group of our name that a person made. It goes with the test, the slice only when it is empty."""
    path = cgroup_root() / "banger.slice" / f"vm-{uid}"
    path.mkdir(parents=True)
    try:
        yield path
    finally:
        with contextlib.suppress(OSError):
            path.rmdir()
        with contextlib.suppress(OSError):
            path.parent.rmdir()


@contextlib.contextmanager
def loop_over(path: pathlib.Path) -> Iterator[str]:
    """A loop device that clears itself when this test lets go of it."""
    try:
        control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise Skip(f"no loop devices: {error}") from error
    backing = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    device = -1
    try:
        for _ in range(20):  # others take free ones too
            number = fcntl.ioctl(control, LOOP_CTL_GET_FREE)
            device = os.open(f"/dev/loop{number}", os.O_RDWR | os.O_CLOEXEC)
            # struct loop_config: fd, block size, then struct loop_info64 whose lo_flags are at 52 of it
            config = bytearray(304)
            struct.pack_into("II", config, 0, backing, 0)
            struct.pack_into("I", config, 8 + 52, LO_FLAGS_AUTOCLEAR)
            try:
                fcntl.ioctl(device, LOOP_CONFIGURE, bytes(config))
                break
            except OSError:
                os.close(device)
                device = -1
        check(device >= 0, "no loop device could be taken")
        yield f"/dev/loop{number}"
    finally:
        for fd in (device, backing, control):
            if fd >= 0:
                os.close(fd)


@for_testhost
def test_gc_takes_what_is_provably_ours_and_nothing_else() -> None:
    orphan, stranger, other, kept = (str(uuid.uuid4()) for _ in range(4))
    short = {uid: audit.short_id(uid) for uid in (orphan, stranger, other, kept)}
    with daemon() as d, group(orphan), group(stranger) as foreign_group:
        def gone_since(before: audit.Look) -> list[str]:  # groups and loops are the whole machine's: not those of other tests
            changes = audit.Look().changes_since(before, {orphan, stranger, other, kept}, [d.scratch], private=True)
            return [change for change in changes if change.startswith("gone:")]

        d.seen_uids |= {orphan, stranger, other, kept}
        ready_for_vms(d)
        ours = [f"bgb{short[orphan]}", f"bgr{short[orphan]}-0", f"banger-{short[orphan]}", f"banger.slice/vm-{orphan}",
                str(d.run_dir / "vm" / short[orphan]), str(d.state / "vms" / orphan)]
        run("ip", "link", "add", ours[0], "type", "bridge")
        run("ip", "link", "set", ours[0], "alias", label(d, orphan, "lost"))
        run("ip", "tuntap", "add", ours[1], "mode", "tap")
        run("ip", "link", "set", ours[1], "alias", label(d, orphan, "lost"))
        run("nft", f"add table ip {ours[2]} {{ comment \"{label(d, orphan, 'lost')}\" ; }}")
        for directory in ours[4:]:
            pathlib.Path(directory).mkdir(parents=True)

        foreign = [f"bgb{short[stranger]}", f"bgr{short[stranger]}-0", f"banger-{short[stranger]}", f"banger.slice/vm-{stranger}",
                   f"bgr{short[other]}-1"]
        run("ip", "link", "add", foreign[0], "type", "bridge")
        run("ip", "tuntap", "add", foreign[1], "mode", "tap")
        run("nft", f"add table ip {foreign[2]} {{ comment \"somebody's\" ; }}")
        run("ip", "tuntap", "add", foreign[4], "mode", "tap")
        run("ip", "link", "set", foreign[4], "alias", label(d, other, "web").replace(" by=", " by=00000000 was="))

        disks = d.state / "vms" / kept
        disks.mkdir(parents=True)
        (disks / "root.img").write_bytes(b"x" * (1 << 20))
        with loop_over(disks / "root.img") as loop:
            before = audit.Look()
            check(fates(d, *ours) == ["Collected"] * 6, f"orphans: {fates(d, *ours)}")
            check(fates(d, *foreign) == ["LeftAlone"] * 5, f"foreign things: {fates(d, *foreign)}")
            check(fates(d, loop, str(disks)) == ["LeftAlone", "Waits"], f"a loop over our file: {fates(d, loop, str(disks))}")
            table = d.ctl("gc", "--dry-run").stdout
            check("orphan (of virtualmachine default/lost)" in table, f"the table does not name the lost owner:\n{table}")
            check("banger_orphans 7" in d.raw("/metrics"), "the metric does not count the orphans")
            check(not gone_since(before), f"a dry run changed the host: {gone_since(before)}")

            d.ctl("gc", "--yes")
            check(fates(d, *ours) == ["absent"] * 6, f"after gc: {fates(d, *ours)}")
            gone = gone_since(before)
            check(all(orphan in thing or short[orphan] in thing for thing in gone), f"gc took more than the orphans: {gone}")
            check(fates(d, *foreign) == ["LeftAlone"] * 5 and foreign_group.is_dir(), "gc touched what is foreign")
            check((disks / "root.img").exists(), "gc took a disk from under a loop device that is not ours")
        wait_for("the loop to be let go", lambda: not any(str(disks) in thing for thing in audit.loops()))
        said = d.ctl("gc").stdout
        check("bangerctl gc --yes" in said and (disks / "root.img").exists(), f"a plain gc deleted data, or did not say how: {said}")
        d.ctl("gc", "--yes")
        check(not disks.exists(), "gc --yes left the disks")
        check("banger_orphans 0" in d.raw("/metrics"), "the metric still counts orphans")
        for name in (foreign[0], foreign[1], foreign[4]):
            run("ip", "link", "del", name)
        run("nft", "delete", "table", "ip", foreign[2])


@for_testhost
def test_a_machine_whose_every_record_is_lost_is_listed_and_removed_by_gc() -> None:
    with daemon() as d:
        d.write("web.yaml", vm_manifest("web"))
        seen = d.wait_ready("web")
        uid, tap = seen["metadata"]["uid"], seen["status"]["networkInterfaces"][0]["tap"]
        pid, _ = vmm_of(d, "web")
        described = d.ctl("describe", "vm", "web").stdout
        check("label (alias) and record" in described, f"describe does not say how the tap was found:\n{described}")
        d.uids()
        d.kill()
        shutil.rmtree(d.state / "db")
        for record in (*d.state.glob("vms/*/vm.json"), *d.state.glob("*/*/object.json")):
            record.unlink()
        (d.manifests / "web.yaml").unlink()
        d.start()
        d.ctl("gc", "--confirm")
        wait_for("the image to be built again", lambda: d.condition("image", "demo", "Ready").get("status") == "True")
        found = listed(d)
        check(found[tap]["fate"] == "NeedsConfirmation" and found[tap]["of"]["name"] == "web", f"the tap is told as {found.get(tap)}")
        if next(disk for disk in seen["status"]["disks"] if disk["name"] == "root")["backend"] == "dm-snapshot":
            node = found[f"banger-{uid}-root"]
            check(node["fate"] == "NeedsConfirmation" and node["label"] == "uuid", f"the root disk's node is told as {node}")
            cow = [item for item in found.values() if item["type"] == "loop" and item.get("uid") == uid]
            check(len(cow) == 1 and cow[0]["inUse"] == f"banger-{uid}-root", f"the loop of its copy-on-write file: {cow}")
        check(found[f"banger.slice/vm-{uid}"]["fate"] == "NeedsConfirmation", "the group is not an orphan")
        d.ctl("gc")
        check(alive(pid) and tap in listed(d), "gc without --yes took something from a living machine")
        d.ctl("gc", "--yes")
        check(not alive(pid), "gc --yes left the machine running")
        left = [name for name, item in listed(d).items() if item.get("uid") == uid]
        check(not left, f"left of the machine: {left}")
        check(not [t for t in audit.links() | audit.mappings() | audit.loops() if uid in t], "a kernel object of it is still there")

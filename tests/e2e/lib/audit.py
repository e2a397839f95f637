# SPDX-License-Identifier: Apache-2.0
"""A look at the host that shares nothing with bangerd, neither code nor database: links, addresses, routes and nft by netlink, loop devices and
device-mapper by ioctl, processes, mounts and cgroups by what the kernel shows in files.

Two looks are compared, both ways: nothing new may be there, and nothing that was there may be gone. In a test host everything counts; in a private
network namespace what it separates; what other programs of a shared host may make and remove counts only if it bears the uids given.
"""
from __future__ import annotations

import os
import pathlib
import re
import time

from . import devices, netlink
from .harness import IN_TESTHOST

UID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def short_id(uid: str) -> str:
    """The ten base32 digits that kernel names carry: the first 50 bits of the uid."""
    bits = int(uid.replace("-", "")[:16], 16)
    return "".join("abcdefghijklmnopqrstuvwxyz234567"[(bits >> (59 - 5 * i)) & 31] for i in range(10))


def read(path: pathlib.Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def processes() -> set[str]:
    found = set()
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            arguments = (entry / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ").strip()
            state = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[0]
        except (OSError, IndexError):
            continue
        if arguments and state not in "ZX":
            found.add(f"process {entry.name} {arguments}")
    return found


def links() -> set[str]:
    """The links of this network namespace with their labels, addresses and routes, whatever /sys shows (it may have been mounted in another one)."""
    known = netlink.links()

    def name(index: int) -> str:
        return known[index][0] if index in known else f"#{index}"

    found = {" ".join(f"link {link} {kind} {alias}{f' in {name(master)}' if master else ''}".split()) for link, kind, alias, master in known.values()}
    found |= {f"address {address} on {name(index)}" for index, address in netlink.addresses()}
    return found | {f"route {target} over {name(index)}" for index, target in netlink.routes()}


def loops() -> set[str]:
    return {str(loop) for loop in devices.loops()}


def mappings() -> set[str]:
    """Nodes of device-mapper, and what has their names in /dev without being one."""
    names = {f"file {path}" for path in pathlib.Path("/dev/mapper").glob("*") if path.name != "control"}
    return {str(node) for node in devices.nodes()} | names


def cgroups() -> set[str]:
    found = set()
    roots = {line.split()[1] for line in pathlib.Path("/proc/self/mounts").read_text().splitlines()
             if line.split()[2] in ("cgroup", "cgroup2")}
    for root in roots:
        slice_ = pathlib.Path(root, "banger.slice")
        if slice_.is_dir():
            found.update(f"cgroup {child}" for child in slice_.iterdir() if child.is_dir())
    return found


def tables() -> set[str]:
    return {f"nft {thing}" for thing in netlink.nft()}


def mounts() -> set[str]:
    return {f"mount {line.split()[1]}" for line in pathlib.Path("/proc/self/mounts").read_text().splitlines()}


def files(*directories: pathlib.Path) -> set[str]:
    found = set()
    for directory in directories:
        for parent, _, names in os.walk(directory):
            found.update(f"file {os.path.join(parent, name)}" for name in names)
    return found


# What no namespace separates: others may make and remove it on a shared host.
SHARED = ("cgroup ", "loop ", "dm ", "file /dev/mapper/")
# Below these a test host has nothing but what its tests make.
OWN_DIRECTORIES = [pathlib.Path(p) for p in ("/tmp", "/run", "/var/tmp", "/dev/shm")]


class Look:
    """Everything of the host that a VM could have left behind or taken away."""

    def __init__(self) -> None:
        self.things = links() | loops() | mappings() | cgroups() | tables() | mounts()
        if IN_TESTHOST:
            self.things |= files(*OWN_DIRECTORIES)
        self.processes = processes()

    def changes_since(self, before: "Look", uids: set[str], directories: list[pathlib.Path], private: bool) -> list[str]:
        """What is here and was not before, and what was before and is gone. directories are scratch, removed after this look."""
        marks = uids | {short_id(u) for u in uids} | {str(d) for d in directories}

        def marked(thing: str) -> bool:
            return any(m in thing for m in marks)

        def counts(thing: str) -> bool:
            return IN_TESTHOST or marked(thing) or (private and not thing.startswith(SHARED))

        def is_scratch(thing: str) -> bool:
            return any(thing.startswith(f"file {d}/") for d in directories)

        new = {t for t in self.things - before.things if counts(t) and not is_scratch(t)}
        new |= {p for p in self.processes - before.processes if marked(p)}
        gone = {t for t in before.things - self.things if counts(t) and not is_scratch(t)}
        return sorted(f"left: {t}" for t in new) + sorted(f"gone: {t}" for t in gone)


def changes(before: Look, uids: set[str], directories: list[pathlib.Path], private: bool = True, patience: float = 3.0) -> list[str]:
    """What differs from the look before, once the kernel has had time to end what is ending (a killed process, a loop device that clears itself)."""
    end = time.monotonic() + patience
    while (found := Look().changes_since(before, uids, directories, private)) and time.monotonic() < end:
        time.sleep(0.2)
    return found


def files_of_objects(state: pathlib.Path, run: pathlib.Path) -> list[str]:
    """Directories of VMs, images, kernels and networks in a daemon's state directory, and of VMMs in its run directory."""
    return sorted(str(p) for parent in (*(state / kind for kind in ("vms", "images", "kernels", "networks")), run / "vm") for p in parent.glob("*"))

# SPDX-License-Identifier: Apache-2.0
"""A look at the host that shares nothing with bangerd: what of ours is there, by what the kernel shows in /proc, /sys and cgroupfs.

Two looks are compared. In a private network namespace every link counts; on a shared host only what bears the uids given.
"""
from __future__ import annotations

import os
import pathlib
import re
import shutil
import subprocess

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
    """The links of this network namespace, whatever /sys shows (it may have been mounted in another one)."""
    listed = subprocess.run(["ip", "-o", "link", "show"], check=False, stdout=subprocess.PIPE, text=True).stdout
    found = set()
    for line in listed.splitlines():
        name = line.split(":")[1].strip().split("@")[0]
        alias = re.search(r"alias (\S+)", line)
        found.add(f"link {name} {alias.group(1) if alias else ''}".strip())
    return found


def loops() -> set[str]:
    return {f"loop {d.name} {read(d / 'loop/backing_file')}" for d in pathlib.Path("/sys/block").glob("loop*") if (d / "loop").exists()}


def mappings() -> set[str]:
    return {f"dm {read(d / 'dm/name')} {read(d / 'dm/uuid')}" for d in pathlib.Path("/sys/block").glob("dm-*")}


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
    if not shutil.which("nft"):
        return set()
    listed = subprocess.run(["nft", "list", "tables"], check=False, stdout=subprocess.PIPE, text=True).stdout
    return {f"nft {line}" for line in listed.splitlines() if line}


def mounts() -> set[str]:
    return {f"mount {line.split()[1]}" for line in pathlib.Path("/proc/self/mounts").read_text().splitlines()}


def files(*directories: pathlib.Path) -> set[str]:
    found = set()
    for directory in directories:
        for parent, _, names in os.walk(directory):
            found.update(f"file {os.path.join(parent, name)}" for name in names)
    return found


class Look:
    """Everything of the host that a VM could have left behind."""

    def __init__(self) -> None:
        self.things = links() | loops() | mappings() | cgroups() | tables() | mounts()
        self.processes = processes()

    def left_since(self, before: "Look", uids: set[str], directories: list[pathlib.Path], whole_namespace: bool) -> list[str]:
        """What is here now and was not before. What other programs of this host may make too counts only if it carries one of the uids or
        lies in one of the directories: everything on a shared host, what no namespace separates in a private one."""
        marks = uids | {short_id(u) for u in uids} | {str(d) for d in directories}
        fresh = {t for t in self.things - before.things
                 if (whole_namespace and not t.startswith(("cgroup ", "loop ", "dm "))) or any(m in t for m in marks)}
        fresh |= {p for p in self.processes - before.processes if any(m in p for m in marks)}
        return sorted(fresh)


def vm_files(state: pathlib.Path) -> list[str]:
    """Files and directories of VMs, images and kernels under a state directory."""
    return sorted(str(p) for kind in ("vms", "images", "kernels") for p in (state / kind).glob("*"))

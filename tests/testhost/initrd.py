# SPDX-License-Identifier: Apache-2.0
"""The test host's initrd: busybox, the modules that reach its root over 9p, and two scripts, as a cpio archive made here."""
from __future__ import annotations

import io
import lzma
import pathlib
import stat

BOOT = pathlib.Path("/boot")
MODULES = pathlib.Path("/lib/modules")
BUSYBOX = pathlib.Path("/bin/busybox")
# What reaches the root and the disk, then what a host that runs banger has. Loaded from memory: modprobe over 9p costs twice the time.
HOST_MODULES = ["virtio_pci", "9pnet_virtio", "9p", "virtio_blk", "crc32c_generic", "ext4", "virtio_console", "virtio_rng",
                "loop", "dm-mod", "dm-snapshot", "tun", "bridge", "nf_tables", "nft_chain_nat", "nft_masq", "kvm-amd"]


class Missing(Exception):
    """Something that the test host is made of is not on this machine; the message names the package."""


def kernel() -> tuple[pathlib.Path, str]:
    """The newest generic kernel of Debian's (the cloud kernel has no 9p) and its version."""
    versions = [p.name.removeprefix("vmlinuz-") for p in BOOT.glob("vmlinuz-*-amd64")
                if not p.name.endswith(("-cloud-amd64", "-rt-amd64")) and (MODULES / p.name.removeprefix("vmlinuz-") / "modules.dep").exists()]
    if not versions:
        raise Missing("no generic kernel in /boot with its modules in /lib/modules: install the package linux-image-amd64")
    newest = max(versions, key=lambda v: [int(n) for n in v.replace("-", ".").split(".") if n.isdigit()])
    return BOOT / f"vmlinuz-{newest}", newest


def plain(name: str) -> str:
    """kvm-amd.ko.xz and kvm_amd are one module."""
    return pathlib.PurePath(name).name.split(".ko")[0].replace("-", "_")


def in_load_order(version: str, wanted: list[str]) -> list[pathlib.Path]:
    """The files of these modules and of what they need, each after what it needs."""
    directory = MODULES / version
    needs: dict[str, tuple[str, list[str]]] = {}
    for line in (directory / "modules.dep").read_text().splitlines():
        path, _, others = line.partition(":")
        needs[plain(path)] = (path, others.split())
    built_in = {plain(line) for line in (directory / "modules.builtin").read_text().splitlines()}
    ordered: list[pathlib.Path] = []

    def add(name: str) -> None:
        if plain(name) in built_in:
            return
        if plain(name) not in needs:
            raise Missing(f"kernel {version} has no module {name}: install the package linux-image-amd64")
        path, others = needs[plain(name)]
        for other in others:
            add(other)
        if directory / path not in ordered:
            ordered.append(directory / path)

    for name in wanted:
        add(name)
    return ordered


class Cpio:
    """An archive in the "newc" format (Documentation/driver-api/early-userspace/buffer-format.rst)."""

    def __init__(self) -> None:
        self.out = io.BytesIO()
        self.number = 0

    def entry(self, name: str, mode: int, data: bytes = b"", device: tuple[int, int] = (0, 0)) -> None:
        self.number += 1
        fields = [self.number, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(name) + 1, 0]
        self.out.write(b"070701" + "".join(f"{f:08x}" for f in fields).encode() + name.encode() + b"\0")
        self.pad()
        self.out.write(data)
        self.pad()

    def pad(self) -> None:
        self.out.write(b"\0" * (-self.out.tell() % 4))

    def file(self, name: str, data: bytes, mode: int = 0o644) -> None:
        self.entry(name, stat.S_IFREG | mode, data)

    def finish(self) -> bytes:
        self.entry("TRAILER!!!", 0)
        return self.out.getvalue()


def make(version: str, init: bytes, handed: dict[str, bytes]) -> bytes:
    """init runs first; the files handed over lie in /handed, from where init carries them into the real root."""
    if not BUSYBOX.exists() or b"/ld-linux" in BUSYBOX.read_bytes():
        raise Missing("/bin/busybox is not there or needs libraries: install the package busybox-static")
    archive = Cpio()
    for directory in ("bin", "dev", "handed", "modules", "root"):
        archive.entry(directory, stat.S_IFDIR | 0o755)
    archive.entry("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))
    archive.file("bin/busybox", BUSYBOX.read_bytes(), 0o755)
    archive.file("init", init, 0o755)
    for index, path in enumerate(in_load_order(version, HOST_MODULES)):
        data = lzma.decompress(path.read_bytes()) if path.suffix == ".xz" else path.read_bytes()
        archive.file(f"modules/{index:02}-{plain(path.name)}.ko", data)
    for name, data in handed.items():
        archive.file(f"handed/{name}", data, 0o755)
    return archive.finish()

# SPDX-License-Identifier: Apache-2.0
"""Block devices by the kernel's own ioctls: device-mapper nodes and what is in their tables, loop devices and their files. No libdevmapper, no
daemon's code."""
from __future__ import annotations

import dataclasses
import errno
import fcntl
import os
import pathlib
import struct

CONTROL = pathlib.Path("/dev/mapper/control")
BUFFER = 256 * 1024

# linux/dm-ioctl.h: version[3] data_size data_start target_count open_count flags event_nr padding dev name uuid data[7]
DM_HEADER = struct.Struct("=3I I I I i I I I Q 128s 129s 7x")
DM_TARGET = struct.Struct("=Q Q i I 16s")  # sector_start length status next target_type; then the parameters as text
LIST_DEVICES, DEV_STATUS, TABLE_STATUS = 2, 7, 12
SUSPENDED, STATUS_TABLE, ACTIVE, INACTIVE, BUFFER_FULL = 1 << 1, 1 << 4, 1 << 5, 1 << 6, 1 << 8

# linux/loop.h: lo_device lo_inode lo_rdevice lo_offset lo_sizelimit lo_number encrypt_type encrypt_key_size lo_flags lo_file_name …
LOOP_INFO = struct.Struct("=5Q 4I 64s 64s 32s 2Q")
LOOP_GET_STATUS64 = 0x4C05
READ_ONLY, AUTOCLEAR, DIRECT_IO = 1, 4, 16


@dataclasses.dataclass(frozen=True)
class Node:
    name: str
    uuid: str
    number: str  # 254:3
    suspended: bool
    open_count: int
    table: tuple[str, ...]  # "0 524288 snapshot 7:0 7:1 PO 128"
    status: tuple[str, ...]  # "0 524288 snapshot 128/65536 16"
    inactive: bool  # a table waits that was never made live

    def __str__(self) -> str:
        return f"dm {self.name} {self.uuid}{' suspended' * self.suspended}{' inactive' * self.inactive}: {'; '.join(self.table) or 'no table'}"


@dataclasses.dataclass(frozen=True)
class Loop:
    name: str  # loop3
    file: str  # as the kernel names it; "… (deleted)" when it has no name any more
    inode: tuple[int, int]
    flags: int
    label: str

    def __str__(self) -> str:
        label = f" {self.label}" if self.label != self.file else ""
        return f"loop {self.name} {self.file}{label}{' ro' * bool(self.flags & READ_ONLY)}{' autoclear' * bool(self.flags & AUTOCLEAR)}"


def dm(command: int, name: str = "", flags: int = 0) -> tuple[tuple, bytes]:
    buffer = bytearray(BUFFER)
    DM_HEADER.pack_into(buffer, 0, 4, 0, 0, BUFFER, DM_HEADER.size, 0, 0, flags, 0, 0, 0, name.encode(), b"")
    fd = os.open(CONTROL, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(fd, 0xC138FD00 | command, buffer)
    finally:
        os.close(fd)
    header = DM_HEADER.unpack_from(buffer)
    if header[7] & BUFFER_FULL:
        raise OSError(f"what device-mapper tells of {name or 'its devices'} is longer than {BUFFER} bytes")
    return header, bytes(buffer[header[4]:header[3]])


def text(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode(errors="replace")


def targets(name: str, flags: int) -> tuple[str, ...]:
    header, data = dm(TABLE_STATUS, name, flags)
    found, at = [], 0
    for _ in range(header[5]):
        start, length, _, following, kind = DM_TARGET.unpack_from(data, at)
        found.append(f"{start} {length} {text(kind)} {text(data[at + DM_TARGET.size:])}".rstrip())
        at = following
    return tuple(found)


def node(name: str) -> Node | None:
    """What dmsetup info, table and status tell of one; nothing where it is not there (any more)."""
    try:
        header, _ = dm(DEV_STATUS, name)
        flags = header[7]
        table = targets(name, STATUS_TABLE) if flags & ACTIVE else ()
        status = targets(name, 0) if flags & ACTIVE else ()
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENXIO):
            return None
        raise
    return Node(text(header[11]), text(header[12]), f"{os.major(header[10])}:{os.minor(header[10])}", bool(flags & SUSPENDED), header[6],
                table, status, bool(flags & INACTIVE))


def nodes() -> list[Node]:
    """dmsetup ls; none where the kernel has no device-mapper."""
    try:
        _, data = dm(LIST_DEVICES)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
            return []
        raise
    names, at = [], 0
    while len(data) > at + 12 and struct.unpack_from("=Q", data, at)[0]:
        names.append(text(data[at + 12:]))
        following = struct.unpack_from("=I", data, at + 8)[0]
        if not following:
            break
        at += following
    return [found for found in map(node, names) if found]


def loops() -> list[Loop]:
    """losetup -a."""
    found = []
    for directory in pathlib.Path("/sys/block").glob("loop*"):
        try:
            file = (directory / "loop/backing_file").read_text().rstrip("\n")
            fd = os.open(f"/dev/{directory.name}", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue  # bound to nothing
        try:
            buffer = bytearray(LOOP_INFO.size)
            fcntl.ioctl(fd, LOOP_GET_STATUS64, buffer)
            info = LOOP_INFO.unpack(buffer)
            found.append(Loop(directory.name, file, (info[0], info[1]), info[8], text(info[9])))
        except OSError:
            pass  # gone in between
        finally:
            os.close(fd)
    return found

# SPDX-License-Identifier: Apache-2.0
"""Makes a small guest root file system as a tar from what Debian's busybox-static and dropbear-bin packages installed. No root needed."""
from __future__ import annotations

import io
import pathlib
import re
import subprocess
import tarfile

BUSYBOX = pathlib.Path("/bin/busybox")
DROPBEAR = pathlib.Path("/usr/sbin/dropbear")

INITTAB = """\
::sysinit:/etc/rc
::respawn:/usr/sbin/dropbear -F -E -r /etc/dropbear/dropbear_ed25519_host_key -p 22
::respawn:/bin/busybox httpd -f -p 80 -h /www
::ctrlaltdel:/bin/busybox reboot
"""
RC = """\
#!/bin/sh
export PATH=/bin:/sbin:/usr/bin:/usr/sbin
grep -q ' /proc ' /proc/mounts 2>/dev/null || mount -t proc proc /proc
grep -q ' /sys ' /proc/mounts || mount -t sysfs sys /sys
mkdir -p /dev/pts /run /tmp
grep -q ' /dev/pts ' /proc/mounts || mount -t devpts devpts /dev/pts
echo "guest: $(hostname) is up"
"""
PAGE = "<!doctype html><title>banger</title><h1>Hello from a microVM</h1>\n"
FILES = {
    "etc/inittab": (INITTAB, 0o644),
    "etc/rc": (RC, 0o755),
    "etc/passwd": ("root:x:0:0:root:/root:/bin/sh\n", 0o644),
    "etc/group": ("root:x:0:\n", 0o644),
    "etc/shadow": ("root:*:19000:0:99999:7:::\n", 0o600),
    "etc/shells": ("/bin/sh\n", 0o644),
    "etc/profile": ("export PATH=/bin:/sbin:/usr/bin:/usr/sbin\n", 0o644),
    "www/index.html": (PAGE, 0o644),
}
DIRECTORIES = ["bin", "sbin", "usr", "usr/bin", "usr/sbin", "etc", "etc/dropbear", "root", "root/.ssh", "proc", "sys", "dev", "run", "tmp",
               "var", "www", "data", "lib", "lib64", "mnt"]


def libraries(program: pathlib.Path) -> list[pathlib.Path]:
    """The shared libraries and the loader of a program, as the loader itself names them."""
    listed = subprocess.run(["ldd", str(program)], check=True, stdout=subprocess.PIPE, text=True).stdout
    return [pathlib.Path(p) for p in re.findall(r"(?:=> )?(/\S+) \(0x", listed)]


def write(target: pathlib.Path, extra: dict[str, str] | None = None) -> None:
    applets = subprocess.run([str(BUSYBOX), "--list"], check=True, stdout=subprocess.PIPE, text=True).stdout.split()
    with tarfile.open(target, "w") as tar:
        def entry(name: str, kind: bytes, mode: int, data: bytes = b"", link: str = "") -> None:
            info = tarfile.TarInfo(name)
            info.type, info.mode, info.size, info.linkname, info.mtime = kind, mode, len(data), link, 1_700_000_000
            tar.addfile(info, io.BytesIO(data))

        for directory in DIRECTORIES:
            entry(directory, tarfile.DIRTYPE, 0o700 if directory.startswith("root") else 0o1777 if directory == "tmp" else 0o755)
        entry("bin/busybox", tarfile.REGTYPE, 0o755, BUSYBOX.read_bytes())
        for applet in applets:
            if applet != "busybox":
                entry(f"bin/{applet}", tarfile.SYMTYPE, 0o777, link="busybox")
        entry("sbin/init", tarfile.SYMTYPE, 0o777, link="../bin/busybox")
        entry("usr/sbin/dropbear", tarfile.REGTYPE, 0o755, DROPBEAR.read_bytes())
        made = set(DIRECTORIES)
        for library in libraries(DROPBEAR):
            place = library.relative_to("/")
            for parent in reversed(place.parents):
                if str(parent) not in (".", *made):
                    entry(str(parent), tarfile.DIRTYPE, 0o755)
                    made.add(str(parent))
            entry(str(place), tarfile.REGTYPE, 0o755, library.read_bytes())
        for name, (text, mode) in FILES.items():
            entry(name, tarfile.REGTYPE, mode, text.encode())
        for name, text in (extra or {}).items():
            entry(name, tarfile.REGTYPE, 0o644, text.encode())

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks the layer table of docs/architecture.md: which room may include which, and which library belongs to which room."""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
SRC = ROOT / "src"

# Room -> rooms whose headers it may include (itself always). "actuators" in a reconciler means the ports at its top only.
MAY_INCLUDE = {
    "base": set(),
    "api": {"base"},
    "store": {"base", "api"},
    "actuators": {"base", "api"},
    "intake": {"base", "api", "store"},
    "reconcilers": {"base", "api", "store", "intake", "actuators"},
    "controller": {"base", "api", "store", "reconcilers", "actuators"},
    "server": {"base", "api", "store", "controller"},
    "client": {"base", "api"},
    "cli": {"base", "api", "client"},
    "daemon": {"base", "api", "store", "actuators", "intake", "reconcilers", "controller", "server"},
    "guest_init": {"base"},  # headers without code only: base is not linked into the static init
    "shim": set(),
}
# What tests may include beyond that: clients are tested against a real server on a memory store.
TESTS_MAY_INCLUDE = {"client": {"server", "store"}, "cli": {"server", "store"}}
# Rooms that see only the ports at the top of actuators/.
PORTS_ONLY = {"reconcilers", "controller"}

# Header pattern -> the only places that may include it.
OWNERS = [
    (re.compile(r"rocksdb/"), ("store/",)),
    (re.compile(r"(netlink/|libmnl/|libnftnl/|libdevmapper\.h|libssh2|git2|ext2fs/|archive\.h|archive_entry\.h|lzma\.h)"),
     ("actuators/",)),
    (re.compile(r"yaml-cpp/"), ("api/",)),
    (re.compile(r"CLI/"), ("cli/", "daemon/")),
    (re.compile(r"boost/(asio|beast)"), ("server/", "client/")),
    (re.compile(r"spdlog/"), ("base/",)),
]
INCLUDE = re.compile(r'^\s*#\s*include\s+(["<])([^">]+)[">]')


def check(path: pathlib.Path, problems: list[str]) -> None:
    inside = path.relative_to(SRC).as_posix()
    room = inside.split("/")[0]
    is_test = path.stem.endswith("_test")
    for number, line in enumerate(path.read_text().splitlines(), 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        quoted, header = match.group(1) == '"', match.group(2)
        where = f"src/{inside}:{number}"
        for pattern, owners in OWNERS:
            if pattern.match(header) and not inside.startswith(owners):
                problems.append(f"{where}: {header} may be included only in {', '.join(owners)}")
        if not quoted:
            continue
        target = header.split("/")[0]
        if target not in MAY_INCLUDE:
            problems.append(f"{where}: \"{header}\" is not spelled from src/ (room/file.hpp)")
            continue
        if target == room:
            continue
        if room in PORTS_ONLY and target == "actuators":
            # Tests run on the simulated host; product code knows the ports alone.
            if header.count("/") > 1 and not (is_test and header.startswith("actuators/sim/")):
                problems.append(f"{where}: {room}/ may include only the ports at the top of actuators/, not {header}")
            continue
        if is_test and target in TESTS_MAY_INCLUDE.get(room, set()):
            continue
        if target not in MAY_INCLUDE[room]:
            problems.append(f"{where}: {room}/ may not include {target}/")


def main() -> int:
    problems: list[str] = []
    files = sorted(p for p in SRC.rglob("*") if p.suffix in {".hpp", ".cpp"})
    for path in files:
        check(path, problems)
    rooms = {p.name for p in SRC.iterdir() if p.is_dir()}
    for room in sorted(rooms - MAY_INCLUDE.keys()):
        problems.append(f"src/{room}/ is not in the layer table")
    for problem in problems:
        print(problem)
    print(f"layers: {len(files)} files, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The rules of the house that a machine can check: format, licence headers, forbidden calls, syntax and names of scripts, links in the docs, and the
tests behind docs/guarantees.md."""
import pathlib
import re
import subprocess
import sys

sys.dont_write_bytecode = True
import guarantees  # noqa: E402

TOP = pathlib.Path(__file__).resolve().parents[2]


def tracked(*patterns: str) -> list[pathlib.Path]:
    # A clone may belong to another user than the one who runs the tests (sudo): git must not refuse to list it.
    listed = subprocess.run(["git", "-c", f"safe.directory={TOP}", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--",
                             *patterns], cwd=TOP, check=True, stdout=subprocess.PIPE, text=True)
    return [TOP / name for name in listed.stdout.split("\0") if name and (TOP / name).is_file()]


def formatted(sources: list[pathlib.Path]) -> list[str]:
    done = subprocess.run(["clang-format-19", "--dry-run", "--Werror", *map(str, sources)], cwd=TOP, check=False, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode == 0:
        return []
    names = sorted({line.split(":")[0] for line in done.stdout.splitlines() if ": error:" in line})
    return [f"{name}: not formatted; run clang-format-19 -i" for name in names]


FORBIDDEN = [
    (re.compile(r"(?<![\w.>:])(system|popen|vfork|fork)\s*\("), "starts a process outside src/actuators/vmm/spawn",
     ("src/shim/", "src/guest_init/", "src/actuators/vmm/spawn", "src/cli/")),
    (re.compile(r"/bin/sh\b"), "names a shell", ("src/guest_init/",)),
    (re.compile(r"\b(TODO|FIXME|XXX|HACK)\b"), "is an unfinished mark", ()),
    (re.compile(r"\busing namespace std\b"), "imports a whole namespace", ()),
]


def source_rules(sources: list[pathlib.Path]) -> list[str]:
    problems = []
    for path in sources:
        name = path.relative_to(TOP).as_posix()
        text = path.read_text()
        if "SPDX-License-Identifier: Apache-2.0" not in text[:200]:
            problems.append(f"{name}: no SPDX licence line at the top")
        if path.suffix == ".hpp" and "#pragma once" not in text:
            problems.append(f"{name}: no #pragma once")
        if not name.startswith("src/") or path.stem.endswith("_test"):
            continue
        for number, line in enumerate(text.splitlines(), 1):
            code = line.split("//")[0] if "TODO" not in line else line
            for pattern, what, exempt in FORBIDDEN:
                if pattern.search(code) and not name.startswith(exempt or ("//",)):
                    problems.append(f"{name}:{number}: {what}: {line.strip()}")
    return problems


def scripts() -> list[str]:
    problems = []
    for path in tracked("tools/*", ".ci/*", "tests/*"):
        name = path.relative_to(TOP).as_posix()
        first = path.open("rb").readline()
        if b"SPDX" not in path.read_bytes()[:200] and path.suffix in {".py", ".sh", ""}:
            problems.append(f"{name}: no SPDX licence line at the top")
        if b"bash" in first or path.suffix == ".sh":
            done = subprocess.run(["bash", "-n", str(path)], check=False, text=True, stderr=subprocess.PIPE)
            problems += [f"{name}: {line}" for line in done.stderr.splitlines()]
    return problems


def names_in_python() -> list[str]:
    """A name that nothing defines shows otherwise only when its line is run, and that of a failure may never have been."""
    done = subprocess.run(["pyflakes3", *(str(path.relative_to(TOP)) for path in tracked("*.py"))], cwd=TOP, check=False, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.stdout.splitlines()


def licences() -> list[str]:
    paths = tracked("meson.build", "*/meson.build", "meson_options.txt", ".clang-*", "manifests/*.yaml")
    return [f"{path.relative_to(TOP)}: no SPDX licence line at the top" for path in paths if b"SPDX" not in path.read_bytes()[:200]]


LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(#[^)\s]*)?\)")


def links() -> list[str]:
    problems = []
    for path in tracked("*.md"):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            for target, _ in LINK.findall(line):
                if "://" in target or target.startswith("mailto:"):
                    continue
                if not (path.parent / target).exists():
                    problems.append(f"{path.relative_to(TOP)}:{number}: link to {target}, which is not there")
    return problems


def main() -> int:
    sources = tracked("src/*.hpp", "src/*.cpp", "tests/*.hpp", "tests/*.cpp")
    problems = formatted(sources) + source_rules(sources) + scripts() + names_in_python() + licences() + links() + guarantees.problems()
    for problem in problems:
        print(problem)
    print(f"style: {len(sources)} sources, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())

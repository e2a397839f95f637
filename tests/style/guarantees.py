# SPDX-License-Identifier: Apache-2.0
"""Holds docs/guarantees.md to the tests that it links. A part of style.py.

A promise is a list item that begins with a number in bold. Below it stands a line for each place where it is enforced, and links:
    [`a test's name`](../src/room/file_test.cpp)    a doctest case
    [`test_name`](../tests/e2e/file.py)             a function
    [`I6`](../tests/sim/ledger.cpp)                 a rule of the search
    [`suite`](../tests/…)                           a suite of tests/run_suites.py and its program
    [`text`](…)                                     the words of such a test, or of the list of suites, that hold the number
"""
from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import pathlib
import re
import sys

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(TOP / "tests"), str(TOP / "tests/e2e")]
import run as e2e  # noqa: E402
import run_suites  # noqa: E402

DOCUMENT = "docs/guarantees.md"
SUITES = "tests/run_suites.py"
PLACES = {"unit", "simulation", "machine", "test host", "source", "on demand"}
LINK = re.compile(r"\[`([^`\]]+)`\]\(\.\./([^)#\s]+)\)")
PLACE = re.compile(r"  - ([a-z ]+): (.+)")
SEPARATED = re.compile(r"\[`[^`\]]+`\]\([^)\s]+\)(, \[`[^`\]]+`\]\([^)\s]+\))*")
CASE = re.compile(r'^TEST_CASE(?:_FIXTURE)?\((?:\w+,)?\s*((?:"(?:[^"\\]|\\.)*"\s*)+)\)\s*\{', re.MULTILINE)  # what is skipped has no such end
TESTS_OF_ROOMS = re.compile(r"executable\('(\w+)',((?:(?!executable\().)*)", re.DOTALL)


@functools.cache
def text_of(path: str) -> str:
    return (TOP / path).read_text() if (TOP / path).is_file() else ""


@functools.cache
def cases(path: str) -> set[str]:
    names = ("".join(re.findall(r'"((?:[^"\\]|\\.)*)"', m.group(1))) for m in CASE.finditer(text_of(path)))
    return {re.sub(r"\\(.)", r"\1", name) for name in names}


@functools.cache
def program_of(path: str) -> str:
    """The unit program that is made of this file, as the meson files have it; empty when no suite runs it."""
    for folder in (TOP / path).parents:
        build = folder / "meson.build"
        if not build.is_file():
            continue
        name = (TOP / path).relative_to(folder).as_posix()
        for made in TESTS_OF_ROOMS.finditer(build.read_text()):
            program = f"{folder.relative_to(TOP).as_posix()}/{made.group(1)}"
            if f"'{name}'" in made.group(2) and program in run_suites.UNIT.values():
                return program
    return ""


@functools.cache
def functions(path: str) -> dict[str, set[str]]:
    """Of a Python file: its test functions, and where each runs without being asked for by name."""
    if path == "tests/e2e/readme.py" and "readme" in run_suites.SUITES:
        return {node.name: {"machine"} for node in ast.parse(text_of(path)).body if isinstance(node, ast.FunctionDef)}
    found = {}
    for test in e2e.TESTS:
        plain = inspect.unwrap(test)
        if pathlib.Path(plain.__code__.co_filename).resolve() == TOP / path:
            places = set() if plain is not test else {"machine"}  # wrapped: needs device-mapper
            found[test.__name__] = places | ({"test host"} if getattr(test, "for_testhost", False) else set()) or {"on demand"}
    return found


def is_rule(name: str, path: str) -> bool:
    """That the search fails by this name, in a file that it is made of."""
    return (bool(re.search(rf'fail\("{re.escape(name)}"|"{re.escape(name)}: ', text_of(path)))
            and f"'{pathlib.Path(path).name}'" in text_of("tests/sim/meson.build") and path.startswith("tests/sim/"))


def places_of(name: str, path: str) -> set[str]:
    """Where a test, a rule or a suite is enforced; empty: there is none of that name."""
    if path.endswith("_test.cpp") and name in cases(path) and program_of(path):
        return {"unit", "machine"} | ({"test host"} if program_of(path) in text_of("tests/testhost/run.py") else set())
    if path.endswith(".py") and name in functions(path):
        return functions(path)[name]
    if path.endswith(".cpp") and is_rule(name, path):
        return {"simulation"}
    if name in run_suites.SUITES and (path == SUITES or f'"{path}"' in text_of(SUITES)):
        return {"on demand"} if name in run_suites.ON_DEMAND else {"source", "machine"}
    return set()


@dataclasses.dataclass
class Promise:
    line: int
    says: str
    places: list[tuple[int, str]] = dataclasses.field(default_factory=list)


def promises(text: str) -> list[Promise]:
    found: list[Promise] = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("- "):
            found.append(Promise(number, line[2:]))
        elif line.startswith("  - ") and found:
            found[-1].places.append((number, line))
        elif line.startswith("  ") and found:
            found[-1].says += " " + line.strip()
    return found


def is_fact(words: str, path: str) -> bool:
    """That a file says these words, and that they are no test's name, or a part of one, that is taken for words by mistake."""
    names = cases(path) | set(functions(path) if path.endswith(".py") else ())
    holds = bool(re.search(r"\d", words)) or path == "tests/style/style.py"
    return holds and words in text_of(path) and not any(words in name for name in names)


def numbers(text: str) -> set[str]:
    return set(re.findall(r"\d+", re.sub(r"(?<=\d)[_'](?=\d)", "", text)))


def judge(promise: Promise) -> list[str]:
    problems, files, facts, words = [], {SUITES}, [], ""
    if not re.match(r"\*\*[^*]*\d", promise.says):
        problems.append(f"{promise.line}: a promise begins with its number in bold")
    if not any("on demand" not in line for _, line in promise.places):
        problems.append(f"{promise.line}: no test that ./tools/test runs is linked")
    for number, line in promise.places:
        found = PLACE.fullmatch(line)
        if found is None or found.group(1) not in PLACES or not SEPARATED.fullmatch(found.group(2)):
            problems.append(f"{number}: expected \"  - PLACE: [`test`](../file), …\" with one of {', '.join(sorted(PLACES))}")
            continue
        links = LINK.findall(found.group(2))
        words += " ".join(name for name, _ in links) + " "
        tests = [(name, path) for name, path in links if found.group(1) in places_of(name, path)]
        facts += [(number, name, path) for name, path in links if (name, path) not in tests]
        files |= {path for _, path in tests}
        if not tests:
            problems.append(f"{number}: nothing that is linked is a test that runs there ({found.group(1)})")
    for number, name, path in facts:
        if path not in files or not is_fact(name, path):
            problems.append(f"{number}: {path} has no test, rule or words \"{name}\" in this place")
    bold = numbers(" ".join(re.findall(r"\*\*([^*]+)\*\*", promise.says)))
    for missing in sorted(bold - numbers(words) - {"0", "1"}):
        problems.append(f"{promise.line}: the number {missing} stands in nothing that is linked")
    return problems


def problems() -> list[str]:
    found = promises(text_of(DOCUMENT))
    if not found:
        return [f"{DOCUMENT}: it promises nothing"]
    return [f"{DOCUMENT}:{problem}" for promise in found for problem in judge(promise)]

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Breaks the product on purpose, one way at a time, and asks the search to notice. The tree is not touched: the one file that is changed
is compiled beside it and linked before the library that has the sound one. Ends with 'N passed, N failed, N skipped'."""
from __future__ import annotations

import concurrent.futures
import dataclasses
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile

TOP = pathlib.Path(__file__).resolve().parents[2]
BUILD = TOP / "build"
SEARCH = "tests/sim/sim"
SCHEDULES = 3_000  # at most: a search ends with the first rule that is broken
VM = "src/reconcilers/virtual_machine/"


@dataclasses.dataclass(frozen=True)
class Mutant:
    name: str
    file: str
    was: str  # stands in the file exactly once
    becomes: str


MUTANTS = [
    Mutant("a guest is killed before it was asked to sync", VM + "plan_stop.cpp",
           "    return {};\n  }\n  if (job->state == JobState::Running) return {};",
           '    return unsynced("NotReady", "not asked");\n  }\n  if (job->state == JobState::Running) return {};'),
    Mutant("a wrong nonce counts as a sync", VM + "plan_stop.cpp",
           "asked != nullptr && job->result == asked->nonce)", "asked != nullptr)"),
    Mutant("the finalizer is forgotten", VM + "plan.cpp",
           "plan.finalizer = FinalizerChange::Add;", "plan.finalizer = FinalizerChange::Keep;"),
    Mutant("the finalizer goes before what waits is gone", VM + "plan_stop.cpp",
           "if (!teardown.steps.empty() || !teardown.waits.empty()) {", "if (!teardown.steps.empty()) {"),
    Mutant("a lost disk is made anew", VM + "plan_start.cpp",
           "if (gone == names.end()) return true;", "if (gone == names.end() || !at.uid.empty()) return true;"),
    Mutant("a foreign tap is adopted", VM + "situation.cpp",
           "return link.name == name && link.owner == at.uid; });", "return link.name == name; });"),
    Mutant("an edit restarts a VM", VM + "plan_running.cpp",
           "at.sidecar->launched_spec.restart_nonce != at.spec.restart_nonce)", "at.sidecar->launched_spec != at.spec)"),
    Mutant("an end nobody asked for is called clean", VM + "plan_stop.cpp",
           'clean_shutdown(false, "SyncNotConfirmed", "the VMM ended without', 'clean_shutdown(true, "Synced", "the VMM ended without'),
    Mutant("a clock set back makes a backoff longer", VM + "situation.cpp",
           "return left <= kLongestPause + seconds(1) ? left : milliseconds(0);", "return left;"),
    Mutant("leases are given back before the VM is gone", VM + "plan_stop.cpp",
           "  auto teardown = plan_teardown(at, Purpose::Delete);\n  Plan plan{.operation = Operation::Stop, .phase = \"Deleting\"};",
           "  auto teardown = plan_teardown(at, Purpose::Delete);\n  Plan plan{.operation = Operation::Stop, .phase = \"Deleting\"};\n"
           "  teardown.waits.clear();"),
    Mutant("a status counts passes", VM + "status.cpp",
           "status.launches = std::max(status.launches, ", "status.launches = 1 + std::max(status.launches, "),
    Mutant("a failed pass is tried again at once", "src/controller/manager.cpp",
           "const auto attempt = queue.add_rate_limited(key);", "const auto attempt = 1;\n    queue.add_after(key, std::chrono::milliseconds(1));"),
]


class Broken(Exception):
    """A mutant that could not be made."""


def commands() -> dict[str, list[str]]:
    """The commands that make the search, by what they make."""
    done = subprocess.run(["ninja", "-C", str(BUILD), "-t", "commands", SEARCH], text=True, stdout=subprocess.PIPE, check=True)
    found = {}
    for line in done.stdout.splitlines():
        words = shlex.split(line)
        if "-o" in words:
            found[words[words.index("-o") + 1]] = words
    return found


def run(command: list[str]) -> None:
    done = subprocess.run(command, cwd=BUILD, text=True, errors="replace", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode != 0:
        raise Broken(done.stdout[-2000:])


def make(mutant: Mutant, known: dict[str, list[str]], directory: pathlib.Path) -> pathlib.Path:
    text = (TOP / mutant.file).read_text()
    if text.count(mutant.was) != 1:
        raise Broken(f"{mutant.file} does not have exactly one of: {mutant.was}")
    source = directory / pathlib.Path(mutant.file).name
    source.write_text(text.replace(mutant.was, mutant.becomes))
    sound = next((words for words in known.values() if "-c" in words and words[words.index("-c") + 1].endswith(mutant.file)), None)
    if sound is None:
        raise Broken(f"{mutant.file} is no part of the search")
    words = [w for w in sound if w not in ("-Werror", "-MD") and not w.startswith("-Werror")]
    for option in ("-MQ", "-MF"):
        at = words.index(option)
        del words[at:at + 2]
    words[words.index("-c") + 1] = str(source)
    words[words.index("-o") + 1] = str(directory / "mutant.o")
    run([*words, "-w"])
    link = list(known[SEARCH])
    at = link.index("-o")
    link[at + 1] = str(directory / "sim")
    link.insert(at + 2, str(directory / "mutant.o"))
    run(link)
    return directory / "sim"


def judge(mutant: Mutant, known: dict[str, list[str]]) -> tuple[str, str]:
    with tempfile.TemporaryDirectory(prefix="banger-mutant-") as name:
        try:
            program = make(mutant, known, pathlib.Path(name))
        except Broken as why:
            return "broken", str(why)
        done = subprocess.run([str(program), "--schedules", str(SCHEDULES), "--jobs", "1", "--stop-after", "1"], text=True, errors="replace",
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    said = re.search(r"^violation: (.*)\n +reproduce: .*--seed (\d+)", done.stdout, re.MULTILINE)
    if said is None:
        return "survived", done.stdout.strip().splitlines()[-1] if done.stdout.strip() else f"it ended with {done.returncode}"
    return "caught", f"seed {said.group(2)}: {said.group(1)}"


def main() -> int:
    chosen = [m for m in MUTANTS if not sys.argv[1:] or any(word in m.name for word in sys.argv[1:])]
    subprocess.run(["ninja", "-C", str(BUILD), SEARCH], stdout=subprocess.DEVNULL, check=True)
    known = commands()
    counts = {"caught": 0, "survived": 0, "broken": 0}
    with concurrent.futures.ThreadPoolExecutor(max_workers=os.cpu_count() or 2) as pool:
        for mutant, (verdict, how) in zip(chosen, pool.map(lambda each: judge(each, known), chosen)):
            counts[verdict] += 1
            print(f"{verdict:<9} {mutant.name}: {how}", flush=True)
    print(f"mutants: {counts['caught']} caught, {counts['survived']} survived")
    failed = len(chosen) - counts["caught"]
    print(f"{counts['caught']} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: Apache-2.0
"""What is lost, each alone and all together, while guests run: database, records, run directory, manifests. Guests go on as the same
processes, what is left brings the rest back, and a later delete removes everything. Tests of run.py."""
from __future__ import annotations

import os
import pathlib
import re
import shutil
import subprocess
import time
from collections.abc import Callable

from lib.daemon import Daemon, Failed, wait_for
from lib.harness import IN_TESTHOST, Skip, for_testhost
from lib.world import alive, answers, address_of, check, daemon, vm_manifest, vmm_of


def mutations(d: Daemon) -> dict[str, int]:
    """Changes of the host since the daemon's start, by step."""
    return {m.group(1): int(m.group(2)) for m in re.finditer(r'^banger_mutations_total\{step="(\w+)"\} (\d+)$', d.raw("/metrics"), re.M)}


def adopting(d: Daemon) -> bool:
    return "\nbanger_adopt_mode 1\n" in d.raw("/metrics")


def uid_of(d: Daemon, vm: str) -> str:
    return d.get("vm", vm)["metadata"]["uid"]


def set_aside(d: Daemon) -> list[pathlib.Path]:
    return sorted(d.state.glob("db.damaged-*"))


def start_guests(d: Daemon, *names: str) -> dict[str, tuple[int, int]]:
    for name in names:
        d.write(f"{name}.yaml", vm_manifest(name))
    for name in names:
        d.wait_ready(name, limit=240)
    return {name: vmm_of(d, name) for name in names}


def check_guests(d: Daemon, before: dict[str, tuple[int, int]]) -> None:
    """They are observed again, as the processes they were, and answer."""
    for name, vmm in before.items():
        d.wait_ready(name)
        check(vmm_of(d, name) == vmm, f"{name} was {vmm} and is {vmm_of(d, name)}")
        check(alive(vmm[0]), f"{name}'s VMM has ended")
        wait_for(f"{name}'s page", lambda name=name: answers(address_of(d, name)), limit=20)


def flip(path: pathlib.Path, where: float) -> None:
    data = bytearray(path.read_bytes())
    at = int(len(data) * where)
    data[at:at + 4] = bytes(b ^ 0x5A for b in data[at:at + 4])
    path.write_bytes(data)


def largest(db: pathlib.Path, pattern: str) -> pathlib.Path:
    found = sorted(db.glob(pattern), key=lambda p: p.stat().st_size)
    if not found:
        raise Failed(f"no {pattern} in {sorted(p.name for p in db.iterdir())}")
    return found[-1]


@for_testhost
def test_a_clean_restart_changes_nothing_on_the_host() -> None:
    with daemon() as d:
        before = start_guests(d, "web", "db", "cache")
        wait_for("rest", lambda: quiet(d), limit=30)
        for how in (d.stop, d.kill):
            how()
            d.start()
            check_guests(d, before)
            time.sleep(2)
            check(not mutations(d), f"a restart changed the host: {mutations(d)}")
            check(not adopting(d), "a clean restart is in adopt mode")


def quiet(d: Daemon) -> bool:
    """Nothing was changed for a second."""
    seen = mutations(d)
    time.sleep(1)
    return mutations(d) == seen


@for_testhost
def test_a_lost_database_is_filled_again_from_records() -> None:
    with daemon() as d:
        before = start_guests(d, "web", "db")
        d.ctl("apply", "-f", "-", stdin=vm_manifest("byhand"))
        d.wait_ready("byhand")
        before["byhand"] = vmm_of(d, "byhand")
        wait_for("rest", lambda: quiet(d), limit=30)
        uids = {name: uid_of(d, name) for name in before}
        network = d.get("network", "default")
        version = int(network["metadata"]["resourceVersion"])
        d.kill()
        shutil.rmtree(d.state / "db")
        hidden = d.manifests.rename(d.scratch / "hidden")  # so that adopt mode can be looked at
        d.start()
        check_guests(d, before)
        check({name: uid_of(d, name) for name in before} == uids, "a VM has another uid")
        again = d.get("network", "default")
        check(again["metadata"]["uid"] == network["metadata"]["uid"] and again["status"]["cidr"] == network["status"]["cidr"], str(again))
        check(int(again["metadata"]["resourceVersion"]) > version + 10**9 - 1, "revisions did not move on")
        check(adopting(d), "no adopt mode while the manifests were not read")
        check("adopt mode" in d.raw("/readyz"), d.raw("/readyz"))
        check("was gone; a new one was filled from records" in d.log.read_text(), "the log does not say what came back")
        check("StateLost" in d.ctl("events").stdout, "no event tells of the loss")
        check(not mutations(d), f"bringing back what was right changed the host: {mutations(d)}")
        hidden.rename(d.manifests)
        wait_for("adopt mode to end", lambda: not adopting(d), limit=30)
        check("adopt mode" not in d.raw("/readyz"), "readyz speaks of adopt mode after it ended")
        check_guests(d, before)
        check(d.get("vm", "web")["metadata"]["annotations"]["banger.dev/source"].endswith("web.yaml"), "web is not owned by its file")
        d.ctl("delete", "vm", "byhand", "--timeout=60s")


DAMAGES: dict[str, Callable[[pathlib.Path], object]] = {
    "CURRENT is missing": lambda db: (db / "CURRENT").unlink(),
    "CURRENT is garbage": lambda db: (db / "CURRENT").write_text("garbage"),
    "MANIFEST is cut": lambda db: os.truncate(largest(db, "MANIFEST-*"), largest(db, "MANIFEST-*").stat().st_size // 2),
    "a table has flipped bytes": lambda db: flip(largest(db, "*.sst"), 0.3),
    "a table is missing": lambda db: largest(db, "*.sst").unlink(),
    "the log has flipped bytes": lambda db: flip(largest(db, "*.log"), 0.5),
    "a file in place of it": lambda db: (shutil.rmtree(db), db.write_text("no directory")),
}


@for_testhost
def test_a_damaged_database_is_set_aside_and_guests_go_on() -> None:
    with daemon() as d:
        before = start_guests(d, "web")
        uid = uid_of(d, "web")
        for number, (name, damage) in enumerate(DAMAGES.items(), 1):
            # What was read from the log at the last start lies in a table; more is in the new log.
            d.stop()
            d.start()
            for i in range(20):
                d.ctl("apply", "-f", "-", stdin=f"apiVersion: banger.dev/v1alpha1\nkind: Network\nmetadata: {{name: n{number}}}\nspec: {{mtu: {1400 + i}, nat: Disabled}}\n")
            d.kill()
            damage(d.state / "db")
            d.start()
            aside = set_aside(d)
            check(len(aside) == number, f"{name}: {[p.name for p in aside]}")
            check(f"is now {aside[-1]}" in d.log.read_text(), f"{name}: the log does not say where it is")
            check_guests(d, before)
            check(uid_of(d, "web") == uid, f"{name}: another uid")
            wait_for("adopt mode to end", lambda: not adopting(d), limit=30)
            print(f"        {name}: {d.log.read_text().rsplit('was damaged', 1)[1].splitlines()[0][:110]}", flush=True)


def test_a_newer_database_is_refused_and_left_alone() -> None:
    with daemon() as d:
        d.stop()
        # What a newer version would have written cannot be made here without one; a file that may not be read is refused the same way.
        os.rename(d.state / "db", d.scratch / "kept")
        os.symlink(d.scratch / "unmounted", d.state / "db")
        refused = subprocess.run(d.command(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=20, check=False)
        check(refused.returncode != 0 and "db" in refused.stdout and not set_aside(d), refused.stdout)
        (d.state / "db").unlink()
        os.rename(d.scratch / "kept", d.state / "db")
        d.start()
        check(not set_aside(d) and not adopting(d), "a database that was only away was set aside")


@for_testhost
def test_records_lost_or_spoilt_under_a_running_daemon_are_written_again() -> None:
    with daemon() as d:
        before = start_guests(d, "web")
        uid = uid_of(d, "web")
        record = d.state / "vms" / uid / "vm.json"
        network = d.state / "networks" / d.get("network", "default")["metadata"]["uid"] / "object.json"
        original = record.read_bytes()
        losses: dict[str, Callable[[pathlib.Path], object]] = {
            "gone": lambda p: p.unlink(),
            "cut": lambda p: os.truncate(p, p.stat().st_size // 2),
            "garbage": lambda p: p.write_text("{\"format\": 1, \"uid\": 7}"),
            "a link": lambda p: (p.unlink(), p.symlink_to("/etc/passwd")),
            "writable by all": lambda p: p.chmod(0o666),
        }
        for name, lose in losses.items():
            for path in (record, network):
                lose(path)
            d.stop()
            d.start()
            check_guests(d, before)
            for path in (record, network):
                wait_for(f"{path.name} that was {name} to be whole", lambda path=path: path.is_file() and not path.is_symlink()
                         and path.stat().st_mode & 0o777 == 0o600 and uid[:0] in path.read_text() and path.stat().st_size > 100, limit=60)
        check(len(record.read_bytes()) >= len(original) // 2, "the record written again says less than half of what it said")


@for_testhost
def test_an_emptied_run_directory_ends_no_guest() -> None:
    with daemon() as d:
        before = start_guests(d, "web")
        d.kill()
        shutil.rmtree(d.run_dir)
        d.start()
        time.sleep(3)
        check(alive(before["web"][0]), "the guest ended")
        check(answers(address_of(d, "web")), "the guest does not answer any more")
        d.ctl("delete", "vm", "web", "--timeout=60s", check=False)
        (d.manifests / "web.yaml").unlink()
        d.wait_gone("vm", "web")
        wait_for("the VMM to end", lambda: not alive(before["web"][0]), limit=30)


@for_testhost
def test_database_records_and_run_directory_lost_together() -> None:
    """What is left are labels, disks and the manifests: each VM is taken over under the uid that its tap bears."""
    with daemon() as d:
        before = start_guests(d, "web", "db")
        uids = {name: uid_of(d, name) for name in before}
        network = d.get("network", "default")["metadata"]["uid"]
        d.kill()
        shutil.rmtree(d.state / "db")
        for record in [*d.state.glob("vms/*/vm.json"), *d.state.glob("*/*/object.json")]:
            record.unlink()
        for exit_record in d.run_dir.glob("vm/*/exit.json"):
            exit_record.unlink()
        d.start()
        for name, vmm in before.items():
            wait_for(f"{name} to be declared again", lambda name=name: d.ctl("get", "vm", name, check=False).returncode == 0, limit=30)
            check(uid_of(d, name) == uids[name], f"{name} was {uids[name]} and is {uid_of(d, name)}")
        check(d.get("network", "default")["metadata"]["uid"] == network, "the network has another uid than its bridge")
        check_guests(d, before)
        # The image and the kernel have other uids now; what was made for the old ones can be made anew and goes, once adopt mode is over.
        wait_for("gc to take what nobody names", lambda: d.ctl("gc", "--yes", check=False).returncode == 0, limit=30)


@for_testhost
def test_database_and_manifest_lost_the_vm_waits_for_a_person() -> None:
    """Teardown from persisted names: the record alone is enough to delete everything."""
    with daemon() as d:
        before = start_guests(d, "web", "db")
        d.kill()
        shutil.rmtree(d.state / "db")
        (d.manifests / "web.yaml").unlink()
        d.start()
        check_guests(d, before)
        wait_for("web to wait", lambda: d.condition("manifestsource", "manifests", "PruneSuspended").get("status") == "True", limit=30)
        time.sleep(2)
        check_guests(d, before)
        d.ctl("sources", "confirm")
        d.wait_gone("vm", "web")
        wait_for("the VMM to end", lambda: not alive(before["web"][0]), limit=30)
        check_guests(d, {"db": before["db"]})


@for_testhost
def test_a_clock_that_is_set_back_ends_no_guest() -> None:
    if not IN_TESTHOST:
        raise Skip("setting the clock is for the test host (tests/testhost), not for this machine")
    with daemon() as d:
        before = start_guests(d, "web")
        subprocess.run(["date", "-s", "@1600000000"], check=True, stdout=subprocess.DEVNULL)
        time.sleep(2)
        check_guests(d, before)
        for how in (d.stop, d.kill):
            how()
            d.start()
            check_guests(d, before)
        d.kill()
        shutil.rmtree(d.state / "db")
        d.start()
        check_guests(d, before)
        check(vmm_of(d, "web") == before["web"], "the guest was started again")

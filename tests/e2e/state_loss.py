# SPDX-License-Identifier: Apache-2.0
"""What is lost, each alone and all together, while guests run: database, records, run directory, manifests, the right time. Guests go on as the
same processes, what is left brings the rest back, and a later delete removes everything. Tests of run.py.

A guest takes longer to boot than most losses to look at: they come one after the other, under the same guests."""
from __future__ import annotations

import http.client
import json
import os
import pathlib
import re
import shutil
import socket
import stat
import subprocess
import time
from collections.abc import Callable
from typing import Any

from lib.daemon import Daemon, Failed, wait_for
from lib.harness import IN_TESTHOST
from lib.world import NOOP_VMM, alive, answers, address_of, check, daemon, ready_for_vms, small_vm, vm_manifest, vmm_of


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


Guests = dict[str, tuple[int, int]]  # name -> pid and start time of its VMM


def test_guests_outlive_each_loss_of_the_database() -> None:
    with daemon() as d:
        d.ctl("wait", "--for=create", "image/demo")
        d.ctl("apply", "-f", "-", stdin=vm_manifest("byhand"))
        before = start_guests(d, "web")
        d.wait_ready("byhand", limit=240)
        before["byhand"] = vmm_of(d, "byhand")
        for case in (restart_and_change_nothing, lose_the_database, damage_the_database):
            told(case, d, before)
        d.ctl("delete", "vm", "byhand", "--timeout=60s")


def test_guests_outlive_each_loss_of_records_run_directory_and_time() -> None:
    with daemon() as d:
        before = start_guests(d, "web", "db")
        for case in (lose_records, lose_database_and_records, set_the_clock_back, lose_database_and_manifest, empty_the_run_directory,
                     lose_everything_at_once):
            told(case, d, before)


def told(case: Callable[[Daemon, Guests], None], d: Daemon, before: Guests) -> None:
    started = time.monotonic()
    case(d, before)
    print(f"        {case.__name__.replace('_', ' ')}: {time.monotonic() - started:.1f} s", flush=True)


def quiet(d: Daemon) -> bool:
    """Nothing was changed for a second."""
    seen = mutations(d)
    time.sleep(1)
    return mutations(d) == seen


def restart_and_change_nothing(d: Daemon, before: Guests) -> None:
    wait_for("rest", lambda: quiet(d), limit=30)
    for how in (d.stop, d.kill):
        how()
        d.start()
        check_guests(d, before)
        time.sleep(2)
        check(not mutations(d), f"a restart changed the host: {mutations(d)}")
        check(not adopting(d), "a clean restart is in adopt mode")


def lose_the_database(d: Daemon, before: Guests) -> None:
    """Everything comes back from records; status, which is in none of them, from what is observed."""
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


DAMAGES: dict[str, Callable[[pathlib.Path], object]] = {
    "CURRENT is missing": lambda db: (db / "CURRENT").unlink(),
    "CURRENT is garbage": lambda db: (db / "CURRENT").write_text("garbage"),
    "MANIFEST is cut": lambda db: os.truncate(largest(db, "MANIFEST-*"), largest(db, "MANIFEST-*").stat().st_size // 2),
    "a table has flipped bytes": lambda db: flip(largest(db, "*.sst"), 0.3),
    "a table is missing": lambda db: largest(db, "*.sst").unlink(),
    "the log has flipped bytes": lambda db: flip(largest(db, "*.log"), 0.5),
    "CURRENT is empty": lambda db: (db / "CURRENT").write_text(""),
    "MANIFEST is missing": lambda db: largest(db, "MANIFEST-*").unlink(),
    "a table is cut": lambda db: os.truncate(largest(db, "*.sst"), largest(db, "*.sst").stat().st_size // 2),
    "the log is missing": lambda db: [log.unlink() for log in db.glob("*.log")],
    "a file in place of it": lambda db: (shutil.rmtree(db), db.write_text("no directory")),
}


def write_much(d: Daemon, count: int = 20) -> None:
    """So that there is something in the database's log to lose."""
    connection = http.client.HTTPConnection("localhost", timeout=10)
    connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.sock.connect(str(d.socket))
    for number in range(count):
        connection.request("PATCH", "/apis/banger.dev/v1alpha1/networks/default", json.dumps({"metadata": {"labels": {"number": str(number)}}}),
                           {"Content-Type": "application/merge-patch+json"})
        answer = connection.getresponse()
        check(answer.status == 200, f"a write was answered with {answer.status}: {answer.read().decode()}")
        answer.read()
    connection.close()


def damage_the_database(d: Daemon, before: Guests) -> None:
    check(len(DAMAGES) >= 11, f"only {len(DAMAGES)} damages are tried")
    uids = {name: uid_of(d, name) for name in before}
    already = len(set_aside(d))
    for number, (name, damage) in enumerate(DAMAGES.items(), already + 1):
        # What was read from the log at the last start lies in a table; more is in the new log.
        d.stop()
        d.start()
        write_much(d)
        d.kill()
        damage(d.state / "db")
        d.start()
        aside = set_aside(d)
        check(len(aside) == number, f"{name}: {[p.name for p in aside]}")
        check(f"is now {aside[-1]}" in d.log.read_text(), f"{name}: the log does not say where it is")
        check_guests(d, before)
        check({vm: uid_of(d, vm) for vm in before} == uids, f"{name}: another uid")
        wait_for("adopt mode to end", lambda: not adopting(d), limit=30)
        print(f"        {name}: {d.log.read_text().rsplit('was damaged', 1)[1].splitlines()[0][:110]}", flush=True)


def lose_records(d: Daemon, before: Guests) -> None:
    """Gone or spoilt, they are written again."""
    record = d.state / "vms" / uid_of(d, "web") / "vm.json"
    network = d.state / "networks" / d.get("network", "default")["metadata"]["uid"] / "object.json"
    original = record.read_bytes()
    losses: dict[str, Callable[[pathlib.Path], object]] = {
        "gone": lambda p: p.unlink(),
        "cut": lambda p: os.truncate(p, p.stat().st_size // 2),
        "garbage": lambda p: p.write_text("{\"format\": 1, \"uid\": 7}"),
        "a link": lambda p: (p.unlink(), p.symlink_to("/etc/passwd")),
        "writable by all": lambda p: p.chmod(0o666),
        "another user's": lambda p: os.chown(p, 65534, 65534),
    }
    check(len(losses) >= 6, f"only {len(losses)} losses are tried")
    for name, lose in losses.items():
        for path in (record, network):
            lose(path)
        d.stop()
        d.start()
        check_guests(d, before)
        for path in (record, network):
            wait_for(f"{path.name} that was {name} to be whole", lambda path=path: is_whole(path), limit=60)
    check(len(record.read_bytes()) >= len(original) // 2, "the record written again says less than half of what it said")


def is_whole(record: pathlib.Path) -> bool:
    try:
        seen = record.lstat()
        return stat.S_ISREG(seen.st_mode) and seen.st_mode & 0o777 == 0o600 and seen.st_uid == 0 and len(json.loads(record.read_text())) > 1
    except (OSError, ValueError):
        return False


def lose_database_and_records(d: Daemon, before: Guests) -> None:
    """What is left are labels, disks and the manifests: each VM is taken over under the uid that its tap bears."""
    uids = {name: uid_of(d, name) for name in before}
    network = d.get("network", "default")["metadata"]["uid"]
    d.uids()
    d.kill()
    shutil.rmtree(d.state / "db")
    for record in [*d.state.glob("vms/*/vm.json"), *d.state.glob("*/*/object.json"), *d.run_dir.glob("vm/*/exit.json")]:
        record.unlink()
    d.start()
    for name in before:
        wait_for(f"{name} to be declared again", lambda name=name: d.ctl("get", "vm", name, check=False).returncode == 0, limit=30)
        check(uid_of(d, name) == uids[name], f"{name} was {uids[name]} and is {uid_of(d, name)}")
    check(d.get("network", "default")["metadata"]["uid"] == network, "the network has another uid than its bridge")
    check_guests(d, before)
    # The image and the kernel have other uids now; what was made for the old ones can be made anew and goes, once adopt mode is over.
    wait_for("gc to take what nobody names", lambda: d.ctl("gc", "--yes", check=False).returncode == 0, limit=30)


def set_the_clock_back(d: Daemon, before: Guests) -> None:
    if not IN_TESTHOST:
        print("        the clock is set back in a test host (tests/testhost), not on this machine", flush=True)
        return
    right, since = time.time(), time.monotonic()
    time.clock_settime(time.CLOCK_REALTIME, 1_600_000_000)
    try:
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
    finally:
        time.clock_settime(time.CLOCK_REALTIME, right + time.monotonic() - since)
    check_guests(d, before)


def lose_database_and_manifest(d: Daemon, before: Guests) -> None:
    """A VM that came back and that nobody declares waits for a person. The record alone is then enough to delete everything of it."""
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
    pid, _ = before.pop("web")
    wait_for("the VMM to end", lambda: not alive(pid), limit=30)
    check_guests(d, before)


def empty_the_run_directory(d: Daemon, before: Guests) -> None:
    d.kill()
    shutil.rmtree(d.run_dir)
    d.start()
    time.sleep(3)
    pid, _ = before["db"]
    check(alive(pid), "the guest ended")
    check(answers(address_of(d, "db")), "the guest does not answer any more")


def lose_everything_at_once(d: Daemon, before: Guests) -> None:
    """Database with all status, records, run directory and, as it seems, the manifests: their directory is empty. Nothing is collected until
    they are back, also when the daemon starts again before that; then the VM is taken over, and a delete removes everything of it."""
    pid, _ = before["db"]
    uid, address = uid_of(d, "db"), address_of(d, "db")
    network = d.get("network", "default")["metadata"]["uid"]
    d.uids()
    d.kill()
    for lost in (d.state / "db", d.run_dir):
        shutil.rmtree(lost)
    for record in [*d.state.glob("vms/*/vm.json"), *d.state.glob("*/*/object.json")]:
        record.unlink()
    hidden = d.manifests.rename(d.scratch / "hidden")
    d.manifests.mkdir()
    for how in (d.kill, d.stop):
        d.start()
        time.sleep(2)
        check(adopting(d) and d.names("virtualmachines") == [], "the daemon does not wait for its manifests")
        check("an empty directory holds none" in d.raw("/readyz"), d.raw("/readyz"))
        check(not mutations(d).keys() & {"KillVmm", "RemoveLink", "RemoveVmDirectory"}, f"adopt mode removed something: {mutations(d)}")
        check(alive(pid) and answers(address), "the guest ended")
        how()
    d.start()
    for path in hidden.iterdir():
        path.rename(d.manifests / path.name)
    wait_for("db to be taken over", lambda: d.ctl("get", "vm", "db", check=False).returncode == 0 and uid_of(d, "db") == uid, limit=30)
    check(d.get("network", "default")["metadata"]["uid"] == network, "the network has another uid than its bridge")
    wait_for("adopt mode to end", lambda: not adopting(d), limit=30)
    wait_for("db to be observed", lambda: vmm_of(d, "db") == before["db"], limit=60)
    wait_for("what it was started as to be told unknown", lambda: d.condition("vm", "db", "RestartRequired").get("status") == "Unknown", limit=30)
    check(answers(address), "the guest does not answer any more")
    wait_for("gc to take what nobody names", lambda: d.ctl("gc", "--yes", check=False).returncode == 0, limit=30)
    check(alive(pid), "gc ended the guest")
    (d.manifests / "db.yaml").unlink()
    d.wait_gone("vm", "db")
    wait_for("the VMM to end", lambda: not alive(pid), limit=30)


def test_a_state_directory_that_others_may_write_is_refused() -> None:
    with daemon() as d:
        d.stop()
        elsewhere = d.scratch / "elsewhere"
        spoilt: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
            f"{d.state} may be written by others (mode 0777)": (lambda: d.state.chmod(0o777), lambda: d.state.chmod(0o700)),
            f"{d.state}/vms belongs to user 65534": (lambda: os.chown(d.state / "vms", 65534, 65534), lambda: os.chown(d.state / "vms", 0, 0)),
            f"{d.state}/images is a symbolic link; expected a directory": (
                lambda: ((d.state / "images").rename(elsewhere), (d.state / "images").symlink_to(elsewhere)),
                lambda: ((d.state / "images").unlink(), elsewhere.rename(d.state / "images"))),
        }
        spoilt = {f"the state directory is not usable: {sentence}": how for sentence, how in spoilt.items()}
        spoilt[f"the run directory is not usable: {d.run_dir} may be written by others (mode 0775)"] = (
            lambda: d.run_dir.chmod(0o775), lambda: d.run_dir.chmod(0o755))
        above = d.state.parent
        spoilt[f"the state directory is not usable: {above}, above {d.state}, belongs to user 65534"] = (
            lambda: os.chown(above, 65534, 0), lambda: os.chown(above, 0, 0))
        for room in ("vms", "images"):
            (d.state / room).mkdir(mode=0o700, exist_ok=True)
        for sentence, (spoil, mend) in spoilt.items():
            spoil()
            refused = subprocess.run(d.command(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=20, check=False)
            mend()
            check(refused.returncode == 78 and sentence in refused.stdout, f"{refused.returncode}: {refused.stdout}")
        d.start()
        check(not set_aside(d) and not adopting(d), "a start that was refused cost the database")
        d.stop()
        d.state.rename(elsewhere)
        d.state.symlink_to(elsewhere)
        d.start()
        check("adopt mode" not in d.log.read_text(), f"a state directory behind a link is taken for one that lost its state: {d.log.read_text()}")
        d.stop()
        d.state.unlink()
        elsewhere.rename(d.state)


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


def test_restarts_with_a_hundred_vms_change_nothing_on_the_host() -> None:
    """Their VMMs do nothing (tests/bench). Restarted in order, killed, and with its database lost, the daemon finds them as they are."""
    names = [f"vm{index}" for index in range(100)]
    with daemon(*NOOP_VMM) as d:
        ready_for_vms(d)
        started = time.monotonic()
        d.write("fleet.yaml", "---\n".join(map(small_vm, names)))
        wait_for("a hundred VMs", lambda: running_vms(d) == 100, limit=240, pause=0.5)
        print(f"        a hundred VMs run after {time.monotonic() - started:.1f} s", flush=True)
        wait_for("rest", lambda: quiet(d), limit=60)
        before = vmms(d)
        for what, how in (("stop", d.stop), ("kill", d.kill), ("loss of the database", d.kill)):
            how()
            if what.startswith("loss"):
                shutil.rmtree(d.state / "db")
            started = time.monotonic()
            d.start()
            wait_for(f"a hundred VMs after the {what}", lambda: running_vms(d) == 100, limit=60, pause=0.2)
            wait_for(f"every VMM after the {what}", lambda: vmms(d) == before, limit=60, pause=0.5)
            print(f"        a hundred found again {time.monotonic() - started:.1f} s after the {what}", flush=True)
            check(quiet(d) and not mutations(d), f"the {what} changed the host: {mutations(d)}")
        wait_for("adopt mode to end", lambda: not adopting(d), limit=60)
        check(quiet(d) and not mutations(d), f"the end of adopt mode changed the host: {mutations(d)}")
        check(vmms(d) == before, "other VMMs run than before")


def running_vms(d: Daemon) -> int:
    found = re.search(r'^banger_vms\{phase="Running"\} (\d+)$', d.raw("/metrics"), re.M)
    return int(found.group(1)) if found else 0


def vmms(d: Daemon) -> dict[str, Any]:
    """name -> its VMM as the status tells of it."""
    listed = json.loads(d.ctl("get", "vm", "-o", "json").stdout)["items"]
    return {item["metadata"]["name"]: item.get("status", {}).get("vmm") for item in listed}

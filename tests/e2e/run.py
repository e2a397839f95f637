#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""End to end on this machine: real QEMU guests, taps, bridge, nft table and cgroups, in private namespaces. After every test a look at
the host that shares no code with the daemon must find nothing left."""
from __future__ import annotations

import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import crash_sweep  # noqa: E402
import examples  # noqa: E402
import guest_life  # noqa: E402
import hard_times  # noqa: E402
import host_faults  # noqa: E402
import networks  # noqa: E402
import orphans  # noqa: E402
import real_disks  # noqa: E402
import state_loss  # noqa: E402
from lib import audit, guest_image, harness, world  # noqa: E402
from lib.daemon import Daemon, wait_for  # noqa: E402
from lib.world import address_of, alive, answers, check, daemon, vm_manifest, vmm_of  # noqa: E402


def told(d: Daemon, name: str) -> list[tuple[str, str, str]]:
    """What the status says of each kernel object, checked against the kernel itself where a name is enough to look."""
    rows = d.get("vm", name)["status"].get("kernelObjects", [])
    links = {link.split()[1] for link in audit.links()}
    for row in rows:
        name_of = row.get("name", "")
        there = {"tap": lambda: name_of in links,  # not by /sys, which may have been mounted in another network namespace
                 "dm device": lambda: any(text.startswith(f"dm {name_of} ") for text in audit.mappings()),
                 "loop": lambda: any(text.startswith(f"loop {pathlib.Path(name_of).name} ") for text in audit.loops()),
                 "file": lambda: os.path.exists(name_of),
                 "process": lambda: os.path.exists("/proc/" + name_of.removeprefix("pid "))}.get(row["type"])
        if there and name_of:
            check(there() == (row["observed"] == "present"), f"{row['type']} {name_of} is told to be {row['observed']}")
    return [(row["type"], row["desired"], row["observed"]) for row in rows]


@harness.for_testhost
def test_create_reaches_a_guest_that_has_what_the_manifest_says() -> None:
    with daemon() as d:
        d.write("web.yaml", vm_manifest("web"))
        seen = d.wait_ready("web")
        check(seen["status"]["phase"] == "Running", f"phase is {seen['status']['phase']}")
        check(d.ssh("web", "cat /etc/motd") == "hello", "the file of spec.files is not in the guest")
        check(d.ssh("web", "hostname") == "web", "the guest's host name is not the VM's")
        check(" /data " in d.ssh("web", "cat /proc/mounts"), "the data disk is not mounted")
        size = int(d.ssh("web", "df -k / | tail -1 | awk '{print $2}'"))
        check(size > 200 * 1024, f"the root file system has {size} KiB: it was not grown to rootDisk.size")
        page = urllib.request.urlopen(f"http://{address_of(d, 'web')}/", timeout=5).read().decode()
        check("Hello from a microVM" in page, "the guest's page is not what the image holds")
        devices = ["dm device", "loop", "loop"] if harness.has_device_mapper() else []
        wait_for("a status that tells of every kernel object as it is", lambda: told(d, "web") == [
            (kind, "present", "present") for kind in ("process", "process", "cgroup", "tap", *devices, "file", "file")])
        described = d.ctl("describe", "vm", "web").stdout
        for word in ("web", "Running", seen["status"]["networkInterfaces"][0]["tap"]):
            check(word in described, f"describe does not show {word}")
        log = d.ctl("logs", "web").stdout
        check("banger-init" in log, "the serial log does not show the boot")


def test_a_label_edit_changes_nothing_that_runs() -> None:
    with daemon() as d:
        d.write("web.yaml", vm_manifest("web"))
        d.wait_ready("web")
        before = vmm_of(d, "web")
        d.write("web.yaml", vm_manifest("web", label="other"))
        wait_for("the label", lambda: d.get("vm", "web")["metadata"]["labels"]["app"] == "other")
        time.sleep(1)
        check(vmm_of(d, "web") == before, "a label edit restarted the VM")
        check(d.get("vm", "web")["status"].get("restartCount", 0) == 0, "a label edit counts as a restart")


def test_a_memory_edit_waits_for_a_restart() -> None:
    with daemon() as d:
        d.write("web.yaml", vm_manifest("web"))
        d.wait_ready("web")
        before = vmm_of(d, "web")
        d.write("web.yaml", vm_manifest("web", memory="192Mi"))
        d.wait_condition("vm", "web", "RestartRequired", limit=20)
        message = d.condition("vm", "web", "RestartRequired")["message"]
        check("128Mi" in message and "192Mi" in message, f"the condition does not say what waits: {message}")
        check(vmm_of(d, "web") == before, "the memory edit restarted the VM by itself")
        d.ctl("restart", "web")
        wait_for("another VMM", lambda: d.get("vm", "web")["status"].get("vmm", {}).get("pid", before[0]) != before[0], limit=60)
        d.wait_ready("web")
        total = int(d.ssh("web", "awk '/MemTotal/ {print $2}' /proc/meminfo"))
        check(total > 140 * 1024, f"the guest has {total} KiB after the restart")
        check(d.condition("vm", "web", "RestartRequired").get("status") != "True", "RestartRequired stays after the restart")


def test_a_reboot_inside_the_guest_brings_it_back() -> None:
    with daemon() as d:
        d.write("web.yaml", vm_manifest("web"))
        d.wait_ready("web")
        before = vmm_of(d, "web")
        d.ssh("web", "touch /data/kept; sync; reboot", check=False)
        wait_for("another VMM", lambda: d.get("vm", "web")["status"].get("vmm", {}).get("pid", before[0]) != before[0], limit=60)
        d.wait_ready("web")
        check(d.ssh("web", "ls /data/kept") == "/data/kept", "the data disk lost a synced file over a reboot")


def test_a_killed_vmm_comes_back() -> None:
    with daemon() as d:
        d.write("web.yaml", vm_manifest("web"))
        d.wait_ready("web")
        before = vmm_of(d, "web")
        os.kill(before[0], signal.SIGKILL)
        wait_for("another VMM", lambda: d.get("vm", "web")["status"].get("vmm", {}).get("pid", before[0]) != before[0], limit=30)
        seen = d.wait_ready("web")
        check(seen["status"]["restartCount"] == 1, f"restartCount is {seen['status'].get('restartCount')}")
        check(seen["status"]["lastTermination"]["signal"] == signal.SIGKILL, f"lastTermination is {seen['status']['lastTermination']}")


def test_a_killed_daemon_leaves_the_vm_untouched() -> None:
    with daemon() as d:
        d.write("web.yaml", vm_manifest("web"))
        d.wait_ready("web")
        before, boot = vmm_of(d, "web"), d.ssh("web", "cat /proc/sys/kernel/random/boot_id")
        d.kill()
        check(alive(before[0]), "the VMM died with the daemon")
        d.start()
        d.wait_ready("web")
        check(vmm_of(d, "web") == before, "the restarted daemon started another VMM")
        check(d.ssh("web", "cat /proc/sys/kernel/random/boot_id") == boot, "the guest was rebooted")
        metrics = [line for line in d.raw("/metrics").splitlines() if line.startswith("banger_host_mutations_total")]
        check(all(float(line.split()[-1]) == 0 for line in metrics), f"the restarted daemon changed the host: {metrics}")


def test_stop_and_start_keep_the_data() -> None:
    with daemon() as d:
        d.write("web.yaml", vm_manifest("web"))
        d.wait_ready("web")
        pid = vmm_of(d, "web")[0]
        d.ssh("web", "echo precious > /data/note; echo too > /root/note")  # not synced: the stop does that
        d.ctl("stop", "web", "--wait")
        wait_for("phase Stopped", lambda: d.get("vm", "web")["status"]["phase"] == "Stopped", limit=30)
        check(d.condition("vm", "web", "CleanShutdown")["status"] == "True", str(d.condition("vm", "web", "CleanShutdown")))
        check(not alive(pid), "the VMM runs although the VM is Stopped")
        check(not d.get("vm", "web")["status"].get("vmm"), "the status of a stopped VM names a VMM")
        wait_for("a status that tells of what is gone", lambda: told(d, "web")[:3] == [
            (kind, "absent", "absent") for kind in ("process", "cgroup", "tap")])
        d.ctl("start", "web")
        d.wait_ready("web")
        check(d.ssh("web", "cat /data/note /root/note") == "precious\ntoo", "files were lost over stop and start")


def test_an_unreachable_guest_is_stopped_and_that_is_said() -> None:
    with daemon() as d:
        d.write("web.yaml", vm_manifest("web"))
        d.wait_ready("web")
        d.ssh("web", "setsid sh -c 'sleep 1; ip link set $(ls /sys/class/net | grep -v lo) down' >/dev/null 2>&1 &")
        wait_for("the guest to drop off", lambda: not answers(address_of(d, "web")), limit=20)
        started = time.monotonic()
        d.ctl("stop", "web")
        wait_for("phase Stopped", lambda: d.get("vm", "web")["status"]["phase"] == "Stopped", limit=30)
        condition = d.condition("vm", "web", "CleanShutdown")
        check(condition["status"] == "False" and condition["reason"] == "GuestUnreachable", str(condition))
        check(time.monotonic() - started < 10, f"it took {time.monotonic() - started:.1f} s")
        check("CleanShutdown" in d.ctl("events").stdout or "GuestUnreachable" in d.ctl("events").stdout, "no event tells of it")


def test_a_root_disk_shares_blocks_where_the_file_system_can() -> None:
    if not shutil.which("mkfs.xfs") or "\txfs\n" not in pathlib.Path("/proc/filesystems").read_text():
        raise harness.Skip("XFS needs the package xfsprogs and a kernel that has it")
    place = pathlib.Path(tempfile.mkdtemp(prefix="banger-xfs-", dir="/var/tmp"))
    try:
        with (place / "disk").open("wb") as disk:
            disk.truncate(400 << 20)
        subprocess.run(["mkfs.xfs", "-q", "-m", "reflink=1", str(place / "disk")], check=True)
        (place / "mnt").mkdir()
        subprocess.run(["mount", "-o", "loop", str(place / "disk"), str(place / "mnt")], check=True)
        try:
            with daemon(base=str(place / "mnt" / "b")) as d:
                d.write("web.yaml", vm_manifest("web"))
                root = d.wait_ready("web")["status"]["disks"][0]
                check(root["backend"] == "reflink", f"backend: auto made a {root['backend']} on XFS")
                check(d.ssh("web", "cat /etc/motd") == "hello", "the guest does not run from the shared blocks")
        finally:
            subprocess.run(["umount", str(place / "mnt")], check=True)
    finally:
        shutil.rmtree(place)


def test_two_vms_talk_to_each_other() -> None:
    with daemon() as d:
        d.write("pair.yaml", vm_manifest("one") + "---\n" + vm_manifest("two"))
        d.wait_ready("one", limit=120)
        d.wait_ready("two", limit=120)
        one, two = address_of(d, "one"), address_of(d, "two")
        check(one != two, f"both VMs have {one}")
        page = d.ssh("one", f"wget -q -O - http://{two}/")
        check("Hello from a microVM" in page, f"one cannot fetch two's page: {page}")
        check(d.ssh("two", f"ping -c 1 -W 5 {one} >/dev/null && echo yes") == "yes", "two cannot ping one")


def test_strangers_in_a_group_of_our_name_are_left_alone() -> None:
    with daemon() as d:
        d.write("web.yaml", vm_manifest("web").replace("  image: demo", "  powerState: Stopped\n  image: demo"))
        wait_for("phase Stopped", lambda: d.ctl("get", "vm", "web", check=False).returncode == 0
                 and d.get("vm", "web")["status"].get("phase") == "Stopped")
        uid = d.get("vm", "web")["metadata"]["uid"]
        stranger = subprocess.Popen(["sleep", "600"])
        try:
            with orphans.group(uid) as group:
                (group / "cgroup.procs").write_text(str(stranger.pid))
                d.ctl("start", "web")
                d.wait_condition("vm", "web", "NameConflict", limit=30)
                message = d.condition("vm", "web", "NameConflict")["message"]
                check(f"vm-{uid}" in message and f"(pid {stranger.pid})" in message, f"the condition does not name both: {message}")
                check(("cgroup", "present", "foreign") in told(d, "web"), f"kernelObjects: {told(d, 'web')}")
                d.ctl("stop", "web")
                wait_for("phase Stopped", lambda: d.get("vm", "web")["status"]["phase"] == "Stopped", limit=30)
                check(d.condition("vm", "web", "NameConflict")["status"] == "True", "a stop forgot the stranger")
                (d.manifests / "web.yaml").unlink()
                wait_for("phase Deleting", lambda: d.get("vm", "web")["status"]["phase"] == "Deleting", limit=30)
                message = d.condition("vm", "web", "Ready")["message"]
                check("not ours to empty" in message, f"a delete does not say what it waits for: {message}")
                check(stranger.poll() is None, "the stranger was ended")
                check(str(stranger.pid) in (group / "cgroup.procs").read_text().split(), "the stranger is not in his group any more")
                stranger.kill()
                stranger.wait()
                wait_for("the VM to go", lambda: d.ctl("get", "vm", "web", check=False).returncode != 0, limit=30)
        finally:
            stranger.kill()
            stranger.wait()


def test_a_network_that_overlaps_a_route_is_refused() -> None:
    subprocess.run(["ip", "link", "add", "foreign0", "type", "dummy"], check=False)
    done = subprocess.run(["ip", "addr", "add", "10.77.0.1/16", "dev", "foreign0"], check=False, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        subprocess.run(["ip", "link", "add", "foreign0", "type", "bridge"], check=True)
        subprocess.run(["ip", "addr", "add", "10.77.0.1/16", "dev", "foreign0"], check=True)
    subprocess.run(["ip", "link", "set", "foreign0", "up"], check=True)
    try:
        with daemon() as d:
            d.write("net.yaml", "apiVersion: banger.dev/v1alpha1\nkind: Network\nmetadata: {name: clash}\nspec: {cidr: 10.77.3.0/24}\n")
            wait_for("the condition", lambda: d.condition("network", "clash", "CidrConflict").get("status") == "True", limit=30)
            message = d.condition("network", "clash", "CidrConflict")["message"]
            check("10.77.0.0/16" in message and "foreign0" in message, f"the condition does not name the route: {message}")
    finally:
        subprocess.run(["ip", "link", "del", "foreign0"], check=False)


def test_a_broken_file_does_not_touch_its_vm_or_others() -> None:
    with daemon() as d:
        d.write("web.yaml", vm_manifest("web"))
        d.wait_ready("web")
        before = vmm_of(d, "web")
        d.write("web.yaml", vm_manifest("web").replace("memory:", "memroy:"))
        rows = wait_for("the row", lambda: (t := d.ctl("get", "sources").stdout) and "Invalid" in t and t, limit=20)
        check("web.yaml" in rows and 'did you mean "memory"' in rows, rows)
        time.sleep(0.5)
        check(vmm_of(d, "web") == before, "a broken file restarted its VM")
        d.write("web.yaml", vm_manifest("web"))
        wait_for("a good row", lambda: "Invalid" not in d.ctl("get", "sources").stdout, limit=20)


def test_a_vanished_directory_removes_nothing_until_confirmed() -> None:
    with daemon() as d:
        for index in range(4):
            d.write(f"stopped-{index}.yaml", vm_manifest(f"vm{index}").replace("  image: demo", "  powerState: Stopped\n  image: demo"))
        wait_for("four VMs", lambda: len(d.names("virtualmachines")) == 4)
        away = d.manifests.with_name("away")
        d.manifests.rename(away)
        wait_for("the condition", lambda: "PruneSuspended" in d.ctl("get", "sources", "-o", "yaml").stdout, limit=30)
        check(len(d.names("virtualmachines")) == 4, "a vanished directory removed VMs")
        away.rename(d.manifests)
        time.sleep(1)
        check(len(d.names("virtualmachines")) == 4, "the directory's return removed VMs")


def test_refusals_of_the_daemon_are_sentences() -> None:
    with daemon() as d:
        second = subprocess.run(d.command(), stdin=subprocess.DEVNULL, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                timeout=20, check=False)
        check(second.returncode == 1 and "another bangerd" in second.stdout, second.stdout)
        check(len(second.stdout.strip().splitlines()) == 1, f"more than a sentence: {second.stdout}")
        stopped = Daemon(base=tempfile.mkdtemp(prefix="banger-", dir="/var/tmp"))
        answer = stopped.ctl("get", "vm", check=False)
        shutil.rmtree(stopped.scratch)
        check(answer.returncode == 3 and "bangerd" in answer.stderr and "start" in answer.stderr, answer.stderr)
        refused = d.ctl("apply", "-f", "-", check=False, stdin=vm_manifest("web").replace("128Mi", "128Mb"))
        check(refused.returncode == 1 and "spec.memory" in refused.stderr, refused.stderr)
        with tempfile.TemporaryDirectory(prefix="banger-", dir="/var/tmp") as anywhere:  # the clone may be where only root can go
            os.chmod(anywhere, 0o755)
            program = shutil.copy(d.command()[0], anywhere)
            plain = subprocess.run(["setpriv", "--reuid", "65534", "--clear-groups", program, *d.command()[1:]], stdin=subprocess.DEVNULL,
                                   text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=20, check=False)
        check(plain.returncode == 1 and "root" in plain.stdout, plain.stdout)


MODULES = (globals(), *(vars(m) for m in (guest_life, examples, hard_times, host_faults, networks, crash_sweep, state_loss, orphans, real_disks)))
TESTS = [value for module in MODULES for name, value in module.items() if name.startswith("test_")]


def main() -> int:
    """run.py [--jobs N] [NAME...]: the tests whose names contain one of these, N of them side by side."""
    arguments, jobs = sys.argv[1:], 1
    if arguments[:1] == ["--jobs"]:
        jobs, arguments = int(arguments[1]), arguments[2:]
    if not harness.chosen(TESTS, arguments):
        print(f"no test's name contains {' or '.join(arguments)}", file=sys.stderr)
        return 2
    if jobs == 1:
        harness.enter_private_namespace()
    made = os.environ.get("BANGER_IMAGE_DIR")  # by the process that runs tests side by side
    world.IMAGE_DIR = pathlib.Path(made or tempfile.mkdtemp(prefix="banger-image-", dir="/var/tmp"))
    try:
        if not made:
            guest_image.write(world.IMAGE_DIR / "demo.tar")
        if jobs == 1:
            return harness.run(TESTS, arguments)
        os.environ["BANGER_IMAGE_DIR"] = str(world.IMAGE_DIR)
        return harness.run_side_by_side(TESTS, arguments, jobs)
    finally:
        if not made:
            shutil.rmtree(world.IMAGE_DIR)


if __name__ == "__main__":
    sys.exit(main())

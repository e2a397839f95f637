# SPDX-License-Identifier: Apache-2.0
"""How guests end and begin, what they are given, and what a daemon at rest does: tests of run.py that need the whole machine."""
from __future__ import annotations

import json
import os
import pathlib
import re
import socket
import subprocess
import tarfile
import time

from lib import audit, world
from lib.daemon import Daemon, wait_for
from lib.world import IMAGE, address_of, alive, check, daemon, vm_manifest, vmm_of


def phase_of(d: Daemon, vm: str) -> str:
    return d.get("vm", vm)["status"].get("phase", "")


def refuses(address: str) -> bool:
    try:
        socket.create_connection((address, 80), timeout=1).close()
        return False
    except ConnectionRefusedError:
        return True
    except OSError:
        return False


def test_a_guest_that_powers_off_is_left_so_on_failure() -> None:
    with daemon() as d:
        d.write("web.yaml", vm_manifest("web").replace("  image: demo", "  restartPolicy: OnFailure\n  image: demo"))
        for rest in (0, 31):  # after 30 s a shim without a VMM could be one that never started it
            pid = vmm_of(d, "web")[0] if d.wait_ready("web") else 0
            time.sleep(rest)
            d.ssh("web", "sync; poweroff", check=False)
            wait_for("the VMM to end", lambda: not alive(pid), limit=30)
            wait_for("phase Stopped", lambda: phase_of(d, "web") == "Stopped", limit=30)
            time.sleep(1)
            status = d.get("vm", "web")["status"]
            check(status["phase"] == "Stopped" and not status.get("vmm"), f"it was started again: {status['phase']}")
            check(status["lastTermination"]["reason"] == "GuestShutdown", str(status["lastTermination"]))
            d.ctl("restart", "web")


def test_a_guest_that_panics_waits_longer_each_time() -> None:
    with daemon() as d:
        d.write("web.yaml", vm_manifest("web").replace("  image: demo", "  kernelArgs: [rdinit=/nonexistent, root=/dev/none]\n  image: demo"))
        wait_for("a pause", lambda: d.condition("vm", "web", "Ready").get("reason") == "BackOff", limit=60)
        termination = d.get("vm", "web")["status"]["lastTermination"]
        check(termination["reason"] == "Crashed" and "panic" in termination["message"], str(termination))


def test_a_vm_deleted_while_it_starts_leaves_nothing() -> None:
    with daemon() as d:
        for pause in (0.0, 0.3, 1.0, 2.5):  # its disks are made, its VMM starts, its kernel boots
            path = d.write("web.yaml", vm_manifest("web"))
            wait_for("the VM", lambda: d.ctl("get", "vm", "web", check=False).returncode == 0)
            uid = d.get("vm", "web")["metadata"]["uid"]
            time.sleep(pause)
            path.unlink()
            d.wait_gone("vm", "web", limit=30)
            left = [t for t in audit.Look().things if uid in t or audit.short_id(uid) in t]
            check(not left, f"left of the VM: {left}")
            check(not list((d.state / "vms").glob("*")) and not list((d.run_dir / "vm").glob("*")), "files of the VM are left")


def test_a_vm_without_network_or_ssh_runs_and_stops() -> None:
    with daemon() as d:
        text = re.sub(r"  (networkInterfaces|ssh): .*\n", "", vm_manifest("web"))
        d.write("web.yaml", text)
        d.wait_ready("web")
        wait_for("the guest's boot", lambda: "guest: web is up" in d.ctl("logs", "web").stdout, limit=60)
        d.ctl("stop", "web", "--wait")
        wait_for("phase Stopped", lambda: phase_of(d, "web") == "Stopped", limit=30)
        condition = d.condition("vm", "web", "CleanShutdown")
        check(condition["status"] == "False" and condition["reason"] == "NoSsh", str(condition))


def test_a_guest_on_two_networks_reaches_both_gateways() -> None:
    with daemon() as d:
        d.write("net.yaml", "apiVersion: banger.dev/v1alpha1\nkind: Network\nmetadata: {name: back}\nspec: {cidr: 10.99.7.0/24, nat: Disabled}\n")
        d.write("web.yaml", vm_manifest("web").replace("[{network: default}]", "[{network: default}, {network: back, address: 10.99.7.9}]"))
        seen = d.wait_ready("web")
        nics = seen["status"]["networkInterfaces"]
        check([n["network"] for n in nics] == ["default", "back"] and nics[1]["address"] == "10.99.7.9/24", str(nics))
        for nic in nics:
            check(d.ssh("web", f"ping -c 1 -W 5 {nic['gateway']} >/dev/null && echo yes") == "yes", f"no answer from {nic['gateway']}")
        routes = d.ssh("web", "ip route").splitlines()
        defaults = [r for r in routes if r.startswith("default")]
        check(len(defaults) == 1 and nics[0]["gateway"] in defaults[0], f"routes: {routes}")


def test_a_guest_reaches_beyond_the_bridge_by_the_hosts_address() -> None:
    """Another host, in a namespace of its own behind a veth pair, has no route back to the guests: only translated packets return."""
    far = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo up; exec sleep 300"], stdout=subprocess.PIPE, text=True)
    assert far.stdout is not None
    far.stdout.readline()
    inside = ["nsenter", "-t", str(far.pid), "-n"]
    server = None
    try:
        subprocess.run(["ip", "link", "add", "uplink0", "type", "veth", "peer", "name", "far0", "netns", str(far.pid)], check=True)
        subprocess.run(["ip", "addr", "add", "192.0.2.1/24", "dev", "uplink0"], check=True)
        subprocess.run(["ip", "link", "set", "uplink0", "up"], check=True)
        for command in (["ip", "addr", "add", "192.0.2.2/24", "dev", "far0"], ["ip", "link", "set", "far0", "up"]):
            subprocess.run([*inside, *command], check=True)
        answer = "import socket\ns = socket.create_server(('192.0.2.2', 8080))\nprint('listens', flush=True)\n" \
                 "while True:\n c, peer = s.accept()\n c.sendall(peer[0].encode())\n c.close()\n"
        server = subprocess.Popen([*inside, "python3", "-c", answer], stdout=subprocess.PIPE, text=True)
        assert server.stdout is not None
        server.stdout.readline()
        with daemon() as d:
            d.write("web.yaml", vm_manifest("web"))
            d.wait_ready("web")
            seen = d.ssh("web", "nc -w 5 192.0.2.2 8080 </dev/null", check=False)
            check(seen == "192.0.2.1", f"the far host saw \"{seen}\", not the host's own address (the guest has {address_of(d, 'web')})")
    finally:
        for process in (server, far):
            if process is not None:
                process.kill()
                process.wait()
        subprocess.run(["ip", "link", "del", "uplink0"], check=False, stderr=subprocess.DEVNULL)


def test_an_image_without_init_keeps_ours() -> None:
    target = world.IMAGE_DIR / "bare.tar"
    with tarfile.open(world.IMAGE_DIR / "demo.tar") as demo, tarfile.open(target, "w") as bare:
        for entry in demo.getmembers():
            if entry.name != "sbin/init" and entry.name != "bin/init" and entry.name != "bin/linuxrc":
                bare.addfile(entry, demo.extractfile(entry) if entry.isreg() else None)
    with daemon() as d:
        d.write("image.yaml", IMAGE.format(path=target))
        d.write("web.yaml", re.sub(r"  ssh: .*\n", "", vm_manifest("web")))
        d.wait_ready("web")
        wait_for("our init to stay", lambda: "banger-init" in d.ctl("logs", "web").stdout and "staying PID 1" in d.ctl("logs", "web").stdout, limit=60)
        # Nothing listens there: that the guest refuses shows that it has its address.
        wait_for("the guest to refuse a connection", lambda: refuses(address_of(d, "web")), limit=30)


def test_a_data_disk_can_be_added_later() -> None:
    with daemon() as d:
        d.write("web.yaml", vm_manifest("web"))
        d.wait_ready("web")
        before = vmm_of(d, "web")
        d.ssh("web", "echo kept > /data/note")
        d.write("web.yaml", vm_manifest("web").replace("mountPath: /data}]", "mountPath: /data}, {name: more, size: 32Mi, mountPath: /more}]"))
        d.wait_condition("vm", "web", "RestartRequired", limit=20)
        check(vmm_of(d, "web") == before, "the new disk restarted the VM by itself")
        d.ctl("restart", "web")
        wait_for("another VMM", lambda: d.get("vm", "web")["status"].get("vmm", {}).get("pid", before[0]) != before[0], limit=60)
        d.wait_ready("web")
        check(d.ssh("web", "cat /data/note; grep -c ' /more ' /proc/mounts") == "kept\n1", "the disks are not as they should be")


def test_disks_that_vanish_with_their_directory_are_not_made_anew() -> None:
    with daemon() as d:
        d.write("web.yaml", vm_manifest("web"))
        d.wait_ready("web")
        d.ctl("stop", "web", "--wait")
        wait_for("phase Stopped", lambda: phase_of(d, "web") == "Stopped", limit=30)
        directory = d.state / "vms" / d.get("vm", "web")["metadata"]["uid"]
        away = d.scratch / "away"
        directory.rename(away)
        d.ctl("start", "web")
        d.wait_condition("vm", "web", "DataLost", limit=30)
        time.sleep(2)
        check(not directory.exists(), "the VM's directory was made anew, without what the guest had written")
        away.rename(directory)
        d.wait_ready("web", limit=120)
        check(d.condition("vm", "web", "DataLost").get("status") != "True", "DataLost stays although the disks are back")


def counters(d: Daemon) -> dict[str, float]:
    found: dict[str, float] = {}
    for line in d.raw("/metrics").splitlines():
        if not line.startswith("#") and " " in line:
            name = line.split("{")[0].split(" ")[0]
            found[name] = found.get(name, 0.0) + float(line.rsplit(" ", 1)[1])
    return found


def cpu_seconds(pid: int) -> float:
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def revision(d: Daemon) -> int:
    return int(json.loads(d.raw("/apis/banger.dev/v1alpha1/virtualmachines"))["metadata"]["resourceVersion"])


def test_a_daemon_at_rest_is_quiet() -> None:
    with daemon() as d:
        d.write("pair.yaml", vm_manifest("one") + "---\n" + vm_manifest("two"))
        d.wait_ready("one", limit=120)
        d.wait_ready("two", limit=120)
        time.sleep(3)
        assert d.process is not None
        before, cpu, at = counters(d), cpu_seconds(d.process.pid), revision(d)
        time.sleep(30)
        after = counters(d)
        spent = cpu_seconds(d.process.pid) - cpu
        passes = after["controller_runtime_reconcile_total"] - before["controller_runtime_reconcile_total"]
        changed = after.get("banger_host_mutations_total", 0) - before.get("banger_host_mutations_total", 0)
        print(f"        30 s at rest: {passes:.0f} passes, {spent:.2f} s of CPU, {revision(d) - at} writes", flush=True)
        check(changed == 0, f"{changed:.0f} mutations of a host at rest")
        check(revision(d) == at, f"{revision(d) - at} writes to the store of a host at rest")
        check(passes <= 30, f"{passes:.0f} passes in 30 s")
        check(spent < 1.5, f"{spent:.2f} s of CPU in 30 s")


def test_a_daemon_killed_while_a_vm_starts_ends_up_with_one_vmm() -> None:
    with daemon() as d:
        d.write("web.yaml", vm_manifest("web"))
        for pause in (0.2, 0.8, 1.6):
            time.sleep(pause)
            d.kill()
            d.start()
        d.wait_ready("web", limit=120)
        pid = vmm_of(d, "web")[0]
        check(alive(pid), "the VMM that is named does not run")
        uid = d.get("vm", "web")["metadata"]["uid"]
        running = [p for p in audit.processes() if "qemu" in p and uid in p and "banger-shim" not in p]
        check(len(running) == 1, f"VMMs: {running}")

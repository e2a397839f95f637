#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The whole life of a real microVM, told as it happens. Run by tools/demo, which installs and builds first."""
from __future__ import annotations

import os
import pathlib
import signal
import sys
import tempfile
import time
import urllib.request

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests" / "e2e"))
from lib import audit, guest_image  # noqa: E402
from lib.daemon import BANGERCTL, Daemon, Failed, wait_for  # noqa: E402

STARTED = time.monotonic()


def stage(text: str) -> None:
    print(f"\n[{time.monotonic() - STARTED:6.1f} s] {text}", flush=True)


def say(text: str) -> None:
    for line in text.rstrip().splitlines():
        print(f"             {line}", flush=True)


def command(d: Daemon, *arguments: str) -> str:
    """Shows a bangerctl call as a person would type it, and what it prints."""
    say("$ bangerctl " + " ".join(arguments))
    answer = d.ctl(*arguments).stdout
    say(answer)
    return answer


def status(d: Daemon) -> dict:
    return d.get("vm", "web").get("status", {})


def follow_start(d: Daemon, limit: float = 90) -> None:
    """Prints each step of the start as it is done, until the VM is Ready."""
    shown: set[tuple[str, str]] = set()

    def ready() -> bool:
        seen = status(d)
        for step in seen.get("steps", []):
            key = (step["name"], step["state"])
            if key not in shown:
                shown.add(key)
                say(f"{step['state']:<8} {step['name']:<18} {step.get('durationMilliseconds', 0):>6} ms  {step.get('message', '')}".rstrip())
        return any(c["type"] == "Ready" and c["status"] == "True" for c in seen.get("conditions", []))

    wait_for("the VM to be Ready", ready, limit)
    say(d.ctl("get", "vm").stdout)


def edit(d: Daemon, old: str, new: str) -> None:
    path = d.manifests / "2-web.yaml"
    text = path.read_text()
    if old not in text:
        raise Failed(f"{path} does not hold {old!r}")
    say(f"edit {path.name}: {old} -> {new}")
    d.write(path.name, text.replace(old, new))


def start(d: Daemon) -> None:
    stage("a root file system is made from Debian's busybox and dropbear packages")
    guest_image.write(d.scratch / "demo.tar")
    say(f"{d.scratch / 'demo.tar'}: {(d.scratch / 'demo.tar').stat().st_size >> 10} KiB")
    stage("bangerd starts on an empty state directory")
    say("$ " + " ".join(d.command()))
    d.start()
    stage("manifests/demo/*.yaml are copied into the watched directory; a microVM starts")
    for manifest in sorted((TOP / "manifests" / "demo").glob("*.yaml")):
        d.write(manifest.name, manifest.read_text().replace("/var/tmp/banger-demo", str(d.scratch)))
    wait_for("the VM to be known", lambda: d.ctl("get", "vm", "web", check=False).returncode == 0)
    follow_start(d)
    vmm = status(d)["vmm"]
    say(f"accelerator: {vmm['accelerator']} ({vmm.get('acceleratorReason', '')})")


def talk(d: Daemon) -> None:
    stage("a command runs in the guest over SSH, and the guest serves a page")
    command(d, "ssh", "web", "--", "uname -sr; cat /etc/motd; df -h / /data | cat")
    address = status(d)["networkInterfaces"][0]["address"].split("/")[0]
    say(f"GET http://{address}/")
    say(urllib.request.urlopen(f"http://{address}/", timeout=10).read().decode())


def survive_kill(d: Daemon) -> None:
    pid = status(d)["vmm"]["pid"]
    stage(f"the VMM (process {pid}) is killed behind the daemon's back")
    os.kill(pid, signal.SIGKILL)
    wait_for("another VMM", lambda: status(d).get("vmm", {}).get("pid", pid) != pid)
    follow_start(d)
    say(f"back as process {status(d)['vmm']['pid']}; restarts: {status(d)['restartCount']}")


def edit_live(d: Daemon) -> None:
    stage("an edit of a label: nothing restarts")
    pid = status(d)["vmm"]["pid"]
    edit(d, "{app: web}", "{app: web, tier: front}")
    wait_for("the label", lambda: d.get("vm", "web")["metadata"]["labels"].get("tier") == "front")
    time.sleep(1)
    if status(d)["vmm"]["pid"] != pid:
        raise Failed("the label edit restarted the VM")
    command(d, "get", "vm", "-l", "tier=front")


def edit_memory(d: Daemon) -> None:
    stage("an edit of memory: announced as waiting, carried out by bangerctl restart")
    edit(d, "memory: 128Mi", "memory: 192Mi")
    d.wait_condition("vm", "web", "RestartRequired", limit=20)
    say(d.condition("vm", "web", "RestartRequired")["message"])
    pid = status(d)["vmm"]["pid"]
    command(d, "restart", "web")
    wait_for("another VMM", lambda: status(d).get("vmm", {}).get("pid", pid) != pid)
    follow_start(d)
    command(d, "ssh", "web", "--", "grep MemTotal /proc/meminfo")


def keep_data(d: Daemon) -> None:
    stage("a file is written on the data disk; stop, start, read it back")
    command(d, "ssh", "web", "--", "echo precious > /data/note")
    command(d, "stop", "web", "--wait")
    wait_for("the VM to be Stopped", lambda: status(d)["phase"] == "Stopped")
    say(d.condition("vm", "web", "CleanShutdown")["message"])
    command(d, "start", "web")
    follow_start(d)
    if command(d, "ssh", "web", "--", "cat /data/note").strip() != "precious":
        raise Failed("the file is not what was written")


def leave_nothing(d: Daemon, before: audit.Look) -> None:
    stage("the manifests are removed, and with them all they had made")
    uids = d.uids()
    for path in sorted(d.manifests.glob("*.yaml"), reverse=True):
        say(f"rm {path.name}")
        path.unlink()
    wait_for("the VM to be gone", lambda: not d.names("virtualmachines"))
    wait_for("the image to be gone", lambda: not d.names("images"))
    for kind, name in (("network", "default"), ("kernel", "host")):
        command(d, "delete", kind, name)
    d.stop()
    stage("a look at the host that shares no code with the daemon")
    left = audit.changes(before, uids, [d.scratch], private=False) + audit.files_of_objects(d.state, d.run_dir)
    for what in ("processes", "links", "loop devices", "device-mapper nodes", "cgroups", "nft tables", "mounts", "disk files"):
        say(f"{what}: nothing left" if not left else f"{what}: see below")
    if left:
        raise Failed("left behind: " + "; ".join(left))


def how_to_talk(d: Daemon) -> None:
    stage("--keep: the daemon and the VM go on running")
    say(f"export BANGER_SOCKET={d.socket}")
    say(f"{BANGERCTL} get vm -o wide")
    say(f"{BANGERCTL} ssh web")
    say(f"$EDITOR {d.manifests}/2-web.yaml")
    say("to end it and leave nothing:")
    say(f"rm {d.manifests}/*.yaml; {BANGERCTL} wait --for=delete vm/web; {BANGERCTL} delete network default")
    say(f"kill {d.process.pid if d.process else ''} && rm -r {d.scratch}")


def main() -> int:
    keep = "--keep" in sys.argv[1:]
    before = audit.Look()
    d = Daemon(base=tempfile.mkdtemp(prefix="banger-demo-", dir="/var/tmp"))
    kept = False
    try:
        start(d)
        talk(d)
        if keep:
            how_to_talk(d)
            kept = True
            return 0
        survive_kill(d)
        edit_live(d)
        edit_memory(d)
        keep_data(d)
        leave_nothing(d, before)
        stage("done: the VM lived and left nothing")
        return 0
    except (Failed, KeyboardInterrupt) as error:
        print(f"\nthe demo failed: {error or 'interrupted'}\n--- end of the daemon's log\n{d.log_tail()}", file=sys.stderr, flush=True)
        return 1
    finally:
        if not kept:
            d.clean_up()


if __name__ == "__main__":
    sys.exit(main())

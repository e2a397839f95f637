# SPDX-License-Identifier: Apache-2.0
"""What goes wrong around a daemon: no QEMU, a full disk, an end in the middle of work, a directory that is removed. Tests of run.py."""
from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator

from lib import world
from lib.daemon import BANGERCTL, Daemon, wait_for
from lib.world import IMAGE, alive, check, daemon, vm_manifest, vmm_of


def test_a_state_directory_that_cannot_be_written_is_one_sentence() -> None:
    with tempfile.TemporaryDirectory(prefix="banger-", dir="/var/tmp") as base:
        state = pathlib.Path(base) / "state"
        state.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "ro,size=1m,mode=0700", "banger-state", str(state)], check=True)
        try:
            said = subprocess.run(Daemon(base=base).command(), stdin=subprocess.DEVNULL, text=True, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, timeout=20, check=False)
        finally:
            subprocess.run(["umount", str(state)], check=True)
        check(said.returncode not in (0, -9) and str(state) in said.stdout and "Read-only file system" in said.stdout, said.stdout)
        check(len(said.stdout.strip().splitlines()) == 1, f"more than a sentence: {said.stdout}")


def stopped_vm(name: str) -> str:
    return vm_manifest(name).replace("  image: demo", "  powerState: Stopped\n  image: demo").replace("hello", "x" * 40_000)


def test_a_missing_qemu_is_one_sentence_and_is_tried_ever_more_rarely() -> None:
    with daemon("--qemu", "/nonexistent/qemu-system-x86_64") as d:
        d.write("web.yaml", vm_manifest("web"))
        wait_for("the sentence", lambda: "qemu" in d.condition("vm", "web", "Ready").get("message", ""), limit=60)
        before = d.log.read_text().count("reconcile failed, will retry kind=VirtualMachine")
        time.sleep(10)
        tries = d.log.read_text().count("reconcile failed, will retry kind=VirtualMachine") - before
        print(f"        {before} tries until the sentence was seen, {tries} in the 10 s after", flush=True)
        check(before + tries <= 13, f"{before + tries} tries of a VMM that is not there: 5 ms doubling makes 12 in 10 s")
        message = d.condition("vm", "web", "Ready")["message"]
        for word in ("/nonexistent/qemu-system-x86_64", "--qemu", "install the Debian package qemu-system-x86"):
            check(word in message, f"the condition does not say {word}: {message}")
            check(word in d.ctl("describe", "vm", "web").stdout, f"describe does not say {word}")
        check(len(message.splitlines()) == 1, f"more than a sentence: {message}")


@contextlib.contextmanager
def small_state(size: str, *options: str) -> Iterator[tuple[Daemon, pathlib.Path]]:
    """A daemon whose state directory is a file system of its own, in this mount namespace."""
    base = tempfile.mkdtemp(prefix="banger-", dir="/var/tmp")
    state = pathlib.Path(base) / "state"
    state.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "banger-state", str(state)], check=True)
    try:
        with daemon(*options, base=base) as d:
            yield d, state
    finally:
        subprocess.run(["umount", "--lazy", str(state)], check=True)
        shutil.rmtree(base, ignore_errors=True)


def resize(state: pathlib.Path, size: str, *, check: bool = True) -> bool:
    answer = subprocess.run(["mount", "-o", f"remount,size={size}", str(state)], check=check, capture_output=not check)
    return answer.returncode == 0


def fill(state: pathlib.Path) -> None:
    """Leaves no free block. The daemon may write between the look and the change: the kernel then refuses to shrink below it."""

    def shrunk() -> bool:
        usage = os.statvfs(state)
        return resize(state, str((usage.f_blocks - usage.f_bfree) * usage.f_frsize), check=False)

    wait_for("the file system to be shrunk to what is in it", shrunk, limit=20)


def post(d: Daemon, vm: str) -> int:
    """The HTTP status of a create: what a client without bangerctl sees."""
    body = json.dumps({"apiVersion": "banger.dev/v1alpha1", "kind": "VirtualMachine", "metadata": {"name": vm},
                       "spec": {"image": "demo", "powerState": "Stopped"}})
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(30)
        connection.connect(str(d.socket))
        connection.sendall((f"POST /apis/banger.dev/v1alpha1/namespaces/default/virtualmachines HTTP/1.1\r\nHost: x\r\n"
                            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}").encode())
        return int(connection.recv(64).split()[1])


def test_a_full_disk_refuses_writes_in_a_sentence_and_loses_nothing() -> None:
    with small_state("900m") as (d, state):
        d.write("web.yaml", vm_manifest("web"))
        d.wait_ready("web")
        assert d.process is not None
        vmm, pid = vmm_of(d, "web"), d.process.pid
        d.ctl("apply", "-f", "-", stdin=stopped_vm("before"))
        fill(state)
        kept, refused = ["web", "before"], None
        for index in range(2000):  # the log of the database has a little room of its own
            answer = d.ctl("apply", "-f", "-", check=False, stdin=stopped_vm(f"vm{index}"))
            if answer.returncode != 0:
                refused = answer
                break
            kept.append(f"vm{index}")
        print(f"        {len(kept) - 2} more writes were acknowledged, then: {refused.stderr.strip() if refused else 'none was refused'}", flush=True)
        check(refused is not None and refused.returncode == 1, f"a full disk refused nothing, or with another exit code: {refused}")
        assert refused is not None
        check("full" in refused.stderr and str(state) in refused.stderr and len(refused.stderr.strip().splitlines()) == 1, refused.stderr)
        check(post(d, "another") == 503, "a write is not refused with 503")
        time.sleep(3)
        found = {name.split("/")[-1] for name in d.names("virtualmachines")}
        check(set(kept) <= found, f"reads do not show {set(kept) - found}")
        check(vmm_of(d, "web") == vmm and alive(vmm[0]), "the VM's VMM is another one")
        resize(state, "900m")
        wait_for("writes to be taken again", lambda: d.ctl("apply", "-f", "-", check=False, stdin=stopped_vm("after")).returncode == 0, limit=20)
        check(d.process is not None and d.process.pid == pid and d.process.poll() is None, "the daemon was restarted")
        # A guest that wrote meanwhile was paused, and goes on by itself.
        wait_for("the guest to answer", lambda: d.ssh("web", "cat /etc/motd") == "hello", limit=30)
        d.kill()
        d.start()
        found = {name.split("/")[-1] for name in d.names("virtualmachines")}
        check({*kept, "after"} <= found, f"acknowledged and lost: {({*kept, 'after'}) - found}")
        check(vmm_of(d, "web") == vmm, "the VM was restarted")
        d.ctl("delete", "vm", *sorted(found - {"web"}), "--timeout=60s")


def test_a_guest_that_writes_on_a_full_disk_waits_and_goes_on_by_itself() -> None:
    with small_state("900m") as (d, state):
        d.write("web.yaml", vm_manifest("web"))
        d.wait_ready("web")
        vmm, size = vmm_of(d, "web"), 24 << 20
        fill(state)
        write = f"yes 0123456789abcdef | head -c {size} >/data/big && sync && md5sum </data/big"
        writer = subprocess.Popen([str(BANGERCTL), "--socket", str(d.socket), "ssh", "web", "--", write], stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, text=True)
        try:
            wait_for("the guest to wait", lambda: d.condition("vm", "web", "Ready").get("reason") == "DiskFull", limit=60)
            message = d.condition("vm", "web", "HostDiskFull").get("message", "")
            check(str(state) in message and len(message.splitlines()) == 1, f"the condition does not say which disk is full: {message}")
            check(writer.poll() is None, "the write in the guest ended on a full disk")
            check(vmm_of(d, "web") == vmm and alive(vmm[0]), "the VM's VMM is another one")
            resize(state, "900m")
            d.wait_ready("web")
            told = writer.communicate(timeout=60)[0].split()
        finally:
            writer.kill()
            writer.wait()
        line = b"0123456789abcdef\n"
        expected = hashlib.md5((line * (size // len(line) + 1))[:size]).hexdigest()
        check(writer.returncode == 0 and told[:1] == [expected], f"the guest's write ended with {writer.returncode} and {told}")
        check(vmm_of(d, "web") == vmm, "the VM was restarted")
        d.ctl("restart", "web")
        wait_for("the new VMM", lambda: not alive(vmm[0]), limit=60)
        d.wait_ready("web")
        check(d.ssh("web", "md5sum </data/big").split()[:1] == [expected], "what was written is not there after a restart")


def huge_tar(path: pathlib.Path, gibibytes: int) -> None:
    """A tar with one file that is a hole: it takes no place and a while to read."""
    entry = tarfile.TarInfo("big")
    entry.size = gibibytes << 30
    with path.open("wb") as out:
        out.write(entry.tobuf(tarfile.GNU_FORMAT))
        out.truncate(512 + entry.size + 1024)


def ends_within(d: Daemon, limit: float, during: str) -> None:
    assert d.process is not None
    started = time.monotonic()
    d.process.send_signal(signal.SIGTERM)
    code = d.process.wait(timeout=60)
    took = time.monotonic() - started
    d.process = None
    print(f"        SIGTERM during {during}: {took:.2f} s", flush=True)
    check(took < limit, f"SIGTERM during {during} took {took:.1f} s")
    check(code == 0, f"SIGTERM during {during} ended with {code}")


def test_sigterm_ends_the_daemon_within_five_seconds_whatever_it_does() -> None:
    big = world.IMAGE_DIR / "big.tar"
    huge_tar(big, 7)
    with daemon() as d:
        d.write("web.yaml", vm_manifest("web"))
        d.wait_ready("web")
        vmm = vmm_of(d, "web")[0]
        d.write("big.yaml", IMAGE.format(path=big).replace("name: demo", "name: big"))
        wait_for("the build", lambda: d.condition("image", "big", "Ready").get("reason") == "Building", limit=20)
        watcher = subprocess.Popen([str(BANGERCTL), "--socket", str(d.socket), "get", "vm", "-w"], stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            time.sleep(0.5)
            check(d.condition("image", "big", "Ready").get("reason") == "Building", "the build was over too soon to be of use here")
            ends_within(d, 5, "an image build and a watch")
        finally:
            watcher.kill()
            watcher.wait()
        (d.manifests / "big.yaml").unlink()
        d.start()
        check(alive(vmm), "the VM ended with the daemon")
        # Its SSH server is frozen: connections are taken by the guest's kernel and nobody ever says a word.
        d.ssh("web", "(sleep 1; kill -STOP $(pidof dropbear)) </dev/null >/dev/null 2>&1 & true")
        time.sleep(2)
        d.ctl("stop", "web")
        wait_for("the sync to be asked for", lambda: d.get("vm", "web")["status"].get("phase") == "Stopping", limit=20)
        ends_within(d, 5, "a sync that hangs")
        d.start()
        wait_for("the VM to end", lambda: d.get("vm", "web")["status"].get("phase") == "Stopped", limit=60)
        big.unlink()


def test_a_directory_removed_under_its_vm_is_made_again() -> None:
    with daemon() as d:
        d.write("web.yaml", vm_manifest("web"))
        d.wait_ready("web")
        vmm = vmm_of(d, "web")
        directory = d.state / "vms" / d.get("vm", "web")["metadata"]["uid"]
        shutil.rmtree(directory)
        wait_for("vm.json to be there again", (directory / "vm.json").exists, limit=60)
        check(vmm_of(d, "web") == vmm, "the VM was restarted")
        check("SidecarLost" in d.ctl("events").stdout, "no event says what was lost")
        d.ctl("stop", "web")
        wait_for("phase Stopped", lambda: d.get("vm", "web")["status"].get("phase") == "Stopped", limit=60)
        check(not alive(vmm[0]), "the VMM goes on")

# SPDX-License-Identifier: Apache-2.0
"""What the end-to-end tests share: a daemon with a guest image that leaves nothing behind, manifests, questions about VMs."""
from __future__ import annotations

import contextlib
import pathlib
import socket
import time
from collections.abc import Iterator

from . import audit
from .daemon import BUILD, Daemon, Failed, wait_for

IMAGE_DIR = pathlib.Path()  # set by run.py: the guest image is made once for all tests

IMAGE = """\
apiVersion: banger.dev/v1alpha1
kind: Image
metadata: {{name: demo}}
spec: {{path: {path}}}
"""
VM = """\
apiVersion: banger.dev/v1alpha1
kind: VirtualMachine
metadata: {{name: {name}, labels: {{app: {label}}}}}
spec:
  image: demo
  memory: {memory}
  rootDisk: {{size: 256Mi}}
  disks: [{{name: data, size: 64Mi, mountPath: /data}}]
  networkInterfaces: [{{network: default}}]
  ssh: {{user: root}}
  files: [{{path: /etc/motd, content: "hello\\n", mode: 0644}}]
"""

# Options of a daemon whose VMMs do nothing but answer (tests/bench): for tests of what stands around a VMM.
NOOP_VMM = ("--qemu", str(BUILD / "tests/bench/noop_vmm"), "--accelerator", "tcg")
SMALL_VM = """\
apiVersion: banger.dev/v1alpha1
kind: VirtualMachine
metadata: {{name: {name}}}
spec:
  image: demo
  memory: 128Mi
  rootDisk: {{size: 64Mi{root}}}
  networkInterfaces: [{{network: default}}]
"""


def small_vm(name: str, root: str = "") -> str:
    """Of a daemon with NOOP_VMM; root: more of its rootDisk, as ", backend: copy"."""
    return SMALL_VM.format(name=name, root=root)


def ready_for_vms(d: Daemon) -> None:
    """What a daemon makes by itself is made, so that only VMs change the host from here on."""
    for kind, name in (("image", "demo"), ("kernel", "host"), ("network", "default")):
        d.ctl("wait", "--for=create", f"{kind}/{name}")
        d.wait_condition(kind, name, "Ready")


def running(d: Daemon, name: str) -> str:
    """The uid of a VM that runs; Failed with what its conditions say when it does not."""
    vm = d.get("vm", name)
    status = vm.get("status", {})
    if status.get("phase") != "Running":
        raise Failed(f"{status.get('phase')}: {[c.get('message') for c in status.get('conditions', [])]}")
    return vm["metadata"]["uid"]


def vm_manifest(name: str, label: str = "web", memory: str = "128Mi") -> str:
    return VM.format(name=name, label=label, memory=memory)


def tell_of_failure(d: Daemon) -> None:
    """What somebody needs who sees only the test's output: the logs, the VMMs, and what device-mapper has."""
    logs = [("the daemon's log", d.log, 40)]
    logs += [(f"serial log of {p.parent.name}", p, 15) for p in d.state.glob("vms/*/serial.log")]
    logs += [(f"{p.name} of {p.parent.name}", p, 10) for p in d.run_dir.glob("vm/*/vmm.log")]
    for what, path, count in logs:
        lines = path.read_text(errors="replace").splitlines() if path.exists() else []
        print(f"--- end of {what}", *lines[-count:], sep="\n", flush=True)
    print("--- processes and devices", *(t[:400] for t in sorted(audit.processes()) if str(d.scratch) in t), *sorted(audit.mappings() | audit.loops()),
          "---", sep="\n", flush=True)


@contextlib.contextmanager
def daemon(*options: str, base: str | None = None) -> Iterator[Daemon]:
    """A daemon with the guest image applied. On the way out everything is deleted through manifests and API, and the host is looked at."""
    before = audit.Look()
    d = Daemon(*options, base=base)
    try:
        d.start()
        d.write("image.yaml", IMAGE.format(path=IMAGE_DIR / "demo.tar"))
        yield d
        if d.process is None:
            d.start()
        d.uids()
        for path in d.manifests.glob("*.yaml"):
            path.unlink()
            time.sleep(0.05)
        # Many files at once look like an accident to the guard; here it is meant.
        wait_for("every VM to be gone", lambda: d.ctl("sources", "confirm", check=False) and not d.names("virtualmachines"), limit=60, pause=0.5)
        wait_for("every image to be gone", lambda: not d.names("images"), limit=30)
        for kind in ("networks", "kernels"):  # those of the files may be going already
            for name in d.names(kind):
                d.ctl("delete", kind, name.split("/")[-1], "--ignore-not-found", "--timeout=30s")
        left = audit.files_of_objects(d.state, d.run_dir)
        if left:
            raise Failed(f"left in the state and run directories: {left}")
        d.stop()
        changed = audit.changes(before, d.seen_uids, [d.scratch])
        if changed:
            raise Failed(f"the host is not as it was: {changed}")
    except BaseException:
        tell_of_failure(d)
        raise
    finally:
        d.clean_up()


def vmm_of(d: Daemon, vm: str) -> tuple[int, int]:
    vmm = d.get("vm", vm)["status"].get("vmm")
    if not vmm:
        raise Failed(f"no VMM of {vm} is observed")
    return vmm["pid"], vmm["startTimeTicks"]


def address_of(d: Daemon, vm: str) -> str:
    return d.get("vm", vm)["status"]["networkInterfaces"][0]["address"].split("/")[0]


def answers(address: str) -> bool:
    try:
        socket.create_connection((address, 80), timeout=1).close()
        return True
    except OSError:
        return False


def alive(pid: int) -> bool:
    """Runs, and is not a zombie that nobody has reaped yet."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def check(condition: bool, message: str) -> None:
    if not condition:
        raise Failed(message)

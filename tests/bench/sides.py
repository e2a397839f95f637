# SPDX-License-Identifier: Apache-2.0
"""The two sides of the comparison: bangerd fed with manifests, and a shell script. Both start the same no-op VMM."""
from __future__ import annotations

import json
import http.client
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import time
import uuid

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
import place  # noqa: E402
from lib import guest_image  # noqa: E402
from lib.daemon import BUILD, Daemon, Failed, wait_for  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
SIZE = 64 << 20
PORTS = 250  # of a bridge: deleting and adding ports costs more the more there are
IMAGE = "apiVersion: banger.dev/v1alpha1\nkind: Image\nmetadata: {{name: bench}}\nspec: {{path: {path}}}\n"
NETWORK = "apiVersion: banger.dev/v1alpha1\nkind: Network\nmetadata: {{name: net{i}}}\nspec: {{cidr: 10.2{i:02}.0.0/22}}\n"
VM = """\
apiVersion: banger.dev/v1alpha1
kind: VirtualMachine
metadata: {{name: {name}, labels: {{app: bench}}}}
spec:
  image: bench
  memory: 128Mi
  rootDisk: {{size: 64Mi}}
  networkInterfaces: [{{network: {network}}}]
"""


class Starts:
    """The notes that VMMs leave when their main() begins: lines of fixed length, appended to one file."""
    LENGTH = 47

    def __init__(self, program: pathlib.Path) -> None:
        self.path = pathlib.Path(f"{program}.starts")
        self.clear()

    def clear(self) -> None:
        self.path.write_bytes(b"")

    def wait(self, count: int, limit: float = 600) -> None:
        end = time.monotonic() + limit
        while self.path.stat().st_size < count * self.LENGTH:
            if time.monotonic() > end:
                raise Failed(f"only {self.path.stat().st_size // self.LENGTH} of {count} VMMs started in {limit:.0f} s")
            time.sleep(0.002)

    def times(self) -> dict[str, int]:
        """name → nanoseconds of CLOCK_MONOTONIC, of the last start."""
        found = {}
        for line in self.path.read_text().splitlines():
            name, ns, _ = line.split()
            found[name.removeprefix("banger-")] = int(ns)
        return found


def now() -> int:
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)


def vm_names(count: int, prefix: str = "v") -> list[str]:
    return [f"{prefix}{i:05}" for i in range(count)]


class Bangerd(Daemon):
    def __init__(self, scratch: pathlib.Path, networks: int, options: list[str]) -> None:
        program = scratch / "vmm" / "noop_vmm"
        super().__init__("--qemu", str(program), "--accelerator", "tcg", "--log-level", "info", *options, base=str(scratch / "a"))
        program.parent.mkdir()
        shutil.copy2(BUILD / "tests/bench/noop_vmm", program)
        self.program = program
        self.starts = Starts(program)
        self.stage = scratch / "stage"
        self.stage.mkdir()
        self.networks = networks
        self.snapshots = False  # root disks are dm-snapshots; seen after the first converge
        self.connection: http.client.HTTPConnection | None = None

    def prepare(self) -> None:
        """An image, a kernel and networks that are ready."""
        guest_image.write(self.scratch / "bench.tar")
        self.start()
        self.write("image.yaml", IMAGE.format(path=self.scratch / "bench.tar"))
        for i in range(self.networks):
            self.write(f"net{i}.yaml", NETWORK.format(i=i))
        for kind, name in [("image", "bench"), ("kernel", "host")] + [("network", f"net{i}") for i in range(self.networks)]:
            wait_for(f"{kind} {name} to be ready", lambda: self.condition(kind, name, "Ready").get("status") == "True", limit=90)

    def ask(self, method: str, path: str, body: dict | None = None) -> str:
        """Over one kept connection: asking costs this machine as little as can be."""
        for attempt in range(2):
            try:
                if self.connection is None:
                    self.connection = http.client.HTTPConnection("localhost", timeout=30)
                    self.connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                    self.connection.sock.connect(str(self.socket))
                self.connection.request(method, path, json.dumps(body) if body else None, {"Content-Type": "application/merge-patch+json"} if body else {})
                answer = self.connection.getresponse()
                text = answer.read().decode()
                if answer.status >= 400:
                    raise Failed(f"{method} {path}: {answer.status} {text[:200]}")
                return text
            except (OSError, http.client.HTTPException):
                self.connection = None
                if attempt == 1:
                    raise
        raise AssertionError

    def metrics(self) -> dict[str, float]:
        return {m[1]: float(m[2]) for m in re.finditer(r"^([^#\s]\S*) (\S+)$", self.ask("GET", "/metrics"), re.M)}

    def in_phase(self, phase: str) -> int:
        return int(self.metrics().get(f'banger_vms{{phase="{phase}"}}', 0))

    def vms(self) -> int:
        return int(sum(value for name, value in self.metrics().items() if name.startswith("banger_vms{")))

    def mutations(self) -> int:
        return int(sum(value for name, value in self.metrics().items() if name.startswith("banger_host_mutations_total")))

    def put(self, names: list[str]) -> dict[str, int]:
        """Renames manifests in; name → when."""
        for i, name in enumerate(names):
            (self.stage / f"{name}.yaml").write_text(VM.format(name=name, network=f"net{i % self.networks}"))
        times = {}
        for name in names:
            times[name] = now()
            os.rename(self.stage / f"{name}.yaml", self.manifests / f"{name}.yaml")
        return times

    def converge(self, names: list[str]) -> dict[str, float]:
        """Until every VMM's main() was seen, and until every status says Running, durably."""
        already = self.in_phase("Running")
        self.starts.clear()
        cpu = place.cpu_seconds(self.process.pid)
        began = now()
        self.put(names)
        self.starts.wait(len(names))
        started = max(self.starts.times().values())
        wait_for("every VM to be Running", lambda: self.in_phase("Running") == already + len(names), limit=300, pause=0.01)
        ended = now()
        self.snapshots = any(self.state.glob("vms/*/root.cow"))
        return {"mains": (started - began) / 1e9, "wall": (ended - began) / 1e9,
                "cpu": (place.cpu_seconds(self.process.pid) - cpu) / len(names)}

    def confirm(self) -> bool:
        for source in json.loads(self.ask("GET", "/apis/banger.dev/v1alpha1/manifestsources"))["items"]:
            if source["status"].get("waitingRemovals"):
                try:
                    self.ask("PATCH", f"/apis/banger.dev/v1alpha1/manifestsources/{source['metadata']['name']}",
                             {"spec": {"confirmedPruneToken": source["status"]["pruneToken"]}})
                except Failed as error:
                    if " 409 " not in str(error):  # the daemon is at it already, or has just seen another file go
                        raise
                    return False
                return True
        return False

    def leftovers(self) -> list[str]:
        """What VMs can leave, by name; empty when the host is as it was."""
        found = [f"link {name}" for name in place.own_links() if name.startswith("bgr")]
        found += [f"process {pid}" for pid in place.processes(str(self.run_dir / "vm"))]
        found += [f"loop {name}" for name in place.loops(self.scratch)]
        for kind, directory in (("cgroup", place.cgroup_root() / "banger.slice"), ("directory", self.state / "vms"), ("run directory", self.run_dir / "vm")):
            if directory.is_dir():
                found += [f"{kind} {path.name}" for path in directory.iterdir() if path.is_dir()]
        return found

    def nothing_left(self) -> bool:
        left = self.leftovers()
        if left:
            raise Failed(f"{len(left)} are, like {left[0]}")
        return True

    def tear_down(self, names: list[str]) -> dict[str, float]:
        """Files removed and confirmed → no VM and nothing of them on the host. So many removals wait half a second and for a word that
        they are meant (guard): the clock runs from that word."""
        removed = began = now()
        for name in names:
            (self.manifests / f"{name}.yaml").unlink()
        end = time.monotonic() + 300
        confirmed, ask_again = False, 0.0
        while self.vms() > 0:
            asked = now()
            if time.monotonic() > ask_again and self.confirm():
                began = began if confirmed else asked
                confirmed, ask_again = True, time.monotonic() + 2
            time.sleep(0.01)
            if time.monotonic() > end:
                raise Failed(f"{self.vms()} VMs are still there")
        wait_for("nothing of the VMs to be left", self.nothing_left, limit=60, pause=0.005)
        return {"down": (now() - began) / 1e9, "guard": (began - removed) / 1e9}


class Script:
    """The same by a shell script, one tool after the other."""

    def __init__(self, scratch: pathlib.Path, bangerd: Bangerd) -> None:
        self.scratch = scratch / "b"
        self.program = scratch / "script-vmm" / "noop_vmm"
        self.bangerd = bangerd
        for directory in (self.scratch / "state", self.scratch / "run", self.program.parent):
            directory.mkdir(parents=True, exist_ok=True)  # once for each number of VMs
        shutil.copy2(BUILD / "tests/bench/noop_vmm", self.program)
        self.starts = Starts(self.program)
        self.cgroup = place.cgroup_root() / "script.slice"
        self.cgroup.mkdir(exist_ok=True)
        self.bridges = [f"sbr{i}" for i in range(bangerd.networks)]
        base = next(bangerd.state.glob("images/*/base-*.ext4"))
        initrd = next(bangerd.state.glob("kernels/*/initrd-*"))
        self.environment = {**os.environ, "BASE": str(base), "INITRD": str(initrd), "SIZE": str(SIZE), "STATE": str(self.scratch / "state"),
                            "RUN": str(self.scratch / "run"), "CGROUP": str(self.cgroup), "VMM": str(self.program), "DM": "0"}
        self.call("networks-up", [f"{bridge} 10.1{i:02}.0.1/22" for i, bridge in enumerate(self.bridges)])

    def call(self, word: str, rows: list[str]) -> float:
        listing = self.scratch / f"{word}.list"
        listing.write_text("".join(row + "\n" for row in rows))
        began = now()
        subprocess.run([str(HERE / "script.sh"), word, str(listing)], check=True, env=self.environment)
        return (now() - began) / 1e9

    def rows(self, names: list[str]) -> list[str]:
        return [f"{name} {uuid.uuid5(uuid.NAMESPACE_DNS, name)} s{name} {self.bridges[i % len(self.bridges)]}" for i, name in enumerate(names)]

    def converge(self, names: list[str]) -> dict[str, float]:
        # Copies or device-mapper: whatever bangerd did with its own.
        self.environment["DM"] = "1" if self.bangerd.snapshots else "0"
        self.starts.clear()
        began = now()
        self.call("up", self.rows(names))
        self.starts.wait(len(names))
        return {"wall": (now() - began) / 1e9}

    def tear_down(self, names: list[str]) -> float:
        took = self.call("down", self.rows(names))
        left = place.processes(str(self.program))
        if left:
            raise Failed(f"the script left {len(left)} VMMs")
        return took

    def close(self) -> None:
        self.call("networks-down", self.bridges)

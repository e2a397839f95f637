# SPDX-License-Identifier: Apache-2.0
"""Starts bangerd from a build tree on scratch directories and talks to it through bangerctl, as a user would."""
from __future__ import annotations

import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from typing import Any

from .harness import PATIENCE

TOP = pathlib.Path(__file__).resolve().parents[3]
BUILD = pathlib.Path(os.environ.get("BANGER_BUILD", TOP / "build"))
BANGERD = BUILD / "src/daemon/bangerd"
BANGERCTL = BUILD / "src/cli/bangerctl"


class Failed(AssertionError):
    """A check did not hold; the message is for people."""


def wait_for(what: str, check: Callable[[], Any], limit: float = 60.0, pause: float = 0.1) -> Any:
    """The first true answer of check; Failed after limit seconds. A check that raises Failed is asked again, and one that misses a field:
    an object has no status until a pass has seen it."""
    limit *= PATIENCE
    end = time.monotonic() + limit
    last = ""
    while True:
        try:
            answer = check()
            if answer:
                return answer
        except Failed as error:
            last = f" ({error})"
        except KeyError as missing:
            last = f" (no field {missing})"
        if time.monotonic() > end:
            raise Failed(f"waited {limit:.0f} s for: {what}{last}")
        time.sleep(pause)


class Daemon:
    """One bangerd on its own scratch directories."""

    def __init__(self, *options: str, base: str | None = None) -> None:
        self.scratch = pathlib.Path(base or tempfile.mkdtemp(prefix="banger-", dir="/var/tmp"))
        self.state = self.scratch / "state"
        self.run_dir = self.scratch / "run"
        self.manifests = self.scratch / "manifests"
        self.log = self.scratch / "bangerd.log"
        self.socket = self.run_dir / "bangerd.sock"
        self.seen_uids: set[str] = set()  # of all objects this test has met: what an audit looks for
        self.options = list(options)
        self.environment: dict[str, str] = {}
        self.process: subprocess.Popen[bytes] | None = None
        self.manifests.mkdir(parents=True, exist_ok=True)

    def command(self) -> list[str]:
        return [str(BANGERD), "--state-dir", str(self.state), "--run-dir", str(self.run_dir), "--manifests", str(self.manifests),
                "--log-format", "text", *self.options]

    def start(self) -> None:
        with self.log.open("ab") as log:
            # Its own session: a terminal's Ctrl-C must reach the test, which then stops the daemon in order.
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                                            env={**os.environ, **self.environment})
        wait_for("bangerd to answer on its socket", self.answers, limit=30)

    def answers(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise SystemExit(f"bangerd ended with {self.process.returncode}:\n{self.log_tail()}")
        return self.ctl("version", check=False).returncode == 0

    def log_tail(self, lines: int = 30) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) if self.log.exists() else ""

    def stop(self) -> None:
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=30 * PATIENCE)
        self.process = None

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self.process = None

    def ctl(self, *arguments: str, check: bool = True, limit: float = 120, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        done = subprocess.run([str(BANGERCTL), "--socket", str(self.socket), *arguments], text=True, errors="replace", input=stdin,
                              stdin=subprocess.DEVNULL if stdin is None else None, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              timeout=limit * PATIENCE, check=False)
        if check and done.returncode != 0:
            raise Failed(f"bangerctl {' '.join(arguments)} ended with {done.returncode}: {(done.stderr or done.stdout).strip()}")
        return done

    def get(self, kind: str, name: str) -> dict[str, Any]:
        found = json.loads(self.ctl("get", kind, name, "-o", "json").stdout)
        self.seen_uids.add(found["metadata"]["uid"])
        return found

    def raw(self, path: str) -> str:
        """The body of a plain GET over the API socket."""
        connection = http.client.HTTPConnection("localhost", timeout=10)
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.sock.connect(str(self.socket))
        connection.request("GET", path)
        return connection.getresponse().read().decode()

    def names(self, kind: str) -> list[str]:
        return self.ctl("get", kind, "-A", "-o", "name").stdout.split()

    def uids(self) -> set[str]:
        """Of every object that owns something on the host."""
        found = set()
        for kind in ("virtualmachines", "networks", "images", "kernels"):
            listed = json.loads(self.ctl("get", kind, "-A", "-o", "json").stdout)
            found.update(item["metadata"]["uid"] for item in listed["items"])
        self.seen_uids |= found
        return found

    def write(self, name: str, text: str) -> pathlib.Path:
        """A manifest, put in place as editors do: whole, by rename."""
        path = self.manifests / name
        temporary = path.with_name(f".{name}.tmp")
        temporary.write_text(text)
        temporary.rename(path)
        return path

    def condition(self, kind: str, name: str, type_: str) -> dict[str, Any]:
        for condition in self.get(kind, name).get("status", {}).get("conditions", []):
            if condition["type"] == type_:
                return condition
        return {}

    def wait_condition(self, kind: str, name: str, type_: str, status: str = "True", limit: float = 90) -> None:
        self.ctl("wait", f"--for=condition={type_}={status}", f"{kind}/{name}", f"--timeout={limit * PATIENCE:.0f}s", limit=limit + 10)

    def wait_ready(self, vm: str, limit: float = 90) -> dict[str, Any]:
        def ready() -> dict[str, Any] | None:
            seen = self.get("vm", vm)
            conditions = {c["type"]: c for c in seen.get("status", {}).get("conditions", [])}
            if conditions.get("Ready", {}).get("status") == "True":
                return seen
            raise Failed(f"{seen.get('status', {}).get('phase')}: {conditions.get('Ready', {}).get('message')}")
        return wait_for(f"{vm} to be Ready", ready, limit)

    def wait_gone(self, kind: str, name: str, limit: float = 60) -> None:
        wait_for(f"{kind} {name} to be gone", lambda: self.ctl("get", kind, name, check=False).returncode != 0, limit)

    def ssh(self, vm: str, command: str, check: bool = True) -> str:
        return self.ctl("ssh", vm, "--", command, check=check).stdout.strip()

    def clean_up(self) -> None:
        """After a failed test too: ends the VMs of this daemon by its own means, then by hand, then removes the scratch directory."""
        try:
            if self.process is not None and self.process.poll() is None:
                for path in self.manifests.glob("*"):
                    path.unlink()
                for name in self.names("virtualmachines"):
                    self.ctl("delete", "vm", name.split("/")[-1], "--timeout=60s", check=False)
                for name in self.names("networks"):
                    self.ctl("delete", "network", name.split("/")[-1], "--timeout=30s", check=False)
        except (Failed, subprocess.TimeoutExpired):
            pass
        try:
            self.stop()
        except subprocess.TimeoutExpired:
            self.kill()
        self.end_strays()
        shutil.rmtree(self.scratch, ignore_errors=True)

    def end_strays(self) -> None:
        """Kills, by pid, what still names this scratch directory."""
        for entry in pathlib.Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            try:
                if str(self.scratch).encode() in (entry / "cmdline").read_bytes():
                    os.kill(int(entry.name), signal.SIGKILL)
            except OSError:
                continue

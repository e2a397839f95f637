#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs a command in a test host: a whole Linux in QEMU, with device-mapper and working KVM, whose root is this machine's, read-only.

    tests/testhost/testhost.py [--timeout S] [--memory MIB] [--cpus N] [--disk FILE] -- COMMAND...

The command's output comes out line by line, its exit code is this program's. 125: the test host failed, not the command; 124: no end within the limit, which
counts from the command's begin.
"""
from __future__ import annotations

import argparse
import contextlib
import ctypes
import dataclasses
import math
import os
import pathlib
import re
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import initrd  # noqa: E402

TOP = HERE.parents[1]
QEMU = "qemu-system-x86_64"
# SVM is what KVM inside needs; the rest is what this CPU model has and TCG would warn about.
CPU = "EPYC,+svm,+npt," + ",".join(f"-{f}" for f in (
    "rdseed", "sha-ni", "fxsr-opt", "misalignsse", "3dnowprefetch", "osvw", "topoext", "nrip-save", "xsavec"))
TIMED_OUT, BROKEN = 124, 125
BOOTS = 2  # a kernel may fail to calibrate its clocks where the emulation gets no CPU
BOOT_LIMIT = 600.0  # in all, seconds; 8 where nothing else runs, minutes where ten others build and boot
LOOK_LIMIT = 15.0  # what it hangs on is shown within so many seconds, or not at all
BEAT = 1.0  # seconds; see host-init
KEPT_ENVIRONMENT = re.compile(r"BANGER_\w+|TERM|ASAN_OPTIONS|UBSAN_OPTIONS|TSAN_OPTIONS")


class Failed(Exception):
    """The test host itself did not come up or went away; the message ends with the last lines of its console."""


class NoBoot(Failed):
    """It was gone before the command began."""


class Silent(Failed):
    """Its command printed nothing for longer than it was allowed to."""


@dataclasses.dataclass
class Done:
    code: int
    lines: list[str]
    boot: float  # seconds until the command began
    command: float  # seconds it ran
    total: float  # wall clock, all in all
    processor: float  # seconds of processor that all of it took: what stays the same when the machine is busy

    @property
    def overhead(self) -> float:
        return self.total - self.command

    def times(self) -> str:
        return f"up in {self.boot:.1f} s, command {self.command:.1f} s, {self.overhead:.1f} s of overhead; {self.processor:.0f} s of processor"


def make_disk(path: pathlib.Path, gib: int = 16) -> None:
    """A sparse file with an empty ext4 on it: the writable disk of a test host."""
    if not shutil.which("mke2fs"):
        raise initrd.Missing("mke2fs is not there: install the package e2fsprogs")
    with path.open("wb") as disk:
        disk.truncate(gib << 30)
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard", "-m", "0", str(path)],
                   check=True, stdin=subprocess.DEVNULL)


def memory_file(name: str, data: bytes) -> int:
    fd = os.memfd_create(name)
    with os.fdopen(os.dup(fd), "wb") as out:
        out.write(data)
    return fd


def die_with_parent() -> None:
    """In the child: SIGKILL when whoever started it is gone, however that ended."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


class TestHost:
    """One boot of a test host. disk: an ext4 file of make_disk that outlives this boot; None: a fresh one that leaves with it."""

    __test__ = False  # no test class, whatever its name

    def __init__(self, memory: int = 2048, cpus: int = 2, disk: pathlib.Path | None = None, qemu_options: tuple[str, ...] = ()) -> None:
        self.memory, self.cpus, self.disk, self.qemu_options = memory, cpus, disk, qemu_options
        self.image, self.version = initrd.kernel()
        if not shutil.which(QEMU):
            raise initrd.Missing(f"{QEMU} is not there: install the package qemu-system-x86")
        self.console: list[bytes] = []
        self.pid = 0  # of the QEMU that runs, or ran last

    def processor(self) -> float:
        """Seconds of processor that this boot has taken so far."""
        try:
            fields = pathlib.Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def run(self, command: list[str], timeout: float = 600, cwd: pathlib.Path | None = None, environment: dict[str, str] | None = None,
            on_line: Callable[[str], None] | None = None, silence: float = math.inf) -> Done:
        """Boots, runs the command as root, hands each line of its output (stdout and stderr as one) to on_line, and is gone. Raises Silent
        when the command prints nothing for `silence` seconds."""
        kept = {k: v for k, v in os.environ.items() if KEPT_ENVIRONMENT.fullmatch(k)}
        variables = {**kept, "PYTHONDONTWRITEBYTECODE": "1", "BANGER_TESTHOST": "1", **(environment or {})}
        lines = [f"cd {shlex.quote(str(cwd or pathlib.Path.cwd()))} || exit 126", *(f"export {k}={shlex.quote(v)}" for k, v in variables.items()),
                 f"exec {shlex.join(command)}"]
        started = time.monotonic()
        for attempt in range(BOOTS):
            with self.machine("\n".join(lines) + "\n") as (process, output, result, console):
                try:
                    return self.follow(process, {"output": output, "result": result, "console": console}, started, timeout, on_line, silence)
                except NoBoot as why:
                    if attempt + 1 == BOOTS:
                        raise
                    print(f"testhost: booting again: {why}", file=sys.stderr)
        raise AssertionError("no boot was tried")

    def shell(self) -> int:
        """A person at the serial console."""
        with self.machine("", shell=True) as (process, *_):
            return process.wait()

    @contextlib.contextmanager
    def machine(self, command: str, shell: bool = False) -> Iterator[tuple[subprocess.Popen[bytes], socket.socket, socket.socket, socket.socket]]:
        settings = f"project={shlex.quote(str(TOP))}\nshell={int(shell)}\nTERM={shlex.quote(os.environ.get('TERM', 'linux'))}\n"
        handed = {"host-init": (HERE / "host-init").read_bytes(), "command": command.encode(), "settings": settings.encode()}
        with contextlib.ExitStack() as stack:
            ours, theirs = zip(*(socket.socketpair() for _ in range(3)))
            for end in (*ours, *theirs):
                stack.enter_context(end)
            ram = memory_file("initrd", initrd.make(self.version, (HERE / "init").read_bytes(), handed))
            stack.callback(os.close, ram)
            disk = self.open_disk()
            stack.callback(os.close, disk)
            passed = [*(end.fileno() for end in theirs), ram, disk]
            process = subprocess.Popen(self.qemu(*passed, shell=shell), pass_fds=passed, preexec_fn=die_with_parent,
                                       stdin=None if shell else subprocess.DEVNULL, stdout=None if shell else theirs[2].fileno(),
                                       stderr=None if shell else theirs[2].fileno())
            self.pid = process.pid
            for end in theirs:
                end.close()
            try:
                yield (process, *ours)
            finally:
                process.kill()
                process.wait()

    def open_disk(self) -> int:
        if self.disk is not None:
            return os.open(self.disk, os.O_RDWR)
        fd, name = tempfile.mkstemp(prefix="testhost-", dir="/var/tmp")
        try:
            make_disk(pathlib.Path(name))
        finally:
            os.unlink(name)
        return fd

    def qemu(self, output: int, result: int, console: int, ram: int, disk: int, shell: bool) -> list[str]:
        share = "security_model=none,readonly=on,multidevs=remap"
        command = [
            QEMU, "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-nic", "none",
            "-accel", "tcg,thread=multi", "-M", "q35", "-cpu", CPU, "-smp", str(self.cpus), "-m", str(self.memory),
            "-kernel", str(self.image), "-initrd", f"/proc/self/fd/{ram}", "-append", "console=ttyS0 quiet panic=-1 no_timer_check",
            "-fsdev", f"local,id=root,path=/,{share}", "-device", "virtio-9p-pci,fsdev=root,mount_tag=root",
            "-fsdev", f"local,id=project,path={TOP},{share}", "-device", "virtio-9p-pci,fsdev=project,mount_tag=project",
            "-add-fd", f"fd={disk},set=1", "-blockdev", "driver=file,node-name=disk,filename=/dev/fdset/1,cache.no-flush=on,locking=off,discard=unmap",
            "-device", "virtio-blk-pci,drive=disk", "-device", "virtio-rng-pci", "-device", "virtio-serial-pci"]
        for name, fd in (("output", output), ("result", result)):
            command += ["-chardev", f"socket,id={name},fd={fd}", "-device", f"virtserialport,chardev={name},name={name}"]
        if shell:
            command += ["-chardev", "stdio,id=console,mux=on,signal=off", "-mon", "chardev=console"]
        else:
            command += ["-chardev", f"socket,id=console,fd={console}"]
        return [*command, "-serial", "chardev:console", *self.qemu_options]

    def follow(self, process: subprocess.Popen[bytes], ends: dict[str, socket.socket], started: float, timeout: float,
               on_line: Callable[[str], None] | None, silence: float) -> Done:
        """Reads the machine's three ends until the exit code has come, the time is up (then it is asked what it hangs on) or the machine is
        gone."""
        names = {end: name for name, end in ends.items()}
        unread = {"output": b"", "result": b"", "console": b""}
        lines: list[str] = []
        begun = ended = heard = beat = 0.0
        code: int | None = None
        given_up = 0.0  # when it was asked what it hangs on
        looked = silent = False

        def take(name: str, data: bytes) -> None:
            nonlocal begun, ended, heard, code, looked
            *whole, unread[name] = (unread[name] + data).split(b"\n")
            for raw in whole:
                if name == "console":
                    self.console = [*self.console[-399:], raw.rstrip(b"\r")]
                elif name == "output":
                    heard = time.monotonic()
                    lines.append(raw.decode(errors="replace"))
                    if on_line:
                        on_line(lines[-1])
                elif raw == b"started":
                    begun = heard = time.monotonic()
                elif raw == b"looked":
                    looked = True
                elif raw.startswith(b"exit "):
                    ended, code = time.monotonic(), int(raw[5:])

        while names and code is None and not looked:
            limit = given_up + LOOK_LIMIT if given_up else min(begun + timeout, heard + silence) if begun else started + BOOT_LIMIT
            left = limit - time.monotonic()
            if left <= 0 and begun and not given_up:
                given_up, silent = time.monotonic(), heard + silence < begun + timeout
                self.tell(ends["result"], b"look\n")
                continue
            if left <= 0:
                break
            if begun and time.monotonic() >= beat:
                beat = time.monotonic() + BEAT
                self.tell(ends["result"], b"beat\n")
            for end in select.select(list(names), [], [], min(left, BEAT))[0]:
                data = end.recv(65536)
                if data:
                    take(names[end], data)
                else:
                    del names[end]
        # What was said before the exit code was said is in the socket already.
        while (data := self.rest_of(ends["output"])):
            take("output", data)
        if unread["output"]:
            take("output", b"\n")
        if code is None and not begun and not names:
            raise NoBoot(f"the test host ended before its command began (QEMU: {process.wait()})\n{self.last_console()}")
        if code is None and not names:
            raise Failed(f"the test host ended before its command did (QEMU: {process.wait()})\n{self.last_console()}")
        if code is None and not begun:
            raise Failed(f"the test host was not up within {BOOT_LIMIT:.0f} s\n{self.last_console()}")
        if code is None and silent:
            raise Silent(f"the test host said nothing for {silence:.0f} s\n{self.last_console()}")
        if code is None:
            ended, code = given_up, TIMED_OUT
        now = time.monotonic()
        return Done(code, lines, (begun or now) - started, ended - (begun or now), now - started, self.processor())

    @staticmethod
    def tell(end: socket.socket, what: bytes) -> None:
        """To host-init. A machine that is gone or reads nothing is noticed elsewhere."""
        with contextlib.suppress(BlockingIOError, ConnectionError):
            end.send(what, socket.MSG_DONTWAIT)

    @staticmethod
    def rest_of(end: socket.socket) -> bytes:
        with contextlib.suppress(BlockingIOError, ConnectionError):
            return end.recv(65536, socket.MSG_DONTWAIT)
        return b""

    def last_console(self, count: int = 60) -> str:
        text = [re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1bc", "", line.decode(errors="replace")) for line in self.console]
        wanted = [line for line in text if not re.match(r"\[ *[\d.]+\]  \? ", line)]  # guesses of a stack trace
        return "\n".join(["--- end of the test host's console", *wanted[-count:], "---"])


def main() -> int:
    parser = argparse.ArgumentParser(prog="testhost.py", description="Runs a command in a test host: a Linux in QEMU with device-mapper and KVM.")
    parser.add_argument("--timeout", type=float, default=600, metavar="S", help="wall-clock limit of the command in seconds (default 600)")
    parser.add_argument("--memory", type=int, default=2048, metavar="MIB", help="its memory (default 2048)")
    parser.add_argument("--cpus", type=int, default=2, metavar="N", help="its CPUs (default 2)")
    parser.add_argument("--disk", type=pathlib.Path, metavar="FILE", help="an ext4 file for /var/tmp that outlives the run; made if it is not there")
    parser.add_argument("--shell", action="store_true", help="a shell on the serial console instead of a command")
    parser.add_argument("command", nargs="*", metavar="COMMAND")
    given = parser.parse_args()
    if bool(given.command) == given.shell:
        parser.error("give a command after --, or --shell")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        if given.disk and not given.disk.exists():
            make_disk(given.disk)
        host = TestHost(given.memory, given.cpus, given.disk)
        if given.shell:
            return host.shell()
        done = host.run(given.command, given.timeout, on_line=lambda line: print(line, flush=True))
    except (Failed, initrd.Missing) as why:
        print(f"testhost: {why}", file=sys.stderr)
        return BROKEN
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    if done.code == TIMED_OUT and done.command >= given.timeout:
        print(f"testhost: no end within {given.timeout:.0f} s\n{host.last_console()}", file=sys.stderr)
    print(f"testhost: {done.times()}", file=sys.stderr)
    return done.code


if __name__ == "__main__":
    sys.exit(main())

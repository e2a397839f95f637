#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures bangerd with a VMM that does nothing, and a shell script that does the same steps, interleaved in one run. Not a test: it
prints figures; only what is left behind or does not come up makes it fail. Compare ratios; absolute times are this machine's, now."""
from __future__ import annotations

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import place  # noqa: E402

NAMES = {
    "start": "manifest renamed in -> VMM main(), one at a time, p50 and p99; with no VM there and with N",
    "converge": "N manifests renamed in -> all VMMs' main() and statuses durable; and down again; against the script",
    "resync": "the daemon reads the whole host of N VMs and finds nothing to do",
    "adopt": "the daemon is restarted with N VMs running",
}
TARGETS = {"converge": 4.0, "teardown": 15.0}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tools/bench", description=__doc__,
                                     epilog="names: " + "; ".join(f"{k}: {v}" for k, v in NAMES.items()))
    parser.add_argument("names", nargs="*", metavar="NAME", help="what to measure; everything when none is given")
    parser.add_argument("--vms", default="100,1000", help="numbers of VMs, by comma (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="of each comparison, interleaved (default: %(default)s)")
    parser.add_argument("--starts", type=int, default=50, help="single starts for the latency (default: %(default)s)")
    parser.add_argument("--script-vms", type=int, default=200, help="at most so many VMs for the script, scaled (default: %(default)s)")
    parser.add_argument("--daemon", default="", help="more options for bangerd, by space")
    parser.add_argument("--json", type=pathlib.Path, help="figures to this file too")
    parser.add_argument("--perf", type=pathlib.Path, help="perf record of the daemon, a file for each part, into this directory")
    parser.add_argument("--keep-log", type=pathlib.Path, help="the daemon's log to this file")
    given = parser.parse_args()
    unknown = [name for name in given.names if name not in NAMES]
    if unknown:
        parser.error(f"unknown name {unknown[0]}: one of {', '.join(NAMES)}")
    given.names = given.names or list(NAMES)
    given.vms = [int(n) for n in given.vms.split(",")]
    return given


class Bench:
    def __init__(self, given: argparse.Namespace, scratch: pathlib.Path) -> None:
        import sides
        self.sides = sides
        self.given = given
        self.figures: dict[str, float] = {}
        networks = max(4, -(-max(given.vms) // sides.PORTS))
        self.bangerd = sides.Bangerd(scratch, networks, given.daemon.split())
        self.scratch = scratch

    def say(self, name: str, text: str, **figures: float) -> None:
        self.figures.update({f"{name} {key}": round(value, 6) for key, value in figures.items()})
        print(f"{name:<24} {text}", flush=True)

    def machine(self, what: str) -> None:
        idle, load = place.idle_percent(), os.getloadavg()[0]
        busy = "" if idle >= 70 else "   BUSY: less than 70 % idle; only ratios mean anything, and little"
        print(f"-- {what}: machine {idle:.0f} % idle, load {load:.1f}{busy}", flush=True)

    def perf(self, part: str) -> subprocess.Popen[bytes] | None:
        if not self.given.perf:
            return None
        self.given.perf.mkdir(parents=True, exist_ok=True)
        return subprocess.Popen(["perf", "record", "-q", "-F", "999", "-g", "-p", str(self.bangerd.process.pid), "-o", str(self.given.perf / part)],
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def end_perf(self, perf: subprocess.Popen[bytes] | None) -> None:
        if perf:
            perf.send_signal(2)
            perf.wait()

    # --- the parts ---------------------------------------------------------------------------------------------------------------
    def start(self, present: int) -> None:
        """One at a time, each after the one before has settled."""
        self.machine(f"start, {present} VMs there")
        took = []
        names = self.sides.vm_names(self.given.starts, "x")
        for name in names:
            already = self.bangerd.in_phase("Running")
            self.bangerd.starts.clear()
            renamed = self.bangerd.put([name])[name]
            self.bangerd.starts.wait(1)
            took.append((self.bangerd.starts.times()[name] - renamed) / 1e6)
            self.sides.wait_for(f"{name} to be Running", lambda: self.bangerd.in_phase("Running") == already + 1, pause=0.01)
        took.sort()
        p50, p99 = statistics.median(took), took[min(len(took) - 1, int(len(took) * 0.99))]
        self.say(f"start/{present}", f"renamed in -> main(): p50 {p50:.1f} ms, p99 {p99:.1f} ms, least {took[0]:.1f} ms ({len(took)} starts)",
                 p50_ms=p50, p99_ms=p99)
        self.tear_down(names, present)

    def tear_down(self, names: list[str], present: int) -> None:
        """By command, few at a time: these are not measured."""
        for name in names:
            (self.bangerd.manifests / f"{name}.yaml").unlink()
        self.sides.wait_for("the single VMs to be gone", lambda: not self.bangerd.confirm() and self.bangerd.vms() == present, pause=0.1)

    def converge(self, count: int, compare: bool) -> None:
        names = self.sides.vm_names(count)
        few = names[:self.given.script_vms]
        script = self.sides.Script(self.scratch, self.bangerd) if compare else None
        ours: list[dict[str, float]] = []
        theirs: list[dict[str, float]] = []
        rounds = self.given.rounds if compare else 1
        for i in range(rounds):
            self.machine(f"{count} VMs, round {i + 1} of {rounds}")
            perf = self.perf(f"converge-{count}-{i}")
            one = self.bangerd.converge(names)
            self.end_perf(perf)
            one["rss"] = place.memory_mb(self.bangerd.process.pid)
            if i == rounds - 1:
                self.at_rest(count)
            perf = self.perf(f"teardown-{count}-{i}")
            if compare or "converge" in self.given.names:
                one.update(self.bangerd.tear_down(names))
            self.end_perf(perf)
            ours.append(one)
            if script:
                other = script.converge(few)
                other["down"] = script.tear_down(few)
                theirs.append({key: value * count / len(few) for key, value in other.items()})
                self.say(f"  round {i + 1}", f"bangerd up {one['wall']:.2f} s, down {one['down']:.2f} s ({one['guard']:.2f} s for the guard before); script up {theirs[-1]['wall']:.2f} s, "
                                             f"down {theirs[-1]['down']:.2f} s")
        if script:
            script.close()
            self.compare(count, ours, theirs, len(few))

    def compare(self, count: int, ours: list[dict[str, float]], theirs: list[dict[str, float]], measured: int) -> None:
        scaled = "" if measured == count else f" ({measured} VMs, scaled)"
        for key, name in (("wall", "converge"), ("down", "teardown")):
            a, b = (statistics.median(each[key] for each in side) for side in (ours, theirs))
            self.say(f"{name}/{count}", f"bangerd {a:.3f} s, script {b:.3f} s{scaled}: {b / a:.1f}x (target {TARGETS[name]:.0f}x); "
                                        f"{1000 * a / count:.2f} ms against {1000 * b / count:.2f} ms a VM", seconds=a, script_seconds=b, ratio=b / a)
        self.say(f"mains/{count}", f"the last main() after {statistics.median(each['mains'] for each in ours):.3f} s")
        cpu, rss = statistics.median(each["cpu"] for each in ours), max(each["rss"] for each in ours)
        self.say(f"cpu/{count}", f"{1000 * cpu:.2f} ms of bangerd's CPU a start", ms_a_start=1000 * cpu)
        self.say(f"rss/{count}", f"{rss:.1f} MB (target 60)", mb=rss)

    def at_rest(self, count: int) -> None:
        """What is measured while the VMs run."""
        if "resync" in self.given.names:
            self.resync(count)
        if "adopt" in self.given.names:
            for _ in range(self.given.rounds):
                self.adopt(count)
        if "start" in self.given.names:
            self.start(count)

    def resync(self, count: int, times: int = 10) -> None:
        """A foreign link makes the daemon read everything again; its own histogram says how long that took."""
        def seen() -> tuple[float, float]:
            metrics = self.bangerd.metrics()
            return metrics["banger_resync_seconds_count"], metrics["banger_resync_seconds_sum"]
        self.machine(f"resync of {count}")
        self.sides.wait_for("the queue to be empty", self.is_quiet, pause=0.3)
        mutations = self.bangerd.mutations()
        perf = self.perf(f"resync-{count}")
        took = []
        for i in range(times):
            number, total = seen()
            subprocess.run(["ip", "tuntap", "add", "dev", "foreign", "mode", "tap"], check=True)
            time.sleep(0.3)  # asking meanwhile would be measured too
            self.sides.wait_for("a resync", lambda: seen()[0] > number, pause=0.1)
            time.sleep(0.4)
            subprocess.run(["ip", "link", "del", "dev", "foreign"], check=True)
            time.sleep(0.4)
            after, total_after = seen()
            took.append((total_after - total) / (after - number) * 1000)
        self.end_perf(perf)
        self.say(f"resync/{count}", f"median {statistics.median(took):.1f} ms, least {min(took):.1f} ms (target 20 for 1000); "
                                    f"{self.bangerd.mutations() - mutations} mutations", ms=statistics.median(took))

    def is_quiet(self) -> bool:
        metrics = self.bangerd.metrics()
        depth = sum(v for k, v in metrics.items() if k.startswith("workqueue_depth"))
        return depth == 0 and metrics.get('controller_runtime_active_workers{controller="virtualmachine"}', 0) == 0

    def adopt(self, count: int) -> None:
        """SIGTERM, start; every VM compared with the host, and then looked at by a pass of its own; nothing may be changed."""
        self.sides.wait_for("the queue to be empty", self.is_quiet, pause=0.3)
        self.bangerd.stop()
        self.bangerd.connection = None
        time.sleep(0.5)
        idle = place.idle_percent(0.5)
        starts = self.bangerd.starts.path.stat().st_size
        began = time.monotonic()
        with self.bangerd.log.open("ab") as log:
            self.bangerd.process = subprocess.Popen(self.bangerd.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        perf = self.perf(f"adopt-{count}")
        verified = passed = said = 0.0
        while not passed:
            time.sleep(0.004)
            try:
                metrics = self.bangerd.metrics()
            except (OSError, self.sides.Failed):
                self.bangerd.connection = None
                continue
            if not verified and "banger_adoption_seconds" in metrics:
                verified, said = time.monotonic() - began, metrics["banger_adoption_seconds"]
            passes = sum(v for k, v in metrics.items() if k.startswith('controller_runtime_reconcile_total{controller="virtualmachine"'))
            if passes >= count:
                passed = time.monotonic() - began
            if time.monotonic() - began > 120:
                raise self.sides.Failed(f"only {passes:.0f} of {count} VMs were looked at after the restart")
        self.end_perf(perf)
        self.sides.wait_for("the queue to be empty", self.is_quiet, pause=0.1)
        if self.bangerd.starts.path.stat().st_size != starts or self.bangerd.in_phase("Running") != count:
            raise self.sides.Failed("the restart did not leave the VMs as they were")
        self.say(f"adopt/{count}", f"all verified after {1000 * said:.0f} ms by bangerd's clock, {1000 * verified:.0f} ms by ours (target 250 for 1000); "
                                   f"a pass of its own over each after {1000 * passed:.0f} ms; {self.bangerd.mutations()} mutations; "
                                   f"{place.memory_mb(self.bangerd.process.pid):.1f} MB; idle {idle:.0f} %",
                 said_ms=1000 * said, verified_ms=1000 * verified, passed_ms=1000 * passed, mutations=self.bangerd.mutations())

    def run(self) -> None:
        self.bangerd.prepare()
        self.say("rss/0", f"{place.memory_mb(self.bangerd.process.pid):.1f} MB")
        if "start" in self.given.names:
            self.start(0)
        for count in self.given.vms:
            if set(self.given.names) != {"start"} or count > 1:
                self.converge(count, compare="converge" in self.given.names)
            if "converge" not in self.given.names:
                self.bangerd.tear_down(self.sides.vm_names(count))


def main() -> int:
    given = arguments()
    if os.geteuid() != 0:
        os.execvp("sudo", ["sudo", "-E", sys.executable, os.path.abspath(sys.argv[0]), *sys.argv[1:]])
    scratch = place.enter()
    bench = Bench(given, scratch)
    try:
        bench.run()
    except BaseException:
        print(f"--- end of the daemon's log\n{bench.bangerd.log_tail(20)}\n---", flush=True)
        raise
    finally:
        if given.keep_log and bench.bangerd.log.exists():
            given.keep_log.write_bytes(bench.bangerd.log.read_bytes())
        if bench.bangerd.process is not None:
            bench.bangerd.process.kill()
    if given.json:
        given.json.write_text(json.dumps(bench.figures, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

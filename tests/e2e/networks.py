# SPDX-License-Identifier: Apache-2.0
"""What others do to bridges, taps and nft tables: what was ours is made again under the running VM, what is theirs is left alone. Tests of run.py."""
from __future__ import annotations

import shutil
import subprocess

from lib import audit
from lib.daemon import Daemon, wait_for
from lib.harness import Skip
from lib.world import NOOP_VMM, address_of, alive, answers, check, daemon, ready_for_vms, small_vm, vm_manifest, vmm_of


def run(*words: str) -> str:
    return subprocess.run(words, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout


def needs_nft() -> None:
    if not shutil.which("nft"):
        raise Skip("the nft program (package nftables) is not installed")


def names_of(d: Daemon) -> tuple[str, str]:
    """The bridge and the nft table of the default network."""
    short = audit.short_id(d.get("network", "default")["metadata"]["uid"])
    return f"bgb{short}", f"banger-{short}"


def test_what_others_do_to_its_network_is_healed_under_a_running_vm() -> None:
    needs_nft()
    with daemon() as d:
        d.write("web.yaml", vm_manifest("web"))
        tap = d.wait_ready("web")["status"]["networkInterfaces"][0]["tap"]
        before, (bridge, table) = vmm_of(d, "web"), names_of(d)
        check(any(table in thing for thing in audit.tables()), "there is no NAT table to flush")
        run("nft", "flush", "ruleset")
        run("nft", "delete", "table", "ip", table) if any(table in thing for thing in audit.tables()) else None
        wait_for("the table", lambda: any(table in thing for thing in audit.tables()), limit=45)
        rules = wait_for("its rule", lambda: (told := run("nft", "list", "ruleset")) and "masquerade" in told and told, limit=45)
        check(table in rules, f"the table came back elsewhere: {rules}")
        run("ip", "link", "del", bridge)
        wait_for("the bridge with its tap", lambda: any(f" {tap} " in link and link.endswith(f" in {bridge}") for link in audit.links()), limit=45)
        wait_for("the guest's page", lambda: answers(address_of(d, "web")), limit=30)
        check(vmm_of(d, "web") == before and alive(before[0]), "the VM was restarted for an nft table or a bridge")
        # A tap cannot be given to a VMM that runs: this costs a restart.
        run("ip", "link", "del", tap)
        wait_for("the VM on a new tap", lambda: vmm_of(d, "web") != before and d.condition("vm", "web", "Ready").get("status") == "True", limit=90)
        check(d.ssh("web", "echo back") == "back", "the guest cannot be reached over the new tap")


def test_foreign_links_and_tables_of_our_names_are_left_alone() -> None:
    needs_nft()
    with daemon(*NOOP_VMM) as d:
        ready_for_vms(d)
        bridge, table = names_of(d)
        d.stop()
        run("ip", "link", "del", bridge)
        run("nft", "delete", "table", "ip", table)
        run("ip", "link", "add", bridge, "type", "bridge")
        run("nft", f"add table ip {table} {{ comment \"somebody's\" ; }}")
        d.start()
        for name, remove in ((bridge, ("ip", "link", "del", bridge)), (table, ("nft", "delete", "table", "ip", table))):
            wait_for(f"the foreign {name} to be said", lambda name=name: name in d.condition("network", "default", "NameConflict").get("message", ""), limit=45)
            check(any(link == f"link {bridge} bridge" for link in audit.links()) or name == table, f"the foreign bridge was changed: {audit.links()}")
            check(any(thing == f"nft table ip {table}" for thing in audit.tables()), f"the foreign table was changed: {audit.tables()}")
            check(not any(f"nft chain ip {table}" in thing for thing in audit.tables()), f"rules of ours are in it: {audit.tables()}")
            run(*remove)
        d.wait_condition("network", "default", "Ready")
        check(not d.condition("network", "default", "NameConflict").get("status") == "True", "the conflict is still said")

        d.write("web.yaml", small_vm("web").replace("  image: demo", "  powerState: Stopped\n  image: demo"))
        wait_for("the VM", lambda: d.ctl("get", "vm", "web", check=False).returncode == 0)
        tap = f"bgr{audit.short_id(d.get('vm', 'web')['metadata']['uid'])}-0"
        run("ip", "tuntap", "add", tap, "mode", "tap")
        d.ctl("start", "web")
        wait_for("the foreign tap to be said", lambda: tap in d.condition("vm", "web", "NameConflict").get("message", ""), limit=45)
        check(f"link {tap} tun" in audit.links(), f"the foreign tap was changed: {audit.links()}")
        run("ip", "link", "del", tap)
        wait_for("the VM to run", lambda: d.get("vm", "web")["status"].get("phase") == "Running", limit=60)

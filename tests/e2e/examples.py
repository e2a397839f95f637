# SPDX-License-Identifier: Apache-2.0
"""The examples of manifests/ as they stand, images as files of every form, kernels of one's own. Tests of run.py."""
from __future__ import annotations

import hashlib
import lzma
import pathlib
import shutil
import struct

from lib import world
from lib.daemon import TOP, Daemon, wait_for
from lib.harness import Skip
from lib.world import check, daemon, vm_manifest

IMPORT = "/var/lib/banger/import"


def host_kernel(d: Daemon) -> tuple[pathlib.Path, pathlib.Path]:
    """The kernel file and the modules of the host's package that the built-in Kernel takes."""
    d.wait_condition("kernel", "host", "Ready", limit=60)
    path = pathlib.Path(d.get("kernel", "host")["status"]["path"])
    return path, pathlib.Path("/lib/modules") / path.name.removeprefix("vmlinuz-")


def unpacked_kernel(into: pathlib.Path) -> pathlib.Path:
    """Writes the ELF file in Debian's generic kernel, which is packed with xz (boot protocol 2.08: Documentation/arch/x86/boot.rst); its modules."""
    for path in sorted(pathlib.Path("/boot").glob("vmlinuz-*-amd64"), reverse=True):
        image = path.read_bytes()
        offset, length = struct.unpack_from("<II", image, 0x248)
        at = ((image[0x1F1] or 4) + 1) * 512 + offset  # after the setup sectors
        if image[at:at + 6] == b"\xfd7zXZ\0":
            into.write_bytes(lzma.decompress(image[at:at + length - 4]))  # the last four bytes are the size
            return pathlib.Path("/lib/modules") / path.name.removeprefix("vmlinuz-")
    raise Skip("no kernel packed with xz in /boot: install linux-image-amd64")


def with_image(manifest: str, image: str, kernel: str) -> str:
    return manifest.replace("  image: demo", f"  image: {image}\n  kernel: {kernel}")


def test_the_examples_run_as_they_stand() -> None:
    with daemon() as d:
        (d.manifests / "image.yaml").unlink()  # the examples bring an image of that name
        wait_for("the image to be gone", lambda: not d.names("images"), limit=30)
        imported = d.scratch / "import"
        imported.mkdir()
        shutil.copy(world.IMAGE_DIR / "demo.tar", imported / "demo.tar")
        kernel, modules = host_kernel(d)
        shutil.copy(kernel, imported / "vmlinuz")
        shutil.copytree(modules, imported / "modules", symlinks=True)
        for example in sorted((TOP / "manifests").glob("*.yaml")):
            d.write(example.name, example.read_text().replace(IMPORT, str(imported)))
        d.wait_ready("web")
        check(d.ssh("web", "cat /etc/motd") == "This machine is kept by banger.", "the file of the example is not in the guest")
        for kind, name in (("network", "lan"), ("kernel", "host-quiet"), ("kernel", "custom")):
            d.wait_condition(kind, name, "Ready", limit=60)
        text = (d.manifests / "virtualmachine.yaml").read_text()
        d.write("virtualmachine.yaml", text.replace("kernel: host ", "kernel: custom ").replace("network: default ", "network: lan "))
        d.wait_condition("vm", "web", "RestartRequired", limit=20)
        d.ctl("restart", "web")
        wait_for("the VM to have been started again", lambda: d.condition("vm", "web", "RestartRequired").get("status") != "True", limit=60)
        d.wait_ready("web")
        status = d.get("vm", "web")["status"]
        check(status["networkInterfaces"][0]["address"].startswith("10.64.1."), f"it is not on the network of the example: {status['networkInterfaces']}")


def test_a_raw_image_with_a_digest_boots_an_unpacked_kernel_and_another_content_is_refused() -> None:
    with daemon() as d:
        wait_for("the image", lambda: d.names("images"), limit=30)
        d.wait_condition("image", "demo", "Ready", limit=60)
        raw = d.scratch / "disk.img"
        shutil.copy(d.get("image", "demo")["status"]["path"], raw)
        modules = unpacked_kernel(d.scratch / "vmlinux")
        digest = hashlib.sha256(raw.read_bytes()).hexdigest()
        d.write("raw.yaml", f"""\
apiVersion: banger.dev/v1alpha1
kind: Image
metadata: {{name: raw}}
spec: {{path: {raw}, format: raw, digest: "sha256:{digest}"}}
---
apiVersion: banger.dev/v1alpha1
kind: Image
metadata: {{name: other}}
spec: {{path: {raw}, format: raw, digest: "sha256:{'0' * 64}"}}
---
apiVersion: banger.dev/v1alpha1
kind: Kernel
metadata: {{name: unpacked}}
spec: {{source: File, path: {d.scratch / 'vmlinux'}, modulesDir: {modules}}}
""")
        d.write("web.yaml", with_image(vm_manifest("web"), "raw", "unpacked"))
        d.wait_ready("web")
        check(d.ssh("web", "cat /etc/motd") == "hello", "the guest has not what the manifest says")
        refused = wait_for("the refusal", lambda: (c := d.condition("image", "other", "Ready")).get("status") == "False" and c, limit=30)
        check("0" * 64 in refused["message"] and digest in refused["message"], f"it does not name both digests: {refused}")

// SPDX-License-Identifier: Apache-2.0
#include "actuators/vmm/qemu_command.hpp"

#include <doctest/doctest.h>

#include <algorithm>

#include "base/text.hpp"

using namespace banger;
using namespace banger::actuators;
using namespace banger::actuators::vmm;

namespace {

const std::string kUid = "0f5b1c2a-8d3e-4f60-9a1b-2c3d4e5f6071";

LaunchVmm web() {
  return {.vm_uid = kUid,
          .vm_ns = "default",
          .vm_name = "web",
          .cpus = 2,
          .memory = mib(256),
          .kernel_path = "/boot/vmlinuz",
          .initrd_path = "/v/initrd",
          .kernel_args = {"root=/dev/vda", "panic=5"},
          .disks = {{"root", "/v/root.img"}, {"data", "/v/a,b/disk-data.img"}},
          .nics = {{"bgrabcdefghij-0", "02:00:00:00:00:01"}}};
}

QemuHost host(const std::string& accelerator) {
  return {"/usr/bin/qemu-system-x86_64", "/run/banger/vm/b5nrykunhz/qmp.sock", {accelerator, ""}, 2596000};
}

std::string refusal(const LaunchVmm& step) {
  const auto made = qemu_command(step, host("tcg"));
  return made ? "" : made.error().message;
}

}  // namespace

TEST_CASE("a guest on a network with another MTU is told so") {
  auto step = web();
  step.nics[0].mtu = 9000;
  const auto argv = qemu_command(step, host("tcg"));
  REQUIRE(argv);
  CHECK(std::ranges::count(*argv, "virtio-net-device,netdev=net0,mac=02:00:00:00:00:01,host_mtu=9000") == 1);
}

TEST_CASE("the command line under TCG") {
  const auto argv = qemu_command(web(), host("tcg"));
  REQUIRE(argv);
  CHECK(join(*argv, "\n") == R"(/usr/bin/qemu-system-x86_64
-name
default/web,process=banger-web
-uuid
0f5b1c2a-8d3e-4f60-9a1b-2c3d4e5f6071
-nodefaults
-no-user-config
-no-reboot
-display
none
-sandbox
on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny
-M
microvm,acpi=on,x-option-roms=off
-global
virtio-mmio.force-legacy=false
-accel
tcg,tb-size=64
-cpu
max
-smp
2
-m
256M
-kernel
/boot/vmlinuz
-append
console=ttyS0 reboot=t panic=-1 quiet tsc_early_khz=2596000 root=/dev/vda panic=5
-serial
stdio
-chardev
socket,id=events,fd=3
-mon
chardev=events,mode=control
-qmp
unix:/run/banger/vm/b5nrykunhz/qmp.sock,server=on,wait=off
-initrd
/v/initrd
-blockdev
driver=raw,node-name=disk-root,cache.direct=off,cache.no-flush=off,discard=unmap,file.driver=file,file.filename=/v/root.img,file.aio=threads,file.locking=on
-device
virtio-blk-device,drive=disk-root,serial=root
-blockdev
driver=raw,node-name=disk-data,cache.direct=off,cache.no-flush=off,discard=unmap,file.driver=file,file.filename=/v/a,,b/disk-data.img,file.aio=threads,file.locking=on
-device
virtio-blk-device,drive=disk-data,serial=data
-netdev
tap,id=net0,ifname=bgrabcdefghij-0,script=no,downscript=no,vhost=off
-device
virtio-net-device,netdev=net0,mac=02:00:00:00:00:01
-device
virtio-rng-device)");
}

TEST_CASE("a disk that is a block device is opened as one") {
  auto step = web();
  step.disks.front().path = "/dev/mapper/banger-x-root";
  step.disks.front().lock_path = "/v/root.cow";
  const auto text = join(*qemu_command(step, host("tcg")), " ");
  CHECK(text.find("file.driver=host_device,file.filename=/dev/mapper/banger-x-root,file.aio=threads") != std::string::npos);
  CHECK(text.find("root.cow") == std::string::npos);
}

TEST_CASE("under KVM the guest gets the host's processor and measures its clock itself") {
  const auto argv = qemu_command(web(), host("kvm"));
  REQUIRE(argv);
  const auto text = join(*argv, " ");
  CHECK(text.find("-accel kvm -cpu host") != std::string::npos);
  CHECK(text.find("tsc_early_khz") == std::string::npos);
  CHECK(accelerator_of(*argv) == "kvm");
  CHECK(accelerator_of(*qemu_command(web(), host("tcg"))) == "tcg");
  CHECK(accelerator_of({"-accel"}).empty());
}

TEST_CASE("a VM's long name is cut for the process, a strange one does not reach the command line") {
  auto step = web();
  step.vm_name = "a-very-long-name-of-a-machine";
  CHECK((*qemu_command(step, host("tcg")))[2] == "default/a-very-long-name-of-a-machine,process=banger-a-very-l");
  step.vm_name = "x,process=init";
  CHECK((*qemu_command(step, host("tcg")))[2] == "b5nrykunhz,process=banger-b5nrykun");
}

TEST_CASE("what the machine cannot have is refused in a sentence") {
  auto step = web();
  for (int i = 0; i < 21; ++i) step.disks.push_back({"d" + std::to_string(i), "/v/d.img"});
  CHECK(refusal(step) == "the VM has 23 disks and 1 network interfaces; this machine has places for 23 in all");
  step.disks.pop_back();
  CHECK(refusal(step).empty());
  step = web();
  step.disks.clear();
  CHECK(refusal(step) == "the VM has no root disk");
  step = web();
  step.disks[1].name = "data,readonly=on";
  CHECK(refusal(step) == "disk name \"data,readonly=on\": expected at most 20 lower-case letters, digits and '-'");
  step = web();
  step.disks[1].path = "relative.img";
  CHECK(refusal(step) == "disk \"relative.img\": expected an absolute path");
  step = web();
  step.nics[0].tap = "tap0,script=/tmp/x";
  CHECK(refusal(step) == "tap name \"tap0,script=/tmp/x\" is not usable");
  step = web();
  step.nics[0].mac = "02:00:00:00:00:01,x=y";
  CHECK(refusal(step) == "\"02:00:00:00:00:01,x=y\" is not a MAC address");
  step = web();
  step.kernel_args.emplace_back(3000, 'x');
  CHECK(refusal(step).find("Linux reads 2047: shorten kernelArgs") != std::string::npos);
  step = web();
  step.cpus = 0;
  CHECK(refusal(step) == "0 CPUs: expected 1 to 255");
  step = web();
  step.vm_uid = "../../etc";
  CHECK(refusal(step) == "the VM's uid is not a UUID");
}

TEST_CASE("a monitor socket that does not fit a socket address is refused") {
  auto where = host("tcg");
  where.monitor_socket = "/" + std::string(106, 'r');
  CHECK(qemu_command(web(), where));
  where.monitor_socket += "r";
  const auto made = qemu_command(web(), where);
  REQUIRE_FALSE(made);
  CHECK(made.error().message.find("has 108 bytes, and a unix socket's may have 107: choose a shorter run directory") !=
        std::string::npos);
}

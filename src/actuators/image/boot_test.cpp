// SPDX-License-Identifier: Apache-2.0
// Boots real guests: what block/, image/ and banger-init make is put together and run by QEMU without KVM, and the guest says on
// its serial line what it found.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <x86intrin.h>

#include <csignal>
#include <ctime>
#include <iostream>
#include <optional>
#include <string>
#include <vector>

#include "actuators/block/disks.hpp"
#include "actuators/block/ext4.hpp"
#include "actuators/block/testing.hpp"
#include "actuators/guest/keys.hpp"
#include "actuators/image/build.hpp"
#include "actuators/image/initrd.hpp"
#include "actuators/image/kernels.hpp"
#include "actuators/image/tar_maker.hpp"
#include "actuators/image/vm_initrd.hpp"
#include "base/random.hpp"

namespace banger::actuators::image {
namespace {

const std::string kUid = "0123abcd-0123-4567-89ab-0123456789ab";
const std::string kMac = "02:11:22:33:44:55";
constexpr int kPatienceMs = 180'000;  // a boot takes 2 to 5 s, on a machine where all tests run at once more

bool can_boot() {
  static const bool can = [] {
    if (!testing::is_installed("qemu-system-x86_64") || !testing::is_installed("busybox")) return false;
    if (!host_kernels().empty()) return true;
    std::cerr << "SKIPPED: no kernel package is installed (/boot/vmlinuz-* with /lib/modules/*)\n";
    return false;
  }();
  return can;
}

// Without it a guest may hang while it calibrates its clock (vmm reference, 5.2).
std::uint64_t tsc_khz() {
  const auto now = [] {
    timespec t{};
    ::clock_gettime(CLOCK_MONOTONIC, &t);
    return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000'000U + static_cast<std::uint64_t>(t.tv_nsec);
  };
  const auto time = now();
  const auto ticks = __rdtsc();
  while (now() - time < 20'000'000) {
  }
  const auto passed = __rdtsc() - ticks;
  return passed * 1'000'000 / (now() - time);
}

testing::TarEntry program(const std::string& name, const std::string& content) {
  return {.name = name, .content = content, .mode = 0755};
}

// An image of busybox with these files besides.
std::string image_tar(const std::vector<testing::TarEntry>& files) {
  std::string tar;
  for (const char* directory : {"bin/", "sbin/", "dev/", "proc/", "sys/", "etc/", "tmp/", "run/", "srv/", "usr/", "root/"}) {
    tar += testing::tar_entry({.name = directory, .type = '5', .mode = 0755});
  }
  tar += testing::tar_entry(program("bin/busybox", testing::read("/bin/busybox")));
  for (const char* name : {"sh", "cat", "df", "tail", "stat", "ip", "grep", "mount", "umount", "poweroff", "sync", "hostname",
                           "kill", "ls", "tr", "sleep", "wc"}) {
    tar += testing::tar_entry({.name = std::string("bin/") + name, .type = '2', .link = "busybox", .mode = 0777});
  }
  tar += testing::tar_entry(
      {.name = "etc/passwd", .content = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n"});
  // Links out of the image: what the host hands over must land inside.
  tar += testing::tar_entry({.name = "etc/resolv.conf", .type = '2', .link = "/run/systemd/resolve/stub-resolv.conf"});
  tar += testing::tar_entry({.name = "usr/share", .type = '2', .link = "../../../srv"});
  for (const auto& file : files) tar += testing::tar_entry(file);
  return tar + testing::tar_end();
}

struct Vm {
  testing::Directory directory;
  Layout layout{directory.path() / "state", directory.path() / "run"};
  std::string initrd;
  GuestConfig config{.hostname = "web",
                     .nics = {{.mac = kMac, .address = "10.1.2.3/24", .gateway = "10.1.2.1"}},
                     .nameservers = {"10.1.2.1", "9.9.9.9"},
                     .mounts = {{.disk = "data", .path = "/usr/share/da ta"}, {.disk = "spare", .path = ""}},
                     .ssh_user = "app",
                     .authorized_keys = {"ssh-ed25519 AAAA you@host"},
                     .files = {{.path = "/etc/motd", .content = "hello\n", .mode = 0604}}};

  explicit Vm(const std::string& tar) {
    SeededRandom random(7);
    std::filesystem::create_directories(vm_dir(layout, kUid));
    REQUIRE(guest::ensure_key(host_key_path(layout, kUid), random, "web"));
    REQUIRE(guest::ensure_key(client_key_path(layout), random, "bangerd"));
    const auto source = directory.path() / "image.tar";
    testing::write(source, tar);
    const auto built = run(BuildImage{.image_uid = kUid, .spec = {.path = source}}, layout, {});
    REQUIRE(built);
    REQUIRE(
        block::run(MakeRootDisk{.vm_uid = kUid, .base_path = decode_built_image(*built)->path, .size = mib(512)}, layout, {}));
    disk("data", mib(64));
    disk("spare", mib(32));
    const auto made =
        run(BuildInitrd{.kernel_uid = kUid, .modules_dir = host_kernels().front().modules_dir}, layout, BANGER_INIT, {});
    REQUIRE(made);
    initrd = *made;
  }

  void disk(const std::string& name, Bytes size) const {
    REQUIRE(block::run(MakeDataDisk{.vm_uid = kUid, .disk = name, .size = size}, layout, {}));
  }

  [[nodiscard]] std::filesystem::path path_of(const std::string& name) const {
    return name == "root" ? root_disk_path(layout, kUid) : data_disk_path(layout, kUid, name);
  }

  // Boots until QEMU ends; what came over the serial line. Fails the test when it does not end.
  std::string boot(const std::vector<std::string>& disks = {"root", "data", "spare"}, const std::string& arguments = "") {
    REQUIRE(apply(WriteVmInitrd{.vm_uid = kUid, .base_initrd = initrd, .config = config}, layout));
    const auto log = directory.path() / "serial";
    std::vector<std::string> command{
        "/usr/bin/qemu-system-x86_64",
        "-M",
        "microvm,acpi=on,x-option-roms=off",
        "-accel",
        "tcg,tb-size=64",
        "-cpu",
        "max",
        "-m",
        "256",
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
        "-no-reboot",
        "-global",
        "virtio-mmio.force-legacy=false",
        "-serial",
        "file:" + log.native(),
        "-kernel",
        host_kernels().front().path,
        "-initrd",
        vm_initrd_path(layout, kUid).native(),
        "-append",
        fmt::format("console=ttyS0 reboot=t panic=-1 quiet tsc_early_khz={} {}", tsc_khz(), arguments),
        "-device",
        "virtio-rng-device",
        "-netdev",
        "user,id=n0,restrict=on",
        "-device",
        "virtio-net-device,netdev=n0,mac=" + kMac};
    for (std::size_t i = 0; i < disks.size(); ++i) {
      command.insert(command.end(),
                     {"-blockdev", fmt::format("driver=file,node-name=d{},filename={}", i, path_of(disks[i]).native()), "-device",
                      fmt::format("virtio-blk-device,drive=d{},serial={}", i, disks[i])});
    }
    run_to_end(command);
    auto said = testing::read(log);
    std::erase(said, '\r');
    return said;
  }

  static void run_to_end(const std::vector<std::string>& command) {
    std::vector<char*> list;
    for (const auto& word : command) list.push_back(const_cast<char*>(word.c_str()));
    list.push_back(nullptr);
    pid_t pid = 0;
    REQUIRE(::posix_spawn(&pid, list[0], nullptr, nullptr, list.data(), environ) == 0);
    pollfd ended{.fd = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)), .events = POLLIN, .revents = 0};
    const bool in_time = ::poll(&ended, 1, kPatienceMs) == 1;
    if (!in_time) ::kill(pid, SIGKILL);
    ::close(ended.fd);
    int status = 0;
    ::waitpid(pid, &status, 0);
    CHECK(in_time);
    CHECK(status == 0);
  }
};

// The value of the guest's line "T <name>=<value>"; "(nothing)" if there is none.
std::string told(const std::string& serial, const std::string& name) {
  const auto mark = "T " + name + "=";
  const auto at = serial.find(mark);
  if (at == std::string::npos) return "(nothing)";
  const auto begin = at + mark.size();
  return serial.substr(begin, serial.find('\n', begin) - begin);
}

constexpr const char* kInit = R"guest(#!/bin/sh
t() { echo "T $1=$2"; }
data='/srv/da ta'
t pid $$
t args "$*"
t hostname "$(hostname) $(cat /etc/hostname) $(grep -c 'web.*# banger' /etc/hosts)"
t root "$(df -k / | tail -n 1 | tr -s ' ' | cut -d ' ' -f 2)"
t rootfs "$(grep ' / ' /proc/mounts | grep -v rootfs)"
t data "$(df -k "$data" | tail -n 1 | tr -s ' ')"
t motd "$(cat /etc/motd) $(stat -c %a:%u:%g /etc/motd)"
t resolv "$(grep nameserver /etc/resolv.conf | tr '\n' ' ')$(stat -c %F /etc/resolv.conf)"
t address "$(ip -4 -o addr show | grep -v ': lo' | tr -s ' ')"
t lo "$(ip -4 -o addr show dev lo | tr -s ' ')"
t route "$(ip route | tr '\n' ' ')"
t keys "$(wc -l < /home/app/.ssh/authorized_keys) $(stat -c %a:%u:%g /home/app/.ssh/authorized_keys) $(stat -c %a:%u:%g /home/app/.ssh)"
t hostkey "$(stat -c %a /etc/ssh/ssh_host_ed25519_key) $(stat -c %a /etc/dropbear/dropbear_ed25519_host_key) $(grep -c 'OPENSSH PRIVATE' /etc/ssh/ssh_host_ed25519_key)"
t leftover "$(ls -d /banger /newroot 2>/dev/null)"
t before "$(cat "$data/file" 2>/dev/null)"
echo kept > "$data/file" && t wrote yes
umount "$data" && mount -o remount,ro / && t unmounted yes
poweroff -f
)guest";

constexpr const char* kStart = R"guest(#!/bin/sh
echo "T parent=$PPID"
echo "T init=$(cat /proc/1/comm)"
echo "T mounts=$(grep -cE ' (/dev/pts|/run|/tmp|/dev/shm|/proc|/sys|/dev) ' /proc/mounts)"
(sh -c 'sleep 0.1; exit 3' &)
sleep 1
echo "T zombies=$(grep -l 'State:.Z' /proc/[0-9]*/status 2>/dev/null | wc -l)"
kill -TERM 1
sleep 100
)guest";

}  // namespace

TEST_CASE("a guest boots from what was made for it, finds all it was given, and its image's init takes over") {
  if (!can_boot()) return;
  auto init = std::string(kInit);
  Vm vm(image_tar({program("sbin/init", init), {.name = "bin/cut", .type = '2', .link = "busybox", .mode = 0777}}));
  const auto serial = vm.boot();
  CAPTURE(serial);
  CHECK(serial.find("banger-init: handing over to /sbin/init after ") != std::string::npos);
  CHECK(serial.find("ignoring") == std::string::npos);
  CHECK(told(serial, "pid") == "1");
  CHECK(told(serial, "hostname") == "web web 1");
  CHECK(std::stol("0" + told(serial, "root")) > 400 * 1024);  // grown: the base has 64 MiB
  CHECK(told(serial, "rootfs").find("ext4 rw") != std::string::npos);
  CHECK(told(serial, "data").find("/dev/vd") == 0);
  CHECK(told(serial, "data").ends_with(" /srv/da ta"));
  CHECK(told(serial, "motd") == "hello 604:0:0");
  CHECK(told(serial, "resolv") == "nameserver 10.1.2.1 nameserver 9.9.9.9 regular file");
  CHECK(told(serial, "address").find("inet 10.1.2.3/24 brd 10.1.2.255 ") != std::string::npos);
  CHECK(told(serial, "lo").find("inet 127.0.0.1/8 ") != std::string::npos);
  CHECK(told(serial, "route").find("default via 10.1.2.1 dev ") != std::string::npos);
  CHECK(told(serial, "keys") == "4 600:1000:1001 700:1000:1001");
  CHECK(told(serial, "hostkey") == "600 600 2");
  CHECK(told(serial, "leftover").empty());
  CHECK(told(serial, "before").empty());
  CHECK(told(serial, "wrote") == "yes");
  CHECK(told(serial, "unmounted") == "yes");
  for (const char* disk : {"root", "data", "spare"}) CHECK(testing::is_clean(vm.path_of(disk)));
  const auto root = block::read_ext4_facts(vm.path_of("root"));
  CHECK((*root)->size == mib(512));

  // Once more: the data is there, disks that became larger have grown, keys are not doubled, init= is honoured.
  vm.disk("data", mib(192));
  vm.disk("spare", mib(96));
  vm.config.hostname = "web2";
  const auto again = vm.boot({"spare", "root", "data"}, "init=/sbin/init single");
  CAPTURE(again);
  CHECK(told(again, "args") == "single");
  CHECK(told(again, "hostname") == "web2 web2 1");
  CHECK(told(again, "before") == "kept");
  CHECK(told(again, "keys") == "4 600:1000:1001 700:1000:1001");
  CHECK(told(again, "unmounted") == "yes");
  for (const char* disk : {"root", "data", "spare"}) CHECK(testing::is_clean(vm.path_of(disk)));
  CHECK((*block::read_ext4_facts(vm.path_of("data")))->size == mib(192));
  CHECK((*block::read_ext4_facts(vm.path_of("spare")))->size == mib(96));
}

TEST_CASE("in an image without an init, banger-init stays PID 1, reaps, and switches off when told") {
  if (!can_boot()) return;
  Vm vm(image_tar({program("etc/banger/start", kStart)}));
  const auto serial = vm.boot();
  CAPTURE(serial);
  CHECK(serial.find("banger-init: the image has no init, staying PID 1 after ") != std::string::npos);
  CHECK(serial.find("banger-init: starting /etc/banger/start\n") != std::string::npos);
  CHECK(told(serial, "parent") == "1");
  CHECK(told(serial, "init") == "init");
  CHECK(told(serial, "mounts") == "7");
  CHECK(told(serial, "zombies") == "0");
  CHECK(serial.find("banger-init: switching off\n") != std::string::npos);
  CHECK(serial.find("ignoring") == std::string::npos);
  CHECK(testing::is_clean(vm.path_of("root")));
}

TEST_CASE("a guest that cannot boot says why in a line and switches itself off") {
  if (!can_boot()) return;
  Vm vm(image_tar({program("sbin/init", "#!/bin/absent\n")}));
  const auto no_interpreter = vm.boot();
  CAPTURE(no_interpreter);
  CHECK(no_interpreter.find("banger-init: cannot boot this VM: running /sbin/init: No such file or directory\n"
                            "banger-init: switching off\n") != std::string::npos);
  testing::write(vm.path_of("data"), std::string(64 << 20, 'x'));
  const auto no_file_system = vm.boot();
  CAPTURE(no_file_system);
  CHECK(no_file_system.find("banger-init: cannot boot this VM: mounting /dev/vd") != std::string::npos);
  CHECK(no_file_system.find(": Invalid argument on /usr/share/da ta\n") != std::string::npos);
  CHECK(no_file_system.find("handing over") == std::string::npos);
}

}  // namespace banger::actuators::image

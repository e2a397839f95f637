// SPDX-License-Identifier: Apache-2.0
// The driver on a real QEMU and a real kernel. Where either is not installed the tests say so.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <fstream>

#include "actuators/vmm/fixture.hpp"
#include "actuators/vmm/launch.hpp"
#include "actuators/vmm/machines.hpp"
#include "base/files.hpp"

using namespace banger;
using namespace banger::actuators;
using namespace banger::actuators::vmm;
using namespace std::chrono_literals;

namespace {

namespace fs = std::filesystem;

std::string cpio_entry(const std::string& name, unsigned mode, const std::string& content) {
  auto out = fmt::format("070701{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}", 1, mode, 0, 0, 1,
                         0, content.size(), 0, 0, 0, 0, name.size() + 1, 0) +
             name + '\0';
  out.resize((out.size() + 3) / 4 * 4);
  out += content;
  out.resize((out.size() + 3) / 4 * 4);
  return out;
}

std::string newest_kernel() {
  std::string best;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator("/boot", error)) {
    const auto name = entry.path().filename().native();
    if (name.starts_with("vmlinuz-") && name.ends_with("-cloud-amd64")) best = std::max(best, entry.path().native());
  }
  return best;
}

struct RealHost {
  test::Directory directory;
  Layout layout{directory.path() / "s", directory.path() / "r"};
  Hierarchy hierarchy;
  std::string kernel = newest_kernel();
  std::string initrd = directory.path() / "initrd";
  std::atomic<int> hints = 0;
  explicit RealHost(Hierarchy h) : hierarchy(std::move(h)) {
    std::ofstream(initrd, std::ios::binary) << cpio_entry("init", S_IFREG | 0755, test::read_text(BANGER_TEST_GUEST_INIT))
                                            << cpio_entry("TRAILER!!!", 0, "");
  }
  std::unique_ptr<Machines> daemon() {
    return std::make_unique<Machines>(MachinesOptions{layout, BANGER_SHIM, "", {"tcg", "for the test"}}, hierarchy,
                                      [this](const std::string&) { ++hints; });
  }
  LaunchVmm step(const std::string& uid, const std::string& act) const {
    fs::create_directories(vm_dir(layout, uid));
    std::ofstream(root_disk_path(layout, uid)) << std::string(1U << 20U, '\0');
    return {.vm_uid = uid,
            .vm_name = "real",
            .memory = mib(128),
            .kernel_path = kernel,
            .initrd_path = initrd,
            .kernel_args = {"act=" + act},
            .disks = {{"root", root_disk_path(layout, uid)}}};
  }
};

// Nothing, and a printed reason, where a real VMM cannot run.
std::optional<Hierarchy> usable() {
  const auto found = test::usable_hierarchies();
  if (found.empty()) return std::nullopt;
  if (const auto qemu = find_qemu(""); !qemu) {
    MESSAGE("skipped: ", qemu.error().message);
    return std::nullopt;
  }
  if (newest_kernel().empty()) {
    MESSAGE("skipped: no /boot/vmlinuz-*-cloud-amd64: install the package linux-image-cloud-amd64");
    return std::nullopt;
  }
  return found.front();
}

bool said_hello(const RealHost& host, const std::string& uid) {
  return test::eventually(
      [&] { return test::read_text(serial_log_path(host.layout, uid)).find("guest is up") != std::string::npos; }, 90s);
}

}  // namespace

TEST_CASE("a real guest boots, is adopted, answers, and goes with its group") {
  const auto hierarchy = usable();
  if (!hierarchy) return;
  RealHost host(*hierarchy);
  const test::Group group(*hierarchy);
  auto first = host.daemon();
  const auto launched = first->apply(host.step(group.uid, "stay"));
  REQUIRE_MESSAGE(launched, launched.error().message);
  REQUIRE(said_hello(host, group.uid));
  const auto view = first->observe(group.uid, Monitor::Ask);
  REQUIRE(view.vmm);
  CHECK(view.monitor == MonitorState::Running);
  CHECK(view.version.starts_with(std::to_string(view.version[0] - '0') + "."));
  CHECK(view.accelerator == "tcg");

  CHECK(first->apply(ResumeVmm{group.uid}) == Applied::Unchanged);  // it runs

  first.reset();  // the daemon goes, the guest stays
  auto second = host.daemon();
  CHECK(second->observe(group.uid, Monitor::Ask) == view);
  CHECK(second->observe_all({group.uid})->at(group.uid).vmm->vmm == view.vmm);

  ::kill(static_cast<pid_t>(view.vmm->pid), SIGKILL);  // behind the daemon's back
  CHECK(test::eventually([&] { return host.hints > 0; }));
  const auto dead = second->observe(group.uid, Monitor::Ask);
  CHECK_FALSE(dead.vmm);
  REQUIRE(dead.exit);
  CHECK(dead.exit->reason == "Killed");

  // The socket that it left is in nobody's way.
  CHECK(fs::exists(view.socket));
  REQUIRE(second->apply(host.step(group.uid, "stay")));
  CHECK(test::eventually([&] { return second->observe(group.uid, Monitor::Ask).monitor == MonitorState::Running; }));
  CHECK(second->apply(KillVmm{group.uid}) == Applied::Changed);
  CHECK(test::eventually([&] { return !second->populated(group.uid); }));
}

TEST_CASE("reboot, power-off and panic of a real guest are told apart") {
  const auto hierarchy = usable();
  if (!hierarchy) return;
  RealHost host(*hierarchy);
  auto daemon = host.daemon();
  for (const auto& [act, reason] : {std::pair{"reboot", "GuestReboot"}, {"off", "GuestShutdown"}, {"panic", "Crashed"}}) {
    CAPTURE(act);
    const test::Group group(*hierarchy);
    REQUIRE(daemon->apply(host.step(group.uid, act)));
    REQUIRE(said_hello(host, group.uid));
    REQUIRE(test::eventually([&] { return !daemon->populated(group.uid); }, 60s));
    const auto view = daemon->observe(group.uid, Monitor::Leave);
    REQUIRE(view.exit);
    CHECK(view.exit->reason == reason);
    CHECK(view.exit->exit_code == 0);
  }
}

TEST_CASE("a start that QEMU refuses is told with QEMU's own words") {
  const auto hierarchy = usable();
  if (!hierarchy) return;
  RealHost host(*hierarchy);
  const test::Group group(*hierarchy);
  auto daemon = host.daemon();
  auto step = host.step(group.uid, "stay");
  if (::access("/dev/net/tun", R_OK | W_OK) != 0) {
    MESSAGE("skipped: /dev/net/tun cannot be opened");
    return;
  }
  std::ofstream(host.directory.path() / "not-a-kernel") << "no kernel";
  step.kernel_path = host.directory.path() / "not-a-kernel";
  REQUIRE(daemon->apply(step));
  REQUIRE(test::eventually([&] { return host.hints > 0; }));
  const auto view = daemon->observe(group.uid, Monitor::Leave);
  REQUIRE(view.exit);
  CHECK(view.exit->reason == "StartFailed");
  CHECK(view.exit->message.find("kernel") != std::string::npos);
}

// SPDX-License-Identifier: Apache-2.0
#include "actuators/vmm/machines.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <fstream>
#include <memory>

#include "actuators/vmm/fixture.hpp"
#include "actuators/vmm/spawn.hpp"

using namespace banger;
using namespace banger::actuators;
using namespace banger::actuators::vmm;
using namespace std::chrono_literals;

namespace {

// What the driver's hints say, to wait on.
struct Hints {
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<std::string> seen;
  std::function<void(const std::string&)> callback() {
    return [this](const std::string& uid) {
      const std::lock_guard lock(mutex);
      seen.push_back(uid);
      changed.notify_all();
    };
  }
  bool wait_for(const std::string& uid, std::chrono::milliseconds limit = 20s) {
    std::unique_lock lock(mutex);
    return changed.wait_for(lock, limit, [&] { return std::ranges::find(seen, uid) != seen.end(); });
  }
};

// A scratch host whose VMM is a program that only plays its acts.
struct Scratch {
  test::Directory directory;
  Layout layout{directory.path() / "s", directory.path() / "r"};
  Hierarchy hierarchy;
  Hints hints;
  std::string vmm = BANGER_TEST_VMM;
  std::unique_ptr<Machines> machines;
  explicit Scratch(Hierarchy h) : hierarchy(std::move(h)) { restart(); }
  void restart() {  // a new daemon on the same host
    machines.reset();
    machines = std::make_unique<Machines>(MachinesOptions{layout, BANGER_SHIM, vmm, {"tcg", "for the test"}, 4096}, hierarchy,
                                          hints.callback());
  }
  void add_disk(const std::string& uid) const {
    std::filesystem::create_directories(vm_dir(layout, uid));
    std::ofstream(root_disk_path(layout, uid)) << "disk";
  }
  [[nodiscard]] LaunchVmm step(const std::string& uid, std::vector<std::string> acts = {}) const {
    add_disk(uid);
    for (auto& act : acts) act.insert(0, "act:");
    return {.vm_uid = uid,
            .vm_name = "web",
            .memory = mib(128),
            .kernel_path = BANGER_TEST_VMM,
            .kernel_args = std::move(acts),
            .disks = {{"root", root_disk_path(layout, uid)}}};
  }
};

template <class Test>
void on_each_hierarchy(Test&& run) {
  for (const auto& hierarchy : test::usable_hierarchies()) {
    CAPTURE(hierarchy.version);
    Scratch host(hierarchy);
    test::Group group(hierarchy);
    run(host, group);
  }
}

bool shows_vmm(Scratch& host, const std::string& uid) {
  return test::eventually([&] { return host.machines->observe(uid, Monitor::Leave).vmm.has_value(); });
}

}  // namespace

TEST_CASE("a VMM that was started is seen, verified, adopted by a new daemon, and ended with its group") {
  on_each_hierarchy([](Scratch& host, test::Group& group) {
    auto& uid = group.uid;
    CHECK(host.machines->observe(uid, Monitor::Leave).processes.empty());
    REQUIRE(host.machines->apply(host.step(uid)) == Applied::Changed);
    REQUIRE(shows_vmm(host, uid));
    const auto view = host.machines->observe(uid, Monitor::Leave);
    CHECK(view.cgroup_populated);
    CHECK(view.processes.size() == 2);
    REQUIRE(view.vmm);
    CHECK(view.vmm->exe == BANGER_TEST_VMM);
    CHECK(view.vmm->in_cgroup);
    CHECK(std::ranges::count(view.processes, true, &ProcessView::is_shim) == 1);
    CHECK_FALSE(view.exit);

    const auto again = host.machines->apply(host.step(uid));
    REQUIRE_FALSE(again);
    CHECK(again.error().code == ErrorCode::Busy);
    CHECK(host.machines->apply(RemoveCgroup{uid}).error().code == ErrorCode::Busy);
    CHECK(host.machines->apply(ClearRunDirectory{uid}).error().code == ErrorCode::Busy);

    host.restart();
    CHECK(host.machines->observe(uid, Monitor::Leave) == view);

    CHECK(host.machines->apply(KillVmm{uid}) == Applied::Changed);
    CHECK(test::eventually([&] { return !host.machines->observe(uid, Monitor::Leave).cgroup_populated; }));
    const auto gone = host.machines->observe(uid, Monitor::Leave);
    CHECK(gone.processes.empty());
    REQUIRE(gone.exit);
    CHECK(gone.exit->reason == "Killed");
    CHECK(host.hints.wait_for(uid));  // an adopted VM's end is told too
    CHECK(host.machines->apply(KillVmm{uid}) == Applied::Unchanged);
    CHECK(host.machines->apply(RemoveCgroup{uid}) == Applied::Changed);
    CHECK(host.machines->apply(RemoveCgroup{uid}) == Applied::Unchanged);
    CHECK(host.machines->apply(ClearRunDirectory{uid}) == Applied::Changed);
    CHECK(host.machines->apply(ClearRunDirectory{uid}) == Applied::Unchanged);
    CHECK_FALSE(std::filesystem::exists(vm_run_dir(host.layout, uid)));
    CHECK_FALSE(host.machines->observe(uid, Monitor::Leave).exit);
  });
}

TEST_CASE("a VMM that was seen once stays seen, however early in its life that was") {
  on_each_hierarchy([](Scratch& host, test::Group& group) {
    auto& uid = group.uid;
    for (int round = 0; round < 20; ++round) {
      REQUIRE(host.machines->apply(host.step(uid)) == Applied::Changed);
      const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
      const auto seen = [&] { return host.machines->observe(uid, Monitor::Leave).vmm.has_value(); };
      while (!seen()) REQUIRE(std::chrono::steady_clock::now() < end);  // without a pause: the moment of exec is short
      int lost = 0;
      for (int look = 0; look < 30; ++look) lost += seen() ? 0 : 1;
      CHECK(lost == 0);
      REQUIRE(host.machines->apply(KillVmm{uid}) == Applied::Changed);
      REQUIRE(test::eventually([&] { return !host.machines->observe(uid, Monitor::Leave).cgroup_populated; }));
    }
  });
}

TEST_CASE("a VM whose group was killed can be started again, with and without the group in between") {
  on_each_hierarchy([](Scratch& host, test::Group& group) {
    auto& uid = group.uid;
    for (const bool remove_group : {false, true, false}) {
      REQUIRE(host.machines->apply(host.step(uid)) == Applied::Changed);
      REQUIRE(shows_vmm(host, uid));
      REQUIRE(host.machines->apply(KillVmm{uid}) == Applied::Changed);
      REQUIRE(test::eventually([&] { return !host.machines->observe(uid, Monitor::Leave).cgroup_populated; }));
      if (remove_group) CHECK(host.machines->apply(RemoveCgroup{uid}) == Applied::Changed);
    }
  });
}

TEST_CASE("a VMM that ends by itself leaves its reason, and the end is told") {
  on_each_hierarchy([](Scratch& host, test::Group& group) {
    auto& uid = group.uid;
    REQUIRE(host.machines->apply(host.step(uid, {"error=oh-no", "exit=1"})));
    CHECK(host.hints.wait_for(uid));
    auto view = host.machines->observe(uid, Monitor::Ask);
    CHECK_FALSE(view.cgroup_populated);
    CHECK(view.monitor == MonitorState::NotAsked);
    REQUIRE(view.exit);
    CHECK(view.exit->reason == "StartFailed");
    CHECK(view.exit->exit_code == 1);
    CHECK(view.exit->message == "oh-no");

    // The next start begins without it.
    REQUIRE(host.machines->apply(host.step(uid, {"usleep=1"})));
    REQUIRE(shows_vmm(host, uid));
    view = host.machines->observe(uid, Monitor::Leave);
    CHECK_FALSE(view.exit);
    ::kill(static_cast<pid_t>(view.vmm->pid), SIGKILL);
    REQUIRE(test::eventually([&] { return !host.machines->observe(uid, Monitor::Leave).cgroup_populated; }));
    view = host.machines->observe(uid, Monitor::Leave);
    REQUIRE(view.exit);
    CHECK(view.exit->reason == "Killed");
    CHECK(view.exit->signal == SIGKILL);
  });
}

TEST_CASE("two VMs never run on one disk") {
  on_each_hierarchy([](Scratch& host, test::Group& group) {
    test::Group second(group.cgroups.hierarchy());
    REQUIRE(host.machines->apply(host.step(group.uid)));
    REQUIRE(shows_vmm(host, group.uid));
    auto step = host.step(second.uid);
    step.disks = host.step(group.uid).disks;
    const auto refused = host.machines->apply(step);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == ErrorCode::Busy);
    CHECK(refused.error().message == "disk " + step.disks[0].path + " is in use by another VMM");
    CHECK_FALSE(group.cgroups.exists(second.uid));
  });
}

TEST_CASE("what a start needs and is not there is said in a sentence") {
  const auto hierarchies = test::usable_hierarchies();
  if (hierarchies.empty()) return;
  Scratch host(hierarchies.front());
  const test::Group group(hierarchies.front());
  const auto refusal = [&](const LaunchVmm& step) { return host.machines->apply(step).error(); };
  auto step = host.step(group.uid);
  step.kernel_path = "/no/kernel";
  CHECK(refusal(step).message == "opening kernel /no/kernel: No such file or directory (ENOENT)");
  step = host.step(group.uid);
  step.disks[0].path = "/dev/null";
  CHECK(refusal(step).message == "disk /dev/null is not a regular file");
  host.vmm = "/no/qemu";
  host.restart();
  CHECK(refusal(host.step(group.uid)).message ==
        "the QEMU /no/qemu that bangerd was started with (--qemu) is not there or is not a program: install the Debian package "
        "qemu-system-x86, or correct the path");
  CHECK(refusal(host.step(group.uid)).code == ErrorCode::Unavailable);
  CHECK_FALSE(group.cgroups.exists(group.uid));
}

TEST_CASE("without a usable hierarchy observation works and every step says why it cannot") {
  const test::Directory directory;
  const Layout layout{directory.path() / "s", directory.path() / "r"};
  Machines machines({layout, BANGER_SHIM, BANGER_TEST_VMM, {"tcg", ""}}, fail(Error{ErrorCode::Unavailable, "no hierarchy"}),
                    [](const std::string&) {});
  const auto uid = test::fresh_uid();
  CHECK_FALSE(machines.observe(uid, Monitor::Ask).cgroup_exists);
  CHECK(machines.apply(KillVmm{uid}).error().message == "no hierarchy");
  CHECK(machines.apply(LaunchVmm{.vm_uid = uid}).error().message == "no hierarchy");
}

TEST_CASE("a process outside the group that names the socket is shown and is not the VMM") {
  on_each_hierarchy([](Scratch& host, test::Group& group) {
    const auto socket = monitor_socket_path(host.layout, group.uid).native();
    auto stray = spawn({{BANGER_TEST_VMM, "-qmp", "unix:" + socket + ",server=on"}});
    REQUIRE(stray);
    CHECK(test::eventually([&] { return !host.machines->observe(group.uid, Monitor::Leave).processes.empty(); }));
    const auto view = host.machines->observe(group.uid, Monitor::Leave);
    const auto all = host.machines->observe_all({group.uid});
    std::filesystem::create_directories(vm_run_dir(host.layout, group.uid));
    const auto cleared = host.machines->apply(ClearRunDirectory{group.uid});
    ::kill(static_cast<pid_t>(stray->pid), SIGKILL);
    siginfo_t info{};
    ::waitid(P_PIDFD, static_cast<id_t>(stray->pidfd.get()), &info, WEXITED);
    REQUIRE(view.processes.size() == 1);
    CHECK(view.processes[0].names_socket);
    CHECK_FALSE(view.processes[0].in_cgroup);
    CHECK_FALSE(view.vmm);
    CHECK(all->at(group.uid).vmm == view);
    REQUIRE_FALSE(cleared);  // nothing is taken from under it
    CHECK(cleared.error().code == ErrorCode::Busy);
    CHECK(host.machines->apply(ClearRunDirectory{group.uid}) == Applied::Changed);
  });
}

TEST_CASE("a verified VMM that lives is not read again; its end, its successor and an exit record are noticed at the next look") {
  on_each_hierarchy([](Scratch& host, test::Group& group) {
    auto& uid = group.uid;
    const auto look = [&] { return host.machines->observe_all({uid})->at(uid); };
    const auto is_known = [&] {
      const auto one = look();
      return one.vmm->vmm && look().vmm.is(one.vmm);
    };
    REQUIRE(host.machines->apply(host.step(uid)) == Applied::Changed);
    REQUIRE(test::eventually(is_known));
    const auto known = look();
    CHECK(known.run_directory_exists);
    CHECK(*known.vmm == host.machines->observe(uid, Monitor::Leave));
    CHECK(look().vmm.is(known.vmm));  // that a pass has looked too changes nothing

    std::ofstream(exit_record_path(host.layout, uid)) << "{}";
    CHECK(look().vmm->exit);
    std::filesystem::remove(exit_record_path(host.layout, uid));
    CHECK_FALSE(look().vmm->exit);
    REQUIRE(test::eventually(is_known));

    const auto shim = std::ranges::find(known.vmm->processes, true, &ProcessView::is_shim)->pid;
    ::kill(static_cast<pid_t>(shim), SIGSTOP);  // the VMM's end alone has to show
    const auto pidfd = UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, static_cast<pid_t>(known.vmm->vmm->pid), 0)));
    ::kill(static_cast<pid_t>(known.vmm->vmm->pid), SIGKILL);
    pollfd ended{pidfd.get(), POLLIN, 0};
    REQUIRE(::poll(&ended, 1, 20'000) == 1);
    CHECK_FALSE(look().vmm->vmm);
    REQUIRE(host.machines->apply(KillVmm{uid}) == Applied::Changed);
    REQUIRE(test::eventually([&] { return !host.machines->observe(uid, Monitor::Leave).cgroup_populated; }));
    CHECK_FALSE(look().vmm->cgroup_populated);
    CHECK(look().vmm->exit->reason == "Killed");

    REQUIRE(host.machines->apply(host.step(uid)) == Applied::Changed);
    REQUIRE(test::eventually(is_known));
    CHECK(look().vmm->vmm->pid != known.vmm->vmm->pid);
    REQUIRE(host.machines->apply(KillVmm{uid}) == Applied::Changed);
    REQUIRE(test::eventually([&] { return !look().vmm->cgroup_populated; }));
    CHECK(host.machines->apply(RemoveCgroup{uid}) == Applied::Changed);
    CHECK(host.machines->apply(ClearRunDirectory{uid}) == Applied::Changed);
    CHECK_FALSE(look().vmm->cgroup_exists);
    CHECK_FALSE(look().run_directory_exists);
  });
}

TEST_CASE("a shim that ends, and its VMM with it, and another program under the VMM's name, are noticed") {
  const auto hierarchies = test::usable_hierarchies();
  if (hierarchies.empty()) return;
  Scratch host(hierarchies.front());
  test::Group group(hierarchies.front());
  const auto look = [&] { return host.machines->observe_all({group.uid})->at(group.uid).vmm; };
  host.vmm = host.directory.path() / "vmm";
  std::filesystem::copy_file(BANGER_TEST_VMM, host.vmm);
  host.restart();
  REQUIRE(host.machines->apply(host.step(group.uid)) == Applied::Changed);
  REQUIRE(test::eventually([&] {
    const auto one = look();
    return one->vmm && look().is(one);
  }));
  REQUIRE(look()->processes.size() == 2);
  std::filesystem::rename(host.vmm, host.directory.path() / "old");
  std::filesystem::copy_file(BANGER_TEST_VMM, host.vmm);
  CHECK_FALSE(look()->vmm);  // runs what is no more the program of that name
  std::filesystem::rename(host.directory.path() / "old", host.vmm);
  REQUIRE(look()->vmm);

  const auto shim = std::ranges::find(look()->processes, true, &ProcessView::is_shim)->pid;
  ::kill(static_cast<pid_t>(shim), SIGKILL);
  CHECK(test::eventually([&] { return look()->processes.empty(); }));
  CHECK(host.machines->apply(KillVmm{group.uid}));
}

TEST_CASE("strangers in a group of our name are shown as such, never killed, and nothing is started beside them") {
  on_each_hierarchy([](Scratch& host, test::Group& group) {
    REQUIRE(group.cgroups.make(group.uid));
    const auto into = group.cgroups.open_for_spawn(group.uid).value();
    Spawn what{{"/bin/sleep", "600"}};
    if (group.cgroups.hierarchy().version == 2) what.cgroup_directory = into.front().get();
    for (const auto& fd : into) {
      if (group.cgroups.hierarchy().version == 1) what.cgroup_procs.push_back(fd.get());
    }
    auto stranger = spawn(what);
    REQUIRE(stranger);
    const auto shown = [&] { return is_foreign_group(host.machines->observe(group.uid, Monitor::Leave)); };
    CHECK(test::eventually(shown));  // its command line comes a moment after its program
    const auto view = host.machines->observe(group.uid, Monitor::Leave);
    const auto all = host.machines->observe_all({group.uid});
    const auto killed = host.machines->apply(KillVmm{group.uid});
    const auto removed = host.machines->apply(RemoveCgroup{group.uid});
    const auto launched = host.machines->apply(host.step(group.uid));
    CHECK(view.cgroup_populated);
    REQUIRE(view.processes.size() == 1);
    CHECK(view.processes[0].pid == stranger->pid);
    CHECK_FALSE(view.processes[0].unreadable);
    CHECK(is_foreign_group(view));
    CHECK(is_foreign_group(*all->at(group.uid).vmm));
    REQUIRE_FALSE(killed);
    CHECK(killed.error().code == ErrorCode::Conflict);
    CHECK(killed.error().message.starts_with("NameConflict: "));
    CHECK_FALSE(removed);
    CHECK_FALSE(launched);
    siginfo_t info{};
    CHECK(::waitid(P_PIDFD, static_cast<id_t>(stranger->pidfd.get()), &info, WEXITED | WNOHANG | WNOWAIT) == 0);
    CHECK(info.si_pid == 0);  // it lives
    ::kill(static_cast<pid_t>(stranger->pid), SIGKILL);
    ::waitid(P_PIDFD, static_cast<id_t>(stranger->pidfd.get()), &info, WEXITED);
    CHECK_FALSE(shown());
  });
}

TEST_CASE("a stranger in a group below one of our name is found too") {
  on_each_hierarchy([](Scratch& host, test::Group& group) {
    REQUIRE(group.cgroups.make(group.uid));
    const auto below = group.cgroups.hierarchy().roots.front() / cgroup_name(group.uid) / "below";
    REQUIRE(std::filesystem::create_directory(below));
    auto stranger = spawn({{"/bin/sleep", "600"}});
    REQUIRE(stranger);
    std::ofstream(below / "cgroup.procs") << stranger->pid << std::flush;
    CHECK(test::eventually([&] { return is_foreign_group(host.machines->observe(group.uid, Monitor::Leave)); }));
    ::kill(static_cast<pid_t>(stranger->pid), SIGKILL);
    siginfo_t info{};
    ::waitid(P_PIDFD, static_cast<id_t>(stranger->pidfd.get()), &info, WEXITED);
    std::error_code busy;
    CHECK(test::eventually([&] { return std::filesystem::remove(below, busy); }));
  });
}

TEST_CASE("many VMs are observed in one pass, and it is said how long that takes") {
  const auto hierarchies = test::usable_hierarchies();
  if (hierarchies.empty()) return;
  Scratch host(hierarchies.front());
  constexpr std::size_t kCount = 200;
  std::vector<std::unique_ptr<test::Group>> groups;
  std::set<std::string> uids;
  const auto begin = std::chrono::steady_clock::now();
  for (std::size_t i = 0; i < kCount; ++i) {
    groups.push_back(std::make_unique<test::Group>(hierarchies.front()));
    uids.insert(groups.back()->uid);
    REQUIRE(host.machines->apply(host.step(groups.back()->uid)));
  }
  const auto started = std::chrono::steady_clock::now();
  const auto complete = [&] {
    const auto all = host.machines->observe_all(uids);
    return all && std::ranges::all_of(*all, [](const auto& entry) { return entry.second.vmm->vmm.has_value(); });
  };
  REQUIRE(test::eventually(complete));
  auto best = std::chrono::steady_clock::duration::max();
  for (int i = 0; i < 5; ++i) {
    const auto at = std::chrono::steady_clock::now();
    const auto all = host.machines->observe_all(uids);
    best = std::min(best, std::chrono::steady_clock::now() - at);
    REQUIRE(all->size() == kCount);
  }
  const auto one_begin = std::chrono::steady_clock::now();
  CHECK(host.machines->observe(groups.front()->uid, Monitor::Leave).vmm);
  const auto one = std::chrono::steady_clock::now() - one_begin;
  const auto us = [](auto duration) { return std::chrono::duration_cast<std::chrono::microseconds>(duration).count(); };
  MESSAGE("launch: ", us(started - begin) / static_cast<long>(kCount), " us a VM; one pass over ", kCount, " VMs: ", us(best),
          " us; one VM: ", us(one), " us");
  CHECK(best < 1s);
  for (const auto& group : groups) CHECK(host.machines->apply(KillVmm{group->uid}));
}

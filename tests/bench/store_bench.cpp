// SPDX-License-Identifier: Apache-2.0
// Measures the store on a directory of the disk in question: store_bench DIRECTORY (made, and removed at the end). Not a test.
#include <fmt/format.h>
#include <malloc.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "base/random.hpp"
#include "store/store.hpp"

namespace {

using namespace banger;
using Time = std::chrono::steady_clock;

template <class T>
T must(Result<T> result) {
  if (result) return *std::move(result);
  fmt::print(stderr, "store_bench: {}\n", result.error().message);
  std::exit(1);
}

// As a running VM looks: spec, status with conditions, steps, disks and one interface.
api::Object make_vm(const std::string& name) {
  SystemRandom random;
  api::VirtualMachine vm;
  vm.spec.image = "demo";
  vm.spec.disks = {{.name = "data", .size = mib(512), .mount_path = "/data"}};
  vm.spec.network_interfaces = {{.network = "default"}};
  vm.spec.ssh = api::SshSpec{.authorized_keys = {"ssh-ed25519 " + std::string(68, 'A') + " you@host"}};
  vm.spec.files = {{.path = "/etc/motd", .content = "hello\n"}};
  vm.status.phase = "Running";
  for (const auto* type : {"Ready", "Running", "CleanShutdown", "RestartRequired"}) {
    vm.status.conditions.push_back({.type = type, .reason = "AsObserved", .message = "the guest answers on its address"});
  }
  for (const auto* step : {"Lease", "RootDisk", "DataDisk", "Bridge", "Tap", "Nat", "Initrd", "Launch", "Ssh", "Ready"}) {
    vm.status.steps.push_back({.name = step, .state = "Done"});
  }
  vm.status.disks = {{.name = "root", .path = "/var/lib/banger/vms/" + std::string(36, 'u') + "/root.img", .backend = "reflink"},
                     {.name = "data", .path = "/var/lib/banger/vms/" + std::string(36, 'u') + "/disk-data.img"}};
  vm.status.network_interfaces = {{.network = "default", .tap = "bgraaaaaaaaaa-0", .address = "10.63.0.2/24"}};
  vm.status.vmm = api::VmmStatus{.driver = "qemu", .version = "7.2.19", .accelerator = "tcg", .pid = 4711};
  api::Object object{.body = std::move(vm)};
  object.meta.name = name;
  object.meta.ns = "default";
  object.meta.uid = new_uid(random);
  object.meta.generation = 1;
  return object;
}

double ms_since(Time::time_point start) { return std::chrono::duration<double, std::milli>(Time::now() - start).count(); }

void set_memory(api::Object& vm, std::uint64_t value) { std::get<api::VirtualMachine>(vm.body).spec.memory = mib(value); }

void measure_updates(store::Store& store, int threads, int each) {
  std::vector<std::vector<double>> took(static_cast<std::size_t>(threads));
  const auto start = Time::now();
  {
    std::vector<std::jthread> writers;
    for (auto& mine : took) {
      writers.emplace_back([&store, &mine, each, number = &mine - took.data()] {
        auto vm = must(store.get({api::Kind::VirtualMachine, "default", fmt::format("vm-{}", number)}));
        for (int i = 1; i <= each; ++i) {
          set_memory(vm, std::get<api::VirtualMachine>(vm.body).spec.memory.value / mib(1).value + 1);
          const auto begin = Time::now();
          vm = must(store.update(vm));
          mine.push_back(ms_since(begin));
        }
      });
    }
  }
  const double total = ms_since(start);
  std::vector<double> all;
  for (const auto& mine : took) all.insert(all.end(), mine.begin(), mine.end());
  std::ranges::sort(all);
  fmt::print("update, {:2} threads: p50 {:.2f} ms, p99 {:.2f} ms, {:.0f} writes/s\n", threads, all[all.size() / 2],
             all[all.size() * 99 / 100], static_cast<double>(all.size()) * 1000 / total);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    fmt::print(stderr, "usage: store_bench DIRECTORY\n");
    return 2;
  }
  constexpr int kVms = 1000;
  auto store = must(store::open_rocksdb_store(argv[1]));
  {
    std::vector<std::jthread> writers;
    for (int t = 0; t < 50; ++t) {
      writers.emplace_back([&store, t] {
        for (int i = t; i < kVms; i += 50) must(store->create(make_vm(fmt::format("vm-{}", i))));
      });
    }
  }
  measure_updates(*store, 1, 1000);
  measure_updates(*store, 8, 250);
  measure_updates(*store, 32, 200);
  const auto listing = Time::now();
  const auto listed = must(store->list({})).objects.size();
  fmt::print("list of {} VMs: {:.2f} ms\n", listed, ms_since(listing));
  const auto revision = store->revision();
  store.reset();

  ::malloc_trim(0);
  const auto before = ::mallinfo2().uordblks + ::mallinfo2().hblkhd;
  const auto opening = Time::now();
  store = must(store::open_rocksdb_store(argv[1]));
  const double took = ms_since(opening);
  const auto after = ::mallinfo2().uordblks + ::mallinfo2().hblkhd;
  fmt::print("open with {} VMs and {} changes, all checked: {:.0f} ms, {:.1f} KiB of memory a VM\n", kVms, revision, took,
             static_cast<double>(after - before) / 1024 / kVms);
  store.reset();
  std::filesystem::remove_all(argv[1]);
  return 0;
}

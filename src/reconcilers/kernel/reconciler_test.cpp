// SPDX-License-Identifier: Apache-2.0
#include "reconcilers/kernel/reconciler.hpp"

#include "reconcilers/world_test.hpp"

namespace banger::reconcilers::kernel {
namespace {

using std::chrono::minutes;

struct KernelWorld : World {
  api::KernelStatus seen(const std::string& name = "host") { return body<api::Kernel>(key(api::Kind::Kernel, name)).status; }
  std::string said(const std::string& name = "host") { return condition(seen(name).conditions, "Ready"); }
  std::string sentence(const std::string& name = "host") {
    const auto conditions = seen(name).conditions;
    return api::find_condition(conditions, "Ready")->message;
  }
  void make(const std::string& name, api::KernelSpec spec) {
    api::Object object;
    object.meta.name = name;
    object.body = api::Kernel{.spec = std::move(spec), .status = {}};
    create(std::move(object));
  }
};

TEST_CASE_FIXTURE(KernelWorld, "the host's kernel is the newest one installed, with an initrd made from its modules") {
  create_builtins();
  settle();
  CHECK(said() == "True Ready");
  CHECK(sentence() == "kernel 6.1.0-1-cloud-amd64");
  CHECK(seen().path == "/boot/vmlinuz-6.1.0-1");
  const auto old = seen().initrd;
  CHECK(old.starts_with("/var/lib/banger/kernels/"));
  const auto mutations = host.mutations();
  host.restart_daemon();
  restart();
  settle();
  CHECK(host.mutations() == mutations);

  host.add_host_kernel({.version = "6.1.0-2-amd64", .path = "/boot/vmlinuz-6.1.0-2", .modules_dir = "/lib/modules/6.1.0-2"});
  clock.advance(minutes(2));
  settle();
  CHECK(seen().version == "6.1.0-2-amd64");
  CHECK(seen().initrd != old);
}

TEST_CASE_FIXTURE(KernelWorld, "a newer kernel package does not touch running VMs, and boots them next time") {
  const auto uid = running_vm();
  const auto mutations = host.mutations();
  const auto pid = status().vmm->pid;
  host.add_host_kernel({.version = "6.1.0-2-amd64", .path = "/boot/vmlinuz-6.1.0-2", .modules_dir = "/lib/modules/6.1.0-2"});
  clock.advance(minutes(2));
  settle();
  CHECK(status().vmm->pid == pid);
  CHECK(host.mutations() == mutations + 4);  // the old job is forgotten, the new initrd made; each state is recorded
  edit_vm([](auto& spec, auto&) { spec.restart_nonce = "1"; });
  settle();
  CHECK(host.launched(uid)->kernel_path == "/boot/vmlinuz-6.1.0-2");
}

TEST_CASE("a host without a kernel package says which one to install") {
  ManualClock clock;
  SeededRandom random{1};
  const actuators::Layout layout{.state_dir = "/var/lib/banger", .run_dir = "/run/banger"};
  actuators::sim::SimHost host(layout, clock);
  const auto store = store::make_memory_store();
  store::Objects objects(*store, clock, random);
  RecordingEvents events;
  KernelReconciler reconciler({objects, host, events, clock, random});
  REQUIRE(ensure_builtins(objects).has_value());
  const api::ObjectKey key{.kind = api::Kind::Kernel, .ns = "", .name = "host"};
  const auto outcome = reconciler.reconcile(key);
  CHECK(outcome.requeue_after == std::chrono::seconds(30));
  const auto kernel = std::get<api::Kernel>(store->get(key)->body);
  const auto* ready = api::find_condition(kernel.status.conditions, "Ready");
  REQUIRE(ready != nullptr);
  CHECK(ready->message == "no kernel package is installed on this host: install linux-image-cloud-amd64 (or linux-image-amd64)");
}

TEST_CASE_FIXTURE(KernelWorld, "a kernel of one's own is taken as it is, with the initrd that was given or one made for it") {
  host.add_file("/srv/bzImage-7", mib(8), 1);
  host.add_file("/srv/initrd-7", mib(8), 1);
  make("given", {.path = "/srv/bzImage-7", .initrd = "/srv/initrd-7"});
  make("made", {.path = "/srv/bzImage-7", .modules_dir = "/srv/modules/7.0"});
  make("absent", {.path = "/srv/none"});
  settle();
  CHECK(said("given") == "True Ready");
  CHECK(seen("given").initrd == "/srv/initrd-7");
  CHECK(seen("given").version == "7");
  CHECK(seen("made").version == "7.0");
  CHECK(seen("made").initrd.starts_with("/var/lib/banger/kernels/"));
  CHECK(said("absent") == "False KernelNotFound");
  CHECK(sentence("absent") == "/srv/none: there is no such file on this host");
}

TEST_CASE_FIXTURE(KernelWorld, "a given initrd that is not there is named, and its coming heals the Kernel") {
  host.add_file("/srv/bzImage-7", mib(8), 1);
  make("given", {.path = "/srv/bzImage-7", .initrd = "/srv/initrd-7"});
  settle();
  CHECK(said("given") == "False InitrdNotFound");
  CHECK(sentence("given") == "/srv/initrd-7: there is no such file on this host");
  CHECK(seen("given").initrd.empty());
  host.add_file("/srv/initrd-7", mib(8), 1);
  clock.advance(minutes(1));
  settle();
  CHECK(said("given") == "True Ready");
  CHECK(seen("given").initrd == "/srv/initrd-7");
  host.remove_file("/srv/initrd-7");
  clock.advance(minutes(2));
  settle();
  CHECK(said("given") == "False InitrdNotFound");
}

TEST_CASE_FIXTURE(KernelWorld, "a file that is no kernel is refused in a sentence until it is one") {
  host.add_file("/srv/bzImage-7", kib(0), 1);
  make("given", {.path = "/srv/bzImage-7", .modules_dir = "/srv/modules/7.0"});
  settle();
  CHECK(said("given") == "False NotAKernel");
  CHECK(sentence("given") == "/srv/bzImage-7: this is no kernel: it is neither an ELF vmlinux nor a bzImage (\"HdrS\" at 0x202)");
  host.add_file("/srv/bzImage-7", mib(8), 2);
  clock.advance(minutes(1));
  settle();
  CHECK(said("given") == "True Ready");
}

TEST_CASE_FIXTURE(KernelWorld, "other modules make another initrd") {
  host.add_file("/srv/bzImage-7", mib(8), 1);
  make("k", {.path = "/srv/bzImage-7", .modules_dir = "/srv/a/7.0"});
  settle();
  const auto before = seen("k").initrd;
  REQUIRE(objects
              .edit(key(api::Kind::Kernel, "k"),
                    [](api::Object& object) -> Result<void> {
                      std::get<api::Kernel>(object.body).spec.modules_dir = "/srv/b/7.0";
                      return {};
                    })
              .has_value());
  settle();
  CHECK(seen("k").initrd != before);
  CHECK(said("k") == "True Ready");
}

TEST_CASE_FIXTURE(KernelWorld, "an initrd that cannot be made is an error that is shown and tried again") {
  create_builtins();
  host.fail_jobs("initrd",
                 Error{.code = ErrorCode::NotFound, .message = "/lib/modules/6.1.0-1: no such directory", .sys_errno = 2});
  bool failed = false;
  std::string shown;
  for (int i = 0; i < 6; ++i) {
    failed = pass(key(api::Kind::Kernel, "host")).error.has_value() || failed;
    if (said() == "False InitrdFailed") shown = sentence();
  }
  CHECK(failed);
  CHECK(shown == "/lib/modules/6.1.0-1: no such directory");
  host.fail_jobs("initrd", std::nullopt);
  settle();
  CHECK(said() == "True Ready");
}

TEST_CASE_FIXTURE(KernelWorld, "a deleted kernel takes its directory with it") {
  create_builtins();
  settle();
  const auto host_key = key(api::Kind::Kernel, "host");
  const auto uid = store->get(host_key)->meta.uid;
  remove(host_key);
  settle();
  CHECK_FALSE(exists(host_key));
  CHECK_FALSE(host.observe_kernel({.uid = uid, .path = ""})->directory_exists);
}

}  // namespace
}  // namespace banger::reconcilers::kernel

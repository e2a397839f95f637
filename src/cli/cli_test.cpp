// SPDX-License-Identifier: Apache-2.0
// bangerctl as people run it, against a real server on a memory store whose clock stands still.
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "cli/rig.hpp"
#include "server/rig.hpp"

using namespace banger;
using namespace banger::cli;

namespace {

struct Daemon {
  server::TempDir dir;
  ManualClock clock;
  SeededRandom random{7};
  std::unique_ptr<store::Store> store = store::make_memory_store();
  store::Objects objects{*store, clock, random};
  std::string socket = dir.file("bangerd.sock");
  server::Server server{{.socket_path = socket, .version = "0.1.0"},
                        objects,
                        {.serial_log_path = [this](const api::Object&) -> Result<std::string> { return dir.file("serial.log"); }},
                        clock};

  Daemon() { REQUIRE(server.start()); }

  Said run(std::vector<std::string> arguments, std::string input = "", std::string stop_at = "") const {
    return run_program(BANGERCTL, {std::move(arguments), std::move(input), {"BANGER_SOCKET=" + socket}, std::move(stop_at)});
  }
  // The same in every run: the scratch directory is DIR.
  std::string show(std::vector<std::string> arguments) const {
    auto text = run(std::move(arguments)).out;
    const auto& scratch = dir.path().native();
    for (auto place = text.find(scratch); place != std::string::npos; place = text.find(scratch)) {
      text.replace(place, scratch.size(), "DIR");
    }
    return text;
  }
  std::string write(std::string_view name, std::string_view text) const {
    std::ofstream(dir.file(name)) << text;
    return dir.file(name);
  }
  void observe(const std::string& name, const std::function<void(api::VirtualMachineStatus&, std::uint64_t generation)>& change) {
    REQUIRE(objects.edit_status({api::Kind::VirtualMachine, "default", name}, [&](api::Object& object) -> Result<void> {
      change(std::get<api::VirtualMachine>(object.body).status, object.meta.generation);
      return {};
    }));
  }
  void hold(const std::string& name, std::vector<std::string> finalizers) {
    REQUIRE(objects.edit({api::Kind::VirtualMachine, "default", name}, [&](api::Object& object) -> Result<void> {
      object.meta.finalizers = finalizers;
      return {};
    }));
  }
};

constexpr std::string_view kWeb = R"(apiVersion: banger.dev/v1alpha1
kind: VirtualMachine
metadata:
  name: web
  labels: {app: web}
spec:
  image: demo
  memory: 512Mi
  disks: [{name: data, size: 512Mi, mountPath: /data}]
  ssh: {user: root}
)";

// As the reconciler would tell of a machine that runs.
void run_it(Daemon& daemon, const std::string& name) {
  daemon.observe(name, [&](api::VirtualMachineStatus& status, std::uint64_t generation) {
    const auto now = daemon.clock.wall();
    status.observed_generation = generation;
    status.phase = "Running";
    status.conditions = {{.type = "Ready",
                          .status = api::ConditionStatus::True,
                          .reason = "GuestAnswers",
                          .message = "the guest answers on SSH",
                          .observed_generation = generation,
                          .last_transition_time = now}};
    status.network_interfaces = {{.network = "default",
                                  .tap = "bgrabcdefghij-0",
                                  .mac = "52:54:00:00:00:01",
                                  .address = "10.63.0.2/24",
                                  .gateway = "10.63.0.1"}};
    status.disks = {{.name = "root",
                     .path = "/var/lib/banger/vms/u/root.cow",
                     .backend = "dm-snapshot",
                     .size = gib(1),
                     .device = "/dev/mapper/banger-u-root",
                     .cow_size = mib(256),
                     .cow_used_percent = 12},
                    {.name = "data", .path = "/var/lib/banger/vms/u/disk-data.img", .backend = "file", .size = mib(512)}};
    status.vmm = api::VmmStatus{.driver = "qemu",
                                .version = "7.2",
                                .accelerator = "tcg",
                                .accelerator_reason = "/dev/kvm is missing",
                                .pid = 4242,
                                .start_time_ticks = status.vmm ? status.vmm->start_time_ticks + 1 : 1,
                                .socket = "/run/banger/vm/u/qmp.sock",
                                .started = now};
    status.kernel_objects = {
        {.type = "process", .name = "pid 4242", .desired = "present", .observed = "present", .detail = "qemu 7.2, tcg"},
        {.type = "cgroup", .name = "banger.slice/vm-u", .desired = "present", .observed = "present", .detail = "with processes"},
        {.type = "tap", .name = "bgrabcdefghij-0", .desired = "present", .observed = "absent", .detail = ""}};
    status.ssh = api::SshStatus{.user = "root",
                                .address = "10.63.0.2",
                                .port = 22,
                                .identity_file = daemon.dir.file("id"),
                                .known_hosts_file = daemon.dir.file("known hosts")};
    status.steps = {{.name = "create tap", .state = "Done", .duration = std::chrono::milliseconds(12), .message = ""},
                    {.name = "start vmm", .state = "Done", .duration = std::chrono::milliseconds(340), .message = "pid 4242"}};
  });
}

}  // namespace

TEST_CASE("apply creates, configures, leaves alone, and takes back what the manifest dropped") {
  Daemon daemon;
  const auto file = daemon.write("web.yaml", kWeb);
  const auto created = daemon.run({"apply", "-f", file});
  CAPTURE(created.err);
  CHECK(created.out == "virtualmachine/web created\n");
  CHECK(created.exit_code == 0);
  CHECK(daemon.run({"apply", "-f", file}).out == "virtualmachine/web unchanged\n");
  // Somebody else's label stays; ours go with the manifest.
  REQUIRE(daemon.objects.edit({api::Kind::VirtualMachine, "default", "web"}, [](api::Object& object) -> Result<void> {
    object.meta.labels["other"] = "kept";
    return {};
  }));
  std::string edited(kWeb);
  edited.replace(edited.find("app: web"), 8, "tier: front");
  edited.replace(edited.find("512Mi"), 5, "256Mi");
  CHECK(daemon.run({"apply", "-f", "-"}, edited).out == "virtualmachine/web configured\n");
  const auto object = daemon.store->get({api::Kind::VirtualMachine, "default", "web"});
  REQUIRE(object);
  CHECK(object->meta.labels == std::map<std::string, std::string>{{"other", "kept"}, {"tier", "front"}});
  CHECK(std::get<api::VirtualMachine>(object->body).spec.memory == mib(256));
  CHECK(daemon.run({"apply", "-f", "-"}, edited).out == "virtualmachine/web unchanged\n");
}

TEST_CASE("apply takes directories in the order things need each other, and -n places what names no namespace") {
  Daemon daemon;
  daemon.write("a.yaml", kWeb);
  daemon.write("b.yml", "apiVersion: banger.dev/v1alpha1\nkind: Network\nmetadata: {name: lan}\nspec: {cidr: 10.9.0.0/24}\n");
  daemon.write("notes.txt", "not a manifest");
  const auto said = daemon.run({"-n", "prod", "apply", "-f", daemon.dir.path().string()});
  CAPTURE(said.err);
  CHECK(said.out == "network/lan created\nvirtualmachine/web created\n");
  CHECK(daemon.store->get({api::Kind::VirtualMachine, "prod", "web"}));
  CHECK(daemon.run({"-n", "prod", "apply", "-f", daemon.dir.file("a.yaml")}).out == "virtualmachine/web unchanged\n");
  const auto other = daemon.run(
      {"-n", "prod", "apply", "-f", "-"},
      "apiVersion: banger.dev/v1alpha1\nkind: VirtualMachine\nmetadata: {name: x, namespace: test}\nspec: {image: demo}\n");
  CHECK(other.exit_code == 1);
  CHECK(other.err == "bangerctl: standard input:1: metadata.namespace is \"test\", but -n says \"prod\"; drop one of them\n");
}

TEST_CASE("refused manifests change nothing, and every fault is named with its place") {
  Daemon daemon;
  daemon.write("1.yaml", kWeb);
  const auto bad = daemon.write("2.yaml",
                                "apiVersion: banger.dev/v1alpha1\nkind: VirtualMachine\nmetadata: {name: bad}\nspec:\n  image: "
                                "demo\n  cpuss: 1\n  memory: \"\\e[2J\"\n");
  const auto said = daemon.run({"apply", "-f", daemon.dir.path().string()});
  CHECK(said.exit_code == 1);
  CHECK(said.out.empty());
  CAPTURE(said.err);
  CHECK(said.err.find(bad + ":6:3: spec.cpuss: unknown field; did you mean \"cpus\"?") != std::string::npos);
  CHECK(said.err.ends_with("nothing was changed\n"));
  CHECK(said.err.find("spec.memory: ") != std::string::npos);
  CHECK(said.err.find('\x1b') == std::string::npos);
  CHECK(daemon.store->revision() == 0);
  CHECK(daemon.run({"apply", "-f", daemon.dir.file("missing.yaml")}).err.find("No such file or directory") != std::string::npos);
  const auto twice = daemon.run({"apply", "-f", daemon.dir.file("1.yaml"), "-f", daemon.dir.file("1.yaml")});
  CHECK(twice.err.find("VirtualMachine default/web is also in") != std::string::npos);
}

TEST_CASE("get prints tables as they are wanted") {
  Daemon daemon;
  CHECK(daemon.run({"get", "vm"}).err == "bangerctl: no virtualmachines found in namespace \"default\"\n");
  CHECK(daemon.run({"get", "vm"}).exit_code == 0);
  REQUIRE(daemon.run({"apply", "-f", "-"}, std::string(kWeb)).exit_code == 0);
  REQUIRE(daemon
              .run({"-n", "prod", "apply", "-f", "-"},
                   "apiVersion: banger.dev/v1alpha1\nkind: VirtualMachine\nmetadata: {name: database}\nspec: {image: demo}\n")
              .exit_code == 0);
  run_it(daemon, "web");
  daemon.clock.advance(std::chrono::seconds(185));
  CHECK(golden_difference("get_vm.txt", daemon.show({"get", "vm"})) == "");
  CHECK(golden_difference("get_vm_wide.txt", daemon.show({"get", "virtualmachines", "-o", "wide"})) == "");
  CHECK(golden_difference("get_vm_all.txt", daemon.show({"get", "vm", "-A"})) == "");
  CHECK(golden_difference("get_vm.yaml", daemon.show({"get", "vm/web", "-o", "yaml"})) == "");
  CHECK(golden_difference("get_vm.json", daemon.show({"get", "vm", "web", "-o", "json"})) == "");
  CHECK(daemon.run({"get", "vm", "-o", "name"}).out == "virtualmachine/web\n");
  CHECK(daemon.run({"get", "vm", "-l", "app=web", "-o", "name"}).out == "virtualmachine/web\n");
  CHECK(daemon.run({"get", "vm", "-l", "app!=web", "-o", "name"}).out.empty());
  CHECK(daemon.run({"get", "vm", "-l", "="}).exit_code == 1);
  CHECK(golden_difference("get_kinds.txt", daemon.show({"get", "vm,net"})) == "");
}

TEST_CASE("get of what is not there says how to look, and shows the rest") {
  Daemon daemon;
  REQUIRE(daemon.run({"apply", "-f", "-"}, std::string(kWeb)).exit_code == 0);
  const auto said = daemon.run({"get", "vm", "no", "web", "-o", "name"});
  CHECK(said.exit_code == 1);
  CHECK(said.out == "virtualmachine/web\n");
  CHECK(said.err ==
        "bangerctl: virtualmachine \"no\" not found in namespace \"default\"; see what there is with: bangerctl get "
        "virtualmachines -A\n");
  CHECK(daemon.run({"get", "network", "--", "-x"}).err ==
        "bangerctl: network \"-x\" not found; see what there is with: bangerctl get networks\n");
}

TEST_CASE("one who is not there is not found by -A and -w either") {
  const Daemon daemon;
  const auto anywhere = daemon.run({"get", "vm", "no", "-A"});
  CHECK(anywhere.exit_code == 1);
  CHECK(anywhere.err == "bangerctl: virtualmachine \"no\" not found in any namespace\n");
  const auto watched = daemon.run({"get", "vm", "no", "-w"});
  CHECK(watched.exit_code == 1);
  CHECK(watched.err.find("virtualmachine \"no\" not found in namespace \"default\"") != std::string::npos);
}

TEST_CASE("output that cannot be written is said in a sentence") {
  Daemon daemon;
  std::string many;
  for (int i = 0; i < 40; ++i) {
    many += fmt::format(
        "apiVersion: banger.dev/v1alpha1\nkind: Network\nmetadata: {{name: n{0}}}\nspec: {{cidr: 10.9.{0}.0/24}}\n---\n", i);
  }
  REQUIRE(daemon.run({"apply", "-f", "-"}, many).exit_code == 0);
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{"get", "vm", "-o", "yaml"}, {"get", "net", "-o", "yaml"}}) {
    const auto said = run_program(BANGERCTL, {arguments, "", {"BANGER_SOCKET=" + daemon.socket}, "", "/dev/full"});
    CHECK(said.exit_code == 1);
    CHECK(said.err == "bangerctl: writing the output: No space left on device (ENOSPC)\n");
  }
}

TEST_CASE("get -w goes on with changes and keeps its columns") {
  Daemon daemon;
  REQUIRE(daemon.run({"apply", "-f", "-"}, std::string(kWeb)).exit_code == 0);
  std::jthread changes([&] {
    // The watch sees these whenever it starts: before it, in its list; after it, as events.
    run_it(daemon, "web");
    (void)daemon.objects.remove({api::Kind::VirtualMachine, "default", "web"}, {});
    (void)daemon.run({"apply", "-f", "-"},
                     "apiVersion: banger.dev/v1alpha1\nkind: VirtualMachine\nmetadata: {name: last}\nspec: {image: demo}\n");
  });
  const auto said = daemon.run({"get", "vm", "-w"}, "", "last");
  CHECK(said.exit_code == -15);
  CHECK(said.out.starts_with("NAME"));
  CHECK(said.out.find("\nlast ") != std::string::npos);
  CHECK(said.out.find("NAME", 4) == std::string::npos);
}

TEST_CASE("describe shows desired beside observed, kernel objects, conditions, steps and events") {
  Daemon daemon;
  REQUIRE(daemon.run({"apply", "-f", "-"}, std::string(kWeb)).exit_code == 0);
  run_it(daemon, "web");
  daemon.observe("web", [](api::VirtualMachineStatus& status, std::uint64_t) {
    status.pending_changes = {{.field = "spec.memory", .update_class = "Restart", .from = "256Mi", .to = "512Mi"}};
    status.conditions.push_back({.type = "RestartRequired",
                                 .status = api::ConditionStatus::True,
                                 .reason = "ChangesWait",
                                 .message = "spec.memory waits for a restart \x1b[31m"});
  });
  const auto vm = daemon.store->get({api::Kind::VirtualMachine, "default", "web"});
  REQUIRE(vm);
  api::Event event{
      .involved = api::key_of(*vm), .involved_uid = vm->meta.uid, .reason = "Started", .message = "the machine runs", .count = 2};
  event.last_time = daemon.clock.wall();
  REQUIRE(daemon.store->create(
      {.meta = {.name = "web.1", .ns = "default", .uid = "0f0f0f0f-0000-4000-8000-000000000001"}, .body = event}));
  daemon.clock.advance(std::chrono::seconds(30));
  const auto said = daemon.run({"describe", "vm", "web"});
  CHECK(said.exit_code == 0);
  CHECK(golden_difference("describe_vm.txt", said.out) == "");
  CHECK(said.out.find('\x1b') == std::string::npos);
  const std::pair<const char*, const char*> states[] = {{"RootDiskFull", "Overflow: the guest's writes fail"},
                                                        {"RootDiskInvalid", "Invalid: the kernel gave it up"}};
  for (const auto& [type, fill] : states) {
    daemon.observe("web", [type = type](api::VirtualMachineStatus& status, std::uint64_t) {
      status.conditions.push_back({.type = type, .status = api::ConditionStatus::True, .reason = "Snapshot", .message = "it is"});
    });
    const auto shown = daemon.show({"describe", "vm", "web"});
    CHECK_MESSAGE(shown.find(fill) != std::string::npos, shown);
  }
  REQUIRE(daemon
              .run({"apply", "-f", "-"},
                   "apiVersion: banger.dev/v1alpha1\nkind: Network\nmetadata: {name: lan}\nspec: {cidr: 10.9.0.0/24}\n")
              .exit_code == 0);
  REQUIRE(daemon.objects.edit_status({api::Kind::Network, "", "lan"}, [](api::Object& object) -> Result<void> {
    std::get<api::Network>(object.body).status.kernel_objects = {{.type = "bridge",
                                                                  .name = "bgbx",
                                                                  .desired = "present",
                                                                  .observed = "foreign",
                                                                  .detail = "not made by bangerd, left alone"}};
    return {};
  }));
  CHECK(golden_difference("describe_network.txt", daemon.show({"describe", "net/lan"})) == "");
  CHECK(golden_difference("events.txt", daemon.show({"events", "--for", "vm/web"})) == "");
  CHECK(daemon.run({"events", "--for", "vm/no"}).err == "bangerctl: no events found\n");
}

TEST_CASE("an edit of what a file declares is taken, stays, and names the file that has the last word") {
  Daemon daemon;
  REQUIRE(daemon.run({"apply", "-f", "-"}, std::string(kWeb)).err.empty());
  const api::ObjectKey key{api::Kind::VirtualMachine, "default", "web"};
  const auto annotate = [&](const std::string& last) {
    REQUIRE(daemon.objects.edit(key, [&](api::Object& object) -> Result<void> {
      object.meta.annotations["banger.dev/source"] = "manifests:teams/web.yaml";
      object.meta.annotations["banger.dev/last-applied"] = last;
      return {};
    }));
  };
  const auto last = [&] { return daemon.objects.store().get(key)->meta.annotations.at("banger.dev/last-applied"); };
  api::ManifestSource source;
  source.spec.directory = "/etc/banger/manifests";
  REQUIRE(daemon.objects.create({.meta = {.name = "manifests"}, .body = source}));
  const std::string note =
      "bangerctl: note: VirtualMachine default/web comes from /etc/banger/manifests/teams/web.yaml; the next change of that file "
      "wins\n";
  annotate("{\"spec\":{}}");
  std::string edited(kWeb);
  edited.replace(edited.find("spec:"), 5, "spec:\n  cpus: 2");
  const auto configured = daemon.run({"apply", "-f", "-"}, edited);
  CHECK(configured.out == "virtualmachine/web configured\n");
  CHECK(configured.err == note);
  CHECK(last() == "{\"spec\":{}}");  // else the file would seem to have changed
  CHECK(daemon.run({"apply", "-f", "-"}, edited).out == "virtualmachine/web unchanged\n");
  CHECK(daemon.run({"apply", "-f", "-"}, edited).err.empty());
  CHECK(daemon.run({"stop", "web"}).err.empty());  // the file does not speak of it: it stays
  annotate(R"({"spec":{"powerState":"Running"}})");
  CHECK(daemon.run({"start", "web"}).err == note);
  CHECK(daemon.run({"start", "web"}).err.empty());  // nothing changed
}

TEST_CASE("delete tells what the daemon warns of") {
  Daemon daemon;
  const auto file = daemon.write("net.yaml", "apiVersion: banger.dev/v1alpha1\nkind: Network\nmetadata: {name: default}\n");
  REQUIRE(daemon.run({"apply", "-f", file}).exit_code == 0);
  const auto gone = daemon.run({"delete", "network", "default"});
  CHECK(gone.out == "network/default deleted\n");
  CHECK(gone.err ==
        "bangerctl: warning: Network default is built in: what refers to it waits until bangerd starts next and makes it anew\n");
}

TEST_CASE("delete waits for finalizers, and says what holds it when its time is up") {
  Daemon daemon;
  const auto file = daemon.write("web.yaml", kWeb);
  REQUIRE(daemon.run({"apply", "-f", file}).exit_code == 0);
  CHECK(daemon.run({"delete", "-f", file}).out == "virtualmachine/web deleted\n");
  const auto again = daemon.run({"delete", "vm", "web"});
  CHECK(again.exit_code == 1);
  CHECK(again.err.find("not found") != std::string::npos);
  const auto ignored = daemon.run({"delete", "vm", "web", "--ignore-not-found"});
  CHECK(ignored.exit_code == 0);
  CHECK((ignored.out + ignored.err).empty());
  REQUIRE(daemon.run({"apply", "-f", file}).exit_code == 0);
  daemon.hold("web", {"banger.dev/teardown"});
  const auto held = daemon.run({"delete", "vm", "web", "--timeout", "100ms"});
  CHECK(held.exit_code == 4);
  CHECK(held.err ==
        "bangerctl: virtualmachine/web was not gone within 0 s: it is still there; held by banger.dev/teardown; it goes on being "
        "deleted, look with: bangerctl describe virtualmachine web\n");
  CHECK(daemon.run({"delete", "vm", "web", "--wait=false"}).out == "virtualmachine/web is being deleted\n");
  const auto late = daemon.run({"apply", "-f", file});
  CHECK(late.exit_code == 1);
  CHECK(late.err == fmt::format("bangerctl: {}:1: virtualmachine/web is being deleted; wait with: bangerctl wait --for=delete "
                                "virtualmachine/web, then apply again\n",
                                file));
  REQUIRE(daemon.objects.edit({api::Kind::VirtualMachine, "default", "web"}, [](api::Object& object) -> Result<void> {
    object.meta.annotations["banger.dev/source"] = "manifests:web.yaml";
    return {};
  }));
  CHECK(daemon.run({"delete", "vm", "web", "--wait=false"}).err ==
        "bangerctl: virtualmachine/web is declared by manifests:web.yaml and comes back as long as that file declares it; remove "
        "it there to be rid of it\n");
  std::jthread teardown([&] { daemon.hold("web", {}); });
  CHECK(daemon.run({"wait", "--for=delete", "vm/web"}).out == "virtualmachine/web is gone\n");
  CHECK(daemon.run({"delete", "events", "x"}).err.find("written by bangerd only") != std::string::npos);
}

TEST_CASE("wait comes back when the condition holds of the spec as it is now") {
  Daemon daemon;
  REQUIRE(daemon.run({"apply", "-f", "-"}, std::string(kWeb)).exit_code == 0);
  const auto early = daemon.run({"wait", "--for=condition=Ready", "vm/web", "--timeout=100ms"});
  CHECK(early.exit_code == 4);
  CHECK(early.err ==
        "bangerctl: waited 0 s for condition=Ready of virtualmachine/web in vain: there is no condition Ready yet; look with: "
        "bangerctl describe virtualmachine web\n");
  std::jthread reconciler([&] { run_it(daemon, "web"); });
  const auto said = daemon.run({"wait", "--for=condition=ready=true", "vm", "web"});
  CHECK(said.exit_code == 0);
  CHECK(said.out == "virtualmachine/web condition met\n");
  reconciler.join();
  REQUIRE(daemon.run({"stop", "web"}).out == "virtualmachine/web stopping\n");
  CHECK(daemon.run({"wait", "--for=condition=Ready", "vm/web", "--timeout=100ms"}).exit_code ==
        4);  // the condition is of an older spec
  CHECK(daemon.run({"wait", "--for=condition=Ready", "vm/no"}).exit_code == 1);
  CHECK(daemon.run({"wait", "--for=create", "vm/web"}).out == "virtualmachine/web is there\n");
  CHECK(daemon.run({"wait", "--for=create", "vm/web", "--timeout=0"}).exit_code == 0);  // looks once
  CHECK(daemon.run({"wait", "--for=delete", "vm/web", "--timeout=0"}).err.find("it is still there") != std::string::npos);
  const auto never = daemon.run({"wait", "--for=create", "vm/no", "--timeout=100ms"});
  CHECK(never.exit_code == 4);
  CHECK(never.err.find("it is not there yet") != std::string::npos);
  std::jthread maker([&] {
    daemon.run({"apply", "-f", "-"}, "apiVersion: banger.dev/v1alpha1\nkind: Image\nmetadata: {name: late}\nspec: {path: /x}\n");
  });
  CHECK(daemon.run({"wait", "--for=create", "image/late"}).exit_code == 0);
}

TEST_CASE("start, stop and restart edit the desired state and tell how it came out") {
  Daemon daemon;
  REQUIRE(daemon.run({"apply", "-f", "-"}, std::string(kWeb)).exit_code == 0);
  run_it(daemon, "web");
  const auto spec = [&] {
    return std::get<api::VirtualMachine>(daemon.store->get({api::Kind::VirtualMachine, "default", "web"})->body).spec;
  };
  CHECK(daemon.run({"restart", "web"}).out == "virtualmachine/web restarting\n");
  CHECK(spec().restart_nonce.size() == 16);
  auto watch = daemon.store->watch({.kind = api::Kind::VirtualMachine, .after = daemon.store->revision()});
  REQUIRE(watch);
  // Answers every change of the spec as the reconciler would.
  const auto reconcile = [&](const std::function<void()>& answer) {
    return std::jthread([&daemon, &watch, answer] {
      if (const auto change = (*watch)->next(1, std::chrono::seconds(20)); change && !change->empty()) answer();
    });
  };
  {
    const auto reconciler = reconcile([&] {
      daemon.observe("web", [](api::VirtualMachineStatus& status, std::uint64_t generation) {
        status.phase = "Stopped";
        status.observed_generation = generation;
        status.vmm.reset();
        status.conditions = {{.type = "CleanShutdown",
                              .status = api::ConditionStatus::True,
                              .reason = "Synced",
                              .message = "the guest synced its disks"}};
      });
    });
    CHECK(daemon.run({"stop", "web", "--wait"}).out ==
          "virtualmachine/web stopped cleanly (Synced): the guest synced its disks\n");
  }
  CHECK(spec().power_state == api::PowerState::Stopped);
  const auto refused = daemon.run({"restart", "web"});
  CHECK(refused.exit_code == 1);
  CHECK(refused.err ==
        "bangerctl: virtualmachine/web is to be stopped, so there is nothing to restart; start it with: bangerctl start web\n");
  CHECK(daemon.run({"ssh", "web"}).err == "bangerctl: virtual machine \"web\" is Stopped; start it with: bangerctl start web\n");
  const auto late = daemon.run({"start", "web", "--wait", "--timeout=100ms"});
  CHECK(late.exit_code == 4);
  run_it(daemon, "web");
  CHECK(daemon.run({"start", "web", "--wait"}).out == "virtualmachine/web ready: the guest answers on SSH\n");
  const auto missing = daemon.run({"start", "no", "web"});
  CHECK(missing.exit_code == 1);
  CHECK(missing.out == "virtualmachine/web starting\n");
}

TEST_CASE("ssh hands the OpenSSH client the pinned host key, the daemon's key and the command as it is") {
  Daemon daemon;
  REQUIRE(daemon.run({"apply", "-f", "-"}, std::string(kWeb)).exit_code == 0);
  run_it(daemon, "web");
  const auto fake = daemon.dir.path() / "bin";
  std::filesystem::create_directory(fake);
  std::filesystem::create_symlink("/bin/echo", fake / "ssh");
  const auto ssh = [&](std::vector<std::string> arguments, const std::string& path) {
    return run_program(BANGERCTL, {std::move(arguments), "", {"BANGER_SOCKET=" + daemon.socket, "PATH=" + path}, ""});
  };
  const auto unreadable = ssh({"ssh", "web"}, fake.string());
  CHECK(unreadable.exit_code == 1);
  CHECK(unreadable.err.find("run bangerctl ssh as root") != std::string::npos);
  daemon.write("id", "key");
  const auto said = ssh({"ssh", "web", "--", "ls", "-la", "; rm -rf /"}, fake.string());
  CHECK(said.exit_code == 0);
  CHECK(said.out ==
        fmt::format("-o StrictHostKeyChecking=yes -o UserKnownHostsFile=\"{0}/known hosts\" -o GlobalKnownHostsFile=/dev/null -o "
                    "IdentitiesOnly=yes -o IdentityFile=\"{0}/id\" -p 22 -- root@10.63.0.2 ls -la ; rm -rf /\n",
                    daemon.dir.path().string()));
  const auto none = ssh({"ssh", "web"}, "/nonexistent");
  CHECK(none.exit_code == 1);
  CHECK(none.err == "bangerctl: there is no ssh on PATH; install the package openssh-client\n");
}

TEST_CASE("logs are printed line by line without anything that could move a cursor") {
  Daemon daemon;
  REQUIRE(daemon.run({"apply", "-f", "-"}, std::string(kWeb)).exit_code == 0);
  daemon.write("serial.log.1", "old\n");
  daemon.write("serial.log", "boot\r\nred \x1b[31mtext\ttab\nlast");
  CHECK(daemon.run({"logs", "web"}).out == "old\nboot\nred \\x1b[31mtext\ttab\nlast\n");
  CHECK(daemon.run({"logs", "web", "--tail", "1"}).out == "last\n");
  CHECK(daemon.run({"logs", "vm/web", "--previous"}).out == "old\n");
  CHECK(daemon.run({"logs", "virtualmachine/web", "--previous"}).out == "old\n");
  CHECK(daemon.run({"logs", "web", "-f"}, "", "tab\n").out.find("boot\n") != std::string::npos);
  const auto missing = daemon.run({"logs", "no"});
  CHECK(missing.exit_code == 1);
  CHECK(missing.err.find("virtualmachine \"no\" not found") != std::string::npos);
  std::filesystem::remove(daemon.dir.file("serial.log.1"));
  CHECK(daemon.run({"logs", "web", "--previous"}).err.find("has not been rotated yet") != std::string::npos);
}

TEST_CASE("wait --for=create also waits for a daemon that is only starting") {
  Daemon daemon;
  REQUIRE(daemon.run({"apply", "-f", "-"}, std::string(kWeb)).exit_code == 0);
  const auto hidden = daemon.socket + ".hidden";
  std::filesystem::rename(daemon.socket, hidden);
  CHECK(daemon.run({"wait", "--for=create", "vm/web", "--timeout=100ms"}).exit_code == 3);
  std::jthread starting([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));  // either order is right; this one is what the test is for
    std::filesystem::rename(hidden, daemon.socket);
  });
  CHECK(daemon.run({"wait", "--for=create", "vm/web"}).out == "virtualmachine/web is there\n");
}

TEST_CASE("get sources has a row a file, and confirm lets waiting removals happen") {
  Daemon daemon;
  CHECK(daemon.run({"get", "sources"}).err ==
        "bangerctl: bangerd watches no manifest directory; start it with --manifests DIR\n");
  CHECK(daemon.run({"sources", "confirm"}).out == "no removals wait for a confirmation\n");
  const api::ManifestSource source{.spec = {.directory = "/etc/banger"},
                                   .status = {.files = {{.file = "web.yaml", .state = "Applied", .objects = 2, .message = ""},
                                                        {.file = "bad\x1b.yaml",
                                                         .state = "Invalid",
                                                         .objects = 0,
                                                         .message = "bad.yaml:3:1: spec.cpus: must be between 1 and 32, is 0"}},
                                              .waiting_removals = {"VirtualMachine default/web"},
                                              .prune_token = "t1"}};
  REQUIRE(daemon.store->create({.meta = {.name = "manifests", .uid = "0f0f0f0f-0000-4000-8000-000000000002"}, .body = source}));
  CHECK(golden_difference("get_sources.txt", daemon.show({"get", "sources"})) == "");
  CHECK(daemon.run({"sources", "confirm", "manifests"}).out ==
        "manifestsource/manifests: the removal of VirtualMachine default/web is confirmed\n");
  const auto confirmed = daemon.store->get({api::Kind::ManifestSource, "", "manifests"});
  CHECK(std::get<api::ManifestSource>(confirmed->body).spec.confirmed_prune_token == "t1");
  CHECK(daemon.run({"sources", "confirm", "no"}).exit_code == 1);
}

TEST_CASE("get sources says why nothing of a directory is applied") {
  Daemon daemon;
  const api::Condition ready{.type = "Ready",
                             .status = api::ConditionStatus::False,
                             .reason = "DirectoryUnavailable",
                             .message = "opening /etc/banger: No such file or directory (ENOENT); its objects stay as they are"};
  const api::ManifestSource source{.spec = {.directory = "/etc/banger"}, .status = {.conditions = {ready}}};
  REQUIRE(daemon.store->create({.meta = {.name = "manifests", .uid = "0f0f0f0f-0000-4000-8000-000000000002"}, .body = source}));
  CHECK(daemon.run({"get", "sources"}).err == "bangerctl: manifestsource/manifests: " + ready.message + "\n");
}

TEST_CASE("version names both programs") {
  Daemon daemon;
  CHECK(daemon.run({"version"}).out == fmt::format("bangerctl 0.1.0\nbangerd 0.1.0 on {}\n", daemon.socket));
}

TEST_CASE("somebody who may not use the socket is told whose it is") {
  if (::geteuid() != 0) {
    MESSAGE("skipped: needs root to become another user");
    return;
  }
  Daemon daemon;
  REQUIRE(::chmod(daemon.dir.path().c_str(), 0755) == 0);
  const auto program = daemon.dir.file("bangerctl");  // a clone may be where only root can go
  std::filesystem::copy_file(BANGERCTL, program);
  int status = 0;
  const auto child = ::fork();
  if (child == 0) {
    if (::setgid(65534) != 0 || ::setuid(65534) != 0) ::_exit(100);
    const auto said = run_program(program, {{"get", "vm"}, "", {"BANGER_SOCKET=" + daemon.socket}, ""});
    ::_exit(said.exit_code == 3 && said.err.find("you (user 65534) may not use ") != std::string::npos &&
                    said.err.ends_with("; run bangerctl with sudo\n")
                ? 0
                : 1);
  }
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(WEXITSTATUS(status) == 0);
}

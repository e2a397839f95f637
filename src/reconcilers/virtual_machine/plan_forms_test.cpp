// SPDX-License-Identifier: Apache-2.0
#include "reconcilers/virtual_machine/plan_forms_test.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

#include "actuators/boot_config.hpp"
#include "api/codec.hpp"
#include "api/decode.hpp"
#include "api/rows.hpp"

namespace banger::reconcilers::virtual_machine {
namespace {

constexpr std::string_view kUid = "8d3f2a10-5c4e-4b7a-9f21-0a1b2c3d4e5f";

enum class Answer { no, yes };
enum class Cgroup { absent, empty, populated };
enum class Initrd { absent, stale, current };

bool is(Answer answer) { return answer == Answer::yes; }

// The fields of observed.yaml.
struct ObjectForm {
  std::uint64_t generation = 1;
  Answer finalizer = Answer::yes;
  Answer deleted = Answer::no;
};
struct ReferenceForm {  // an Image, a Kernel
  Answer found = Answer::no;
  Answer ready = Answer::no;
  std::string message, path, digest, initrd;
  Bytes size;
};
struct NetworkForm {
  std::string name;
  Answer found = Answer::yes;
  Answer ready = Answer::yes;
  std::string message, uid, cidr, gateway, bridge;
  std::int64_t mtu = 1500;
  std::vector<std::string> nameservers;
};
struct TapForm {
  std::int64_t interface = 0;
  std::int64_t index = 0;
  std::string master;
  Answer foreign = Answer::no;
};
struct ProcessForm {
  std::int64_t pid = 0;
  std::string exe;
  Answer shim = Answer::no;
  Answer in_cgroup = Answer::no;
  Answer verified = Answer::no;    // it is the VMM
  Answer stranger = Answer::no;    // does not name the VM's socket
  Answer unreadable = Answer::no;  // shows no command line
};
struct DiskForm {
  std::string name;
  Bytes size;
  std::string backend;  // dm-snapshot: the root disk is a root.cow of that size
};
struct NodeForm {  // the device-mapper node of the VM's name
  Answer foreign = Answer::no;
  Answer live = Answer::yes;
  Answer suspended = Answer::no;
  std::int64_t open = 0;
  Bytes size, used, room;
  Answer overflow = Answer::no;
  Answer invalid = Answer::no;
};
struct LoopForm {
  std::string device, file;  // file: in the VM's directory
  Answer foreign = Answer::no;
};
struct JobForm {
  std::string name;  // root-disk, disk-<name>, probe, sync; its request is what the VM would ask for
  actuators::JobState state = actuators::JobState::Running;
  std::string result;
  std::string error;
  Answer unreachable = Answer::no;  // the error's code is Unavailable
};
struct HostForm {
  std::string boot_id;
  Answer directory = Answer::no;
  Answer directory_link = Answer::no;
  Answer run_directory = Answer::no;
  std::optional<actuators::Sidecar> sidecar;  // what is left out of its launchedSpec is as desired
  std::string sidecar_error;
  Initrd initrd = Initrd::absent;
  std::vector<DiskForm> disks;
  std::optional<NodeForm> node;
  std::vector<LoopForm> loops;
  std::string root_unseen;  // why: no node or loop is seen then
  std::vector<TapForm> taps;
  Cgroup cgroup = Cgroup::absent;
  std::vector<ProcessForm> processes;
  Answer on_record = Answer::yes;  // which process runs, unless the sidecar says what is
  actuators::MonitorState monitor = actuators::MonitorState::NotAsked;
  actuators::SpaceLevel space = actuators::SpaceLevel::Plenty;
  std::optional<api::TerminationStatus> exit;
  std::vector<JobForm> jobs;
};
struct ObservedForm {
  WallTime now;
  ObjectForm object;
  api::VirtualMachineStatus status;
  ReferenceForm image, kernel;
  std::vector<NetworkForm> networks;
  std::vector<api::AddressLeaseSpec> leases;
  HostForm host;
};

}  // namespace
}  // namespace banger::reconcilers::virtual_machine

namespace banger::api::schema {

namespace vm = reconcilers::virtual_machine;

// Its rows stand beside its codec.
template <>
std::span<const Field> fields_of<actuators::Sidecar>();

#define FORM_SPELLINGS(TYPE, ...)                                                      \
  template <>                                                                          \
  std::span<const std::string_view> spellings_of<TYPE>() {                             \
    static constexpr auto kSpellings = std::to_array<std::string_view>({__VA_ARGS__}); \
    return kSpellings;                                                                 \
  }
FORM_SPELLINGS(vm::Answer, "no", "yes")
FORM_SPELLINGS(vm::Cgroup, "absent", "empty", "populated")
FORM_SPELLINGS(vm::Initrd, "absent", "stale", "current")
FORM_SPELLINGS(actuators::JobState, "Running", "Done", "Failed")
FORM_SPELLINGS(actuators::MonitorState, "NotAsked", "Unreachable", "Prelaunch", "Running", "Paused", "Shutdown", "InternalError",
               "IoError")
FORM_SPELLINGS(actuators::SpaceLevel, "Plenty", "Low", "Full")

#define FORM_ROW(TYPE, NAME, MEMBER) \
  Field { .name = NAME, .member = member<&TYPE::MEMBER>() }

template <>
std::span<const Field> fields_of<vm::ObjectForm>() {
  static const Field kRows[] = {FORM_ROW(vm::ObjectForm, "generation", generation),
                                FORM_ROW(vm::ObjectForm, "finalizer", finalizer), FORM_ROW(vm::ObjectForm, "deleted", deleted)};
  return kRows;
}
template <>
std::span<const Field> fields_of<vm::ReferenceForm>() {
  static const Field kRows[] = {FORM_ROW(vm::ReferenceForm, "found", found),     FORM_ROW(vm::ReferenceForm, "ready", ready),
                                FORM_ROW(vm::ReferenceForm, "message", message), FORM_ROW(vm::ReferenceForm, "path", path),
                                FORM_ROW(vm::ReferenceForm, "digest", digest),   FORM_ROW(vm::ReferenceForm, "initrd", initrd),
                                FORM_ROW(vm::ReferenceForm, "size", size)};
  return kRows;
}
template <>
std::span<const Field> fields_of<vm::NetworkForm>() {
  static const Field kRows[] = {
      FORM_ROW(vm::NetworkForm, "name", name),       FORM_ROW(vm::NetworkForm, "found", found),
      FORM_ROW(vm::NetworkForm, "ready", ready),     FORM_ROW(vm::NetworkForm, "message", message),
      FORM_ROW(vm::NetworkForm, "uid", uid),         FORM_ROW(vm::NetworkForm, "cidr", cidr),
      FORM_ROW(vm::NetworkForm, "gateway", gateway), FORM_ROW(vm::NetworkForm, "bridge", bridge),
      FORM_ROW(vm::NetworkForm, "mtu", mtu),         FORM_ROW(vm::NetworkForm, "nameservers", nameservers)};
  return kRows;
}
template <>
std::span<const Field> fields_of<vm::TapForm>() {
  static const Field kRows[] = {FORM_ROW(vm::TapForm, "interface", interface), FORM_ROW(vm::TapForm, "index", index),
                                FORM_ROW(vm::TapForm, "master", master), FORM_ROW(vm::TapForm, "foreign", foreign)};
  return kRows;
}
template <>
std::span<const Field> fields_of<vm::ProcessForm>() {
  static const Field kRows[] = {FORM_ROW(vm::ProcessForm, "pid", pid),
                                FORM_ROW(vm::ProcessForm, "exe", exe),
                                FORM_ROW(vm::ProcessForm, "shim", shim),
                                FORM_ROW(vm::ProcessForm, "inCgroup", in_cgroup),
                                FORM_ROW(vm::ProcessForm, "verified", verified),
                                FORM_ROW(vm::ProcessForm, "stranger", stranger),
                                FORM_ROW(vm::ProcessForm, "unreadable", unreadable)};
  return kRows;
}
template <>
std::span<const Field> fields_of<vm::DiskForm>() {
  static const Field kRows[] = {FORM_ROW(vm::DiskForm, "name", name), FORM_ROW(vm::DiskForm, "size", size),
                                FORM_ROW(vm::DiskForm, "backend", backend)};
  return kRows;
}
template <>
std::span<const Field> fields_of<vm::NodeForm>() {
  static const Field kRows[] = {FORM_ROW(vm::NodeForm, "foreign", foreign),     FORM_ROW(vm::NodeForm, "live", live),
                                FORM_ROW(vm::NodeForm, "suspended", suspended), FORM_ROW(vm::NodeForm, "open", open),
                                FORM_ROW(vm::NodeForm, "size", size),           FORM_ROW(vm::NodeForm, "used", used),
                                FORM_ROW(vm::NodeForm, "room", room),           FORM_ROW(vm::NodeForm, "overflow", overflow),
                                FORM_ROW(vm::NodeForm, "invalid", invalid)};
  return kRows;
}
template <>
std::span<const Field> fields_of<vm::LoopForm>() {
  static const Field kRows[] = {FORM_ROW(vm::LoopForm, "device", device), FORM_ROW(vm::LoopForm, "file", file),
                                FORM_ROW(vm::LoopForm, "foreign", foreign)};
  return kRows;
}
template <>
std::span<const Field> fields_of<vm::JobForm>() {
  static const Field kRows[] = {FORM_ROW(vm::JobForm, "name", name), FORM_ROW(vm::JobForm, "state", state),
                                FORM_ROW(vm::JobForm, "result", result), FORM_ROW(vm::JobForm, "error", error),
                                FORM_ROW(vm::JobForm, "unreachable", unreachable)};
  return kRows;
}
template <>
std::span<const Field> fields_of<vm::HostForm>() {
  static const Field kRows[] = {FORM_ROW(vm::HostForm, "bootId", boot_id),
                                FORM_ROW(vm::HostForm, "directory", directory),
                                FORM_ROW(vm::HostForm, "directoryLink", directory_link),
                                FORM_ROW(vm::HostForm, "runDirectory", run_directory),
                                FORM_ROW(vm::HostForm, "sidecar", sidecar),
                                FORM_ROW(vm::HostForm, "sidecarError", sidecar_error),
                                FORM_ROW(vm::HostForm, "initrd", initrd),
                                FORM_ROW(vm::HostForm, "disks", disks),
                                FORM_ROW(vm::HostForm, "node", node),
                                FORM_ROW(vm::HostForm, "loops", loops),
                                FORM_ROW(vm::HostForm, "rootUnseen", root_unseen),
                                FORM_ROW(vm::HostForm, "taps", taps),
                                FORM_ROW(vm::HostForm, "cgroup", cgroup),
                                FORM_ROW(vm::HostForm, "processes", processes),
                                FORM_ROW(vm::HostForm, "onRecord", on_record),
                                FORM_ROW(vm::HostForm, "monitor", monitor),
                                FORM_ROW(vm::HostForm, "space", space),
                                FORM_ROW(vm::HostForm, "exit", exit),
                                FORM_ROW(vm::HostForm, "jobs", jobs)};
  return kRows;
}
template <>
std::span<const Field> fields_of<vm::ObservedForm>() {
  static const Field kRows[] = {FORM_ROW(vm::ObservedForm, "now", now),       FORM_ROW(vm::ObservedForm, "object", object),
                                FORM_ROW(vm::ObservedForm, "status", status), FORM_ROW(vm::ObservedForm, "image", image),
                                FORM_ROW(vm::ObservedForm, "kernel", kernel), FORM_ROW(vm::ObservedForm, "networks", networks),
                                FORM_ROW(vm::ObservedForm, "leases", leases), FORM_ROW(vm::ObservedForm, "host", host)};
  return kRows;
}

}  // namespace banger::api::schema

namespace banger::reconcilers::virtual_machine {
namespace {

using api::schema::TreeNode;

[[noreturn]] void refuse(std::string_view file, const std::vector<api::Refusal>& refusals) {
  std::string all;
  for (const auto& refusal : refusals) all += api::to_string(refusal, file) + "\n";
  throw std::runtime_error(all);
}

// A row that is misspelt would silently say nothing.
void check_names(const TreeNode& node, const api::schema::Type& type, const std::string& path) {
  using api::schema::Shape;
  if (type.shape == Shape::List) {
    for (const auto& item : node.items) check_names(item, type.element(), path + "[]");
  }
  if (type.shape != Shape::Struct) return;
  for (const auto& entry : node.entries) {
    const auto rows = type.fields();
    const auto row = std::ranges::find(rows, entry.key, &api::schema::Field::name);
    if (row == rows.end())
      throw std::runtime_error(fmt::format("observed.yaml:{}: unknown field {}.{}", entry.line, path, entry.key));
    check_names(entry.value, row->member.type(), path + "." + entry.key);
  }
}

ObservedForm read_form(std::string_view text, const api::VirtualMachineSpec& desired) {
  std::vector<api::Refusal> refusals;
  const auto documents = api::schema::trees_of_yaml(text, refusals);
  if (!refusals.empty() || documents.size() != 1 || !documents[0].refusals.empty()) refuse("observed.yaml", refusals);
  const auto& root = documents[0].root;
  check_names(root, api::schema::type_of<ObservedForm>(), "");
  ObservedForm form;
  const auto* host = api::schema::find_entry(root, "host");
  if (host != nullptr && api::schema::find_entry(host->value, "sidecar") != nullptr) {
    form.host.sidecar.emplace();
    auto& launched = form.host.sidecar->launched_spec = desired;
    // A list that stands there replaces the desired one.
    const auto* sidecar = api::schema::find_entry(host->value, "sidecar");
    const auto* spec = api::schema::find_entry(sidecar->value, "launchedSpec");
    if (spec != nullptr && api::schema::find_entry(spec->value, "disks") != nullptr) launched.disks.clear();
    if (spec != nullptr && api::schema::find_entry(spec->value, "networkInterfaces") != nullptr)
      launched.network_interfaces.clear();
  }
  api::schema::Decoder(api::schema::Writer::Stored, refusals)
      .read_fields(root, api::schema::fields_of<ObservedForm>(), &form, "");
  if (!refusals.empty()) refuse("observed.yaml", refusals);
  return form;
}

Readiness readiness(const ReferenceForm& form) {
  return {.found = is(form.found), .ready = is(form.ready), .message = form.message};
}

actuators::JobSpec spec_of(const std::string& name, const PlanCase& given) {
  const std::string uid(kUid);
  const auto& spec = std::get<api::VirtualMachine>(given.vm.body).spec;
  if (name == "root-disk") {
    return actuators::MakeRootDisk{.vm_uid = uid,
                                   .base_path = given.observed.image.path,
                                   .size = spec.root_disk.size.value_or(Bytes{}),
                                   .cow_size = spec.root_disk.cow.size.value_or(Bytes{}),
                                   .backend = spec.root_disk.backend};
  }
  for (const auto& disk : spec.disks) {
    if (name == "disk-" + disk.name) return actuators::MakeDataDisk{.vm_uid = uid, .disk = disk.name, .size = disk.size};
  }
  const auto& sidecar = given.observed.host.sidecar;
  const std::string address = sidecar ? sidecar->nics.at(0).address : "10.63.0.77/24";
  const auto ssh = sidecar ? sidecar->launched_spec.ssh.value() : spec.ssh.value();
  actuators::SshTarget target{.address = address.substr(0, address.find('/')), .port = ssh.port, .user = ssh.user, .vm_uid = uid};
  if (name == "probe") return actuators::ProbeSsh{.target = std::move(target)};
  if (name == "sync") return actuators::SyncGuest{.target = std::move(target), .nonce = "5eed"};
  throw std::runtime_error("observed.yaml: there is no job " + name);
}

void fill_processes(actuators::VmmView& view, const HostForm& form) {
  view.cgroup_exists = form.cgroup != Cgroup::absent;
  view.cgroup_populated = form.cgroup == Cgroup::populated;
  for (const auto& process : form.processes) {
    const actuators::ProcessView seen{.pid = process.pid,
                                      .start_time_ticks = 100,
                                      .exe = process.exe,
                                      .is_shim = is(process.shim),
                                      .names_socket = !is(process.stranger) && !is(process.unreadable),
                                      .in_cgroup = is(process.in_cgroup),
                                      .unreadable = is(process.unreadable)};
    view.processes.push_back(seen);
    if (is(process.verified)) view.vmm = seen;
  }
  view.monitor = form.monitor;
  if (!form.exit) return;
  view.exit = actuators::ExitView{.reason = form.exit->reason,
                                  .exit_code = form.exit->exit_code,
                                  .signal = form.exit->signal,
                                  .finished = form.exit->finished,
                                  .message = form.exit->message};
}

void fill_devices(PlanCase& given, const HostForm& form) {
  auto& host = given.observed.host;
  const std::string uid(kUid);
  for (const auto& loop : form.loops) {
    const auto path = actuators::vm_dir(given.observed.layout, uid) / loop.file;
    const bool cow = loop.file == "root.cow";
    host.loops.push_back({.device = loop.device,
                          .backing = path.string(),
                          .read_only = !cow,
                          .autoclear = !is(loop.foreign),
                          .label = cow && !is(loop.foreign) ? actuators::cow_loop_label(uid) : ""});
  }
  if (!form.node) return;
  const auto& node = *form.node;
  auto& view = host.snapshot.emplace();
  view = {.name = actuators::dm_name(uid),
          .uuid = is(node.foreign) ? "LVM-1" : actuators::dm_uuid(uid),
          .ours = !is(node.foreign),
          .live = is(node.live),
          .suspended = is(node.suspended),
          .open_count = node.open,
          .size = node.size,
          .cow_used = node.used,
          .cow_size = node.room,
          .overflow = is(node.overflow),
          .invalid = is(node.invalid)};
}

void fill_host(PlanCase& given, const HostForm& form) {
  auto& host = given.observed.host;
  const std::string uid(kUid);
  host.uid = uid;
  host.boot_id = form.boot_id;
  host.directory_exists = is(form.directory);
  host.directory_is_link = is(form.directory_link);
  host.root_unseen = form.root_unseen;
  host.run_directory_exists = is(form.run_directory);
  host.sidecar = form.sidecar_error.empty() ? form.sidecar : std::nullopt;
  if (host.sidecar) {
    host.sidecar->uid = uid;
    host.sidecar->ns = given.vm.meta.ns;
    host.sidecar->name = given.vm.meta.name;
    // It knows the object as it is, unless the case says what it knows.
    if (host.sidecar->meta.name.empty()) {
      host.sidecar->meta = given.vm.meta;
      host.sidecar->spec = std::get<api::VirtualMachine>(given.vm.body).spec;
    }
  }
  host.sidecar_error = form.sidecar_error;
  host.space = form.space;
  for (const auto& disk : form.disks) {
    auto path = actuators::data_disk_path(given.observed.layout, uid, disk.name);
    if (disk.name == "root") path = actuators::root_disk_path(given.observed.layout, uid);
    if (disk.backend == "dm-snapshot") path = actuators::root_cow_path(given.observed.layout, uid);
    host.disks.push_back({.name = disk.name, .path = path.string(), .size = disk.size, .allocated = {}, .backend = disk.backend});
  }
  fill_devices(given, form);
  for (const auto& tap : form.taps) {
    host.links.push_back({.name = actuators::tap_name(uid, static_cast<std::size_t>(tap.interface)),
                          .index = tap.index,
                          .kind = "tun",
                          .alias = is(tap.foreign) ? "not ours" : actuators::label_text({.uid = uid}),
                          .owner = is(tap.foreign) ? "" : uid,
                          .master = tap.master,
                          .up = true,
                          .mtu = 1500,
                          .addresses = {}});
  }
  fill_processes(host.vmm, form);
  if (host.sidecar && !host.sidecar->process && host.vmm.vmm && is(form.on_record))
    host.sidecar->process = actuators::ProcessRecord{.pid = host.vmm.vmm->pid,
                                                     .start_time_ticks = host.vmm.vmm->start_time_ticks,
                                                     .exe = host.vmm.vmm->exe,
                                                     .socket = host.vmm.socket};
  for (const auto& job : form.jobs) {
    actuators::JobView view{.key = {.owner_uid = uid, .name = job.name},
                            .spec = spec_of(job.name, given),
                            .state = job.state,
                            .result = job.result,
                            .error = {},
                            .duration = std::chrono::milliseconds(40)};
    if (!job.error.empty()) {
      view.error =
          Error{.code = is(job.unreachable) ? ErrorCode::Unavailable : ErrorCode::Denied, .message = job.error, .sys_errno = 0};
    }
    host.jobs.push_back(std::move(view));
  }
}

// The hash of an initrd that is as it should be is known to the plan alone: what it would write if there were none.
void fill_initrd(PlanCase& given, Initrd initrd) {
  auto& hash = given.observed.host.initrd_config_hash;
  if (initrd == Initrd::stale) hash = "stale";
  if (initrd != Initrd::current) return;
  const auto plan = plan_for(given.vm, given.observed);
  for (const auto& each : plan.steps) {
    if (const auto* write = std::get_if<actuators::WriteVmInitrd>(&each.step))
      hash = actuators::boot_config_hash(write->config, write->base_initrd);
  }
}

}  // namespace

PlanCase read_case(std::string_view desired, std::string_view observed) {
  PlanCase given;
  const auto manifest = api::decode_manifest(desired);
  if (!manifest.refusals.empty()) refuse("desired.yaml", manifest.refusals);
  const auto vm = std::ranges::find_if(
      manifest.value, [](const auto& document) { return api::kind_of(document.object) == api::Kind::VirtualMachine; });
  if (vm == manifest.value.end()) throw std::runtime_error("desired.yaml: there is no VirtualMachine");
  given.vm = vm->object;
  auto& body = std::get<api::VirtualMachine>(given.vm.body);
  const auto form = read_form(observed, body.spec);

  given.vm.meta.uid = kUid;
  given.vm.meta.generation = form.object.generation;
  if (is(form.object.finalizer)) given.vm.meta.finalizers = {std::string(kTeardownFinalizer)};
  if (is(form.object.deleted)) given.vm.meta.deletion_time = form.now;
  body.status = form.status;

  auto& seen = given.observed;
  seen.now = form.now;
  seen.layout = {.state_dir = "/var/lib/banger", .run_dir = "/run/banger"};
  seen.fresh_nonce = "c0ffee";
  seen.image = {.state = readiness(form.image), .path = form.image.path, .digest = form.image.digest, .size = form.image.size};
  seen.kernel = {.state = readiness(form.kernel), .path = form.kernel.path, .initrd = form.kernel.initrd, .args = {}};
  for (const auto& document : manifest.value) {
    if (const auto* kernel = std::get_if<api::Kernel>(&document.object.body)) seen.kernel.args = kernel->spec.args;
  }
  for (const auto& nic : body.spec.network_interfaces) seen.networks.try_emplace(nic.network);
  for (const auto& network : form.networks) {
    seen.networks[network.name] = {.state = {.found = is(network.found), .ready = is(network.ready), .message = network.message},
                                   .uid = network.uid,
                                   .cidr = network.cidr,
                                   .gateway = network.gateway,
                                   .bridge = network.bridge,
                                   .mtu = network.mtu,
                                   .nameservers = network.nameservers};
  }
  seen.leases = form.leases;
  fill_host(given, form.host);
  fill_initrd(given, form.host.initrd);
  return given;
}

}  // namespace banger::reconcilers::virtual_machine

// SPDX-License-Identifier: Apache-2.0
#include "actuators/inventory.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <tuple>
#include <utility>

#include "actuators/record.hpp"
#include "base/files.hpp"
#include "base/random.hpp"

namespace banger::actuators {
namespace {

namespace fs = std::filesystem;

// <state>/<room>/<uid>/<file>
struct OurFile {
  std::string room;
  std::string uid;
  std::string file;
};

std::optional<OurFile> our_file(const Layout& layout, const std::string& path) {
  const auto root = layout.state_dir.native() + "/";
  if (!path.starts_with(root)) return std::nullopt;
  std::vector<std::string> parts;
  for (const auto& part : fs::path(path.substr(root.size()))) parts.push_back(part.native());
  if (parts.size() != 3 || !is_uid(parts[1]) || (parts[0] != "vms" && parts[0] != "images")) return std::nullopt;
  return OurFile{parts[0], parts[1], parts[2]};
}

std::string base_name(const std::string& exe) {
  constexpr std::string_view kDeleted = " (deleted)";
  const auto path = exe.ends_with(kDeleted) ? exe.substr(0, exe.size() - kDeleted.size()) : exe;
  return fs::path(path).filename().native();
}

// A label of old that tells no daemon may be any daemon's, and alone it proves nothing.
Belonging belonging_of(const std::string& owner, const std::optional<Label>& label) {
  if (!owner.empty()) return label && !label->instance.empty() ? Belonging::Ours : Belonging::Unproven;
  return label ? Belonging::OtherDaemon : Belonging::Foreign;
}

bool proves(const std::string& owner, const std::string& text) {
  return !owner.empty() && belonging_of(owner, parse_label(text)) == Belonging::Ours;
}

std::string plural(std::size_t count, std::string_view what) {
  return fmt::format("{} {}{}", count, what, count == 1 ? "" : what.ends_with("s") ? "es" : "s");
}

class Builder {
 public:
  explicit Builder(const InventoryFacts& facts) : facts_(facts) {
    look_up();
    learn();
  }

  std::vector<HostObject> build() {
    for (const auto& [uid, vmm] : facts_.vmms) add_vmm(uid, vmm);
    for (const auto& node : facts_.nodes) add(node);
    for (const auto& loop : facts_.loops) add(loop);
    for (const auto& link : facts_.links) add(link);
    for (const auto& nat : facts_.nats) add(nat);
    for (const auto& directory : facts_.directories) add(directory);
    std::ranges::sort(out_, {}, [](const HostObject& o) { return std::tie(o.type, o.name); });
    return std::move(out_);
  }

 private:
  // What is asked of the facts once for each thing, so that the whole grows with their number and not with its square.
  void look_up() {
    for (const auto& link : facts_.links) {
      ++ports_[link.master];
      if (link.kind == "bridge" && !link.owner.empty()) bridges_.emplace(link.owner, link.name);
    }
    for (const auto& [uid, record] : facts_.records) {
      for (const auto& nic : record.nics) record_of_tap_.emplace(nic.tap, &record);
      recorded_files_.insert(record.loop_files.begin(), record.loop_files.end());
    }
    for (const auto& node : facts_.nodes) {
      node_of_loop_.emplace(node.origin, node.name);
      node_of_loop_.emplace(node.cow, node.name);
    }
    for (const auto& loop : facts_.loops) {
      const auto file = our_file(facts_.layout, loop.backing);
      if (file && file->room == "vms" && !is_as_ours(loop, *file)) foreign_loops_.emplace(file->uid, loop.device);
      if (file) file_of_loop_.emplace(loop.device, *file);
    }
  }

  static bool is_as_ours(const LoopView& loop, const OurFile& file) {
    return file.file == "root.cow" ? loop.label == cow_loop_label(file.uid) : loop.read_only && loop.autoclear;
  }

  // Which uids are proven to be this daemon's, by things that tell it themselves.
  void learn() {
    for (const auto& link : facts_.links) {
      if (proves(link.owner, link.alias)) proven_.insert(link.owner);
    }
    for (const auto& nat : facts_.nats) {
      if (proves(nat.owner, nat.comment)) proven_.insert(nat.owner);
    }
    for (const auto& directory : facts_.directories) {
      if (!directory.uid.empty()) proven_.insert(directory.uid);
    }
    for (const auto& [uid, vmm] : facts_.vmms) {
      if (std::ranges::any_of(vmm.processes, &ProcessView::names_socket)) proven_.insert(uid);
    }
    for (const auto& [device, file] : file_of_loop_) proven_.insert(file.uid);
    for (const auto& uid : proven_) by_short_id_.emplace(short_id(uid), uid);
    for (const auto& [uid, vmm] : facts_.vmms) by_short_id_.emplace(short_id(uid), uid);
    // A run directory lies below ours: a uid that has one and nothing else is ours too.
    for (const auto& directory : facts_.directories) {
      if (directory.type == HostObjectType::RunDirectory) proven_.insert(uid_of_run_directory(directory));
    }
  }

  std::string uid_of_run_directory(const DirectoryFacts& directory) const {
    const auto id = directory.path.filename().native();
    const auto known = by_short_id_.find(id);
    return known != by_short_id_.end() ? known->second : uid_of_short_id(id).value_or("");
  }

  const Sidecar* record_of(const std::string& uid) const {
    const auto found = facts_.records.find(uid);
    return found == facts_.records.end() ? nullptr : &found->second;
  }

  HostObject& put(HostObjectType type, std::string name, std::string uid) {
    out_.push_back({.type = type, .name = std::move(name), .uid = std::move(uid), .of = {}, .label = "", .in_use = ""});
    auto& object = out_.back();
    if (const auto* record = record_of(object.uid))
      object.of = api::ObjectKey{api::Kind::VirtualMachine, record->ns, record->name};
    return object;
  }

  void add_vmm(const std::string& uid, const VmmView& vmm) {
    const auto* record = record_of(uid);
    const bool proven = proven_.contains(uid);
    const bool foreign = proven && is_foreign_group(vmm);
    for (const auto& process : vmm.processes) {
      auto& object = put(HostObjectType::Process, fmt::format("{} {}", process.pid, base_name(process.exe)), uid);
      object.label = process.names_socket ? "command line" : process.in_cgroup ? "cgroup" : "";
      object.belonging = proven ? Belonging::Ours : Belonging::Unproven;
      if (foreign && process.in_cgroup) object.belonging = Belonging::Foreign;
      object.recorded = record != nullptr && record->process && record->process->pid == process.pid &&
                        record->process->start_time_ticks == process.start_time_ticks;
    }
    if (!vmm.cgroup_exists) return;
    auto& group = put(HostObjectType::Cgroup, cgroup_name(uid), uid);
    group.label = "name";
    group.belonging = foreign ? Belonging::Foreign : proven ? Belonging::Ours : Belonging::Unproven;
    group.recorded = record != nullptr;
    const auto inside = static_cast<std::size_t>(std::ranges::count_if(vmm.processes, &ProcessView::in_cgroup));
    if (vmm.cgroup_populated) group.in_use = plural(std::max<std::size_t>(inside, 1), "process");
  }

  void add(const SnapshotView& node) {
    const auto uid = uid_of_dm_uuid(node.uuid);
    auto& object = put(HostObjectType::DmNode, node.name, uid.value_or(""));
    if (!uid) {  // a name alone says nothing, and a node of ours that somebody renamed is ours
      object.belonging = Belonging::Foreign;
    } else {
      const auto file = our_file(facts_.layout, node.cow_file);
      const bool ours = file ? file->uid == *uid : node.cow_file.empty() && proven_.contains(*uid);
      object.belonging = ours ? Belonging::Ours : node.cow_file.empty() ? Belonging::Unproven : Belonging::OtherDaemon;
      object.label = "uuid";
    }
    const auto* record = record_of(object.uid);
    object.recorded = record != nullptr && record->dm_name == node.name;
    object.suspended = node.suspended;
    if (node.open_count > 0) object.in_use = plural(static_cast<std::size_t>(node.open_count), "opener");
  }

  void add(const LoopView& loop) {
    const auto found = file_of_loop_.find(loop.device);
    const auto* file = found == file_of_loop_.end() ? nullptr : &found->second;
    const auto labelled = uid_of_cow_label(loop.label);
    if (file == nullptr && !labelled) return;
    const auto base = facts_.owner_of_loop.find(loop.device);
    const bool shared = file != nullptr && file->file != "root.cow" && base != facts_.owner_of_loop.end();
    const auto uid = file == nullptr ? *labelled : shared ? base->second : file->uid;
    auto& object = put(HostObjectType::Loop, loop.device, uid);
    const bool as_ours = file != nullptr && is_as_ours(loop, *file);
    object.belonging = as_ours ? Belonging::Ours : file != nullptr ? Belonging::Foreign : Belonging::OtherDaemon;
    if (as_ours) object.label = "backing file";
    object.recorded = recorded_files_.contains(loop.backing);
    if (const auto node = node_of_loop_.find(loop.device); node != node_of_loop_.end()) object.in_use = node->second;
  }

  void add(const LinkView& link) {
    const auto label = parse_label(link.alias);
    if (!label && !is_our_link_name(link.name)) return;
    const auto type = link.kind == "tun"      ? HostObjectType::Tap
                      : link.kind == "bridge" ? HostObjectType::Bridge
                                              : HostObjectType::Link;
    auto& object = put(type, link.name, label ? label->uid : std::string());
    object.belonging = belonging_of(link.owner, label);
    if (object.belonging == Belonging::Unproven && proven_.contains(object.uid)) object.belonging = Belonging::Ours;
    if (label) object.label = "alias";
    if (label && label->of) object.of = label->of;
    if (const auto record = record_of_tap_.find(link.name); record != record_of_tap_.end()) {
      object.recorded = true;
      if (object.uid.empty()) object.of = api::ObjectKey{api::Kind::VirtualMachine, record->second->ns, record->second->name};
    }
    if (type == HostObjectType::Bridge) object.in_use = ports_of(link.name);
  }

  std::string ports_of(const std::string& bridge) const {
    const auto ports = ports_.find(bridge);
    return ports == ports_.end() ? std::string() : plural(ports->second, "port");
  }

  void add(const NatView& nat) {
    const auto label = parse_label(nat.comment);
    auto& object = put(HostObjectType::NatTable, nat.table, label ? label->uid : std::string());
    object.belonging = belonging_of(nat.owner, label);
    if (object.belonging == Belonging::Unproven && proven_.contains(object.uid)) object.belonging = Belonging::Ours;
    if (label) object.label = "comment";
    if (label && label->of) object.of = label->of;
    const auto [first, last] = bridges_.equal_range(nat.owner);
    for (auto bridge = first; bridge != last; ++bridge) {
      if (const auto ports = ports_of(bridge->second); !ports.empty())
        object.in_use = fmt::format("{} of {}", ports, bridge->second);
    }
  }

  void add(const DirectoryFacts& directory) {
    const bool run = directory.type == HostObjectType::RunDirectory;
    auto& object = put(directory.type, directory.path.native(), run ? uid_of_run_directory(directory) : directory.uid);
    object.label = "path";
    object.recorded = directory.recorded;
    object.holds_data = directory.holds_data;
    if (directory.of) object.of = directory.of;
    if (directory.type != HostObjectType::VmDirectory) return;
    if (const auto loop = foreign_loops_.find(directory.uid); loop != foreign_loops_.end())
      object.in_use = fmt::format("{}, which bangerd did not make", loop->second);
  }

  const InventoryFacts& facts_;
  std::map<std::string, std::size_t> ports_;         // by bridge
  std::multimap<std::string, std::string> bridges_;  // by owner's uid
  std::map<std::string, const Sidecar*> record_of_tap_;
  std::set<std::string> recorded_files_;
  std::map<std::string, std::string> node_of_loop_;   // by device
  std::map<std::string, OurFile> file_of_loop_;       // by device; only files of ours
  std::map<std::string, std::string> foreign_loops_;  // by the uid whose file it stands over
  std::set<std::string> proven_;
  std::map<std::string, std::string> by_short_id_;
  std::vector<HostObject> out_;
};

bool holds_disks(const fs::path& directory) {
  std::error_code error;
  for (fs::directory_iterator it(directory, error), end; !error && it != end; it.increment(error)) {
    const auto name = it->path().filename().native();
    if (name == "root.img" || name == "root.cow" || (name.starts_with("disk-") && name.ends_with(".img")) ||
        (name.starts_with("base-") && name.ends_with(".ext4"))) {
      return true;
    }
  }
  return false;
}

bool is_real_directory(const fs::directory_entry& entry) {
  std::error_code error;
  return entry.symlink_status(error).type() == fs::file_type::directory;
}

void add_room(InventoryFacts& facts, const fs::path& room, HostObjectType type) {
  std::error_code error;
  for (fs::directory_iterator it(room, error), end; !error && it != end; it.increment(error)) {
    const auto name = it->path().filename().native();
    const bool run = type == HostObjectType::RunDirectory;
    if ((run ? !uid_of_short_id(name).has_value() : !is_uid(name)) || !is_real_directory(*it)) continue;
    DirectoryFacts found{.type = type, .path = it->path(), .uid = run ? std::string() : name, .of = {}};
    found.holds_data = holds_disks(it->path());
    if (type == HostObjectType::VmDirectory) {
      const auto text = read_own_file(it->path() / "vm.json", mib(4));
      auto record = text ? decode_sidecar(*text) : Result<Sidecar>(fail(text.error()));
      if (record && record->uid == name) {
        found.recorded = true;
        facts.records.insert_or_assign(name, *std::move(record));
      }
    }
    if (type == HostObjectType::NetworkDirectory || type == HostObjectType::KernelDirectory ||
        type == HostObjectType::ImageDirectory) {
      const auto text = read_own_file(it->path() / kRecordFile, mib(4));
      const auto record = text ? decode_record(*text) : Result<api::Object>(fail(text.error()));
      found.recorded = record && record->meta.uid == name;
      if (found.recorded) found.of = api::key_of(*record);
    }
    facts.directories.push_back(std::move(found));
  }
}

}  // namespace

std::string_view name_of(HostObjectType type) {
  switch (type) {
    case HostObjectType::Process:
      return "process";
    case HostObjectType::DmNode:
      return "dm node";
    case HostObjectType::Loop:
      return "loop";
    case HostObjectType::Tap:
      return "tap";
    case HostObjectType::Link:
      return "link";
    case HostObjectType::NatTable:
      return "nft table";
    case HostObjectType::Bridge:
      return "bridge";
    case HostObjectType::Cgroup:
      return "cgroup";
    case HostObjectType::RunDirectory:
      return "run directory";
    case HostObjectType::VmDirectory:
      return "VM directory";
    case HostObjectType::NetworkDirectory:
      return "network directory";
    case HostObjectType::KernelDirectory:
      return "kernel directory";
    case HostObjectType::ImageDirectory:
      return "image directory";
  }
  return "";
}

std::vector<HostObject> inventory_of(const InventoryFacts& facts) { return Builder(facts).build(); }

void add_directories(InventoryFacts& facts) {
  add_room(facts, facts.layout.state_dir / "vms", HostObjectType::VmDirectory);
  add_room(facts, facts.layout.state_dir / "networks", HostObjectType::NetworkDirectory);
  add_room(facts, facts.layout.state_dir / "kernels", HostObjectType::KernelDirectory);
  add_room(facts, facts.layout.state_dir / "images", HostObjectType::ImageDirectory);
  add_room(facts, facts.layout.run_dir / "vm", HostObjectType::RunDirectory);
}

}  // namespace banger::actuators

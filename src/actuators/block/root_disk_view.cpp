// SPDX-License-Identifier: Apache-2.0
#include "actuators/block/root_disk_view.hpp"

#include <fmt/format.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "actuators/block/device_mapper.hpp"
#include "actuators/block/loop.hpp"
#include "actuators/block/root_disk.hpp"
#include "actuators/block/snapshot.hpp"
#include "base/random.hpp"

namespace banger::actuators::block {
namespace {

// One file may be several VMs': their common base. Path by file and VM.
using FilesById = std::map<std::pair<FileId, std::string>, std::string>;

void add_files(FilesById& files, const Layout& layout, const std::string& uid) {
  for (const auto& path : {root_base_path(layout, uid), root_cow_path(layout, uid)}) {
    if (const auto id = file_id(path)) files.emplace(std::pair(*id, uid), path.native());
  }
}

std::optional<std::string> uid_of_label(const std::string& label) {
  const auto colon = label.rfind(':');
  if (colon == std::string::npos) return std::nullopt;
  auto uid = label.substr(colon + 1);
  if (!is_uid(uid) || cow_loop_label(uid) != label) return std::nullopt;
  return uid;
}

// Of a path <state>/vms/<uid>/<file>.
std::optional<std::string> uid_of_path(const Layout& layout, const std::string& path) {
  const auto directory = (layout.state_dir / "vms").native() + "/";
  if (!path.starts_with(directory)) return std::nullopt;
  auto uid = path.substr(directory.size(), path.find('/', directory.size()) - directory.size());
  return is_uid(uid) ? std::optional(std::move(uid)) : std::nullopt;
}

// Whose loop this is: by its file, else by its label, else by the path of its file.
std::vector<std::pair<std::string, LoopView>> owners_of(const LoopStatus& loop, const FilesById& files, const Layout& layout) {
  std::vector<std::pair<std::string, LoopView>> out;
  for (auto it = files.lower_bound({loop.file, ""}); it != files.end() && it->first.first == loop.file; ++it) {
    out.emplace_back(it->first.second, view_of(loop, it->second));
  }
  if (!out.empty()) return out;
  auto view = view_of(loop);
  auto owner = uid_of_label(loop.label);
  if (!owner) owner = uid_of_path(layout, view.backing);
  if (owner) out.emplace_back(*std::move(owner), std::move(view));
  return out;
}

struct Below {  // what a table stands on
  std::string device;
  std::string file;  // empty: no loop, or one of nothing
};

SnapshotView shell_of(const dm::Node& node, const std::string& uid) {
  SnapshotView view{.name = node.name,
                    .uuid = node.uuid,
                    .ours = node.uuid == dm_uuid(uid),
                    .suspended = node.suspended,
                    .open_count = node.open_count};
  for (const auto& target : node.status) view.size.value += target.length * kSectorSize;
  return view;
}

void add_fill(SnapshotView& view, const dm::Node& node) {
  using State = SnapshotStatus::State;
  const auto status = parse_snapshot_status(node.status.front().params);
  if (!status) return;
  view.overflow = status->state == State::Overflow;
  view.invalid = status->state == State::Invalid || status->state == State::MergeFailed;
  if (status->state == State::Valid) {
    view.cow_used = {status->used * kSectorSize};
    view.cow_size = {status->total * kSectorSize};
  }
}

class Observer {
 public:
  Observer(const Layout& layout, FilesById files) : layout_(layout), files_(std::move(files)) {}

  // With the loops that it stands over.
  Result<RootDiskView> node(const dm::Node& node, const std::string& uid) {
    RootDiskView out{.snapshot = shell_of(node, uid), .loops = {}};
    auto& view = *out.snapshot;
    const bool one_snapshot = node.status.size() == 1 && node.status.front().type == "snapshot";
    if (!node.live_table || !one_snapshot) return out;
    BGR_TRY(const auto targets, dm::table(node.name));
    const auto table = targets.size() == 1 ? parse_snapshot_table(targets.front().params) : std::nullopt;
    if (!table) return out;
    view.live = table->store == "PO" && table->chunk == kChunkSectors;
    add_fill(view, node);
    BGR_TRY(const auto origin, below(table->origin, uid, out.loops));
    BGR_TRY(const auto cow, below(table->cow, uid, out.loops));
    std::tie(view.origin, view.origin_file) = std::pair(origin.device, origin.file);
    std::tie(view.cow, view.cow_file) = std::pair(cow.device, cow.file);
    // The kernel tells no numbers of a snapshot that is full or given up.
    if (view.overflow || view.invalid) {
      const auto loop = std::ranges::find(out.loops, view.cow, &LoopView::device);
      if (loop != out.loops.end()) view.cow_size = view.cow_used = loop->size;
    }
    return out;
  }

  Result<std::map<std::string, std::vector<LoopView>>> all_loops() {
    std::map<std::string, std::vector<LoopView>> out;
    if (!loops_) {
      BGR_TRY(loops_, list_loops());
    }
    for (const auto& loop : *loops_) {
      for (auto& [uid, view] : owners_of(loop, files_, layout_)) out[uid].push_back(std::move(view));
    }
    return out;
  }

  void know_all_loops(std::vector<LoopStatus> loops) {
    for (const auto& loop : loops) by_number_.emplace(loop.number, loop);
    loops_ = std::move(loops);
  }

 private:
  Result<std::optional<LoopStatus>> status_of(const SnapshotTable::Device& device) {
    if (const auto known = by_number_.find(::makedev(device.major, device.minor)); known != by_number_.end())
      return known->second;
    const auto index = loop_of(device.major, device.minor);
    if (!index) return std::nullopt;
    BGR_TRY(const auto loop, LoopDevice::open(*index));
    if (!loop) return std::nullopt;
    return loop->status();
  }

  Result<Below> below(const SnapshotTable::Device& device, const std::string& uid, std::vector<LoopView>& loops) {
    BGR_TRY(const auto status, status_of(device));
    if (!status) return Below{.device = fmt::format("{}:{}", device.major, device.minor), .file = ""};
    const auto path = files_.find({status->file, uid});
    const auto view = path != files_.end() ? view_of(*status, path->second) : view_of(*status);
    if (path != files_.end() || uid_of_label(view.label) == uid || uid_of_path(layout_, view.backing) == uid)
      loops.push_back(view);
    return Below{.device = view.device, .file = view.backing};
  }

  const Layout& layout_;
  FilesById files_;
  std::optional<std::vector<LoopStatus>> loops_;
  std::map<dev_t, LoopStatus> by_number_;
};

bool has_cow(const Layout& layout, const std::string& uid) { return ::access(root_cow_path(layout, uid).c_str(), F_OK) == 0; }

bool is_whole(const RootDiskView& view) { return view.snapshot && view.snapshot->live && view.loops.size() == 2; }

}  // namespace

std::optional<std::string> uid_of_dm_name(const std::string& name) {
  constexpr std::size_t kUidLength = 36;
  const auto dash = name.find('-');
  if (dash == std::string::npos) return std::nullopt;
  auto uid = name.substr(dash + 1, kUidLength);
  if (!is_uid(uid) || dm_name(uid) != name) return std::nullopt;
  return uid;
}

Result<RootDiskView> observe_root_disk(const Layout& layout, const std::string& vm_uid) {
  FilesById files;
  add_files(files, layout, vm_uid);
  BGR_TRY(const auto node, find_root_node(vm_uid));
  if (!node && files.empty()) return RootDiskView{};
  Observer observer(layout, std::move(files));
  RootDiskView out;
  if (node) {
    BGR_TRY(out, observer.node(*node, vm_uid));
  }
  if (!is_whole(out)) {
    BGR_TRY(auto loops, observer.all_loops());
    out.loops = std::move(loops[vm_uid]);
  }
  std::ranges::sort(out.loops, {}, &LoopView::device);
  return out;
}

Result<std::map<std::string, RootDiskView>> observe_root_disks(const Layout& layout, const std::set<std::string>& vm_uids) {
  return observe_root_disks(layout, vm_uids, vm_uids);
}

Result<std::map<std::string, RootDiskView>> observe_root_disks(const Layout& layout, const std::set<std::string>& vm_uids,
                                                               const std::set<std::string>& with_files) {
  std::vector<std::string> nodes;
  if (dm::is_loaded()) {
    BGR_TRY(nodes, dm::list());
  }
  std::erase_if(nodes, [](const std::string& name) { return !uid_of_dm_name(name); });
  FilesById files;
  for (const auto& uid : with_files) add_files(files, layout, uid);
  std::map<std::string, RootDiskView> out;
  if (nodes.empty() && files.empty()) return out;
  Observer observer(layout, std::move(files));
  BGR_TRY(auto every_loop, list_loops());
  observer.know_all_loops(std::move(every_loop));
  for (const auto& name : nodes) {
    const auto uid = *uid_of_dm_name(name);
    BGR_TRY(const auto node, dm::find(name));
    if (!node) continue;  // went since
    BGR_TRY(auto view, observer.node(*node, uid));
    // Other daemons' VMs are none of ours: what proves one of ours is the file below it.
    if (vm_uids.contains(uid) || uid_of_path(layout, view.snapshot->cow_file) == uid)
      out[uid].snapshot = std::move(view.snapshot);
  }
  for (const auto& uid : with_files) {
    if (out.contains(uid) || !has_cow(layout, uid)) continue;
    BGR_TRY(const auto node, find_root_node(uid));  // under another name
    if (!node) continue;
    BGR_TRY(auto view, observer.node(*node, uid));
    out[uid].snapshot = std::move(view.snapshot);
  }
  BGR_TRY(auto loops, observer.all_loops());
  for (auto& [uid, views] : loops) {
    if (vm_uids.contains(uid) || out.contains(uid)) out[uid].loops = std::move(views);
  }
  for (auto& [uid, view] : out) std::ranges::sort(view.loops, {}, &LoopView::device);
  return out;
}

}  // namespace banger::actuators::block

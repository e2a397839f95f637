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

struct LoopsOfVm {  // of one VM
  std::vector<LoopView> views;
  std::string unseen;
};

RootDiskView unseen(std::string why) { return {.snapshot = std::nullopt, .loops = {}, .unseen = std::move(why)}; }

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

  // By uid; of one that cannot be asked only the path of its file tells whose it is.
  Result<std::map<std::string, LoopsOfVm>> all_loops() {
    std::map<std::string, LoopsOfVm> out;
    if (!loops_) {
      BGR_TRY(loops_, read_loops());
    }
    for (const auto& loop : loops_->loops) {
      for (auto& [uid, view] : owners_of(loop, files_, layout_)) out[uid].views.push_back(std::move(view));
    }
    for (const auto& [index, error] : loops_->unreadable) {
      if (const auto uid = uid_of_path(layout_, view_of({.index = index}).backing)) out[*uid].unseen = error.message;
    }
    return out;
  }

  void know_all_loops(LoopList list) {
    for (const auto& loop : list.loops) by_number_.emplace(loop.number, loop);
    loops_ = std::move(list);
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
  std::optional<LoopList> loops_;
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
  const auto node = find_root_node(vm_uid);
  if (!node) return unseen(node.error().message);
  if (!*node && files.empty()) return RootDiskView{};
  Observer observer(layout, std::move(files));
  RootDiskView out;
  if (*node) {
    auto seen = observer.node(**node, vm_uid);
    if (!seen) return unseen(seen.error().message);
    out = *std::move(seen);
  }
  if (!is_whole(out)) {
    BGR_TRY(auto all, observer.all_loops());
    auto& own = all[vm_uid];
    if (!own.unseen.empty()) return unseen(own.unseen);
    out.loops = std::move(own.views);
  }
  std::ranges::sort(out.loops, {}, &LoopView::device);
  return out;
}

Result<std::map<std::string, RootDiskView>> observe_root_disks(const Layout& layout, const std::set<std::string>& vm_uids,
                                                               const std::set<std::string>& with_files) {
  std::map<std::string, RootDiskView> out;
  const auto answers = dm::answers();
  if (!answers) {
    for (const auto& uid : with_files) out.emplace(uid, unseen(answers.error().message));
    return out;
  }
  std::vector<std::string> nodes;
  if (*answers) {
    BGR_TRY(nodes, dm::list());
  }
  std::erase_if(nodes, [](const std::string& name) { return !uid_of_dm_name(name); });
  FilesById files;
  for (const auto& uid : with_files) add_files(files, layout, uid);
  if (nodes.empty() && files.empty()) return out;
  Observer observer(layout, std::move(files));
  BGR_TRY(auto every_loop, read_loops());
  observer.know_all_loops(std::move(every_loop));
  for (const auto& name : nodes) {
    const auto uid = *uid_of_dm_name(name);
    BGR_TRY(const auto node, dm::find(name));
    if (!node) continue;  // went since
    auto view = observer.node(*node, uid);
    if (!view && vm_uids.contains(uid)) out[uid] = unseen(view.error().message);
    if (!view) continue;
    // Other daemons' VMs are none of ours: what proves one of ours is the file below it.
    if (vm_uids.contains(uid) || uid_of_path(layout, view->snapshot->cow_file) == uid)
      out[uid].snapshot = std::move(view->snapshot);
  }
  for (const auto& uid : with_files) {
    if (out.contains(uid) || !has_cow(layout, uid)) continue;
    BGR_TRY(const auto node, find_root_node(uid));  // under another name
    if (!node) continue;
    auto view = observer.node(*node, uid);
    if (!view) {
      out[uid] = unseen(view.error().message);
    } else {
      out[uid].snapshot = std::move(view->snapshot);
    }
  }
  BGR_TRY(auto loops, observer.all_loops());
  for (auto& [uid, own] : loops) {
    if (!vm_uids.contains(uid) && !out.contains(uid)) continue;
    auto& view = out[uid];
    if (!own.unseen.empty()) view = unseen(own.unseen);
    if (view.unseen.empty()) view.loops = std::move(own.views);
  }
  for (auto& [uid, view] : out) std::ranges::sort(view.loops, {}, &LoopView::device);
  return out;
}

Result<std::vector<SnapshotView>> observe_root_nodes(const Layout& layout) {
  std::vector<SnapshotView> out;
  const auto answers = dm::answers();
  if (!answers || !*answers) return out;
  std::set<std::string> uids;
  BGR_TRY(const auto names, dm::list());
  for (const auto& name : names) {
    auto uid = uid_of_dm_name(name);
    if (!uid) {
      BGR_TRY(const auto node, dm::find(name));
      if (node) uid = uid_of_dm_uuid(node->uuid);
    }
    if (uid) uids.insert(*std::move(uid));
  }
  for (const auto& uid : uids) {
    BGR_TRY(auto disk, observe_root_disk(layout, uid));
    if (!disk.unseen.empty()) return fail({ErrorCode::Unavailable, disk.unseen, 0});
    if (disk.snapshot) out.push_back(*std::move(disk.snapshot));
  }
  return out;
}

}  // namespace banger::actuators::block

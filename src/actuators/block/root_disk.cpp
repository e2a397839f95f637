// SPDX-License-Identifier: Apache-2.0
#include "actuators/block/root_disk.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "actuators/block/ext4.hpp"
#include "actuators/block/loop.hpp"
#include "actuators/block/root_files.hpp"
#include "actuators/block/root_loops.hpp"
#include "actuators/block/snapshot.hpp"
#include "base/failpoint.hpp"
#include "base/rollback.hpp"
#include "base/text.hpp"

namespace banger::actuators::block {
namespace {

constexpr std::uint64_t kDiskAlignment = 4096;

struct Wanted {  // what the node of a VM is to be
  std::string uid;
  std::string name;
  std::filesystem::path base_path;
  std::filesystem::path cow_path;
  FileId base;
  FileId cow;
  Bytes size;
};

Result<Wanted> wanted_of(const ActivateRootDisk& step, const Layout& layout) {
  Wanted out{.uid = step.vm_uid,
             .name = dm_name(step.vm_uid),
             .base_path = root_base_path(layout, step.vm_uid),
             .cow_path = root_cow_path(layout, step.vm_uid),
             .size = step.size};
  BGR_TRY(out.base, file_id(out.base_path));
  BGR_TRY(out.cow, file_id(out.cow_path));
  if (step.size.value % kDiskAlignment != 0)
    return fail(invalid(fmt::format("a disk of {} bytes: expected a whole number of {}", step.size.value, kDiskAlignment)));
  BGR_TRY(const auto least, least_disk_size(out.base_path, out.cow_path));
  out.size = std::max(step.size, least);  // a disk never becomes shorter
  return out;
}

Error name_conflict(std::string message) { return {ErrorCode::Conflict, "NameConflict: " + std::move(message)}; }
Error busy(std::string message) { return {ErrorCode::Busy, std::move(message)}; }

bool is_ours(const dm::Node& node, const std::string& uid) { return node.uuid == dm_uuid(uid); }

Error foreign(const dm::Node& node) {
  return name_conflict(fmt::format("the device-mapper node {} is somebody else's (uuid \"{}\"); it is not touched",
                                   printable(node.name), printable(node.uuid)));
}

std::string who_has(const dm::Node& node) { return fmt::format("{} is open ({} times)", printable(node.name), node.open_count); }

// The loop that this number stands for, if it is one.
Result<std::optional<LoopDevice>> loop_at(const SnapshotTable::Device& device) {
  const auto index = loop_of(device.major, device.minor);
  if (!index) return std::nullopt;
  return LoopDevice::open(*index);
}

Result<bool> stands_over(const SnapshotTable::Device& device, const FileId& file) {
  BGR_TRY(const auto loop, loop_at(device));
  return loop && loop->status().file == file && loop->status().offset.value == 0;
}

// The one snapshot that a table of ours consists of.
std::optional<SnapshotTable> our_table(const std::vector<dm::Target>& targets) {
  if (targets.size() != 1 || targets.front().type != "snapshot" || targets.front().start != 0) return std::nullopt;
  auto table = parse_snapshot_table(targets.front().params);
  if (!table || table->store != "PO" || table->chunk != kChunkSectors) return std::nullopt;
  return table;
}

Result<bool> is_right(const dm::Node& node, const Wanted& wanted) {
  if (node.name != wanted.name || !node.live_table) return false;
  BGR_TRY(const auto targets, dm::table(node.name));
  const auto table = our_table(targets);
  if (!table || targets.front().length * kSectorSize != wanted.size.value) return false;
  BGR_TRY(const bool base, stands_over(table->origin, wanted.base));
  BGR_TRY(const bool cow, stands_over(table->cow, wanted.cow));
  return base && cow;
}

// A node that is right needs a file below /dev/mapper, and to run.
Result<Applied> wake(const dm::Node& node) {
  bool changed = false;
  if (node.inactive_table) {  // whoever loaded it did not get to resume
    BGR_CHECK(dm::clear(node.name));
    changed = true;
  }
  if (node.suspended) {
    BGR_CHECK(dm::resume(node.name));
    changed = true;
  }
  BGR_TRY(const bool made, dm::make_file(node.name, node.number));
  return changed || made ? Applied::Changed : Applied::Unchanged;
}

SnapshotTable::Device device_of(const LoopDevice& loop) {
  return {.major = ::major(loop.number()), .minor = ::minor(loop.number())};
}

dm::Target target_over(const SnapshotTable::Device& base, const SnapshotTable::Device& cow, Bytes size) {
  const SnapshotTable table{.origin = base, .cow = cow, .store = "PO", .chunk = kChunkSectors};
  return {.length = size.value / kSectorSize, .type = "snapshot", .params = format_snapshot_table(table)};
}

Result<void> build(const Wanted& wanted) {
  BGR_CHECK(extend_base(wanted.base_path, wanted.size));
  note_disk_size(wanted.cow_path, wanted.size);
  BGR_TRY(const auto loops,
          root_loops({.vm_uid = wanted.uid, .base = wanted.base_path, .cow = wanted.cow_path, .size = wanted.size}));
  if (auto stop = failpoint("root-disk.create")) return fail(*std::move(stop));
  BGR_TRY(const auto number, dm::create(wanted.name, dm_uuid(wanted.uid)));
  Rollback undo;
  undo.add([&] { (void)dm::remove(wanted.name); });
  if (auto stop = failpoint("root-disk.load")) return fail(*std::move(stop));
  BGR_CHECK(dm::load(wanted.name, target_over(device_of(loops.base), device_of(loops.cow), wanted.size)));
  if (auto stop = failpoint("root-disk.resume")) return fail(*std::move(stop));
  BGR_CHECK(dm::resume(wanted.name));
  if (auto stop = failpoint("root-disk.file")) return fail(*std::move(stop));
  BGR_CHECK(dm::make_file(wanted.name, number));
  undo.dismiss();
  return {};
}

bool are_gone(const std::string& vm_uid, const Layout& layout) {
  const auto gone = [](const std::filesystem::path& path) { return ::access(path.c_str(), F_OK) != 0 && errno != EACCES; };
  return gone(root_base_path(layout, vm_uid)) || gone(root_cow_path(layout, vm_uid));
}

Result<Applied> activate(const ActivateRootDisk& step, const Layout& layout) {
  if (const auto works = dm::check_snapshot_target(); !works)
    return fail(with_context(works.error(), "there is no device-mapper for it"));
  BGR_TRY(const auto node, find_root_node(step.vm_uid));
  if (node && is_ours(*node, step.vm_uid) && node->suspended && (node->open_count > 0 || are_gone(step.vm_uid, layout))) {
    return wake(*node);  // whoever has it open cannot even end while it is suspended, whatever else is wrong with it
  }
  BGR_TRY(const auto wanted, wanted_of(step, layout));
  if (node) {
    if (!is_ours(*node, step.vm_uid)) return fail(foreign(*node));
    BGR_TRY(const bool right, is_right(*node, wanted));
    if (right) return wake(*node);
    if (node->open_count > 0) {
      return fail(busy(fmt::format("its node is not as it should be and cannot be made anew: {}", who_has(*node))));
    }
    BGR_CHECK(dm::remove(node->name));
  }
  BGR_CHECK(build(wanted));
  return Applied::Changed;
}

// A snapshot that overflowed fails writes until it is made anew. Over the same loop the kernel would hand the old one's state
// over; over a second loop of the same file it reads what is there. Nobody who has the node open notices but for a short wait.
Result<void> revive(const dm::Node& node, const SnapshotTable& table, const GrowRootCow& step, const Layout& layout) {
  BGR_TRY(const auto cow, attach_loop({.file = root_cow_path(layout, step.vm_uid),
                                       .access = LoopAccess::ReadWrite,
                                       .label = cow_loop_label(step.vm_uid)}));
  const auto length = node.status.front().length;
  if (auto stop = failpoint("root-disk.revive")) return fail(*std::move(stop));
  BGR_CHECK(dm::suspend(node.name));
  Rollback undo;
  undo.add([&] {
    (void)dm::clear(node.name);
    (void)dm::resume(node.name);
  });
  BGR_CHECK(dm::load(node.name, target_over(table.origin, device_of(cow), {length * kSectorSize})));
  BGR_CHECK(dm::resume(node.name));
  undo.dismiss();
  return {};
}

Result<Applied> grow(const GrowRootCow& step, const Layout& layout) {
  const auto path = root_cow_path(layout, step.vm_uid);
  BGR_TRY(const auto id, file_id(path));
  BGR_TRY(const bool changed, grow_cow_file(path, step.size));
  BGR_TRY(const auto node, find_root_node(step.vm_uid));
  if (!node || !is_ours(*node, step.vm_uid) || !node->live_table) return changed ? Applied::Changed : Applied::Unchanged;
  BGR_TRY(const auto targets, dm::table(node->name));
  const auto table = our_table(targets);
  if (!table) return changed ? Applied::Changed : Applied::Unchanged;
  BGR_TRY(const auto loop, loop_at(table->cow));
  if (!loop || loop->status().file != id) return fail(busy(fmt::format("{} does not stand over {}", node->name, path.native())));
  BGR_TRY(const auto length, length_of_file(path));
  // A loop behind its file is a growth that is not finished, by this step or by one that a crash or an error cut short.
  if (loop->status().size >= length) return changed ? Applied::Changed : Applied::Unchanged;
  if (auto stop = failpoint("root-disk.capacity")) return fail(*std::move(stop));
  const auto status = parse_snapshot_status(node->status.front().params);
  if (status && status->state == SnapshotStatus::State::Overflow) {
    BGR_CHECK(revive(*node, *table, step, layout));
  } else {
    BGR_CHECK(loop->follow_file_size());
  }
  return Applied::Changed;
}

Result<Applied> deactivate(const DeactivateRootDisk& step) {
  BGR_TRY(const auto node, find_root_node(step.vm_uid));
  if (!node) {
    // A file that outlived its node leads to whoever gets its number next.
    BGR_TRY(const bool removed, dm::remove_file(dm_name(step.vm_uid)));
    return removed ? Applied::Changed : Applied::Unchanged;
  }
  if (!is_ours(*node, step.vm_uid)) return fail(foreign(*node));
  if (node->open_count > 0) return fail(busy(who_has(*node)));
  BGR_CHECK(dm::remove(node->name));
  return Applied::Changed;
}

// Where device-mapper does not answer, a VM without a root.cow has nothing to ask it for.
Result<std::optional<dm::Node>> node_over_files(const std::string& vm_uid, const Layout& layout) {
  auto node = find_root_node(vm_uid);
  if (node || dm::answers() || ::access(root_cow_path(layout, vm_uid).c_str(), F_OK) == 0) return node;
  return std::nullopt;
}

template <class T>
Result<T> named(Result<T> result, std::string_view doing, const std::string& uid) {
  if (result) return result;
  return fail(with_context(std::move(result).error(), fmt::format("{} of VM {}", doing, uid)));
}

}  // namespace

Result<Applied> apply(const ActivateRootDisk& step, const Layout& layout) {
  return named(activate(step, layout), "activating the root disk", step.vm_uid);
}

Result<Applied> apply(const GrowRootCow& step, const Layout& layout) {
  return named(grow(step, layout), "growing the copy-on-write file", step.vm_uid);
}

Result<Applied> apply(const DeactivateRootDisk& step) {
  return named(deactivate(step), "deactivating the root disk", step.vm_uid);
}

Result<std::optional<dm::Node>> find_root_node(const std::string& vm_uid) {
  BGR_TRY(const bool answers, dm::answers());
  if (!answers) return std::nullopt;
  BGR_TRY(auto node, dm::find(dm_name(vm_uid)));
  if (node) return node;
  return dm::find_by_uuid(dm_uuid(vm_uid));
}

Result<void> check_inactive(const std::string& vm_uid, const Layout& layout) {
  BGR_TRY(const auto node, node_over_files(vm_uid, layout));
  if (!node || !is_ours(*node, vm_uid)) return {};
  return fail(busy(fmt::format("the device-mapper node {} still stands over its root disk", node->name)));
}

Result<bool> sync_root_node(const std::string& vm_uid, const Layout& layout) {
  BGR_TRY(const auto node, node_over_files(vm_uid, layout));
  if (!node || !is_ours(*node, vm_uid) || !node->live_table) return false;
  BGR_CHECK(wake(*node));
  const auto path = fmt::format("/dev/mapper/{}", node->name);
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid() || ::fsync(fd.get()) != 0) return fail(errno_error(fmt::format("syncing {}", path), errno));
  return true;
}

}  // namespace banger::actuators::block

// SPDX-License-Identifier: Apache-2.0
#include "actuators/block/root_loops.hpp"

#include <fmt/format.h>

#include <mutex>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include "actuators/names.hpp"
#include "base/failpoint.hpp"

namespace banger::actuators::block {
namespace {

bool whole_file(const LoopStatus& loop) { return loop.offset.value == 0 && loop.limit.value == 0; }

// Opened again, a loop may be another one meanwhile.
Result<std::optional<LoopDevice>> reopened(const LoopStatus& seen) {
  BGR_TRY(auto loop, LoopDevice::open(seen.index));
  if (!loop || loop->status().file != seen.file || loop->status().label != seen.label) return std::nullopt;
  return loop;
}

Result<LoopDevice> base_loop(const std::vector<LoopStatus>& all, const RootLoopRequest& request) {
  BGR_TRY(const auto file, file_id(request.base));
  for (const auto& loop : all) {
    if (loop.file != file || !loop.read_only || !loop.autoclear || !whole_file(loop)) continue;
    BGR_TRY(auto shared, reopened(loop));
    if (!shared) continue;
    if (shared->status().size < request.size) BGR_CHECK(shared->follow_file_size());
    return *std::move(shared);
  }
  return attach_loop({.file = request.base, .access = LoopAccess::ReadOnly, .label = ""});
}

Result<LoopDevice> cow_loop(const std::vector<LoopStatus>& all, const RootLoopRequest& request) {
  BGR_TRY(const auto file, file_id(request.cow));
  const auto label = cow_loop_label(request.vm_uid);
  for (const auto& loop : all) {
    if (loop.file != file) continue;
    if (loop.label != label || loop.read_only || !loop.autoclear || !whole_file(loop)) {
      return fail(
          {ErrorCode::Conflict, fmt::format("NameConflict: /dev/loop{} stands over {} and is somebody else's; it is not touched",
                                            loop.index, request.cow.native())});
    }
    BGR_TRY(auto ours, reopened(loop));
    if (!ours) continue;
    BGR_CHECK(ours->follow_file_size());
    return *std::move(ours);
  }
  return attach_loop({.file = request.cow, .access = LoopAccess::ReadWrite, .label = label});
}

// The kernel tells the paths of files without links in them; the state directory may be one.
Result<std::filesystem::path> directory_of(const std::filesystem::path& file) {
  std::error_code error;
  auto directory = std::filesystem::canonical(file.parent_path(), error);
  if (error) return fail(errno_error("looking at " + file.parent_path().native(), error.value()));
  return directory;
}

}  // namespace

// One at a time: two VMs of one base that start together are to find one loop.
Result<RootLoops> root_loops(const RootLoopRequest& request) {
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  BGR_TRY(const auto directory, directory_of(request.cow));
  BGR_TRY(const auto all, list_loops(directory));
  if (auto stop = failpoint("root-disk.base-loop")) return fail(*std::move(stop));
  BGR_TRY(auto base, base_loop(all, request));
  if (auto stop = failpoint("root-disk.cow-loop")) return fail(*std::move(stop));
  BGR_TRY(auto cow, cow_loop(all, request));
  return RootLoops{std::move(base), std::move(cow)};
}

}  // namespace banger::actuators::block

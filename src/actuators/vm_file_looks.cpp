// SPDX-License-Identifier: Apache-2.0
#include "actuators/vm_file_looks.hpp"

#include <algorithm>
#include <utility>

#include "actuators/block/disks.hpp"
#include "actuators/image/vm_initrd.hpp"
#include "actuators/record_files.hpp"
#include "actuators/vm_files.hpp"

namespace banger::actuators {
namespace {

template <class DiskStates>
bool all_rested(const DiskStates& disks, std::int64_t now) {
  return std::ranges::all_of(disks, [now](const auto& disk) { return disk.second.rested(now); });
}

}  // namespace

// One and the same value for what is equal.
VmFileLooks::ReadingPtr VmFileLooks::with_files(const Reading& reading, const Shared<VmFiles>& files) {
  auto out = std::make_shared<Reading>(reading);
  out->files = files;
  return out;
}

bool VmFileLooks::States::rested(std::int64_t now) const {
  return directory.rested(now) && sidecar.rested(now) && initrd.rested(now);
}

std::string VmFileLooks::relative(const std::string& path) const { return path.substr(directories_.size() + 1); }

VmFileLooks::Paths VmFileLooks::paths_of(const std::string& uid) const {
  return {.directory = relative(vm_dir(layout_, uid)),
          .sidecar = relative(sidecar_path(layout_, uid)),
          .initrd = relative(vm_initrd_path(layout_, uid))};
}

VmFileLooks::States VmFileLooks::states_of(const Paths& paths, const FilesBelow& directories) {
  States out{.directory = directories.state(paths.directory), .sidecar = {}, .initrd = {}};
  if (!out.directory.exists) return out;
  out.sidecar = directories.state(paths.sidecar);
  out.initrd = directories.state(paths.initrd);
  return out;
}

bool VmFileLooks::are_as_before(const DiskStates& disks, const FilesBelow& directories) {
  return std::ranges::all_of(disks, [&](const auto& disk) { return directories.state(disk.first) == disk.second; });
}

VmFileLooks::DiskStates VmFileLooks::states_of_disks(const std::vector<DiskView>& disks, const FilesBelow& directories) const {
  DiskStates out;
  out.reserve(disks.size());
  for (const auto& disk : disks) {
    auto path = relative(disk.path);
    const auto state = directories.state(path);
    out.emplace_back(std::move(path), state);
  }
  return out;
}

Result<Shared<VmFiles>> VmFileLooks::look(const std::string& uid, const FilesBelow& directories) {
  ReadingPtr last;
  {
    const std::lock_guard lock(mutex_);
    if (const auto known = readings_.find(uid); known != readings_.end()) last = known->second;
  }
  const auto now = clock_();
  const auto fresh_paths = last ? std::nullopt : std::optional(paths_of(uid));
  const auto states = states_of(last ? last->paths : *fresh_paths, directories);
  ReadingPtr next = last;
  if (!last || !last->rested || !(last->states == states)) {
    BGR_TRY(next, read(uid, last ? last->paths : *fresh_paths, states, directories, now));
    if (last && next->files == last->files) next = with_files(*next, last->files);
  } else if (!last->disks_rested || !are_as_before(last->disks, directories)) {
    BGR_TRY(next, read_disks(uid, *last, directories, now));
  }
  if (next != last) {
    const std::lock_guard lock(mutex_);
    readings_[uid] = next;
  }
  return next->files;
}

Result<VmFileLooks::ReadingPtr> VmFileLooks::read(const std::string& uid, Paths paths, const States& states,
                                                  const FilesBelow& directories, std::int64_t now) const {
  VmView view{.uid = uid};
  add_sidecar(view, layout_);
  VmFiles files{.directory_exists = view.directory_exists,
                .directory_is_link = view.directory_is_link,
                .sidecar = std::move(view.sidecar),
                .sidecar_error = std::move(view.sidecar_error)};
  if (!files.sidecar && files.directory_exists) files.pinned_addresses = pinned_addresses(uid, layout_);
  files.initrd_config_hash = image::observe_initrd_hash(layout_, uid);
  files.root_files = file_state(root_base_path(layout_, uid)).exists || file_state(root_cow_path(layout_, uid)).exists;
  // Without a record known_hosts is read, whose state is not looked at.
  const bool rested = states.rested(now) && files.sidecar.has_value();
  const Reading without_disks{
      .paths = std::move(paths), .states = states, .rested = rested, .disks = {}, .files = std::move(files)};
  return read_disks(uid, without_disks, directories, now);
}

// The states of disks that were known are taken first: what changes while they are read shows at the next look. Those of others
// are taken after, and tell of the reading where they had rested before it (now is older than that) and say the same as it.
Result<VmFileLooks::ReadingPtr> VmFileLooks::read_disks(const std::string& uid, const Reading& before,
                                                        const FilesBelow& directories, std::int64_t now) const {
  auto next = std::make_shared<Reading>(before);
  next->disks = states_of_disks(before.files->disks, directories);
  BGR_TRY(auto disks, block::observe_disks(layout_, uid));
  const bool same = disks == before.files->disks;
  next->disks_rested = same && all_rested(next->disks, now);
  if (!same) {
    next->disks = states_of_disks(disks, directories);
    next->disks_rested = all_rested(next->disks, now) && std::ranges::equal(next->disks, disks, [](const auto& a, const auto& b) {
                           return a.second.size == b.size.value && a.second.blocks * 512 == b.allocated.value;
                         });
    auto files = *before.files;
    files.disks = std::move(disks);
    next->files = std::move(files);
  }
  return next;
}

void VmFileLooks::keep_only(const std::set<std::string>& uids) {
  const std::lock_guard lock(mutex_);
  if (readings_.size() <= uids.size()) return;  // next to never is one left over, and then no more are kept than there are VMs
  std::erase_if(readings_, [&](const auto& reading) { return !uids.contains(reading.first); });
}

LooksTogether::LooksTogether(VmFileLooks& looks, const std::set<std::string>& uids)
    : looks_(looks), directories_(looks.directories()), uids_(uids.begin(), uids.end()), seen_(uids_.size()) {}

void LooksTogether::take_part() {
  for (std::size_t i = next_++; i < uids_.size(); i = next_++) seen_[i] = looks_.look(uids_[i], directories_);
}

std::set<std::string> LooksTogether::with_root_files() const {
  std::set<std::string> out;
  for (std::size_t i = 0; i < uids_.size(); ++i) {
    const auto& seen = *seen_[i];
    if (seen && (*seen)->root_files) out.insert(out.end(), uids_[i]);
  }
  return out;
}

Result<Shared<VmFiles>> LooksTogether::of(const std::string& uid) {
  auto at = told_;
  if (at >= uids_.size() || uids_[at] != uid) at = static_cast<std::size_t>(std::ranges::lower_bound(uids_, uid) - uids_.begin());
  if (at == uids_.size() || uids_[at] != uid) return looks_.look(uid);
  told_ = at + 1;
  return *seen_[at];
}

}  // namespace banger::actuators

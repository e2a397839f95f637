// SPDX-License-Identifier: Apache-2.0
// What the directories of VMs hold, read anew only where it may have changed.
//
// Each look asks the kernel for the state of the VM's directory, of vm.json, of the initrd and of each disk. Where owner, rights,
// inode, size and times are those of the last reading, and had rested by then (file_state.hpp), what was read then holds; any
// difference reads again. A file that came or went shows in the times of the directory.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "actuators/host.hpp"
#include "actuators/names.hpp"
#include "base/file_state.hpp"
#include "base/result.hpp"
#include "base/shared.hpp"

namespace banger::actuators {

struct VmFiles {
  bool directory_exists = false;
  bool directory_is_link = false;
  std::optional<Sidecar> sidecar;
  std::string sidecar_error;
  std::vector<std::string> pinned_addresses;  // as in VmView
  std::vector<DiskView> disks;
  std::optional<std::string> initrd_config_hash;
  bool root_files = false;  // root.base or root.cow is there
  bool operator==(const VmFiles&) const = default;
};

class VmFileLooks {
 public:
  using FileClock = std::function<std::int64_t()>;
  explicit VmFileLooks(Layout layout, FileClock clock = file_clock)
      : layout_(std::move(layout)), directories_((layout_.state_dir / "vms").native()), clock_(std::move(clock)) {}

  // The same one as before where nothing has changed. Thread-safe.
  Result<Shared<VmFiles>> look(const std::string& uid) { return look(uid, directories()); }
  Result<Shared<VmFiles>> look(const std::string& uid, const FilesBelow& directories);
  [[nodiscard]] FilesBelow directories() const { return FilesBelow(directories_); }  // of VMs, for one round of looks
  void keep_only(const std::set<std::string>& uids);

 private:
  using DiskStates = std::vector<std::pair<std::string, FileState>>;  // by path, below the directories of VMs
  struct Paths {                                                      // likewise
    std::string directory;
    std::string sidecar;
    std::string initrd;
  };
  struct States {
    FileState directory;
    FileState sidecar;
    FileState initrd;
    bool operator==(const States&) const = default;
    [[nodiscard]] bool rested(std::int64_t now) const;
  };
  struct Reading {
    Paths paths;
    States states;
    bool rested = false;
    DiskStates disks;
    bool disks_rested = false;
    Shared<VmFiles> files;
  };
  using ReadingPtr = std::shared_ptr<const Reading>;

  [[nodiscard]] std::string relative(const std::string& path) const;
  [[nodiscard]] Paths paths_of(const std::string& uid) const;
  static States states_of(const Paths& paths, const FilesBelow& directories);
  static bool are_as_before(const DiskStates& disks, const FilesBelow& directories);
  [[nodiscard]] DiskStates states_of_disks(const std::vector<DiskView>& disks, const FilesBelow& directories) const;
  static ReadingPtr with_files(const Reading& reading, const Shared<VmFiles>& files);
  [[nodiscard]] Result<ReadingPtr> read(const std::string& uid, Paths paths, const States& states, const FilesBelow& directories,
                                        std::int64_t now) const;
  [[nodiscard]] Result<ReadingPtr> read_disks(const std::string& uid, const Reading& before, const FilesBelow& directories,
                                              std::int64_t now) const;

  const Layout layout_;
  const std::string directories_;
  const FileClock clock_;
  std::mutex mutex_;
  std::unordered_map<std::string, ReadingPtr> readings_;
};

// One look at each of many VMs, shared out among the threads that take part.
class LooksTogether {
 public:
  LooksTogether(VmFileLooks& looks, const std::set<std::string>& uids);

  void take_part();  // until every look was begun

  // Both once everybody who takes part is through. A VM whose look failed is in no set; of it only the error is told.
  [[nodiscard]] std::set<std::string> with_root_files() const;
  // Looks now at one that was not among them. Asked for in their order, each is found at once.
  Result<Shared<VmFiles>> of(const std::string& uid);

 private:
  VmFileLooks& looks_;
  const FilesBelow directories_;
  const std::vector<std::string> uids_;  // sorted
  std::vector<std::optional<Result<Shared<VmFiles>>>> seen_;
  std::atomic<std::size_t> next_ = 0;
  std::size_t told_ = 0;  // where the next to be asked for is expected
};

}  // namespace banger::actuators

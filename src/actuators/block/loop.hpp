// SPDX-License-Identifier: Apache-2.0
// Loop devices by ioctl. Every one that is made here clears itself (AUTOCLEAR): it lives as long as somebody has it open, a
// device-mapper table included, so that a crash at any moment leaves none behind. None is ever removed from the kernel
// (LOOP_CTL_REMOVE waits 44 ms for each, and the machine's own go with it): idle ones are used again by whoever comes next.
#pragma once

#include <sys/types.h>

#include <compare>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "actuators/host.hpp"
#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "base/units.hpp"

namespace banger::actuators::block {

// A file whatever its name is: two hard links have the same.
struct FileId {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  auto operator<=>(const FileId&) const = default;
};

// Of a regular file that is no symbolic link. Errors: as lstat(2); Invalid for anything else.
Result<FileId> file_id(const std::filesystem::path& path);

// As LOOP_GET_STATUS64 and BLKGETSIZE64 tell.
struct LoopStatus {
  unsigned index = 0;  // of /dev/loop<index>
  dev_t number = 0;    // as a device-mapper table names it
  FileId file;
  Bytes offset;
  Bytes limit;  // zero: to the end of the file
  Bytes size;   // of the device
  bool read_only = false;
  bool autoclear = false;
  bool direct_io = false;
  std::string label;  // lo_file_name, at most 63 bytes: what the one who made it wrote there
  bool operator==(const LoopStatus&) const = default;
};

// One that is bound to a file, held open.
class LoopDevice {
 public:
  // Nothing when there is none of this index, or it is bound to nothing.
  static Result<std::optional<LoopDevice>> open(unsigned index);

  [[nodiscard]] const LoopStatus& status() const { return status_; }  // when it was opened
  [[nodiscard]] dev_t number() const { return status_.number; }
  [[nodiscard]] std::string path() const;
  [[nodiscard]] Result<Bytes> size() const;
  // Its file became longer: now the device is. Never makes it shorter than the file.
  [[nodiscard]] Result<void> follow_file_size() const;

 private:
  friend class LoopMaker;
  LoopDevice(UniqueFd fd, LoopStatus status) : fd_(std::move(fd)), status_(std::move(status)) {}

  UniqueFd fd_;
  LoopStatus status_;
};

enum class LoopAccess { ReadOnly, ReadWrite };

struct LoopRequest {
  std::filesystem::path file;
  LoopAccess access = LoopAccess::ReadOnly;
  std::string label;  // kept in lo_file_name, at most 63 bytes
};

// A new one over the whole file: with direct I/O where the file system can, in blocks of 4 KiB where the kernel can. Others take
// free loops at the same moment; lost races are tried again a few times. Errors: Busy when they all were lost, Unavailable when
// there is no free loop or the kernel has no loop devices, Denied without the right to.
Result<LoopDevice> attach_loop(const LoopRequest& request);

struct LoopList {
  std::vector<LoopStatus> loops;           // by index
  std::map<unsigned, Error> unreadable{};  // by index: bound, and not to be asked
};

// All that are bound, read once.
Result<LoopList> read_loops();
// The same for who must know all over files below a directory (canonical): one of those that cannot be asked is an error.
Result<std::vector<LoopStatus>> list_loops(const std::filesystem::path& below = "/");

// The one of this device number (as a device-mapper table names it); nothing when it is no loop.
std::optional<unsigned> loop_of(unsigned major, unsigned minor);

// known_path where the caller has matched its file; else the path that the kernel shows, read from /sys.
LoopView view_of(const LoopStatus& status, const std::string& known_path = {});

}  // namespace banger::actuators::block

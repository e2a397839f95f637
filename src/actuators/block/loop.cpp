// SPDX-License-Identifier: Apache-2.0
#include "actuators/block/loop.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <system_error>

#include "base/failpoint.hpp"
#include "base/files.hpp"
#include "base/text.hpp"

namespace banger::actuators::block {
namespace {

constexpr int kAttempts = 8;  // at finding a loop that nobody else takes first
constexpr std::uint32_t kLoopBlockSize = 4096;
constexpr std::string_view kDeleted = " (deleted)";

std::string device_path(unsigned index) { return fmt::format("/dev/loop{}", index); }

std::optional<unsigned> index_of(std::string_view name) {
  if (!name.starts_with("loop")) return std::nullopt;
  name.remove_prefix(4);
  unsigned index = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), index);
  if (error != std::errc{} || end != name.data() + name.size()) return std::nullopt;
  return index;
}

bool lost_race(int error) { return error == EBUSY || error == ENXIO || error == ENODEV; }

LoopStatus status_from(unsigned index, dev_t number, const loop_info64& info, std::uint64_t size) {
  const auto* label = reinterpret_cast<const char*>(info.lo_file_name);
  return {.index = index,
          .number = number,
          .file = {info.lo_device, info.lo_inode},
          .offset = {info.lo_offset},
          .limit = {info.lo_sizelimit},
          .size = {size},
          .read_only = (info.lo_flags & LO_FLAGS_READ_ONLY) != 0,
          .autoclear = (info.lo_flags & LO_FLAGS_AUTOCLEAR) != 0,
          .direct_io = (info.lo_flags & LO_FLAGS_DIRECT_IO) != 0,
          .label = std::string(label, ::strnlen(label, LO_NAME_SIZE))};
}

Result<UniqueFd> open_control() {
  UniqueFd control(::open("/dev/loop-control", O_RDWR | O_CLOEXEC));
  if (control.valid()) return control;
  const auto error = errno_error("opening /dev/loop-control", errno);
  if (error.code != ErrorCode::NotFound) return fail(error);
  return fail(
      {ErrorCode::Unavailable, "there are no loop devices: /dev/loop-control is not there (load the module loop)", errno});
}

Result<UniqueFd> open_file(const LoopRequest& request) {
  const int access = request.access == LoopAccess::ReadOnly ? O_RDONLY : O_RDWR;
  UniqueFd fd(::open(request.file.c_str(), access | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (!fd.valid()) return fail(errno_error(fmt::format("opening {}", request.file.native()), errno));
  struct stat info{};
  if (::fstat(fd.get(), &info) != 0 || !S_ISREG(info.st_mode))
    return fail(invalid(fmt::format("{} is not a regular file", request.file.native())));
  return fd;
}

// Zero, or the errno of the last try: with everything first, then without what this kernel may not know.
int configure(int loop, int file, const LoopRequest& request) {
  struct Form {
    std::uint32_t block_size;
    std::uint32_t flags;
  };
  constexpr std::array<Form, 3> kForms{{{kLoopBlockSize, LO_FLAGS_DIRECT_IO}, {0, LO_FLAGS_DIRECT_IO}, {0, 0}}};
  for (const auto& form : kForms) {
    loop_config config{};
    config.fd = static_cast<std::uint32_t>(file);
    config.block_size = form.block_size;
    config.info.lo_flags = form.flags | LO_FLAGS_AUTOCLEAR;
    if (request.access == LoopAccess::ReadOnly) config.info.lo_flags |= LO_FLAGS_READ_ONLY;
    request.label.copy(reinterpret_cast<char*>(config.info.lo_file_name), LO_NAME_SIZE - 1);
    if (::ioctl(loop, LOOP_CONFIGURE, &config) == 0) return 0;
    if (errno != EINVAL) return errno;
  }
  return EINVAL;
}

}  // namespace

// Has the right to make a LoopDevice of its parts.
class LoopMaker {
 public:
  static std::optional<LoopDevice> with_status(UniqueFd fd, unsigned index, int& error) {
    loop_info64 info{};
    struct stat node{};
    std::uint64_t size = 0;
    if (::ioctl(fd.get(), LOOP_GET_STATUS64, &info) != 0 || ::ioctl(fd.get(), BLKGETSIZE64, &size) != 0 ||
        ::fstat(fd.get(), &node) != 0) {
      error = errno;
      return std::nullopt;
    }
    return LoopDevice(std::move(fd), status_from(index, node.st_rdev, info, size));
  }

  // Nothing: somebody else was faster.
  static Result<std::optional<LoopDevice>> try_free(int control, int file, const LoopRequest& request) {
    const int index = ::ioctl(control, LOOP_CTL_GET_FREE);
    if (index < 0 && errno == ENOSPC) return fail({ErrorCode::Unavailable, "there is no free loop device", errno});
    if (index < 0 && lost_race(errno)) return std::nullopt;
    if (index < 0) return fail(errno_error("asking for a free loop device", errno));
    const auto path = device_path(static_cast<unsigned>(index));
    const int access = request.access == LoopAccess::ReadOnly ? O_RDONLY : O_RDWR;
    UniqueFd loop(::open(path.c_str(), access | O_CLOEXEC));
    if (!loop.valid() && lost_race(errno)) return std::nullopt;
    if (!loop.valid() && errno == ENOENT) {
      return fail({ErrorCode::Unavailable, fmt::format("the kernel offers {}, but there is no such node", path), errno});
    }
    if (!loop.valid()) return fail(errno_error(fmt::format("opening {}", path), errno));
    int error = configure(loop.get(), file, request);
    if (error != 0 && lost_race(error)) return std::nullopt;
    if (error != 0) return fail(errno_error(fmt::format("binding {} to {}", path, request.file.native()), error));
    auto made = with_status(std::move(loop), static_cast<unsigned>(index), error);
    if (!made) return fail(errno_error(fmt::format("looking at {}", path), error));
    return made;
  }
};

Result<FileId> file_id(const std::filesystem::path& path) {
  struct stat info{};
  if (::lstat(path.c_str(), &info) != 0) return fail(errno_error(fmt::format("looking at {}", path.native()), errno));
  if (!S_ISREG(info.st_mode)) return fail(invalid(fmt::format("{} is not a regular file", path.native())));
  return FileId{info.st_dev, info.st_ino};
}

Result<std::optional<LoopDevice>> LoopDevice::open(unsigned index) {
  const auto path = device_path(index);
  if (auto stop = failpoint("loop.open")) return fail(*std::move(stop));
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid() && (errno == ENOENT || lost_race(errno))) return std::nullopt;
  if (!fd.valid()) return fail(errno_error(fmt::format("opening {}", path), errno));
  int error = 0;
  auto loop = LoopMaker::with_status(std::move(fd), index, error);
  if (!loop && !lost_race(error)) return fail(errno_error(fmt::format("looking at {}", path), error));
  return loop;
}

std::string LoopDevice::path() const { return device_path(status_.index); }

Result<Bytes> LoopDevice::size() const {
  std::uint64_t bytes = 0;
  if (::ioctl(fd_.get(), BLKGETSIZE64, &bytes) != 0)
    return fail(errno_error(fmt::format("asking the size of {}", path()), errno));
  return Bytes{bytes};
}

Result<void> LoopDevice::follow_file_size() const {
  if (::ioctl(fd_.get(), LOOP_SET_CAPACITY, 0) != 0)
    return fail(errno_error(fmt::format("telling {} its new size", path()), errno));
  return {};
}

Result<LoopDevice> attach_loop(const LoopRequest& request) {
  if (request.label.size() >= LO_NAME_SIZE) return fail(internal("a loop label of more than 63 bytes"));
  if (auto stop = failpoint("loop.attach")) return fail(*std::move(stop));
  BGR_TRY(const auto file, open_file(request));
  BGR_TRY(const auto control, open_control());
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    BGR_TRY(auto loop, LoopMaker::try_free(control.get(), file.get(), request));
    if (loop) return *std::move(loop);
  }
  return fail({ErrorCode::Busy, fmt::format("others took {} free loop devices first", kAttempts)});
}

Result<LoopList> read_loops() {
  LoopList out;
  std::error_code error;
  std::filesystem::directory_iterator it("/sys/block", error);
  for (; !error && it != std::filesystem::directory_iterator(); it.increment(error)) {
    const auto index = index_of(it->path().filename().native());
    if (!index) continue;
    // Bound ones have this directory: a look is cheaper than an open.
    if (::access(fmt::format("/sys/block/loop{}/loop", *index).c_str(), F_OK) != 0) continue;
    auto loop = LoopDevice::open(*index);
    if (!loop) {
      out.unreadable.emplace(*index, std::move(loop).error());
    } else if (*loop) {
      out.loops.push_back((*loop)->status());
    }
  }
  if (error) return fail(errno_error("reading /sys/block", error.value()));
  std::ranges::sort(out.loops, {}, &LoopStatus::index);
  return out;
}

Result<std::vector<LoopStatus>> list_loops(const std::filesystem::path& below) {
  BGR_TRY(auto all, read_loops());
  for (const auto& [index, error] : all.unreadable) {
    if (view_of({.index = index}).backing.starts_with((below / "").native())) return fail(error);
  }
  return std::move(all.loops);
}

std::optional<unsigned> loop_of(unsigned major, unsigned minor) {
  std::error_code error;
  const auto target = std::filesystem::read_symlink(fmt::format("/sys/dev/block/{}:{}", major, minor), error);
  if (error) return std::nullopt;
  return index_of(target.filename().native());
}

LoopView view_of(const LoopStatus& status, const std::string& known_path) {
  LoopView view{.device = device_path(status.index),
                .backing = known_path,
                .read_only = status.read_only,
                .autoclear = status.autoclear,
                .label = status.label,
                .size = status.size};
  if (!known_path.empty()) return view;
  auto shown = read_file(fmt::format("/sys/block/loop{}/loop/backing_file", status.index), kib(8)).value_or("");
  while (shown.ends_with('\n')) shown.pop_back();
  view.deleted = shown.ends_with(kDeleted);
  if (view.deleted) shown.resize(shown.size() - kDeleted.size());
  view.backing = std::move(shown);
  return view;
}

}  // namespace banger::actuators::block

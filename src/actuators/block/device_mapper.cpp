// SPDX-License-Identifier: Apache-2.0
#include "actuators/block/device_mapper.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <libdevmapper.h>
#include <linux/dm-ioctl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <memory>
#include <mutex>

#include "base/failpoint.hpp"
#include "base/files.hpp"
#include "base/log.hpp"
#include "base/text.hpp"
#include "base/unique_fd.hpp"

namespace banger::actuators::block::dm {
namespace {

constexpr const char* kControl = "/dev/mapper/control";
constexpr int kLogWarning = 4;                                   // syslog's levels; the library's flags are above bit 2
constexpr std::array<std::uint32_t, 2> kSnapshotVersion{1, 15};  // the first with the store type PO (Linux 4.4)

// udev neither names, scans nor waits for these nodes, and the library leaves /dev/mapper to us.
constexpr std::uint16_t kUdevFlags = DM_UDEV_DISABLE_DM_RULES_FLAG | DM_UDEV_DISABLE_SUBSYSTEM_RULES_FLAG |
                                     DM_UDEV_DISABLE_DISK_RULES_FLAG | DM_UDEV_DISABLE_OTHER_RULES_FLAG |
                                     DM_UDEV_DISABLE_LIBRARY_FALLBACK;

// What the library said last on this thread.
std::string& said() {
  thread_local std::string text;
  return text;
}

extern "C" __attribute__((format(printf, 5, 6))) void on_library_log(int level, const char*, int, int, const char* format, ...) {
  if ((level & 7) > kLogWarning) return;
  std::array<char, 512> text{};
  va_list arguments;
  va_start(arguments, format);
  const int length = std::vsnprintf(text.data(), text.size(), format, arguments);
  va_end(arguments);
  if (length <= 0) return;
  said() = printable(std::string_view(text.data()));
  log::debug("libdevmapper", {{"message", said()}});
}

// The library remembers for ever that it found no device-mapper: it is not asked before the kernel answers. After the first task
// nothing that it keeps changes any more, and tasks run side by side.
Result<void> open_library() {
  static std::atomic<bool> open = false;
  static std::mutex mutex;
  if (open) return {};
  const std::lock_guard lock(mutex);
  if (open) return {};
  const UniqueFd control(::open(kControl, O_RDWR | O_CLOEXEC));
  dm_ioctl version{};
  version.version[0] = DM_VERSION_MAJOR;
  version.data_size = sizeof version;
  if (!control.valid() || ::ioctl(control.get(), DM_VERSION, &version) != 0) {
    return fail({ErrorCode::Unavailable,
                 fmt::format("{} does not work ({}; load the module dm-snapshot)", kControl, strerrordesc_np(errno)), errno});
  }
  ::dm_log_with_errno_init(on_library_log);
  ::dm_udev_set_sync_support(0);
  ::dm_set_name_mangling_mode(DM_STRING_MANGLING_NONE);
  const std::unique_ptr<dm_task, decltype(&::dm_task_destroy)> first(::dm_task_create(DM_DEVICE_VERSION), &::dm_task_destroy);
  if (!first || ::dm_task_run(first.get()) == 0) {
    return fail({ErrorCode::Unavailable, fmt::format("libdevmapper cannot speak to this kernel: {}", said())});
  }
  open = true;
  return {};
}

class Task {
 public:
  static Result<Task> make(int type) {
    BGR_CHECK(open_library());
    said().clear();
    Task task(::dm_task_create(type));
    if (!task.task_) return fail({ErrorCode::Unavailable, fmt::format("libdevmapper: {}", said())});
    std::uint32_t cookie = 0;
    const bool changes = type == DM_DEVICE_CREATE || type == DM_DEVICE_RESUME || type == DM_DEVICE_REMOVE;
    if (changes && (::dm_task_set_cookie(task.get(), &cookie, kUdevFlags) == 0 ||
                    ::dm_task_set_add_node(task.get(), DM_ADD_NODE_ON_CREATE) == 0)) {
      return fail(internal(fmt::format("libdevmapper: {}", said())));
    }
    return task;
  }
  static Result<Task> named(int type, const std::string& name) {
    BGR_TRY(auto task, make(type));
    if (::dm_task_set_name(task.get(), name.c_str()) == 0) return fail(internal(fmt::format("libdevmapper: {}", said())));
    return task;
  }

  [[nodiscard]] dm_task* get() const { return task_.get(); }

  Result<void> run(std::string_view doing) {
    if (::dm_task_run(get()) != 0) return {};
    const int error = ::dm_task_get_errno(get());
    if (error == 0) return fail(internal(fmt::format("{}: {}", doing, said())));
    return fail(errno_error(doing, error));
  }

 private:
  explicit Task(dm_task* task) : task_(task, &::dm_task_destroy) {}
  std::unique_ptr<dm_task, decltype(&::dm_task_destroy)> task_;
};

Result<void> run(int type, const std::string& name, std::string_view verb) {
  BGR_TRY(auto task, Task::named(type, name));
  return task.run(fmt::format("{} {}", verb, name));
}

std::vector<Target> targets_of(const Task& task) {
  std::vector<Target> out;
  void* next = nullptr;
  do {
    Target target;
    char* type = nullptr;
    char* params = nullptr;
    next = ::dm_get_next_target(task.get(), next, &target.start, &target.length, &type, &params);
    if (type == nullptr) continue;
    target.type = type;
    if (params != nullptr) target.params = params;
    out.push_back(std::move(target));
  } while (next != nullptr);
  return out;
}

Result<std::optional<Node>> found(Task task, const std::string& which) {
  BGR_CHECK(task.run(fmt::format("looking at {}", which)));
  dm_info info{};
  if (::dm_task_get_info(task.get(), &info) == 0) return fail(internal(fmt::format("looking at {}: {}", which, said())));
  if (info.exists == 0) return std::nullopt;
  const char* name = ::dm_task_get_name(task.get());
  const char* uuid = ::dm_task_get_uuid(task.get());
  return Node{.name = name != nullptr ? name : "",
              .uuid = uuid != nullptr ? uuid : "",
              .number = ::makedev(info.major, info.minor),
              .live_table = info.live_table != 0,
              .inactive_table = info.inactive_table != 0,
              .suspended = info.suspended != 0,
              .open_count = info.open_count,
              // Without a live table the kernel tells of the inactive one.
              .status = info.live_table != 0 ? targets_of(task) : std::vector<Target>{}};
}

using Version = std::array<std::uint32_t, 3>;

Result<std::optional<Version>> snapshot_version(int type) {
  BGR_TRY(auto task, Task::make(type));
  // Asked for by its name, a target's module is loaded.
  if (type == DM_DEVICE_GET_TARGET_VERSION && ::dm_task_set_name(task.get(), "snapshot") == 0)
    return fail(internal(fmt::format("libdevmapper: {}", said())));
  if (!task.run("asking for the target snapshot")) return std::nullopt;
  const dm_versions* entry = ::dm_task_get_versions(task.get());
  while (entry != nullptr) {
    if (std::string_view(static_cast<const char*>(entry->name)) == "snapshot") {
      return Version{entry->version[0], entry->version[1], entry->version[2]};
    }
    if (entry->next == 0) break;
    entry = reinterpret_cast<const dm_versions*>(reinterpret_cast<const char*>(entry) + entry->next);
  }
  return std::nullopt;
}

std::string file_of(const std::string& name) { return "/dev/mapper/" + name; }

}  // namespace

bool is_loaded() { return ::access("/sys/class/misc/device-mapper", F_OK) == 0; }

Result<bool> answers() {
  if (auto stop = failpoint("dm.control")) return fail({ErrorCode::Unavailable, stop->message, stop->sys_errno});
  if (!is_loaded()) return false;
  BGR_CHECK(open_library());
  return true;
}

Result<void> check_snapshot_target() {
  if (auto stop = failpoint("dm.check")) return fail(*std::move(stop));
  static std::atomic<bool> good = false;
  if (good) return {};
  BGR_CHECK(open_library());
  BGR_TRY(auto version, snapshot_version(DM_DEVICE_LIST_VERSIONS));
  if (!version) {
    BGR_TRY(version, snapshot_version(DM_DEVICE_GET_TARGET_VERSION));
  }
  if (!version) return fail({ErrorCode::Unavailable, "device-mapper has no target \"snapshot\" (load the module dm-snapshot)"});
  if (std::pair((*version)[0], (*version)[1]) < std::pair(kSnapshotVersion[0], kSnapshotVersion[1])) {
    return fail({ErrorCode::Unavailable,
                 fmt::format("device-mapper's target snapshot is {}.{}.{}; needed is {}.{} or later (Linux 4.4)", (*version)[0],
                             (*version)[1], (*version)[2], kSnapshotVersion[0], kSnapshotVersion[1])});
  }
  good = true;
  return {};
}

Result<std::vector<std::string>> list() {
  BGR_TRY(auto task, Task::make(DM_DEVICE_LIST));
  BGR_CHECK(task.run("listing device-mapper nodes"));
  std::vector<std::string> out;
  const dm_names* entry = ::dm_task_get_names(task.get());
  if (entry == nullptr || entry->dev == 0) return out;
  for (;;) {
    out.emplace_back(static_cast<const char*>(entry->name));
    if (entry->next == 0) return out;
    entry = reinterpret_cast<const dm_names*>(reinterpret_cast<const char*>(entry) + entry->next);
  }
}

Result<std::optional<Node>> find(const std::string& name) {
  BGR_TRY(auto task, Task::named(DM_DEVICE_STATUS, name));
  return found(std::move(task), name);
}

Result<std::optional<Node>> find_by_uuid(const std::string& uuid) {
  BGR_TRY(auto task, Task::make(DM_DEVICE_STATUS));
  if (::dm_task_set_uuid(task.get(), uuid.c_str()) == 0) return fail(internal(fmt::format("libdevmapper: {}", said())));
  return found(std::move(task), uuid);
}

Result<std::vector<Target>> table(const std::string& name) {
  BGR_TRY(auto task, Task::named(DM_DEVICE_TABLE, name));
  if (const auto ran = task.run(fmt::format("reading the table of {}", name)); !ran) {
    if (ran.error().sys_errno == ENXIO) return std::vector<Target>{};
    return fail(ran.error());
  }
  dm_info info{};
  if (::dm_task_get_info(task.get(), &info) == 0 || info.exists == 0 || info.live_table == 0) return std::vector<Target>{};
  return targets_of(task);
}

Result<dev_t> create(const std::string& name, const std::string& uuid) {
  BGR_TRY(auto task, Task::named(DM_DEVICE_CREATE, name));
  if (::dm_task_set_uuid(task.get(), uuid.c_str()) == 0) return fail(internal(fmt::format("libdevmapper: {}", said())));
  auto stop = failpoint("dm.create");
  const auto made = stop ? Result<void>(fail(*std::move(stop))) : task.run(fmt::format("making {}", name));
  if (!made) {
    if (made.error().sys_errno != ENXIO) return fail(made.error());  // alloc_dev() in the kernel's dm.c found no number
    return fail({ErrorCode::Unavailable, fmt::format("making {}: device-mapper has no free minor number", name), ENXIO});
  }
  dm_info info{};
  if (::dm_task_get_info(task.get(), &info) == 0) return fail(internal(fmt::format("making {}: {}", name, said())));
  return ::makedev(info.major, info.minor);
}

Result<void> load(const std::string& name, const Target& target) {
  if (auto stop = failpoint("dm.load")) return fail(*std::move(stop));
  BGR_TRY(auto task, Task::named(DM_DEVICE_RELOAD, name));
  if (::dm_task_add_target(task.get(), target.start, target.length, target.type.c_str(), target.params.c_str()) == 0) {
    return fail(internal(fmt::format("libdevmapper: {}", said())));
  }
  auto loaded = task.run(
      fmt::format("loading the table \"{} {} {} {}\" into {}", target.start, target.length, target.type, target.params, name));
  // A snapshot's tables and threads want memory in one piece: with many made at once the kernel has none for a moment.
  if (!loaded && loaded.error().sys_errno == ENOMEM) loaded.error().code = ErrorCode::Busy;
  return loaded;
}

Result<void> clear(const std::string& name) { return run(DM_DEVICE_CLEAR, name, "clearing the waiting table of"); }

Result<void> suspend(const std::string& name) {
  BGR_TRY(auto task, Task::named(DM_DEVICE_SUSPEND, name));
  if (::dm_task_skip_lockfs(task.get()) == 0) return fail(internal(fmt::format("libdevmapper: {}", said())));
  return task.run(fmt::format("suspending {}", name));
}

Result<void> resume(const std::string& name) {
  if (auto stop = failpoint("dm.resume")) return fail(*std::move(stop));
  return run(DM_DEVICE_RESUME, name, "resuming");
}

Result<void> remove(const std::string& name) {
  if (auto stop = failpoint("dm.remove")) return fail(*std::move(stop));
  auto removed = run(DM_DEVICE_REMOVE, name, "removing");
  if (!removed && removed.error().sys_errno != ENXIO) return removed;
  BGR_CHECK(remove_file(name));
  return {};
}

Result<bool> make_file(const std::string& name, dev_t number) {
  const auto path = file_of(name);
  struct stat info{};
  if (::stat(path.c_str(), &info) == 0 && S_ISBLK(info.st_mode) && info.st_rdev == number) return false;
  BGR_CHECK(make_directories("/dev/mapper", 0755));
  // What stands there instead is left over from a node that is gone: names of nodes are unique, and this node has the name.
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return fail(errno_error(fmt::format("replacing {}", path), errno));
  if (::mknod(path.c_str(), S_IFBLK | 0600, number) != 0 && errno != EEXIST)
    return fail(errno_error(fmt::format("making {}", path), errno));
  return true;
}

Result<bool> remove_file(const std::string& name) {
  const auto path = file_of(name);
  if (::unlink(path.c_str()) == 0) return true;
  if (errno == ENOENT || errno == ENOTDIR) return false;
  return fail(errno_error(fmt::format("removing {}", path), errno));
}

}  // namespace banger::actuators::block::dm

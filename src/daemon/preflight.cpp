// SPDX-License-Identifier: Apache-2.0
#include "daemon/preflight.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <vector>

#include "base/files.hpp"

namespace banger::daemon {
namespace {

namespace fs = std::filesystem;

// A VM's monitor socket is <run-dir>/vm/<10 digits>/qmp.sock.
constexpr std::size_t kSocketTail = sizeof("/vm/aaaaaaaaaa/qmp.sock") - 1;
constexpr std::size_t kSunPathMax = sizeof(sockaddr_un::sun_path) - 1;

Result<void> check_paths(const Options& options) {
  if (options.run_dir.size() + kSocketTail > kSunPathMax) {
    return fail(invalid(fmt::format("{} is too long for sockets below it (at most {} bytes): choose a shorter --run-dir",
                                    options.run_dir, kSunPathMax - kSocketTail)));
  }
  if (options.socket.size() > kSunPathMax) {
    return fail(invalid(
        fmt::format("{} is too long for a socket (at most {} bytes): choose a shorter --socket", options.socket, kSunPathMax)));
  }
  if (options.manifests.empty()) return {};
  const auto inside = fs::path(options.manifests).lexically_relative(options.state_dir).native();
  if (inside == "." || (!inside.empty() && !inside.starts_with(".."))) {
    return fail(invalid(
        fmt::format("--manifests {} lies inside the state directory {}: choose another", options.manifests, options.state_dir)));
  }
  return {};
}

Result<std::string> find_program(const Options& options, const std::string& name) {
  std::vector<fs::path> places;
  if (!options.libexec.empty()) {
    places.emplace_back(options.libexec);
  } else {
    std::error_code ignored;
    const auto here = fs::read_symlink("/proc/self/exe", ignored).parent_path();
    // Installed: beside us or in libexec. In a build tree: the room of its own.
    places = {here, here / "../libexec/banger", "/usr/libexec/banger", here / "../shim", here / "../guest_init"};
  }
  for (const auto& place : places) {
    const auto path = (place / name).lexically_normal();
    if (::access(path.c_str(), X_OK) == 0) return path.native();
  }
  return fail(not_found(
      fmt::format("{} was not found in {}: reinstall, or name its directory with --libexec", name, places.front().native())));
}

// What lies in it is believed, runs guests and holds a private key: nobody else may put anything there.
Result<void> check_nobody_elses(const fs::path& directory, const struct stat& info, std::string_view expected = "0700") {
  if (info.st_uid != ::geteuid() && info.st_uid != 0) {
    return fail(
        invalid(fmt::format("{0} belongs to user {1}: what it holds cannot be trusted; expected a directory of root's "
                            "(look at what is in it, then: chown -R root: {0})",
                            directory.native(), info.st_uid)));
  }
  if ((info.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
    return fail(
        invalid(fmt::format("{0} may be written by others (mode {1:04o}): what it holds cannot be trusted; expected {2} "
                            "(look at what is in it, then: chmod go-w {0})",
                            directory.native(), info.st_mode & 07777U, expected)));
  }
  return {};
}

bool is_trusted(uid_t owner) { return owner == 0 || owner == ::geteuid(); }

// Who may write a directory puts something else in the place of what is in it; where it is sticky, only of what is their own.
Result<void> check_parent(const fs::path& parent, const fs::path& directory) {
  struct stat info{};
  if (::stat(parent.c_str(), &info) != 0) {
    if (errno == ENOENT) return {};  // it is made by us
    return fail(errno_error("looking at " + parent.native(), errno));
  }
  if (!is_trusted(info.st_uid)) {
    return fail(
        invalid(fmt::format("{0}, above {1}, belongs to user {2}, who could put something else in the place of what is in "
                            "it; expected a directory of root's (chown root {0}, or choose another place)",
                            parent.native(), directory.native(), info.st_uid)));
  }
  if ((info.st_mode & (S_IWGRP | S_IWOTH)) != 0 && (info.st_mode & S_ISVTX) == 0) {
    return fail(
        invalid(fmt::format("{0}, above {1}, may be written by others (mode {2:04o}), who could put something else in the "
                            "place of what is in it; expected 0755, or a sticky one (chmod go-w {0}, or choose another "
                            "place)",
                            parent.native(), directory.native(), info.st_mode & 07777U)));
  }
  return {};
}

Result<void> check_link(const fs::path& path) {
  struct stat info{};
  if (::lstat(path.c_str(), &info) != 0 || !S_ISLNK(info.st_mode) || is_trusted(info.st_uid)) return {};
  return fail(
      invalid(fmt::format("{0} is a symbolic link of user {1}, who could make it lead elsewhere; expected one of root's "
                          "(chown -h root {0}, or choose another place)",
                          path.native(), info.st_uid)));
}

// As sshd's StrictModes: everything above it, as it is named and as it is reached.
Result<void> check_above(const fs::path& directory) {
  for (auto path = directory; path.has_relative_path(); path = path.parent_path()) {
    BGR_CHECK(check_link(path));
    BGR_CHECK(check_parent(path.parent_path(), directory));
  }
  std::error_code error;
  const auto reached = fs::weakly_canonical(directory, error);
  if (error) return fail(errno_error("looking at " + directory.native(), error.value()));
  for (auto path = reached; path.has_relative_path(); path = path.parent_path()) {
    BGR_CHECK(check_parent(path.parent_path(), directory));
  }
  return {};
}

// Either directory itself may be a link: somebody chose its place. What is in it is ours to lay out.
struct GroundPlan {
  fs::path directory;
  std::string_view option;
  unsigned mode;
  std::vector<std::string_view> rooms;
};

Result<void> check_room(const GroundPlan& ground, const fs::path& path) {
  struct stat info{};
  if (::lstat(path.c_str(), &info) != 0) {
    if (errno == ENOENT) return {};
    return fail(errno_error("looking at " + path.native(), errno));
  }
  if (S_ISLNK(info.st_mode)) {
    return fail(
        invalid(fmt::format("{} is a symbolic link; expected a directory: mount another disk there, or make the whole "
                            "of {} a link",
                            path.native(), ground.option)));
  }
  if (path.filename() == "db" && !S_ISDIR(info.st_mode)) return {};  // a damaged database: it is set aside
  if (!S_ISDIR(info.st_mode)) return fail(invalid(fmt::format("{} is not a directory: move it away", path.native())));
  return check_nobody_elses(path, info, fmt::format("{:04o}", ground.mode));
}

Result<void> lay(const GroundPlan& ground) {
  BGR_CHECK(check_above(ground.directory));
  BGR_CHECK(make_directories(ground.directory, ground.mode));
  struct stat info{};
  if (::stat(ground.directory.c_str(), &info) != 0) return fail(errno_error("looking at " + ground.directory.native(), errno));
  BGR_CHECK(check_nobody_elses(ground.directory, info, fmt::format("{:04o}", ground.mode)));
  for (const auto room : ground.rooms) BGR_CHECK(check_room(ground, ground.directory / room));
  return {};
}

Result<UniqueFd> lock_state(const std::string& state_dir) {
  const auto path = state_dir + "/lock";
  UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd.valid()) return fail(errno_error(fmt::format("the state directory is not usable: opening {}", path), errno));
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return fail(errno_error(fmt::format("locking {}", path), errno));
    const auto owner = read_file(path, kib(1));
    return fail({ErrorCode::Busy,
                 fmt::format("another bangerd (process {}) already uses {}: stop it first, or choose another --state-dir",
                             owner && !owner->empty() ? *owner : "unknown", state_dir)});
  }
  const auto pid = std::to_string(::getpid());
  // Only a hint for the sentence above: a disk too full for a few bytes must not keep the daemon from running.
  if (::ftruncate(fd.get(), 0) == 0) (void)!::pwrite(fd.get(), pid.data(), pid.size(), 0);
  return fd;
}

// Three descriptors for each VM that runs; what most systems allow at first is enough for 300 of them.
void allow_many_files() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= limit.rlim_max) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace

Result<Grounds> prepare(const Options& options) {
  if (::geteuid() != 0) {
    return fail({ErrorCode::Denied, "bangerd makes bridges, taps and cgroups and must run as root: start it with sudo"});
  }
  BGR_CHECK(check_paths(options));
  allow_many_files();
  Grounds grounds;
  BGR_TRY(grounds.shim_path, find_program(options, "banger-shim"));
  BGR_TRY(grounds.init_path, find_program(options, "banger-init"));
  const GroundPlan state{options.state_dir, "--state-dir", 0700, {"db", "vms", "networks", "images", "kernels", "ssh"}};
  if (const auto laid = lay(state); !laid) return fail(with_context(laid.error(), "the state directory is not usable"));
  const GroundPlan run{options.run_dir, "--run-dir", 0755, {"vm"}};
  if (const auto laid = lay(run); !laid) return fail(with_context(laid.error(), "the run directory is not usable"));
  std::error_code error;
  grounds.state_dir = fs::canonical(options.state_dir, error).native();
  if (error) return fail(errno_error("looking at " + options.state_dir, error.value()));
  BGR_TRY(grounds.lock, lock_state(options.state_dir));
  return grounds;
}

}  // namespace banger::daemon

// SPDX-License-Identifier: Apache-2.0
#include "actuators/vmm/cgroup.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <memory>
#include <set>
#include <system_error>

#include "actuators/names.hpp"
#include "base/file_state.hpp"
#include "base/files.hpp"
#include "base/text.hpp"

namespace banger::actuators::vmm {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kSlice = "banger.slice";

bool contains(const std::vector<std::string_view>& words, std::string_view word) {
  return std::ranges::find(words, word) != words.end();
}

// Mount points have space, tab, newline and backslash as \ooo.
std::string unescape(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    unsigned value = 0;
    if (text[i] == '\\' && i + 3 < text.size() &&
        std::from_chars(text.data() + i + 1, text.data() + i + 4, value, 8).ptr == text.data() + i + 4) {
      out += static_cast<char>(value);
      i += 3;
    } else {
      out += text[i];
    }
  }
  return out;
}

bool slice_can_kill(const fs::path& root) {
  const auto slice = root / kSlice;
  const bool made = ::mkdir(slice.c_str(), 0755) == 0;
  if (!made && errno != EEXIST) return false;
  const bool can = ::access((slice / "cgroup.kill").c_str(), W_OK) == 0;
  if (made) ::rmdir(slice.c_str());
  return can;
}

Result<std::vector<CgroupMount>> mounts_here() {
  BGR_TRY(const auto text, read_file("/proc/self/mountinfo", mib(4)));
  return cgroup_mounts(text);
}

std::vector<std::int64_t> parse_pids(std::string_view text) {
  std::vector<std::int64_t> out;
  for (const auto line : split(text, '\n')) {
    std::int64_t pid = 0;
    if (std::from_chars(line.data(), line.data() + line.size(), pid).ec == std::errc{} && pid > 0) out.push_back(pid);
  }
  return out;
}

// Of the groups below a group, which somebody else made.
std::vector<std::int64_t> pids_below(const fs::path& group) {
  std::vector<std::int64_t> out;
  std::error_code error;
  for (fs::recursive_directory_iterator it(group, error), end; !error && it != end; it.increment(error)) {
    if (it->path().filename() != "cgroup.procs") continue;
    if (const auto text = read_file(it->path(), mib(4))) std::ranges::copy(parse_pids(*text), std::back_inserter(out));
  }
  return out;
}

Result<void> write_control(const fs::path& path, std::string_view text) {
  const UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd.valid()) return fail(errno_error(fmt::format("opening {}", path.native()), errno));
  if (::write(fd.get(), text.data(), text.size()) < 0) {
    return fail(errno_error(fmt::format("writing {}", path.native()), errno));
  }
  return {};
}

// mkdir of both levels; another thread may remove the empty slice in between.
Result<bool> make_group(const fs::path& root, std::string_view uid) {
  const auto path = root / cgroup_name(uid);
  for (int i = 0; i < 4; ++i) {
    if (::mkdir((root / kSlice).c_str(), 0755) != 0 && errno != EEXIST) break;
    if (::mkdir(path.c_str(), 0755) == 0) return true;
    if (errno == EEXIST) return false;
    if (errno != ENOENT) break;
  }
  return fail(errno_error(fmt::format("making cgroup {}", path.native()), errno));
}

}  // namespace

std::vector<CgroupMount> cgroup_mounts(std::string_view mountinfo) {
  std::vector<CgroupMount> out;
  for (const auto line : split(mountinfo, '\n')) {
    const auto separator = line.find(" - ");
    if (separator == std::string_view::npos) continue;
    const auto left = split(line.substr(0, separator), ' ');
    const auto right = split(line.substr(separator + 3), ' ');
    if (left.size() < 6 || right.size() < 3 || (right[0] != "cgroup" && right[0] != "cgroup2")) continue;
    const auto options = split(right[2], ',');
    CgroupMount mount{
        unescape(left[4]), std::string(right[0]), {}, contains(split(left[5], ','), "rw") && contains(options, "rw")};
    if (mount.kind == "cgroup") {
      for (const auto option : options) {
        if (option != "rw" && option != "ro") mount.controllers.emplace_back(option);
      }
    }
    out.push_back(std::move(mount));
  }
  return out;
}

Result<Hierarchy> find_hierarchy() {
  BGR_TRY(const auto mounts, mounts_here());
  for (const auto& mount : mounts) {
    if (mount.kind == "cgroup2" && mount.writable && slice_can_kill(mount.path)) return Hierarchy{2, {mount.path}};
  }
  return find_hierarchy_v1();
}

Result<Hierarchy> find_hierarchy_v1() {
  BGR_TRY(const auto mounts, mounts_here());
  Hierarchy found{1, {}};
  for (const std::string_view wanted : {"freezer", "pids"}) {
    const auto mount = std::ranges::find_if(mounts, [&](const CgroupMount& m) {
      return m.writable && std::ranges::find(m.controllers, wanted) != m.controllers.end();
    });
    if (mount == mounts.end() || ::access(mount->path.c_str(), W_OK) != 0) {
      return fail({ErrorCode::Unavailable,
                   "no usable cgroup hierarchy: VMs need a writable cgroup v2 mount with cgroup.kill (Linux 5.14), or the v1 "
                   "hierarchies freezer and pids; run as root and see /proc/self/mountinfo"});
    }
    if (std::ranges::find(found.roots, mount->path) == found.roots.end()) found.roots.push_back(mount->path);
  }
  return found;
}

Result<bool> Cgroups::make(std::string_view uid) {
  bool made = false;
  for (const auto& root : hierarchy_.roots) {
    BGR_TRY(const bool here, make_group(root, uid));
    made = made || here;
  }
  return made;
}

bool Cgroups::exists(std::string_view uid) const {
  return std::ranges::any_of(hierarchy_.roots,
                             [&](const fs::path& root) { return ::access((root / cgroup_name(uid)).c_str(), F_OK) == 0; });
}

std::vector<std::int64_t> Cgroups::pids(std::string_view uid) const {
  std::vector<std::int64_t> out;
  for (const auto& root : hierarchy_.roots) {
    const auto text = read_file(root / cgroup_name(uid) / "cgroup.procs", mib(4));
    if (text) std::ranges::copy(parse_pids(*text), std::back_inserter(out));
  }
  for (const auto& root : hierarchy_.roots) {
    if (out.empty()) out = pids_below(root / cgroup_name(uid));
  }
  std::ranges::sort(out);
  out.erase(std::ranges::unique(out).begin(), out.end());
  return out;
}

bool Cgroups::populated(std::string_view uid) const {
  if (hierarchy_.version == 1) return !pids(uid).empty();
  const auto text = read_file(hierarchy_.roots.front() / cgroup_name(uid) / "cgroup.events", kib(64));
  return text && text->find("populated 1") != std::string::npos;
}

Result<bool> Cgroups::kill(std::string_view uid) {
  if (!populated(uid)) return false;
  if (hierarchy_.version == 1) return kill_v1(uid);
  if (auto done = write_control(hierarchy_.roots.front() / cgroup_name(uid) / "cgroup.kill", "1"); !done) {
    if (done.error().code == ErrorCode::NotFound) return false;
    return fail(done.error());
  }
  return true;
}

// What is frozen cannot fork, and the kill waits for the thaw. A fork that the freeze came too late for shows in the next round.
Result<bool> Cgroups::kill_v1(std::string_view uid) {
  const auto state = hierarchy_.roots.front() / cgroup_name(uid) / "freezer.state";
  std::set<std::int64_t> killed;
  for (int round = 0; round < 16; ++round) {
    if (auto frozen = write_control(state, "FROZEN"); !frozen && frozen.error().code != ErrorCode::NotFound) {
      return fail(frozen.error());
    }
    bool more = false;
    for (const auto pid : pids(uid)) {
      if (::kill(static_cast<pid_t>(pid), SIGKILL) == 0) more = killed.insert(pid).second || more;
    }
    if (auto thawed = write_control(state, "THAWED"); !thawed && thawed.error().code != ErrorCode::NotFound) {
      return fail(thawed.error());
    }
    if (!more) break;
  }
  return !killed.empty();
}

Result<bool> Cgroups::remove(std::string_view uid) {
  if (populated(uid)) return fail({ErrorCode::Busy, fmt::format("cgroup {} still has processes", cgroup_name(uid))});
  bool removed = false;
  for (const auto& root : hierarchy_.roots) {
    const auto path = root / cgroup_name(uid);
    if (::rmdir(path.c_str()) == 0) {
      removed = true;
    } else if (errno != ENOENT) {
      return fail(errno_error(fmt::format("removing cgroup {}", path.native()), errno));
    }
    ::rmdir((root / kSlice).c_str());  // fails while other VMs have a group
  }
  return removed;
}

std::vector<std::string> Cgroups::uids() const {
  std::vector<std::string> out;
  for (const auto& root : hierarchy_.roots) {
    for_each_name(root / kSlice, [&](std::string_view name) {
      if (auto uid = uid_of_cgroup(name)) out.push_back(*std::move(uid));
    });
  }
  std::ranges::sort(out);
  out.erase(std::ranges::unique(out).begin(), out.end());
  return out;
}

Result<std::vector<UniqueFd>> Cgroups::open_for_spawn(std::string_view uid) const {
  std::vector<UniqueFd> out;
  for (const auto& root : hierarchy_.roots) {
    auto path = root / cgroup_name(uid);
    if (hierarchy_.version == 1) path /= "cgroup.procs";
    UniqueFd fd(::open(path.c_str(), hierarchy_.version == 1 ? O_WRONLY | O_CLOEXEC : O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!fd.valid()) return fail(errno_error(fmt::format("opening cgroup {}", path.native()), errno));
    out.push_back(std::move(fd));
  }
  return out;
}

}  // namespace banger::actuators::vmm

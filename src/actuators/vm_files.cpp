// SPDX-License-Identifier: Apache-2.0
#include "actuators/vm_files.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <iterator>
#include <vector>

#include "base/file_state.hpp"
#include "base/files.hpp"
#include "base/random.hpp"

namespace banger::actuators {
namespace {

constexpr Bytes kSidecarLimit = mib(4);
constexpr int kMostSetAside = 16;

mode_t kind_at(const std::filesystem::path& path) {
  struct stat info{};
  return ::lstat(path.c_str(), &info) == 0 ? info.st_mode & S_IFMT : 0;
}

bool is_real_directory(const std::filesystem::path& path) { return kind_at(path) == S_IFDIR; }

// What stands in place of vm.json and cannot be trusted is kept under a name that says so: a person may want it.
Result<void> set_aside(const std::filesystem::path& path) {
  struct stat info{};
  if (::lstat(path.c_str(), &info) != 0) return {};
  if (S_ISREG(info.st_mode) && info.st_size == 0) return {};  // nothing to keep
  for (int n = 1; n <= kMostSetAside; ++n) {
    const auto aside = fmt::format("{}.bad-{}", path.native(), n);
    if (::renameat2(AT_FDCWD, path.c_str(), AT_FDCWD, aside.c_str(), RENAME_NOREPLACE) == 0) return {};
    if (errno != EEXIST) return fail(errno_error(fmt::format("setting {} aside", path.native()), errno));
  }
  return {};  // enough are kept; a directory in its place is said by the write
}

}  // namespace

void add_sidecar(VmView& view, const Layout& layout) {
  const auto kind = kind_at(vm_dir(layout, view.uid));
  view.directory_exists = kind == S_IFDIR;
  view.directory_is_link = kind == S_IFLNK;
  if (!view.directory_exists) return;
  auto text = read_own_file(sidecar_path(layout, view.uid), kSidecarLimit);
  if (!text) {
    if (text.error().code != ErrorCode::NotFound) view.sidecar_error = std::move(text).error().message;
    return;
  }
  auto sidecar = decode_sidecar(*text);
  if (!sidecar) {
    view.sidecar_error = std::move(sidecar).error().message;
  } else if (sidecar->uid != view.uid) {
    view.sidecar_error = fmt::format("vm.json is that of another VM ({})", sidecar->uid);
  } else {
    view.sidecar = *std::move(sidecar);
  }
}

Result<Applied> write_sidecar(const Sidecar& sidecar, const Layout& layout) {
  const auto directory = vm_dir(layout, sidecar.uid);
  if (!is_real_directory(directory))
    return fail(not_found(fmt::format("writing vm.json: there is no directory {}", directory.native())));
  BGR_CHECK(check_own_directory(directory));  // else it would be written again and again, and trusted never
  const auto path = sidecar_path(layout, sidecar.uid);
  const auto text = encode_sidecar(sidecar);
  const auto old = read_own_file(path, kSidecarLimit);
  if (old && *old == text) return Applied::Unchanged;
  bool trusted = !old && old.error().code == ErrorCode::NotFound;
  if (old) {
    const auto record = decode_sidecar(*old);
    trusted = record && record->uid == sidecar.uid;
  }
  if (!trusted) BGR_CHECK(set_aside(path));
  BGR_CHECK(write_file_durably(path, text, 0600));
  return Applied::Changed;
}

Result<Applied> remove_directory(const std::filesystem::path& path) {
  struct stat info{};
  if (::lstat(path.c_str(), &info) != 0) {
    if (errno == ENOENT || errno == ENOTDIR) return Applied::Unchanged;
    return fail(errno_error(fmt::format("looking at {}", path.native()), errno));
  }
  BGR_CHECK(remove_tree(path));
  BGR_CHECK(fsync_directory(path.parent_path()));
  return Applied::Changed;
}

std::set<std::string> vm_directories(const Layout& layout) {
  std::vector<std::string> names;
  for_each_name(layout.state_dir / "vms", [&](std::string_view name) {
    if (is_uid(name)) names.emplace_back(name);
  });
  std::ranges::sort(names);
  return {std::move_iterator(names.begin()), std::move_iterator(names.end())};
}

}  // namespace banger::actuators

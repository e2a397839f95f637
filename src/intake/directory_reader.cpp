// SPDX-License-Identifier: Apache-2.0
#include "intake/directory_reader.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>

#include "base/text.hpp"

namespace banger::intake {
namespace {

std::int64_t nanoseconds(const timespec& time) { return time.tv_sec * 1'000'000'000LL + time.tv_nsec; }

Identity identity_of(const struct stat& facts) { return {.device = facts.st_dev, .inode = facts.st_ino}; }

Fingerprint print_of(const struct stat& facts) {
  return {.inode = facts.st_ino,
          .size = static_cast<std::uint64_t>(facts.st_size),
          .modify_time_ns = nanoseconds(facts.st_mtim),
          .change_time_ns = nanoseconds(facts.st_ctim)};
}

// Why a thing with a manifest's name is not read; empty: it is.
std::string refusal_of(const struct stat& facts) {
  if (S_ISLNK(facts.st_mode)) return "is a symbolic link; links are not followed, put the file itself here";
  if (S_ISDIR(facts.st_mode)) return "is a directory; a directory's name must not look like a manifest's";
  if (S_ISFIFO(facts.st_mode)) return "is a FIFO, expected a regular file";
  if (S_ISSOCK(facts.st_mode)) return "is a socket, expected a regular file";
  if (S_ISCHR(facts.st_mode) || S_ISBLK(facts.st_mode)) return "is a device, expected a regular file";
  if (!S_ISREG(facts.st_mode)) return "is not a regular file";
  if (facts.st_nlink > 1) return fmt::format("has {} hard links, expected one; copy the file instead", facts.st_nlink);
  if ((facts.st_mode & S_IWOTH) != 0) {
    return fmt::format("may be written by everyone (mode {:04o}), expected chmod o-w", facts.st_mode & 07777U);
  }
  if (static_cast<std::uint64_t>(facts.st_size) > kMaxFileSize) {
    return fmt::format("is {} bytes long, expected at most {} (128 KiB)", facts.st_size, kMaxFileSize);
  }
  return "";
}

// Names go into annotations, status rows and terminals as they are.
bool is_plain_name(std::string_view name) { return printable(name) == name; }

std::string below(const std::string& directory, const std::string& name) {
  return directory.empty() ? name : fmt::format("{}/{}", directory, name);
}

struct CloseDirectory {
  void operator()(DIR* directory) const { ::closedir(directory); }
};

}  // namespace

std::string to_string(const Identity& identity) { return fmt::format("{}:{}", identity.device, identity.inode); }

bool is_ignored_name(std::string_view name) {
  return name.empty() || name.starts_with('.') || name.ends_with('~') || name.ends_with(".swp") || name.ends_with(".tmp") ||
         name.ends_with('#') || name == "4913";
}

bool is_manifest_name(std::string_view name) {
  return !is_ignored_name(name) && (name.ends_with(".yaml") || name.ends_with(".yml") || name.ends_with(".json"));
}

Result<DirectoryReader> DirectoryReader::open(const std::string& directory) {
  UniqueFd fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
  if (!fd.valid()) return fail(errno_error("opening " + directory, errno));
  return DirectoryReader(std::move(fd), directory);
}

Result<Contents> DirectoryReader::list(const OnDirectory& on_directory) {
  struct stat opened{};
  if (::fstat(root_.get(), &opened) != 0) return fail(errno_error("looking at " + directory_, errno));
  Contents contents{.identity = identity_of(opened), .entries = {}, .unreadable = {}};
  UniqueFd again(::openat(root_.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));  // readdir moves its own offset
  if (!again.valid()) return fail(errno_error("opening " + directory_, errno));
  BGR_CHECK(list_open(std::move(again), "", 0, on_directory, contents));
  if (contents.entries.size() > kMaxFiles) {
    return fail(invalid(fmt::format("{}: holds more than {} manifests", directory_, kMaxFiles)));
  }
  // Only if the path still leads to what was read is an absent file really absent.
  struct stat now{};
  if (::stat(directory_.c_str(), &now) != 0) return fail(errno_error("looking at " + directory_, errno));
  if (identity_of(now) != contents.identity) return fail(not_found(directory_ + ": was replaced while it was read"));
  std::ranges::sort(contents.entries, {}, &Entry::file);
  return contents;
}

Result<UniqueFd> DirectoryReader::open_below(const std::string& relative, int flags) {
  open_how how{};
  how.flags = static_cast<std::uint64_t>(flags | O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV;
  const long fd = ::syscall(SYS_openat2, root_.get(), relative.c_str(), &how, sizeof how);
  if (fd < 0) return fail(errno_error("opening", errno));
  return UniqueFd(static_cast<int>(fd));
}

void DirectoryReader::list_below(const std::string& relative, std::size_t depth, const OnDirectory& on_directory,
                                 Contents& contents) {
  auto fd = open_below(relative, O_DIRECTORY);
  if (!fd && fd.error().code == ErrorCode::NotFound) return;  // gone since its parent was read
  Result<void> listed;
  if (fd) {
    listed = list_open(*std::move(fd), relative, depth, on_directory, contents);
  } else {
    listed = fail(fd.error());
  }
  if (listed) return;
  const bool elsewhere = listed.error().sys_errno == EXDEV;
  contents.unreadable.push_back(relative);
  contents.entries.push_back({.file = relative + "/",
                              .print = {},
                              .problem = elsewhere ? "is another file system's mount point; those are not entered"
                                                   : "cannot be read: " + listed.error().message});
}

Result<void> DirectoryReader::list_open(UniqueFd fd, const std::string& relative, std::size_t depth,
                                        const OnDirectory& on_directory, Contents& contents) {
  if (on_directory) on_directory(fd.get(), relative);
  const std::unique_ptr<DIR, CloseDirectory> stream(::fdopendir(fd.get()));
  if (!stream) return fail(errno_error("reading " + directory_ + "/" + relative, errno));
  const int directory_fd = fd.release();  // the stream owns it now
  for (;;) {
    errno = 0;
    const dirent* entry = ::readdir(stream.get());
    if (entry == nullptr) {
      if (errno != 0) return fail(errno_error("reading " + directory_ + "/" + relative, errno));
      return {};
    }
    if (contents.entries.size() > kMaxFiles) return {};
    const std::string name = entry->d_name;
    if (is_ignored_name(name)) continue;
    look_at(directory_fd, name, below(relative, name), depth, on_directory, contents);
  }
}

void DirectoryReader::look_at(int directory_fd, const std::string& name, const std::string& relative, std::size_t depth,
                              const OnDirectory& on_directory, Contents& contents) {
  struct stat facts{};
  if (::fstatat(directory_fd, name.c_str(), &facts, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) != 0) {
    if (errno == ENOENT) return;  // gone since the directory was read
    contents.entries.push_back(
        {.file = printable(relative), .print = {}, .problem = errno_error("cannot be read", errno).message});
    contents.unreadable.push_back(printable(relative));  // it may be a directory
    return;
  }
  const bool directory = S_ISDIR(facts.st_mode);
  // A link without a suffix may be meant as a sub-directory: saying nothing would leave its owner wondering.
  const bool linked_directory = S_ISLNK(facts.st_mode) && name.find('.') == std::string::npos;
  if (!is_manifest_name(name) && !directory && !linked_directory) return;
  if (!is_plain_name(name)) {
    contents.entries.push_back(
        {.file = printable(relative), .print = print_of(facts), .problem = "has bytes in its name that are not printable UTF-8"});
    if (directory) contents.unreadable.push_back(printable(relative));
    return;
  }
  if (directory && !is_manifest_name(name)) {
    if (depth < kMaxDepth) {
      list_below(relative, depth + 1, on_directory, contents);
    } else {
      contents.entries.push_back({.file = relative + "/",
                                  .print = print_of(facts),
                                  .problem = fmt::format("is nested more than {} directories deep", kMaxDepth)});
      contents.unreadable.push_back(relative);
    }
    return;
  }
  contents.entries.push_back({.file = relative, .print = print_of(facts), .problem = refusal_of(facts)});
}

Result<std::string> DirectoryReader::read(const Entry& entry) {
  auto fd = open_below(entry.file, 0);
  if (!fd) {
    auto error = std::move(fd).error();
    // What was a regular file a moment ago and is a link, or gone, now: look again.
    if (error.code == ErrorCode::NotFound || error.sys_errno == ELOOP || error.sys_errno == EXDEV || error.sys_errno == ENXIO) {
      return fail({.code = ErrorCode::Busy, .message = "changed while it was looked at", .sys_errno = error.sys_errno});
    }
    return fail(with_context(std::move(error), "cannot be read"));
  }
  const Error changed{.code = ErrorCode::Busy, .message = "changed while it was read", .sys_errno = 0};
  struct stat facts{};
  if (::fstat(fd->get(), &facts) != 0) return fail(errno_error("cannot be read", errno));
  if (print_of(facts) != entry.print || !refusal_of(facts).empty()) return fail(changed);
  std::string text(entry.print.size + 1, '\0');  // one more, to see the end
  std::size_t length = 0;
  while (length < text.size()) {
    const ssize_t got = ::read(fd->get(), text.data() + length, text.size() - length);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail(errno_error("cannot be read", errno));
    if (got == 0) break;
    length += static_cast<std::size_t>(got);
  }
  if (length != entry.print.size || ::fstat(fd->get(), &facts) != 0 || print_of(facts) != entry.print) return fail(changed);
  text.resize(length);
  return text;
}

}  // namespace banger::intake

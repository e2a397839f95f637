// SPDX-License-Identifier: Apache-2.0
#include "actuators/image/tree.hpp"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "base/text.hpp"

namespace banger::actuators::image {
namespace {

constexpr int kMostLinksFollowed = 40;  // as the kernel's MAXSYMLINKS

bool is_control(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; }

Result<std::vector<std::string_view>> parts_of(std::string_view path, const Limits& limits) {
  if (path.size() > limits.path) return fail(invalid(fmt::format("its name is longer than {} bytes", limits.path)));
  if (std::ranges::any_of(path, is_control)) return fail(invalid("its name holds a control character"));
  std::vector<std::string_view> parts;
  for (const auto part : split(path, '/')) {
    if (part.empty() || part == ".") continue;
    if (part == "..") return fail(invalid("its name holds \"..\""));
    if (part.size() > limits.name) return fail(invalid(fmt::format("a part of its name is longer than {} bytes", limits.name)));
    parts.push_back(part);
  }
  if (parts.size() > limits.depth) return fail(invalid(fmt::format("it lies deeper than {} directories", limits.depth)));
  return parts;
}

std::uint32_t type_bits(FileType type) {
  switch (type) {
    case FileType::Directory:
      return S_IFDIR;
    case FileType::Symlink:
      return S_IFLNK;
    case FileType::CharDevice:
      return S_IFCHR;
    case FileType::BlockDevice:
      return S_IFBLK;
    case FileType::Fifo:
      return S_IFIFO;
    case FileType::Regular:
    case FileType::Hardlink:
      break;
  }
  return S_IFREG;
}

bool fits(std::int64_t value, std::uint32_t most) { return value >= 0 && static_cast<std::uint64_t>(value) <= most; }

Result<void> check_numbers(const Entry& entry, const Limits& limits) {
  constexpr auto kMost = std::numeric_limits<std::uint32_t>::max();
  // 2^32 - 1 means "no change" to chown(2) and is nobody's number.
  if (!fits(entry.uid, kMost - 1) || !fits(entry.gid, kMost - 1)) {
    return fail(invalid(fmt::format("its owner {}:{} is not a user and group number", entry.uid, entry.gid)));
  }
  // The kernel's dev_t: 12 bits of major, 20 bits of minor number.
  if (!fits(entry.device_major, 0xFFF) || !fits(entry.device_minor, 0xFFFFF)) {
    return fail(invalid(fmt::format("its device number {}:{} is out of range", entry.device_major, entry.device_minor)));
  }
  if (entry.size < 0 || static_cast<std::uint64_t>(entry.size) > limits.content.value) {
    return fail(invalid(fmt::format("its length {} is out of range (0 to {})", entry.size, limits.content.value)));
  }
  std::size_t attributes = 0;
  for (const auto& [name, value] : entry.attributes) attributes += name.size() + value.size() + 20;
  if (attributes > limits.attributes) {
    return fail(invalid(fmt::format("its extended attributes take more than {} bytes", limits.attributes)));
  }
  return {};
}

Node node_of(const Entry& entry, std::uint64_t number) {
  Node node;
  node.inode.mode = type_bits(entry.type) | (static_cast<std::uint32_t>(entry.mode) & 07777U);
  node.inode.uid = static_cast<std::uint32_t>(entry.uid);
  node.inode.gid = static_cast<std::uint32_t>(entry.gid);
  node.inode.mtime = entry.mtime;
  node.inode.mtime_ns = entry.mtime_ns;
  node.inode.attributes = entry.attributes;
  if (entry.type == FileType::Symlink) node.inode.target = entry.target;
  if (entry.type == FileType::CharDevice || entry.type == FileType::BlockDevice) {
    node.inode.device_major = static_cast<std::uint32_t>(entry.device_major);
    node.inode.device_minor = static_cast<std::uint32_t>(entry.device_minor);
  }
  if (entry.type == FileType::Regular) {
    node.size = static_cast<std::uint64_t>(entry.size);
    node.entry = number;
  }
  return node;
}

}  // namespace

Tree::Tree(std::int64_t made, Limits limits) : made_(made), limits_(limits) {
  nodes_.push_back({.inode = {.mode = S_IFDIR | 0755, .mtime = made, .links = 2}});
  nodes_[add_directory(0, "lost+found")].inode.mode = S_IFDIR | 0700;
}

NodeIndex Tree::add_directory(NodeIndex parent, std::string_view name) {
  const auto index = static_cast<NodeIndex>(nodes_.size());
  nodes_.push_back({.inode = {.mode = S_IFDIR | 0755, .mtime = made_, .links = 2}, .parent = parent});
  nodes_[parent].children.emplace(name, index);
  ++nodes_[parent].inode.links;
  return index;
}

std::size_t Tree::depth_of(NodeIndex directory) const {
  std::size_t depth = 0;
  for (; directory != 0; directory = nodes_[directory].parent) ++depth;
  return depth;
}

// One part of a path further, from directory `at`.
Result<NodeIndex> Tree::step(NodeIndex at, std::string_view part, bool make_missing, int& budget) {
  const auto& children = nodes_[at].children;
  const auto found = children.find(std::string(part));
  if (found == children.end()) {
    if (!make_missing) return fail(invalid("a symbolic link on the way to it leads nowhere"));
    if (nodes_.size() >= limits_.entries) return fail(invalid(fmt::format("there are more than {} files", limits_.entries)));
    if (depth_of(at) >= limits_.depth) return fail(invalid(fmt::format("it lies deeper than {} directories", limits_.depth)));
    return add_directory(at, part);
  }
  const auto next = found->second;
  if (S_ISDIR(nodes_[next].inode.mode)) return next;
  if (S_ISLNK(nodes_[next].inode.mode)) return follow(at, nodes_[next].inode.target, budget);
  return fail(invalid("a part of its name is a file, not a directory"));
}

// Where a symbolic link in directory `at` leads: as chroot(2) would see it, so ".." stops at the root.
Result<NodeIndex> Tree::follow(NodeIndex at, const std::string& target, int& budget) {
  if (--budget < 0) return fail(invalid("there are too many symbolic links on the way to it"));
  if (target.starts_with('/')) at = 0;
  for (const auto part : split(target, '/')) {
    if (part.empty() || part == ".") continue;
    if (part == "..") {
      at = nodes_[at].parent;
      continue;
    }
    BGR_TRY(at, step(at, part, false, budget));
  }
  return at;
}

Result<NodeIndex> Tree::directory_of(const std::vector<std::string_view>& parts, std::size_t count, bool make_missing) {
  int budget = kMostLinksFollowed;
  NodeIndex at = 0;
  for (std::size_t i = 0; i < count; ++i) {
    BGR_TRY(at, step(at, parts[i], make_missing, budget));
  }
  return at;
}

Result<void> Tree::unlink(NodeIndex parent, std::string_view name) {
  auto& children = nodes_[parent].children;
  const auto found = children.find(std::string(name));
  if (found == children.end()) return {};
  auto& old = nodes_[found->second];
  if (S_ISDIR(old.inode.mode)) return fail(invalid("a directory of that name is there already"));
  if (--old.inode.links == 0) content_.value -= old.size;
  children.erase(found);
  return {};
}

Result<void> Tree::place(NodeIndex parent, std::string_view name, Node node) {
  const bool is_directory = S_ISDIR(node.inode.mode);
  const auto& children = nodes_[parent].children;
  const auto found = children.find(std::string(name));
  const bool refreshes = is_directory && found != children.end() && S_ISDIR(nodes_[found->second].inode.mode);
  if (!refreshes) BGR_CHECK(unlink(parent, name));
  if (is_directory) {
    const auto index = refreshes ? found->second : add_directory(parent, name);
    node.inode.links = nodes_[index].inode.links;
    nodes_[index].inode = std::move(node.inode);
    return {};
  }
  content_.value += node.size;
  if (content_ > limits_.content)
    return fail(invalid(fmt::format("the files are longer than {} bytes together", limits_.content.value)));
  nodes_[parent].children.emplace(name, static_cast<NodeIndex>(nodes_.size()));
  nodes_.push_back(std::move(node));
  return {};
}

Result<void> Tree::place_link(NodeIndex parent, std::string_view name, const std::string& target) {
  auto parts = parts_of(target, limits_);
  if (!parts || parts->empty()) return fail(invalid("it is a hard link to a name that no file can have"));
  BGR_TRY(const auto directory, directory_of(*parts, parts->size() - 1, false));
  const auto& there = nodes_[directory].children;
  const auto found = there.find(std::string(parts->back()));
  if (found == there.end()) return fail(invalid("it is a hard link to a file that does not come before it"));
  const auto index = found->second;
  if (S_ISDIR(nodes_[index].inode.mode)) return fail(invalid("it is a hard link to a directory"));
  if (directory == parent && parts->back() == name) return {};
  if (nodes_[index].inode.links >= limits_.links)
    return fail(invalid(fmt::format("a file has more than {} names", limits_.links)));
  BGR_CHECK(unlink(parent, name));
  ++nodes_[index].inode.links;
  nodes_[parent].children.emplace(name, index);
  return {};
}

Result<void> Tree::apply(const Entry& entry) {
  if (nodes_.size() >= limits_.entries || entries_ > limits_.entries) {
    return fail(invalid(fmt::format("there are more than {} files", limits_.entries)));
  }
  BGR_TRY(const auto parts, parts_of(entry.path, limits_));
  BGR_CHECK(check_numbers(entry, limits_));
  if (entry.type == FileType::Symlink && (entry.target.empty() || entry.target.size() > limits_.target)) {
    return fail(invalid(fmt::format("its target must have 1 to {} bytes", limits_.target)));
  }
  if (parts.empty()) {
    if (entry.type != FileType::Directory) return fail(invalid("the root must be a directory"));
    auto node = node_of(entry, entries_);
    node.inode.links = nodes_[0].inode.links;
    nodes_[0].inode = std::move(node.inode);
    return {};
  }
  BGR_TRY(const auto parent, directory_of(parts, parts.size() - 1, true));
  if (entry.type == FileType::Hardlink) return place_link(parent, parts.back(), entry.target);
  if (entry.type == FileType::Directory && depth_of(parent) >= limits_.depth) {
    return fail(invalid(fmt::format("it lies deeper than {} directories", limits_.depth)));
  }
  return place(parent, parts.back(), node_of(entry, entries_));
}

Result<void> Tree::add(const Entry& entry) {
  ++entries_;
  auto added = apply(entry);
  if (!added) {
    return fail(
        with_context(std::move(added).error(), fmt::format("entry {} \"{}\"", entries_, printable(entry.path.substr(0, 200)))));
  }
  return {};
}

}  // namespace banger::actuators::image

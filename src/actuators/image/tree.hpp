// SPDX-License-Identifier: Apache-2.0
// The files of an image while they are only known, not written: an archive's entries applied one after another. Nothing here
// touches a file system, so nothing an archive says can leave the tree.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "actuators/block/ext4_writer.hpp"
#include "base/result.hpp"
#include "base/units.hpp"

namespace banger::actuators::image {

enum class FileType { Regular, Directory, Symlink, Hardlink, CharDevice, BlockDevice, Fifo };

struct Entry {  // as the archive has it; every text is hostile
  std::string path;
  FileType type = FileType::Regular;
  std::int64_t mode = 0;  // permission bits; others are dropped
  std::int64_t uid = 0;
  std::int64_t gid = 0;
  std::int64_t mtime = 0;
  std::uint32_t mtime_ns = 0;
  std::int64_t size = 0;
  std::string target;  // of a symbolic or hard link
  std::int64_t device_major = 0;
  std::int64_t device_minor = 0;
  std::vector<block::Ext4Attribute> attributes;
};

struct Limits {
  std::size_t entries = 1'000'000;
  Bytes content = gib(20);  // sum of all files' lengths
  std::size_t name = 255;
  std::size_t path = 4095;
  std::size_t depth = 256;
  std::size_t target = 4095;
  std::size_t links = 65000;      // to one file: EXT4_LINK_MAX
  std::size_t attributes = 3500;  // bytes of names and values for one file: they fit one block
};

using NodeIndex = std::uint32_t;

struct Node {
  block::Ext4Inode inode;                     // links: 0 for a file that was replaced later
  std::uint64_t size = 0;                     // of a regular file
  std::uint64_t entry = 0;                    // number of the archive's entry that holds its content, from 1
  NodeIndex parent = 0;                       // of a directory
  std::map<std::string, NodeIndex> children;  // of a directory; sorted, so that the result does not depend on the archive's order
};

class Tree {
 public:
  // The root and lost+found are there from the start (nodes 0 and 1), as is every directory that an entry's path implies: owned
  // by root, 0755, made at `made`.
  explicit Tree(std::int64_t made, Limits limits = {});

  // Applies the next entry. A leading "/" and "." parts are dropped as tar does; a symbolic link on the way is followed inside
  // the tree. Invalid, naming the entry, for one that is refused; the tree is not to be used any more then.
  Result<void> add(const Entry& entry);

  [[nodiscard]] const std::vector<Node>& nodes() const { return nodes_; }
  [[nodiscard]] Bytes content() const { return content_; }  // lengths of the files that remain
  [[nodiscard]] std::uint64_t entries() const { return entries_; }

 private:
  Result<void> apply(const Entry& entry);
  Result<NodeIndex> directory_of(const std::vector<std::string_view>& parts, std::size_t count, bool make_missing);
  Result<NodeIndex> follow(NodeIndex at, const std::string& target, int& budget);
  Result<NodeIndex> step(NodeIndex at, std::string_view part, bool make_missing, int& budget);
  Result<void> place(NodeIndex parent, std::string_view name, Node node);
  Result<void> place_link(NodeIndex parent, std::string_view name, const std::string& target);
  Result<void> unlink(NodeIndex parent, std::string_view name);
  NodeIndex add_directory(NodeIndex parent, std::string_view name);
  [[nodiscard]] std::size_t depth_of(NodeIndex directory) const;

  std::int64_t made_;
  Limits limits_;
  std::vector<Node> nodes_;
  Bytes content_;
  std::uint64_t entries_ = 0;
};

}  // namespace banger::actuators::image

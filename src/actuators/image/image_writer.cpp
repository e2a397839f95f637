// SPDX-License-Identifier: Apache-2.0
#include "actuators/image/image_writer.hpp"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "actuators/block/ext4_writer.hpp"

namespace banger::actuators::image {
namespace {

constexpr std::uint64_t kBlock = 4096;
constexpr std::uint64_t kWindow = std::uint64_t{1} << 20U;

bool is_live(const Node& node) { return node.inode.links > 0; }

// Gathers the parts of one file into aligned windows.
class FileWriter {
 public:
  FileWriter(block::Ext4Writer& writer, std::uint32_t inode, std::string& window)
      : writer_(writer), inode_(inode), window_(window) {
    window_.assign(kWindow, '\0');
  }

  Result<void> put(std::uint64_t offset, std::string_view bytes) {
    while (!bytes.empty()) {
      if (offset < start_ || offset >= start_ + kWindow) {
        BGR_CHECK(flush());
        start_ = offset / kWindow * kWindow;
      }
      const auto within = offset - start_;
      const auto part = bytes.substr(0, kWindow - within);
      window_.replace(within, part.size(), part);
      used_ = std::max(used_, within + part.size());
      offset += part.size();
      bytes.remove_prefix(part.size());
    }
    return {};
  }

  Result<void> finish(std::uint64_t size) {
    BGR_CHECK(flush());
    return writer_.set_file_size(inode_, size);
  }

 private:
  Result<void> flush() {
    if (used_ == 0) return {};
    const auto whole = (used_ + kBlock - 1) / kBlock * kBlock;
    BGR_CHECK(writer_.write_file(inode_, start_, std::string_view(window_).substr(0, whole)));
    std::fill_n(window_.begin(), used_, '\0');
    used_ = 0;
    return {};
  }

  block::Ext4Writer& writer_;
  std::uint32_t inode_;
  std::string& window_;
  std::uint64_t start_ = 0;
  std::uint64_t used_ = 0;
};

// The inodes of all nodes in their order, directories with their names; regular files are still empty.
Result<std::vector<std::uint32_t>> write_skeleton(block::Ext4Writer& writer, const std::vector<Node>& nodes) {
  std::vector<std::uint32_t> inodes(nodes.size(), 0);
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    if (!is_live(nodes[i])) continue;
    BGR_TRY(inodes[i], writer.add(nodes[i].inode));
  }
  std::vector<block::Ext4Name> names;
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    if (!S_ISDIR(nodes[i].inode.mode)) continue;
    names.clear();
    for (const auto& [name, child] : nodes[i].children) names.push_back({name, inodes[child], nodes[child].inode.mode});
    BGR_CHECK(writer.write_directory(inodes[i], inodes[nodes[i].parent], names));
  }
  return inodes;
}

Result<void> write_contents(const Tree& tree, ArchiveReader& reader, block::Ext4Writer& writer,
                            const std::vector<std::uint32_t>& inodes) {
  std::unordered_map<std::uint64_t, std::size_t> node_of_entry;  // looked up only, never walked
  const auto& nodes = tree.nodes();
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    if (is_live(nodes[i]) && nodes[i].entry != 0 && nodes[i].size != 0) node_of_entry.emplace(nodes[i].entry, i);
  }
  std::string window;
  for (std::uint64_t number = 1;; ++number) {
    BGR_TRY(const auto entry, reader.next());
    if (!entry) return {};
    const auto found = node_of_entry.find(number);
    if (found == node_of_entry.end()) continue;
    const auto& node = nodes[found->second];
    if (static_cast<std::uint64_t>(entry->size) != node.size) return fail(invalid("the file changed while it was read"));
    FileWriter file(writer, inodes[found->second], window);
    BGR_CHECK(reader.content([&](std::uint64_t offset, std::string_view bytes) { return file.put(offset, bytes); }));
    BGR_CHECK(file.finish(node.size));
  }
}

}  // namespace

Bytes size_for(const Tree& tree) {
  std::uint64_t bytes = 0;
  std::uint64_t files = 0;
  for (const auto& node : tree.nodes()) {
    if (!is_live(node)) continue;
    ++files;
    bytes += (node.size + kBlock - 1) / kBlock * kBlock;
    if (S_ISDIR(node.inode.mode)) {
      std::uint64_t names = 64;
      for (const auto& [name, child] : node.children) names += 12 + name.size();
      bytes += (names + kBlock - 1) / kBlock * kBlock;
    }
    if (node.inode.target.size() >= 60 || !node.inode.attributes.empty()) bytes += kBlock;
  }
  // A quarter to spare is also what the inodes and the group descriptors live on; the journal (at most 128 MiB up to 32 GiB,
  // ext2fs_default_journal_size) is counted apart.
  const auto wanted = bytes + bytes / 4 + files * 320;
  const auto journal = std::clamp<std::uint64_t>(wanted / 16, mib(4).value, mib(128).value);
  constexpr auto kMib = mib(1).value;
  return {std::max(mib(64).value, (wanted + journal + kMib - 1) / kMib * kMib)};
}

Result<void> write_tree(const Tree& tree, ArchiveReader& reader, const std::filesystem::path& path, Bytes size,
                        const std::array<std::uint8_t, 16>& uuid) {
  // Room for as many files again as a quarter of those that are there: the guest will add some before its disk grows.
  const auto inodes_at_least = tree.nodes().size() + tree.nodes().size() / 4 + 1024;
  BGR_TRY(auto writer,
          block::Ext4Writer::create(
              path, {.size = size, .label = "root", .uuid = uuid, .made = kMade, .inodes_at_least = inodes_at_least}));
  BGR_TRY(const auto inodes, write_skeleton(writer, tree.nodes()));
  BGR_CHECK(write_contents(tree, reader, writer, inodes));
  return writer.finish();
}

}  // namespace banger::actuators::image

// SPDX-License-Identifier: Apache-2.0
#include "actuators/image/tar_maker.hpp"

#include <archive.h>
#include <archive_entry.h>
#include <ext2fs/ext2_fs.h>
#include <ext2fs/ext2fs.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <array>
#include <cstdlib>
#include <functional>
#include <vector>

namespace banger::actuators::testing {
namespace {

std::string padded(std::string bytes) {
  bytes.resize((bytes.size() + 511) / 512 * 512);
  return bytes;
}

void put(std::string& header, std::size_t at, std::size_t width, const std::string& text) {
  header.replace(at, std::min(width, text.size()), text.substr(0, width));
}

// Octal, or base-256 with the high bit set where octal has no room.
std::string number(std::uint64_t value, std::size_t width) {
  auto octal = fmt::format("{:0{}o}", value, width - 1);
  if (octal.size() < width) return octal;
  std::string out(width, '\0');
  for (std::size_t i = 0; i < 8 && i < width; ++i) out[width - 1 - i] = static_cast<char>(value >> (8 * i));
  out[0] = static_cast<char>(static_cast<unsigned char>(out[0]) | 0x80U);
  return out;
}

std::string block(const TarEntry& e, std::size_t size) {
  std::string header(512, '\0');
  put(header, 0, 100, e.name);
  put(header, 100, 8, number(e.mode, 8));
  put(header, 108, 8, number(e.uid, 8));
  put(header, 116, 8, number(e.gid, 8));
  put(header, 124, 12, number(size, 12));
  put(header, 136, 12, number(static_cast<std::uint64_t>(e.mtime), 12));
  put(header, 148, 8, "        ");
  header[156] = e.type;
  put(header, 157, 100, e.link);
  put(header, 257, 8,
      std::string("ustar\0"
                  "00",
                  8));
  put(header, 329, 8, number(e.device_major, 8));
  put(header, 337, 8, number(e.device_minor, 8));
  unsigned sum = 0;
  for (const char c : header) sum += static_cast<unsigned char>(c);
  put(header, 148, 8, fmt::format("{:06o}", sum) + std::string("\0 ", 2));
  return header;
}

std::string pax_record(const std::string& key, const std::string& value) {
  const auto body = " " + key + "=" + value + "\n";
  auto length = body.size() + 1;
  while (std::to_string(length).size() + body.size() != length) ++length;
  return std::to_string(length) + body;
}

}  // namespace

std::string tar_entry(const TarEntry& entry) {
  std::string out;
  if (!entry.pax.empty()) {
    std::string records;
    for (const auto& [key, value] : entry.pax) records += pax_record(key, value);
    out += block({.name = "pax", .type = 'x'}, records.size()) + padded(records);
  }
  auto header = entry;
  // libarchive 3.6 takes no link name from an extended header alone; every tar program writes its start into the old field, too.
  if (entry.pax.contains("linkpath")) header.link = entry.pax.at("linkpath").substr(0, 100);
  return out + block(header, entry.content.size()) + padded(entry.content);
}

std::string tar_end() { return std::string(1024, '\0'); }

std::string packed(const std::string& bytes, const std::string& filter) {
  std::string out(bytes.size() + (1 << 20), '\0');
  std::size_t used = 0;
  archive* to = ::archive_write_new();
  ::archive_write_set_format_raw(to);
  if (::archive_write_add_filter_by_name(to, filter.c_str()) != ARCHIVE_OK) std::abort();
  ::archive_write_open_memory(to, out.data(), out.size(), &used);
  archive_entry* entry = ::archive_entry_new();
  ::archive_entry_set_filetype(entry, AE_IFREG);
  ::archive_write_header(to, entry);
  ::archive_write_data(to, bytes.data(), bytes.size());
  ::archive_entry_free(entry);
  ::archive_write_free(to);
  out.resize(used);
  return out;
}

namespace {

struct Reader {
  ext2_filsys fs = nullptr;
  std::map<std::string, ImageFile> files;

  std::string content(ext2_ino_t number, std::uint64_t size) const {
    ext2_file_t file = nullptr;
    if (::ext2fs_file_open(fs, number, 0, &file) != 0) std::abort();
    std::string out(size, '\0');
    unsigned got = 0;
    if (::ext2fs_file_read(file, out.data(), static_cast<unsigned>(size), &got) != 0 || got != size) std::abort();
    ::ext2fs_file_close(file);
    return out;
  }

  ImageFile look(ext2_ino_t number) const {
    ext2_inode inode{};
    if (::ext2fs_read_inode(fs, number, &inode) != 0) std::abort();
    ImageFile out{.mode = inode.i_mode,
                  .uid = inode_uid(inode),
                  .gid = inode_gid(inode),
                  .mtime = static_cast<std::int32_t>(inode.i_mtime),
                  .links = inode.i_links_count,
                  .inode = number,
                  .size = EXT2_I_SIZE(&inode),
                  .blocks = ext2fs_inode_i_blocks(fs, &inode)};
    if (S_ISREG(inode.i_mode) && out.size <= 1 << 20) out.content = content(number, out.size);
    if (S_ISLNK(inode.i_mode) && out.size < 60) out.content = std::string(reinterpret_cast<char*>(inode.i_block), out.size);
    if (S_ISLNK(inode.i_mode) && out.size >= 60) out.content = content(number, out.size);
    if (S_ISCHR(inode.i_mode) || S_ISBLK(inode.i_mode)) out.device = inode.i_block[0] != 0 ? inode.i_block[0] : inode.i_block[1];
    ext2_xattr_handle* handle = nullptr;
    if (::ext2fs_xattrs_open(fs, number, &handle) != 0 || ::ext2fs_xattrs_read(handle) != 0) std::abort();
    ::ext2fs_xattrs_iterate(
        handle,
        [](char* name, char* value, size_t size, void* to) {
          static_cast<ImageFile*>(to)->attributes[name] = std::string(value, size);
          return 0;
        },
        &out);
    ::ext2fs_xattrs_close(&handle);
    return out;
  }

  void walk(ext2_ino_t number, const std::string& path) {
    files[path] = look(number);
    if (!S_ISDIR(files[path].mode)) return;
    using Names = std::vector<std::pair<std::string, ext2_ino_t>>;
    Names names;
    ::ext2fs_dir_iterate(
        fs, number, 0, nullptr,
        [](ext2_dir_entry* entry, int, int, char*, void* to) {
          static_cast<Names*>(to)->emplace_back(std::string(entry->name, static_cast<size_t>(ext2fs_dirent_name_len(entry))),
                                                entry->inode);
          return 0;
        },
        &names);
    for (const auto& [name, child] : names) {
      if (name != "." && name != "..") walk(child, path.empty() ? name : path + "/" + name);
    }
  }
};

}  // namespace

std::map<std::string, ImageFile> read_image(const std::filesystem::path& image) {
  Reader reader;
  if (::ext2fs_open(image.c_str(), EXT2_FLAG_64BITS, 0, 0, unix_io_manager, &reader.fs) != 0) return {};
  reader.walk(EXT2_ROOT_INO, "");
  ::ext2fs_close_free(&reader.fs);
  return reader.files;
}

}  // namespace banger::actuators::testing

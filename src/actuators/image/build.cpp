// SPDX-License-Identifier: Apache-2.0
#include "actuators/image/build.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <utility>
#include <vector>

#include "actuators/block/copy_file.hpp"
#include "actuators/block/ext4.hpp"
#include "actuators/block/new_file.hpp"
#include "actuators/image/archive_reader.hpp"
#include "actuators/image/digest.hpp"
#include "actuators/image/image_writer.hpp"
#include "actuators/image/tree.hpp"
#include "base/files.hpp"
#include "base/text.hpp"

namespace banger::actuators::image {
namespace {

constexpr Bytes kLargestRaw = gib(20);

struct Source {
  const BuildImage& job;
  std::filesystem::path directory;
  int fd = -1;
  std::uint64_t length = 0;
};

std::filesystem::path base_path(const Source& source, const std::string& digest) {
  return source.directory / fmt::format("base-{}.ext4", digest.substr(digest.find(':') + 1));
}

Result<void> check_digest(const Source& source, const std::string& digest) {
  const auto& wanted = source.job.spec.digest;
  if (wanted.empty() || wanted == digest) return {};
  return fail(invalid(fmt::format("its digest is {}, but spec.digest says {}", digest, printable(wanted))));
}

// True when an earlier build with this source and size is there. It got its name only when it was whole. Its size is that of the
// file system: disks that are longer than the image have made the file longer since, by a hole.
bool is_built(const std::filesystem::path& path, Bytes size) {
  const auto facts = block::read_ext4_facts(path);
  return facts && *facts && (*facts)->size == size;
}

Result<BuiltImage> build_from_tar(const Source& source, const std::stop_token& stop) {
  Tree tree(kMade);
  BGR_TRY(auto first, ArchiveReader::open(source.fd, "it", stop));
  for (;;) {
    BGR_TRY(const auto entry, first.next());
    if (!entry) break;
    BGR_CHECK(tree.add(*entry));
  }
  if (tree.entries() == 0) return fail(invalid("it holds no files (a tar file was expected)"));
  BGR_TRY(const auto digest, first.digest());
  BGR_CHECK(check_digest(source, digest));
  const auto size = source.job.spec.size.value_or(size_for(tree));
  const auto path = base_path(source, digest);
  BuiltImage built{.path = path.native(), .digest = digest, .format = "tar", .size = size};
  if (is_built(path, size)) return built;
  BGR_TRY(auto file, block::NewFile::create(path));
  BGR_TRY(auto second, ArchiveReader::open(source.fd, "it", stop));
  const auto uuid = uuid_from(fmt::format("banger image {} {}", source.job.image_uid, digest));
  auto written = write_tree(tree, second, file.temporary_path(), size, uuid);
  if (!written && source.job.spec.size)
    return fail(with_context(std::move(written).error(), fmt::format("spec.size {}", size.value)));
  if (!written) return fail(std::move(written).error());
  BGR_TRY(const auto again, second.digest());
  if (again != digest) return fail(invalid("it changed while it was read; write images elsewhere and rename them into place"));
  BGR_CHECK(file.commit(path, 0444));
  return built;
}

Result<std::string> digest_of(int fd, const std::stop_token& stop) {
  Sha256 digest;
  std::vector<char> buffer(std::size_t{1} << 20U);
  for (std::uint64_t offset = 0;;) {
    if (stop.stop_requested()) return fail(block::stopped());
    const ssize_t got = ::pread(fd, buffer.data(), buffer.size(), static_cast<off_t>(offset));
    if (got < 0) return fail(errno_error("reading", errno));
    if (got == 0) return "sha256:" + hex(digest.finish());
    digest.add({buffer.data(), static_cast<std::size_t>(got)});
    offset += static_cast<std::uint64_t>(got);
  }
}

// The digest is taken of the copy that is kept, so that nobody can exchange the source in between.
Result<BuiltImage> build_from_raw(const Source& source, const block::Ext4Facts& facts, const std::stop_token& stop) {
  if (facts.size.value > source.length) {
    return fail(invalid(
        fmt::format("its file system has {} bytes, but the file only {}: it was cut off", facts.size.value, source.length)));
  }
  if (source.length > kLargestRaw.value) {
    return fail(invalid(
        fmt::format("it is longer than {} bytes; make the file system small, rootDisk.size grows it", kLargestRaw.value)));
  }
  if (source.job.spec.size)
    return fail(invalid("spec.size is for tar files; rootDisk.size grows a file system that is one already"));
  BGR_TRY(auto file, block::NewFile::create(source.directory / "base.ext4"));
  BGR_TRY(const bool shared, block::share_extents(source.fd, file.fd()));
  if (!shared) BGR_CHECK(block::copy_data(source.fd, file.fd(), source.length, stop));
  BGR_TRY(const auto digest, digest_of(file.fd(), stop));
  BGR_CHECK(check_digest(source, digest));
  BGR_TRY(const auto kept, block::read_ext4_facts(file.temporary_path()));
  if (!kept || *kept != facts)
    return fail(invalid("it changed while it was read; write images elsewhere and rename them into place"));
  const auto path = base_path(source, digest);
  BuiltImage built{.path = path.native(), .digest = digest, .format = "raw", .size = facts.size};
  if (!is_built(path, built.size)) BGR_CHECK(file.commit(path, 0444));
  return built;
}

// What a file that is no ext4 file system may be instead, to say more than "no".
std::string_view guess(std::string_view head) {
  if (head.starts_with("QFI\xFB")) return "it is a qcow2 image: convert it with `qemu-img convert -O raw` and take the partition";
  if (head.size() >= 512 && head.substr(510, 2) == "\x55\xAA")
    return "it is a disk with partitions: take the partition with the root file system";
  if (head.starts_with("hsqs")) return "it is a squashfs: unpack it and make a tar file";
  return "";
}

Result<BuiltImage> build(const Source& source, const std::stop_token& stop) {
  std::array<char, block::kSuperblockOffset + block::kSuperblockSize> bytes{};
  const ssize_t got = ::pread(source.fd, bytes.data(), bytes.size(), 0);
  if (got < 0) return fail(errno_error("reading", errno));
  const std::string_view head(bytes.data(), static_cast<std::size_t>(got));
  const auto format = source.job.spec.format;
  const auto facts = head.size() == bytes.size() ? block::decode_superblock(head.substr(block::kSuperblockOffset)) : std::nullopt;
  const bool is_tar = head.size() > 262 && head.substr(257, 5) == "ustar";
  if (format == api::ImageFormat::Raw || (format == api::ImageFormat::Auto && facts && !is_tar)) {
    if (facts) return build_from_raw(source, *facts, stop);
    const auto other = guess(head);
    return fail(invalid(other.empty() ? "spec.format is raw, but it is not an ext4 file system" : std::string(other)));
  }
  if (const auto other = guess(head); !other.empty()) return fail(invalid(std::string(other)));
  return build_from_tar(source, stop);
}

}  // namespace

Result<std::string> run(const BuildImage& job, const Layout& layout, const std::stop_token& stop) {
  const auto context = fmt::format("building image from {}", printable(job.spec.path));
  const UniqueFd fd(::open(job.spec.path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!fd.valid()) return fail(errno_error(context, errno));
  const auto length = block::length_of(fd.get());
  if (!length) return fail(with_context(length.error(), context));
  const auto directory = image_dir(layout, job.image_uid);
  BGR_CHECK(make_directories(directory, 0700));
  auto built = build({.job = job, .directory = directory, .fd = fd.get(), .length = *length}, stop);
  if (!built) return fail(with_context(std::move(built).error(), context));
  return encode_built_image(*built);
}

}  // namespace banger::actuators::image

// SPDX-License-Identifier: Apache-2.0
#include "actuators/image/archive_reader.hpp"

#include <archive.h>
#include <archive_entry.h>
#include <fmt/format.h>
#include <locale.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <utility>

#include "actuators/block/copy_file.hpp"
#include "actuators/image/digest.hpp"
#include "base/text.hpp"

namespace banger::actuators::image {
namespace {

// libarchive turns names from the archive's character set into the thread's; in the C locale it would lose all but ASCII.
class Utf8Locale {
 public:
  Utf8Locale() : locale_(::newlocale(LC_CTYPE_MASK, "C.UTF-8", nullptr)) {
    if (locale_ != nullptr) before_ = ::uselocale(locale_);
  }
  Utf8Locale(const Utf8Locale&) = delete;
  Utf8Locale& operator=(const Utf8Locale&) = delete;
  ~Utf8Locale() {
    if (locale_ == nullptr) return;
    ::uselocale(before_);
    ::freelocale(locale_);
  }

 private:
  locale_t locale_;
  locale_t before_ = nullptr;
};

bool is_kept(std::string_view attribute) {
  // POSIX ACLs ("system.") stand in another form on disk; what a desktop or a Mac left is of no use.
  return attribute.starts_with("security.") || attribute.starts_with("user.") || attribute.starts_with("trusted.");
}

std::optional<FileType> type_of(archive_entry* entry) {
  if (::archive_entry_hardlink(entry) != nullptr) return FileType::Hardlink;
  switch (::archive_entry_filetype(entry)) {
    case AE_IFREG:
      return FileType::Regular;
    case AE_IFDIR:
      return FileType::Directory;
    case AE_IFLNK:
      return FileType::Symlink;
    case AE_IFCHR:
      return FileType::CharDevice;
    case AE_IFBLK:
      return FileType::BlockDevice;
    case AE_IFIFO:
      return FileType::Fifo;
    default:
      return std::nullopt;
  }
}

std::vector<block::Ext4Attribute> attributes_of(archive_entry* entry) {
  std::vector<block::Ext4Attribute> attributes;
  ::archive_entry_xattr_reset(entry);
  const char* name = nullptr;
  const void* value = nullptr;
  std::size_t size = 0;
  while (::archive_entry_xattr_next(entry, &name, &value, &size) == ARCHIVE_OK) {
    if (name != nullptr && is_kept(name)) attributes.push_back({name, std::string(static_cast<const char*>(value), size)});
  }
  return attributes;
}

std::string text(const char* value) { return value == nullptr ? std::string() : std::string(value); }

}  // namespace

struct ArchiveReader::State {
  State(int source, std::string file, std::stop_token token, ArchiveLimits most)
      : fd(source), name(std::move(file)), stop(std::move(token)), limits(most), handle(::archive_read_new()) {}
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() {
    if (handle != nullptr) ::archive_read_free(handle);
  }

  static la_ssize_t read_more(archive* handle, void* self, const void** bytes);
  [[nodiscard]] std::unexpected<Error> failed(std::string_view doing) const;
  [[nodiscard]] Result<void> check_limits() const;

  int fd;
  std::string name;
  std::stop_token stop;
  ArchiveLimits limits;
  archive* handle;
  Sha256 digest;
  std::uint64_t offset = 0;
  int read_errno = 0;
  std::uint64_t left = 0;  // of the present entry's length
  std::array<char, 262144> buffer{};
};

la_ssize_t ArchiveReader::State::read_more(archive* handle, void* self, const void** bytes) {
  auto& state = *static_cast<State*>(self);
  *bytes = state.buffer.data();
  const ssize_t got = state.stop.stop_requested()
                          ? 0
                          : ::pread(state.fd, state.buffer.data(), state.buffer.size(), static_cast<off_t>(state.offset));
  if (got < 0) {
    state.read_errno = errno;
    ::archive_set_error(handle, state.read_errno, "cannot be read");
    return ARCHIVE_FATAL;
  }
  state.digest.add({state.buffer.data(), static_cast<std::size_t>(got)});
  state.offset += static_cast<std::uint64_t>(got);
  return got;
}

std::unexpected<Error> ArchiveReader::State::failed(std::string_view doing) const {
  if (stop.stop_requested()) return fail(block::stopped());
  if (read_errno != 0) return fail(errno_error(fmt::format("reading {}", name), read_errno));
  const char* said = ::archive_error_string(handle);
  return fail(invalid(fmt::format("{} {}: {} (a tar file, plain or compressed with gzip, xz or zstd, was expected)", doing, name,
                                  said == nullptr ? "it is damaged" : printable(said))));
}

Result<void> ArchiveReader::State::check_limits() const {
  if (stop.stop_requested()) return fail(block::stopped());
  const auto unpacked = static_cast<std::uint64_t>(std::max<la_int64_t>(::archive_filter_bytes(handle, 0), 0));
  if (unpacked > limits.unpacked.value) {
    return fail(invalid(fmt::format("{} unpacks to more than {} bytes", name, limits.unpacked.value)));
  }
  if (unpacked > limits.ratio_from.value && unpacked / limits.ratio > offset) {
    return fail(invalid(fmt::format("{} unpacks to more than {} times its size", name, limits.ratio)));
  }
  return {};
}

ArchiveReader::ArchiveReader(std::unique_ptr<State> state) : state_(std::move(state)) {}
ArchiveReader::ArchiveReader(ArchiveReader&&) noexcept = default;
ArchiveReader& ArchiveReader::operator=(ArchiveReader&&) noexcept = default;
ArchiveReader::~ArchiveReader() = default;

Result<ArchiveReader> ArchiveReader::open(int fd, std::string name, std::stop_token stop, ArchiveLimits limits) {
  auto state = std::make_unique<State>(fd, std::move(name), std::move(stop), limits);
  if (state->handle == nullptr) return fail(internal("libarchive: no memory"));
  ::archive_read_support_filter_gzip(state->handle);
  ::archive_read_support_filter_xz(state->handle);
  ::archive_read_support_filter_zstd(state->handle);
  ::archive_read_support_format_tar(state->handle);
  const Utf8Locale locale;
  if (::archive_read_open(state->handle, state.get(), nullptr, State::read_more, nullptr) != ARCHIVE_OK) {
    return state->failed("opening");
  }
  return ArchiveReader(std::move(state));
}

Result<std::optional<Entry>> ArchiveReader::next() {
  auto& s = *state_;
  const Utf8Locale locale;
  archive_entry* entry = nullptr;
  const int code = ::archive_read_next_header(s.handle, &entry);
  BGR_CHECK(s.check_limits());
  if (code == ARCHIVE_EOF) return std::nullopt;
  // ARCHIVE_WARN: something beside the point was not understood; a name that was not is null below.
  if (code != ARCHIVE_OK && code != ARCHIVE_WARN) return s.failed("reading");
  const char* path = ::archive_entry_pathname(entry);
  if (path == nullptr) return fail(invalid(fmt::format("{}: an entry has no readable name", s.name)));
  const auto type = type_of(entry);
  if (!type) return fail(invalid(fmt::format("{}: entry \"{}\" is of a kind that no image holds", s.name, printable(path))));
  Entry out{.path = path,
            .type = *type,
            .mode = static_cast<std::int64_t>(::archive_entry_perm(entry)),
            .uid = ::archive_entry_uid(entry),
            .gid = ::archive_entry_gid(entry),
            .mtime = ::archive_entry_mtime(entry),
            .mtime_ns = static_cast<std::uint32_t>(::archive_entry_mtime_nsec(entry)),
            .size = *type == FileType::Regular ? ::archive_entry_size(entry) : 0,
            .target = text(*type == FileType::Hardlink ? ::archive_entry_hardlink(entry) : ::archive_entry_symlink(entry)),
            .attributes = attributes_of(entry)};
  if (*type == FileType::CharDevice || *type == FileType::BlockDevice) {
    out.device_major = static_cast<std::int64_t>(::archive_entry_rdevmajor(entry));
    out.device_minor = static_cast<std::int64_t>(::archive_entry_rdevminor(entry));
  }
  s.left = out.size > 0 ? static_cast<std::uint64_t>(out.size) : 0;
  return out;
}

Result<void> ArchiveReader::content(const Sink& sink) {
  auto& s = *state_;
  for (;;) {
    const void* bytes = nullptr;
    std::size_t size = 0;
    la_int64_t offset = 0;
    const int code = ::archive_read_data_block(s.handle, &bytes, &size, &offset);
    BGR_CHECK(s.check_limits());
    if (code == ARCHIVE_EOF) return {};
    if (code != ARCHIVE_OK) return s.failed("reading");
    if (offset < 0 || static_cast<std::uint64_t>(offset) > s.left || size > s.left - static_cast<std::uint64_t>(offset)) {
      return fail(invalid(fmt::format("{}: an entry holds more than its length says", s.name)));
    }
    if (size > 0) BGR_CHECK(sink(static_cast<std::uint64_t>(offset), {static_cast<const char*>(bytes), size}));
  }
}

Result<std::string> ArchiveReader::digest() {
  auto& s = *state_;
  for (;;) {  // what follows the archive's end belongs to the file, too
    const void* bytes = nullptr;
    const auto got = State::read_more(s.handle, &s, &bytes);
    if (s.stop.stop_requested()) return fail(block::stopped());
    if (got < 0) return s.failed("reading");
    if (got == 0) return "sha256:" + hex(s.digest.finish());
  }
}

}  // namespace banger::actuators::image

// SPDX-License-Identifier: Apache-2.0
#include "actuators/image/vm_initrd.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string_view>

#include "actuators/block/copy_file.hpp"
#include "actuators/block/new_file.hpp"
#include "actuators/boot_config.hpp"
#include "actuators/guest/keys.hpp"
#include "actuators/image/cpio.hpp"
#include "base/files.hpp"
#include "base/guest_config_format.hpp"

namespace banger::actuators::image {
namespace {

constexpr std::string_view kHashName = "banger/hash";
constexpr std::size_t kHashLength = 64;
constexpr std::size_t kBootIdLength = 36;
// The archive ends with the file banger/hash (the hash, and the boot of the host in which it was written) and the end mark:
// headers of 110 bytes with their names, padded to four.
constexpr std::size_t kHashHeader = (110 + kHashName.size() + 1 + 3) / 4 * 4;
constexpr std::size_t kEnd = 124;

// The initrd is several MiB of what can be made anew at any time, so it is not synced to disk: that would be the largest part of
// a start. It is good for the boot of the host in which it was written, through whose page cache it is read.
const std::string& boot_id() {
  static const std::string id = [] {
    auto text = read_file("/proc/sys/kernel/random/boot_id", kib(4)).value_or("");
    text.resize(kBootIdLength, '0');
    return text;
  }();
  return id;
}

// The line of <client key>.pub, without its line feed.
Result<std::string> client_key(const Layout& layout) {
  auto path = client_key_path(layout);
  path += ".pub";
  BGR_TRY(auto line, read_file(path, kib(16)));
  line.erase(std::find(line.begin(), line.end(), '\n'), line.end());
  return line;
}

Result<std::string> config_archive(const WriteVmInitrd& step, const Layout& layout) {
  auto config = step.config;
  CpioWriter cpio;
  cpio.add_directory("banger", 0755);
  if (!config.ssh_user.empty()) {
    BGR_TRY(auto line, client_key(layout));
    config.authorized_keys.push_back(std::move(line));
    BGR_TRY(const auto host_key, guest::load_key(host_key_path(layout, step.vm_uid)));
    cpio.add_directory("banger/ssh", 0700);
    cpio.add_file(in_archive(guest_config::kHostKey), 0600, host_key.openssh_private);
    cpio.add_file(in_archive(guest_config::kHostKeyPublic), 0644, host_key.openssh_public);
    cpio.add_file(in_archive(guest_config::kHostKeyDropbear), 0600, host_key.dropbear_private);
  }
  const auto files = std::string(in_archive(guest_config::kFilesDirectory));
  cpio.add_directory(files, 0700);
  for (std::size_t i = 0; i < config.files.size(); ++i)
    cpio.add_file(fmt::format("{}/{}", files, i), 0600, config.files[i].content);
  cpio.add_file(in_archive(guest_config::kConfigFile), 0600, boot_config_text(config));
  cpio.add_file(kHashName, 0600, boot_config_hash(step.config, step.base_initrd) + boot_id());
  return cpio.finish();
}

Result<void> write(const WriteVmInitrd& step, const Layout& layout, const std::filesystem::path& path) {
  BGR_TRY(const auto archive, config_archive(step, layout));
  const UniqueFd base(::open(step.base_initrd.c_str(), O_RDONLY | O_CLOEXEC));
  if (!base.valid()) return fail(errno_error(fmt::format("opening {}", step.base_initrd), errno));
  BGR_TRY(const auto length, block::length_of(base.get()));
  BGR_TRY(auto file, block::NewFile::create(path));
  BGR_TRY(const bool shared, block::share_extents(base.get(), file.fd()));
  if (!shared) BGR_CHECK(block::copy_data(base.get(), file.fd(), length, {}));
  // The next archive must begin at a multiple of four; the kernel skips the zeros in between.
  const auto begin = (length + 3) / 4 * 4;
  if (::ftruncate(file.fd(), static_cast<off_t>(begin)) != 0 || ::lseek(file.fd(), 0, SEEK_END) < 0) {
    return fail(errno_error("extending", errno));
  }
  BGR_CHECK(write_all(file.fd(), archive));
  return file.commit_unsynced(path, 0600);
}

}  // namespace

std::optional<std::string> observe_initrd_hash(const Layout& layout, const std::string& vm_uid) {
  const auto path = vm_initrd_path(layout, vm_uid);
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (!fd.valid()) return std::nullopt;
  std::array<char, kHashHeader + kHashLength + kBootIdLength + kEnd> bytes{};
  const off_t length = ::lseek(fd.get(), 0, SEEK_END);
  const auto size = static_cast<off_t>(bytes.size());
  if (length < size || ::pread(fd.get(), bytes.data(), bytes.size(), length - size) != size) return std::nullopt;
  const std::string_view tail(bytes.data(), bytes.size());
  const auto hash = tail.substr(kHashHeader, kHashLength);
  const bool is_hex = std::ranges::all_of(hash, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
  if (!tail.starts_with("070701") || tail.substr(110, kHashName.size()) != kHashName || !is_hex ||
      tail.substr(kHashHeader + kHashLength, kBootIdLength) != boot_id() ||
      tail.substr(kHashHeader + kHashLength + kBootIdLength + 110, 10) != "TRAILER!!!") {
    return std::nullopt;
  }
  return std::string(hash);
}

Result<Applied> apply(const WriteVmInitrd& step, const Layout& layout) {
  if (observe_initrd_hash(layout, step.vm_uid) == boot_config_hash(step.config, step.base_initrd)) return Applied::Unchanged;
  const auto path = vm_initrd_path(layout, step.vm_uid);
  auto written = write(step, layout, path);
  if (!written) return fail(with_context(std::move(written).error(), fmt::format("writing {}", path.native())));
  return Applied::Changed;
}

}  // namespace banger::actuators::image

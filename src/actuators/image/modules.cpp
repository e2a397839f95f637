// SPDX-License-Identifier: Apache-2.0
#include "actuators/image/modules.hpp"

#include <archive.h>
#include <archive_entry.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <memory>

#include "base/files.hpp"
#include "base/text.hpp"

namespace banger::actuators::image {
namespace {

// crc32c first: ext4 asks for it by name when it mounts, no dependency says so.
constexpr std::array<std::string_view, 8> kWanted{"crc32c_generic", "crc32c_intel", "virtio_mmio", "virtio_pci",
                                                  "virtio_blk",     "virtio_net",   "virtio_rng",  "ext4"};
constexpr std::size_t kLargest = std::size_t{64} << 20U;

// "kernel/drivers/char/hw_random/virtio-rng.ko.xz" is the module virtio_rng.
std::string module_name(std::string_view path) {
  auto name = path.substr(path.rfind('/') == std::string_view::npos ? 0 : path.rfind('/') + 1);
  name = name.substr(0, name.find('.'));
  std::string out(name);
  std::ranges::replace(out, '-', '_');
  return out;
}

struct Free {
  void operator()(archive* handle) const { ::archive_read_free(handle); }
};

Error broken(archive* handle) {
  const char* said = ::archive_error_string(handle);
  return invalid(fmt::format("it cannot be unpacked: {}", said == nullptr ? "it is damaged" : printable(said)));
}

}  // namespace

std::vector<std::string> modules_to_load(std::string_view modules_dep) {
  struct Line {
    std::string_view path;
    std::vector<std::string_view> needs;  // all of them, what is loaded first last
  };
  std::map<std::string, Line> lines;
  for (const auto line : split(modules_dep, '\n')) {
    const auto colon = line.find(':');
    if (colon == std::string_view::npos) continue;
    Line parsed{.path = line.substr(0, colon), .needs = {}};
    for (const auto need : split(line.substr(colon + 1), ' ')) {
      if (!need.empty()) parsed.needs.push_back(need);
    }
    lines.emplace(module_name(parsed.path), std::move(parsed));
  }
  std::vector<std::string> order;
  const auto load = [&](std::string_view path) {
    if (std::ranges::find(order, path) == order.end()) order.emplace_back(path);
  };
  for (const auto wanted : kWanted) {
    const auto found = lines.find(std::string(wanted));
    if (found == lines.end()) continue;
    for (auto need = found->second.needs.rbegin(); need != found->second.needs.rend(); ++need) load(*need);
    load(found->second.path);
  }
  return order;
}

Result<std::string> unpacked(std::string_view bytes) {
  const std::unique_ptr<archive, Free> handle(::archive_read_new());
  if (handle == nullptr) return fail(internal("libarchive: no memory"));
  ::archive_read_support_filter_gzip(handle.get());
  ::archive_read_support_filter_xz(handle.get());
  ::archive_read_support_filter_zstd(handle.get());
  ::archive_read_support_format_raw(handle.get());
  archive_entry* entry = nullptr;
  if (::archive_read_open_memory(handle.get(), bytes.data(), bytes.size()) != ARCHIVE_OK ||
      ::archive_read_next_header(handle.get(), &entry) != ARCHIVE_OK) {
    return fail(broken(handle.get()));
  }
  std::string out;
  std::array<char, 65536> buffer{};
  for (;;) {
    const auto got = ::archive_read_data(handle.get(), buffer.data(), buffer.size());
    if (got < 0) return fail(broken(handle.get()));
    if (got == 0) return out;
    if (out.size() + static_cast<std::size_t>(got) > kLargest) return fail(invalid("it unpacks to more than 64 MiB"));
    out.append(buffer.data(), static_cast<std::size_t>(got));
  }
}

Result<std::vector<Module>> read_modules(const std::filesystem::path& modules_dir) {
  const auto list = read_file(modules_dir / "modules.dep", mib(64));
  if (!list) return fail(with_context(list.error(), "reading the kernel's modules (depmod makes modules.dep)"));
  std::vector<Module> modules;
  for (const auto& path : modules_to_load(*list)) {
    const auto file = modules_dir / path;
    BGR_TRY(const auto packed, read_file(file, mib(64)));
    auto bytes = unpacked(packed);
    if (!bytes) return fail(with_context(std::move(bytes).error(), fmt::format("reading {}", file.native())));
    if (!bytes->starts_with("\x7F"
                            "ELF"))
      return fail(invalid(fmt::format("reading {}: it is not a kernel module", file.native())));
    modules.push_back({.name = module_name(path) + ".ko", .bytes = std::move(*bytes)});
  }
  return modules;
}

}  // namespace banger::actuators::image

// SPDX-License-Identifier: Apache-2.0
#include "actuators/image/kernels.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <system_error>

#include "base/unique_fd.hpp"

namespace banger::actuators::image {
namespace {

constexpr std::string_view kKernelPrefix = "vmlinuz-";

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// Rank of a character that is no digit; the end of the text is 0 (deb-version(7)).
int rank(std::string_view text, std::size_t at) {
  if (at >= text.size() || is_digit(text[at])) return 0;
  const char c = text[at];
  if (c == '~') return -1;
  const bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  return static_cast<unsigned char>(c) + (is_letter ? 0 : 256);
}

std::string_view digits(std::string_view text, std::size_t& at) {
  while (at < text.size() && text[at] == '0') ++at;
  const auto begin = at;
  while (at < text.size() && is_digit(text[at])) ++at;
  return text.substr(begin, at - begin);
}

bool directory_exists(const std::filesystem::path& path) {
  std::error_code ignored;
  return std::filesystem::is_directory(path, ignored);
}

}  // namespace

bool version_less(std::string_view a, std::string_view b) {
  std::size_t i = 0;
  std::size_t k = 0;
  while (i < a.size() || k < b.size()) {
    while ((i < a.size() && !is_digit(a[i])) || (k < b.size() && !is_digit(b[k]))) {
      const int left = rank(a, i);
      const int right = rank(b, k);
      if (left != right) return left < right;
      ++i;
      ++k;
    }
    const auto left = digits(a, i);
    const auto right = digits(b, k);
    if (left.size() != right.size()) return left.size() < right.size();
    if (left != right) return left < right;
  }
  return false;
}

FileFacts file_facts(const std::filesystem::path& path) {
  FileFacts facts{.path = path.native()};
  struct stat info{};
  if (::stat(path.c_str(), &info) != 0 || !S_ISREG(info.st_mode)) return facts;
  facts.exists = true;
  facts.size = {static_cast<std::uint64_t>(info.st_size)};
  facts.mtime_ns = static_cast<std::int64_t>(info.st_mtim.tv_sec) * 1'000'000'000 + info.st_mtim.tv_nsec;
  return facts;
}

bool is_kernel(const std::filesystem::path& path) {
  constexpr std::string_view kElf =
      "\x7f"
      "ELF";
  constexpr std::size_t kElfType = 16;
  constexpr char kExecutable = 2;
  constexpr std::size_t kBootFlag = 0x1fe;
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!fd.valid()) return false;
  std::array<char, 0x206> head{};
  const auto got = ::pread(fd.get(), head.data(), head.size(), 0);
  if (got < static_cast<ssize_t>(head.size())) return false;
  const std::string_view text(head.data(), head.size());
  if (text.starts_with(kElf)) return text[kElfType] == kExecutable && text[kElfType + 1] == 0;
  return text.substr(kBootFlag, 2) == "\x55\xaa" && text.substr(kBootFlag + 4, 4) == "HdrS";
}

std::vector<FileFacts> files_named(const std::filesystem::path& directory, std::string_view prefix, std::string_view suffix) {
  std::vector<FileFacts> files;
  std::error_code error;
  std::filesystem::directory_iterator entries(directory, error);
  for (; !error && entries != std::filesystem::directory_iterator(); entries.increment(error)) {
    const auto name = entries->path().filename().native();
    if (name.size() <= prefix.size() + suffix.size() || !name.starts_with(prefix) || !name.ends_with(suffix)) continue;
    auto facts = file_facts(entries->path());
    if (facts.exists) files.push_back(std::move(facts));
  }
  std::ranges::sort(files, {}, &FileFacts::path);
  return files;
}

std::vector<HostKernel> host_kernels(const std::filesystem::path& boot, const std::filesystem::path& modules) {
  std::vector<HostKernel> kernels;
  for (const auto& file : files_named(boot, kKernelPrefix, "")) {
    const auto version = std::filesystem::path(file.path).filename().native().substr(kKernelPrefix.size());
    const auto directory = modules / version;
    if (directory_exists(directory))
      kernels.push_back({.version = version, .path = file.path, .modules_dir = directory.native()});
  }
  std::ranges::sort(kernels, [](const HostKernel& a, const HostKernel& b) { return version_less(b.version, a.version); });
  return kernels;
}

ImageView observe_image_files(const Layout& layout, const ImageQuery& query) {
  const auto directory = image_dir(layout, query.uid);
  return {.uid = query.uid,
          .source = file_facts(query.source_path),
          .built = files_named(directory, "base-", ".ext4"),
          .directory_exists = directory_exists(directory)};
}

KernelView observe_kernel_files(const Layout& layout, const KernelQuery& query) {
  const auto directory = kernel_dir(layout, query.uid);
  KernelView view{.uid = query.uid,
                  .host_kernels = host_kernels(),
                  .built = files_named(directory, "initrd-", ""),
                  .directory_exists = directory_exists(directory)};
  if (!query.path.empty()) {
    view.kernel = file_facts(query.path);
  } else if (!view.host_kernels.empty()) {
    view.kernel = file_facts(view.host_kernels.front().path);
  }
  view.boots = view.kernel.exists && is_kernel(view.kernel.path);
  if (!query.initrd.empty()) view.initrd = file_facts(query.initrd);
  return view;
}

}  // namespace banger::actuators::image

// SPDX-License-Identifier: Apache-2.0
#include "actuators/image/initrd.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdlib>
#include <system_error>
#include <utility>
#include <vector>

#include "actuators/block/copy_file.hpp"
#include "actuators/image/cpio.hpp"
#include "actuators/image/digest.hpp"
#include "actuators/image/modules.hpp"
#include "base/files.hpp"
#include "base/guest_config_format.hpp"

namespace banger::actuators::image {
namespace {

constexpr const char* kInit = "banger-init";

std::string archive_of(std::string_view init, const std::vector<Module>& modules) {
  CpioWriter cpio;
  for (const char* directory : {"dev", "proc", "sys", "newroot", "banger"}) cpio.add_directory(directory, 0755);
  cpio.add_char_device("dev/console", 0600, 5, 1);
  cpio.add_file("init", 0755, init);
  const auto directory = std::string(in_archive(guest_config::kModulesDirectory));
  cpio.add_directory(directory, 0755);
  std::string order;
  for (const auto& [name, bytes] : modules) {
    cpio.add_file(directory + "/" + name, 0644, bytes);
    order += name + "\n";
  }
  cpio.add_file(in_archive(guest_config::kModuleOrder), 0644, order);
  return cpio.finish();
}

}  // namespace

Result<std::filesystem::path> find_init() {
  std::vector<std::filesystem::path> places;
  if (const char* libexec = std::getenv("BANGER_LIBEXEC"); libexec != nullptr) {
    places.emplace_back(std::filesystem::path(libexec) / kInit);
  }
  std::error_code error;
  const auto here = std::filesystem::read_symlink("/proc/self/exe", error).parent_path();
  if (!error) {
    places.push_back(here / kInit);
    places.push_back(here.parent_path() / "libexec/banger" / kInit);
    places.push_back(here.parent_path() / "guest_init" / kInit);
  }
  std::string tried;
  for (const auto& place : places) {
    if (::access(place.c_str(), R_OK) == 0) return place.lexically_normal();
    tried += (tried.empty() ? "" : ", ") + place.native();
  }
  return fail(not_found(fmt::format("{} is not installed; looked for {}", kInit, tried)));
}

Result<std::string> run(const BuildInitrd& job, const Layout& layout, const std::filesystem::path& init,
                        const std::stop_token& stop) {
  const std::string_view doing = "building the initrd";
  auto program = read_file(init, mib(16));
  if (!program) return fail(with_context(std::move(program).error(), doing));
  std::vector<Module> modules;
  if (!job.modules_dir.empty()) {
    auto read = read_modules(job.modules_dir);
    if (!read) return fail(with_context(std::move(read).error(), doing));
    modules = std::move(*read);
  }
  if (stop.stop_requested()) return fail(block::stopped());
  const auto archive = archive_of(*program, modules);
  const auto directory = kernel_dir(layout, job.kernel_uid);
  BGR_CHECK(make_directories(directory, 0700));
  const auto path = directory / fmt::format("initrd-{}", hex(sha256(archive)).substr(0, 16));
  std::error_code absent;
  if (std::filesystem::file_size(path, absent) == archive.size() && !absent) return path.native();
  auto written = write_file_durably(path, archive, 0600);
  if (!written) return fail(with_context(std::move(written).error(), doing));
  return path.native();
}

}  // namespace banger::actuators::image

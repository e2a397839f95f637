// SPDX-License-Identifier: Apache-2.0
#include "actuators/vmm/launch.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "base/files.hpp"
#include "base/text.hpp"
#include "base/unique_fd.hpp"

namespace banger::actuators::vmm {
namespace {

constexpr std::string_view kProgram = "qemu-system-x86_64";
constexpr std::string_view kInstall = "install the Debian package qemu-system-x86";
constexpr std::string_view kShim = "banger-shim";

Error unavailable(std::string message) { return {ErrorCode::Unavailable, std::move(message)}; }

bool is_program(const std::string& path) {
  struct stat info{};
  return ::stat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode) && ::access(path.c_str(), X_OK) == 0;
}

Result<UniqueFd> open_regular(std::string_view what, const std::string& path, int flags) {
  UniqueFd fd(::open(path.c_str(), flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!fd.valid()) return fail(errno_error(fmt::format("opening {} {}", what, path), errno));
  struct stat info{};
  if (::fstat(fd.get(), &info) != 0 || !S_ISREG(info.st_mode)) {
    return fail(invalid(fmt::format("{} {} is not a regular file", what, path)));
  }
  return fd;
}

const std::string& lock_path(const VmmDisk& disk) { return disk.lock_path.empty() ? disk.path : disk.lock_path; }

// A file, or with a file of its own to lock the block device that stands over it.
Result<void> check_device_of(const VmmDisk& disk) {
  if (disk.lock_path.empty()) return {};
  const UniqueFd fd(::open(disk.path.c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!fd.valid()) return fail(errno_error(fmt::format("opening disk {}", disk.path), errno));
  struct stat info{};
  if (::fstat(fd.get(), &info) != 0 || !S_ISBLK(info.st_mode))
    return fail(invalid(fmt::format("{} is not a block device", disk.path)));
  return {};
}

// The range is the shim's (src/shim/main.cpp); its lock is what counts, this only says so earlier and better.
Result<void> check_disk(const VmmDisk& disk) {
  BGR_CHECK(check_device_of(disk));
  BGR_TRY(const auto fd, open_regular("disk", lock_path(disk), O_RDWR));
  struct flock lock{};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  lock.l_start = 0;
  lock.l_len = 64;
  if (::fcntl(fd.get(), F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK) {
    return fail({ErrorCode::Busy, fmt::format("disk {} is in use by another VMM", disk.path)});
  }
  return {};
}

Result<void> check_device(const char* path, std::string_view advice) {
  const UniqueFd fd(::open(path, O_RDWR | O_CLOEXEC));
  if (fd.valid()) return {};
  return fail(unavailable(fmt::format("{} cannot be opened ({}): {}", path, strerrordesc_np(errno), advice)));
}

}  // namespace

bool is_answered(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return false;
  std::memcpy(address.sun_path, path.c_str(), path.size());
  const UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  // EAGAIN: somebody listens, and more wait than fit.
  return fd.valid() && (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 || errno == EAGAIN);
}

Result<std::string> find_qemu(const std::string& configured) {
  if (!configured.empty()) {
    if (is_program(configured)) return configured;
    return fail(unavailable(fmt::format(
        "the QEMU {} that bangerd was started with (--qemu) is not there or is not a program: {}, or correct the path",
        printable(configured), kInstall)));
  }
  const char* path = ::getenv("PATH");
  for (const auto directory : split(path != nullptr ? path : "/usr/local/bin:/usr/bin:/bin", ':')) {
    auto candidate = fmt::format("{}/{}", directory, kProgram);
    if (directory.starts_with('/') && is_program(candidate)) return candidate;
  }
  return fail(unavailable(
      fmt::format("there is no {} on bangerd's PATH: {}, or name the program with bangerd --qemu FILE", kProgram, kInstall)));
}

std::string find_shim(const std::string& configured) {
  if (!configured.empty()) return configured;
  std::vector<std::filesystem::path> places;
  if (const char* libexec = ::getenv("BANGER_LIBEXEC"); libexec != nullptr) places.emplace_back(libexec);
  std::error_code error;
  const auto here = std::filesystem::read_symlink("/proc/self/exe", error).parent_path();
  for (const char* place : {".", "../libexec/banger", "../shim"}) places.push_back(here / place);
  for (const auto& place : places) {
    auto candidate = (place / kShim).lexically_normal().native();
    if (candidate.starts_with('/') && is_program(candidate)) return candidate;
  }
  return std::string(kShim);
}

Result<void> check_launch(const LaunchVmm& step, const std::string& shim_path, const Accelerator& accelerator) {
  if (!is_program(shim_path)) {
    return fail(
        unavailable(fmt::format("the shim {} is not there or is not a program: install banger-shim", printable(shim_path))));
  }
  BGR_CHECK(open_regular("kernel", step.kernel_path, O_RDONLY));
  if (!step.initrd_path.empty()) BGR_CHECK(open_regular("initrd", step.initrd_path, O_RDONLY));
  for (const auto& disk : step.disks) BGR_CHECK(check_disk(disk));
  if (!step.nics.empty()) BGR_CHECK(check_device("/dev/net/tun", "VMs with a network need root and the module tun"));
  if (accelerator.name == "kvm") BGR_CHECK(check_device("/dev/kvm", "run with the accelerator tcg, or give access to it"));
  return {};
}

Result<void> clear_for_launch(const Layout& layout, const std::string& uid) {
  const auto socket = monitor_socket_path(layout, uid);
  if (is_answered(socket.native())) {
    return fail({ErrorCode::Busy, fmt::format("{} is still answered by a process outside the VM's cgroup", socket.native())});
  }
  BGR_CHECK(make_directories(layout.run_dir, 0755));
  BGR_CHECK(make_directories(vm_run_dir(layout, uid), 0700));
  auto old_log = vmm_log_path(layout, uid);
  const std::filesystem::path older_log = old_log.native() + ".1";
  for (const auto& path : {socket, exit_record_path(layout, uid), old_log, older_log}) {
    if (::unlink(path.c_str()) != 0 && errno != ENOENT)
      return fail(errno_error(fmt::format("removing {}", path.native()), errno));
  }
  return {};
}

std::vector<std::string> shim_command(const LaunchVmm& step, const Layout& layout, const std::string& shim_path,
                                      std::uint64_t serial_log_max, const std::vector<std::string>& vmm) {
  std::vector<std::string> argv{shim_path,
                                "--exit-record",
                                exit_record_path(layout, step.vm_uid),
                                "--serial-log",
                                serial_log_path(layout, step.vm_uid),
                                "--serial-max",
                                fmt::format("{}", serial_log_max),
                                "--vmm-log",
                                vmm_log_path(layout, step.vm_uid)};
  for (const auto& disk : step.disks) {
    argv.emplace_back("--lock");
    argv.push_back(lock_path(disk));
  }
  argv.emplace_back("--");
  argv.insert(argv.end(), vmm.begin(), vmm.end());
  return argv;
}

}  // namespace banger::actuators::vmm

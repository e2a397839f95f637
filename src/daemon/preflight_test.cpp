// SPDX-License-Identifier: Apache-2.0
#include "daemon/preflight.hpp"

#include <doctest/doctest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "base/unique_fd.hpp"
#include "daemon/options.hpp"

namespace banger::daemon {
namespace {

namespace fs = std::filesystem;

struct Refused {
  int status = -1;
  std::string said;
};

// What a wrong command line ends with, and what it says on standard error.
Refused refused(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "bangerd");
  const UniqueFd said(::memfd_create("said", MFD_CLOEXEC));
  std::fflush(stderr);
  const UniqueFd before(::dup(STDERR_FILENO));
  ::dup2(said.get(), STDERR_FILENO);
  const auto options = parse_options(static_cast<int>(arguments.size()), const_cast<char**>(arguments.data()));
  std::fflush(stderr);
  ::dup2(before.get(), STDERR_FILENO);
  std::array<char, 1024> text{};
  const auto length = ::pread(said.get(), text.data(), text.size(), 0);
  return {options ? -1 : options.error(), std::string(text.data(), static_cast<std::size_t>(length))};
}

// A directory of its own, with what a daemon looks for beside itself.
struct Ground {
  Ground() {
    std::string name = (fs::temp_directory_path() / "bangerd-XXXXXX").native();
    REQUIRE(::mkdtemp(name.data()) != nullptr);
    top = name;
    fs::create_directory(top / "libexec");
    for (const auto* program : {"banger-shim", "banger-init"}) {
      std::ofstream(top / "libexec" / program) << "";
      fs::permissions(top / "libexec" / program, fs::perms::owner_all);
    }
    options.state_dir = (top / "state").native();
    options.run_dir = (top / "run").native();
    options.socket = options.run_dir + "/bangerd.sock";
    options.libexec = (top / "libexec").native();
  }
  ~Ground() { fs::remove_all(top); }
  Ground(const Ground&) = delete;
  Ground& operator=(const Ground&) = delete;

  [[nodiscard]] std::string problem() const {
    const auto prepared = prepare(options);
    return prepared ? "" : prepared.error().message;
  }

  fs::path top;
  Options options;
};

bool is_root() {
  if (::geteuid() == 0) return true;
  MESSAGE("skipped: the daemon's grounds are laid as root");
  return false;
}

}  // namespace

TEST_CASE("a wrong command line is one sentence that says where help is") {
  const std::pair<std::vector<const char*>, std::string> cases[] = {
      {{"--bogus"}, "bangerd: The following argument was not expected: --bogus; see: bangerd --help\n"},
      {{"--workers", "0"}, "bangerd: --workers: Value 0 not in range 1 to 64; see: bangerd --help\n"},
      {{"--log-format", "xml"}, "bangerd: --log-format: xml not in {auto,text,json}; see: bangerd --help\n"},
      {{"--log-level", "2"}, "bangerd: --log-level: 2 not in {debug,info,warning,error}; see: bangerd --help\n"},
      {{"--state-dir", ""}, "bangerd: --state-dir wants a directory, is empty; see: bangerd --help\n"},
  };
  for (const auto& [arguments, says] : cases) {
    const auto got = refused(arguments);
    CHECK(got.status == 2);
    CHECK(got.said == says);
  }
}

TEST_CASE("options that are right are taken as they are") {
  const std::array<const char*, 5> arguments{"bangerd", "--log-format", "json", "--log-level", "error"};
  const auto options = parse_options(static_cast<int>(arguments.size()), const_cast<char**>(arguments.data()));
  REQUIRE(options);
  CHECK(options->log_format == log::Format::Json);
  CHECK(options->log_level == log::Level::Error);
  CHECK(options->socket == "/run/banger/bangerd.sock");
}

TEST_CASE("paths too long for a socket are refused by the option that is to be changed") {
  if (!is_root()) return;
  Ground ground;
  ground.options.socket = "/" + std::string(107, 's');
  CHECK(ground.problem() == ground.options.socket + " is too long for a socket (at most 107 bytes): choose a shorter --socket");
  ground.options.run_dir = "/" + std::string(84, 'r');
  CHECK(ground.problem() ==
        ground.options.run_dir + " is too long for sockets below it (at most 84 bytes): choose a shorter --run-dir");
  CHECK_FALSE(fs::exists(ground.options.state_dir));
}

TEST_CASE("a state directory that cannot be one, and one that is in use, are named") {
  if (!is_root()) return;
  Ground ground;
  {
    const auto first = prepare(ground.options);
    REQUIRE(first);
    CHECK(ground.problem() == "another bangerd (process " + std::to_string(::getpid()) + ") already uses " +
                                  ground.options.state_dir + ": stop it first, or choose another --state-dir");
  }
  CHECK(ground.problem().empty());
  std::ofstream(ground.top / "file") << "";
  ground.options.state_dir = (ground.top / "file").native();
  CHECK(ground.problem() == "the state directory is not usable: " + ground.options.state_dir + " is not a directory");
}

TEST_CASE(
    "a state directory that others can write, or a part of it that is elsewhere, is refused: what, where, what was expected") {
  if (!is_root()) return;
  struct Case {
    const char* part;
    void (*spoil)(const fs::path&);
    const char* says;
  };
  const auto foreign = [](const fs::path& path) { REQUIRE(::chown(path.c_str(), 65534, 65534) == 0); };
  const auto open_to_all = [](const fs::path& path) { fs::permissions(path, fs::perms(0777)); };
  const auto open_to_group = [](const fs::path& path) { fs::permissions(path, fs::perms(0770)); };
  const auto link = [](const fs::path& path) {
    fs::rename(path, path.native() + ".real");
    fs::create_directory_symlink(path.native() + ".real", path);
  };
  const auto dangling = [](const fs::path& path) {
    fs::remove(path);
    fs::create_directory_symlink("/nonexistent/disk", path);
  };
  const auto file = [](const fs::path& path) {
    fs::remove(path);
    std::ofstream(path) << "";
  };
  const Case cases[] = {
      {"", foreign, " belongs to user 65534: what it holds cannot be trusted; expected a directory of root's"},
      {"", open_to_all, " may be written by others (mode 0777): what it holds cannot be trusted; expected 0700"},
      {"", open_to_group, " may be written by others (mode 0770): what it holds cannot be trusted; expected 0700"},
      {"/db", foreign, " belongs to user 65534: "},
      {"/db", open_to_all, " may be written by others (mode 0777): "},
      {"/db", link,
       " is a symbolic link; expected a directory: mount another disk there, or make the whole of --state-dir a link"},
      {"/vms", foreign, " belongs to user 65534: "},
      {"/vms", open_to_group, " may be written by others (mode 0770): "},
      {"/vms", link, " is a symbolic link; expected a directory: "},
      {"/vms", dangling, " is a symbolic link; expected a directory: "},
      {"/vms", file, " is not a directory: move it away"},
      {"/networks", open_to_all, " may be written by others (mode 0777): "},
      {"/images", link, " is a symbolic link; expected a directory: "},
      {"/kernels", foreign, " belongs to user 65534: "},
      {"/ssh", open_to_all, " may be written by others (mode 0777): "},
  };
  for (const auto& each : cases) {
    CAPTURE(each.part);
    CAPTURE(each.says);
    Ground ground;
    const auto& state = ground.options.state_dir;
    for (const auto* room : {"db", "vms", "networks", "images", "kernels", "ssh"}) fs::create_directories(state + "/" + room);
    fs::permissions(state, fs::perms(0700));
    CHECK(ground.problem().empty());
    each.spoil(state + each.part);
    const auto prepared = prepare(ground.options);
    REQUIRE_FALSE(prepared);
    CHECK(prepared.error().code == ErrorCode::Invalid);  // exit status 78: another try cannot help
    CHECK(prepared.error().message.starts_with("the state directory is not usable: " + state + each.part + each.says));
  }
}

TEST_CASE("the whole state directory may be a link to a safe place; a file in place of the database is the store's to judge") {
  if (!is_root()) return;
  Ground ground;
  const auto real = ground.top / "disk";
  fs::create_directory(real);
  fs::create_directory_symlink(real, ground.options.state_dir);
  std::ofstream(real / "db") << "";
  CHECK(ground.problem().empty());
  fs::permissions(real, fs::perms(0777));
  CHECK(ground.problem().find(" may be written by others (mode 0777)") != std::string::npos);
}

}  // namespace banger::daemon

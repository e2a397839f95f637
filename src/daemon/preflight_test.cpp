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
#include <functional>
#include <string>
#include <string_view>
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

TEST_CASE("a run directory that others can write, or that is elsewhere in part, is refused as the state directory is") {
  if (!is_root()) return;
  struct Case {
    const char* part;
    std::function<void(const fs::path&)> spoil;
    const char* says;
  };
  const Case cases[] = {
      {"", [](const fs::path& path) { REQUIRE(::chown(path.c_str(), 65534, 65534) == 0); },
       " belongs to user 65534: what it holds cannot be trusted; expected a directory of root's"},
      {"", [](const fs::path& path) { fs::permissions(path, fs::perms(0777)); },
       " may be written by others (mode 0777): what it holds cannot be trusted; expected 0755"},
      {"/vm", [](const fs::path& path) { fs::permissions(path, fs::perms(0775)); }, " may be written by others (mode 0775): "},
      {"/vm",
       [](const fs::path& path) {
         fs::remove(path);
         fs::create_directory_symlink("/tmp", path);
       },
       " is a symbolic link; expected a directory: mount another disk there, or make the whole of --run-dir a link"},
      {"/vm",
       [](const fs::path& path) {
         fs::remove(path);
         std::ofstream(path) << "";
       },
       " is not a directory: move it away"},
  };
  for (const auto& each : cases) {
    CAPTURE(each.part);
    CAPTURE(each.says);
    const Ground ground;
    fs::create_directories(ground.options.run_dir + "/vm");
    CHECK(ground.problem().empty());
    each.spoil(ground.options.run_dir + each.part);
    const auto prepared = prepare(ground.options);
    REQUIRE_FALSE(prepared);
    CHECK(prepared.error().code == ErrorCode::Invalid);
    CHECK(prepared.error().message.starts_with("the run directory is not usable: " + ground.options.run_dir + each.part +
                                               each.says));
  }
}

TEST_CASE("who may write above a directory may put another in its place: that is refused, by name, before anything is made") {
  if (!is_root()) return;
  struct Case {
    fs::perms mode;
    uid_t owner;
    std::string says;  // of the spoilt directory; empty: it is fine
  };
  const Case cases[] = {
      {fs::perms(0777), 0,
       " may be written by others (mode 0777), who could put something else in the place of what is in it; "
       "expected 0755, or a sticky one"},
      {fs::perms(0775), 0, " may be written by others (mode 0775), "},
      {fs::perms(0755), 65534,
       " belongs to user 65534, who could put something else in the place of what is in it; expected a "
       "directory of root's"},
      {fs::perms(01777), 65534, " belongs to user 65534, "},
      {fs::perms(01777), 0, ""},  // as /tmp
      {fs::perms(0711), 0, ""},
  };
  for (const auto& each : cases) {
    for (const auto* which : {"state", "run"}) {
      for (const bool through_link : {false, true}) {
        CAPTURE(each.says);
        CAPTURE(which);
        CAPTURE(through_link);
        Ground ground;
        const auto open = ground.top / "open";
        fs::create_directories(open / "deep");
        auto named = open / "deep" / "down";
        if (through_link) {
          fs::create_directory(named);
          fs::create_directory_symlink(named, ground.top / "link");
          named = ground.top / "link";
        }
        (std::string_view(which) == "state" ? ground.options.state_dir : ground.options.run_dir) = named.native();
        fs::permissions(open, each.mode);
        REQUIRE(::chown(open.c_str(), each.owner, 0) == 0);
        const auto prepared = prepare(ground.options);
        CHECK(prepared.has_value() == each.says.empty());
        if (prepared) continue;
        CHECK(prepared.error().code == ErrorCode::Invalid);
        CHECK(prepared.error().message.starts_with(std::string("the ") + which + " directory is not usable: " + open.native() +
                                                   ", above " + named.native() + "," + each.says));
        if (!through_link) CHECK_FALSE(fs::exists(named));
      }
    }
  }
}

TEST_CASE("a link of another user is refused wherever it leads") {
  if (!is_root()) return;
  Ground ground;
  fs::create_directory(ground.top / "real");
  const auto link = ground.top / "link";
  fs::create_directory_symlink(ground.top / "real", link);
  ground.options.state_dir = (link / "state").native();
  {
    const auto prepared = prepare(ground.options);
    REQUIRE(prepared);
    CHECK(prepared->state_dir == fs::canonical(ground.top / "real" / "state").native());
  }
  REQUIRE(::lchown(link.c_str(), 65534, 65534) == 0);
  CHECK(ground.problem().starts_with(
      "the state directory is not usable: " + link.native() +
      " is a symbolic link of user 65534, who could make it lead elsewhere; expected one of root's"));
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

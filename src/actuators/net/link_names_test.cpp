// SPDX-License-Identifier: Apache-2.0
#include "actuators/net/link_names.hpp"

#include <doctest/doctest.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "actuators/net/test_support.hpp"
#include "base/testing.hpp"

namespace banger::actuators::net {
namespace {

TEST_CASE("links are found by name and by number, one after the other, and again when they are gone") {
  if (skip_without_fresh_namespace()) return;
  const auto names = LinkNames::open();
  REQUIRE(names);
  make_foreign_bridge("br0");
  CHECK(names->index_of("tap0").value() == std::nullopt);
  const auto bridge = names->index_of("br0").value();
  REQUIRE(bridge);
  CHECK(*bridge == static_cast<int>(::if_nametoindex("br0")));
  CHECK(names->name_of(*bridge).value() == "br0");
  CHECK(names->index_of("lo").value() == 1);

  make_foreign_tap("tap0");
  CHECK(names->index_of("tap0").value() == static_cast<int>(::if_nametoindex("tap0")));
  delete_tap_behind_our_back("tap0");
  CHECK(names->index_of("tap0").value() == std::nullopt);
  CHECK(names->index_of("br0").value() == bridge);
}

TEST_CASE("a name that no link can have is no other link's name") {
  if (skip_without_fresh_namespace()) return;
  const auto names = LinkNames::open();
  REQUIRE(names);
  make_foreign_bridge("a234567890abcde");  // 15 bytes
  CHECK(names->index_of("a234567890abcde").value().has_value());
  CHECK(names->index_of("a234567890abcdef").value() == std::nullopt);
  CHECK(names->index_of("").value() == std::nullopt);
}

constexpr const char* kModprobe = "/proc/sys/kernel/modprobe";

// What the kernel runs in modprobe's place notes that it ran.
class CountsModprobe {
 public:
  CountsModprobe() {
    std::ifstream(kModprobe) >> before_;
    std::ofstream(program_) << "#!/bin/sh\necho >>" << notes_.string() << "\n";
    ::chmod(program_.c_str(), 0755);
    std::ofstream(kModprobe) << program_.string();
  }
  CountsModprobe(const CountsModprobe&) = delete;
  CountsModprobe& operator=(const CountsModprobe&) = delete;
  ~CountsModprobe() { std::ofstream(kModprobe) << before_; }
  [[nodiscard]] std::size_t runs() const {
    std::ifstream notes(notes_);
    return static_cast<std::size_t>(std::count(std::istreambuf_iterator<char>(notes), {}, '\n'));
  }

 private:
  testing::ScratchDirectory scratch_;
  std::filesystem::path program_ = scratch_.path() / "modprobe", notes_ = scratch_.path() / "notes";
  std::string before_;
};

TEST_CASE("asking for a link that is not there makes the kernel run no program") {
  if (std::getenv("BANGER_TESTHOST") == nullptr) {
    MESSAGE("skipped: counting runs of modprobe changes a setting of the whole machine; ./tools/test testhost does it");
    return;
  }
  if (skip_without_fresh_namespace()) return;
  const auto names = LinkNames::open();
  REQUIRE(names);
  const CountsModprobe modprobe;
  CHECK(names->index_of("tap0").value() == std::nullopt);
  CHECK(modprobe.runs() == 0);

  const UniqueFd fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request{};
  std::strcpy(request.ifr_name, "tap0");
  CHECK(::ioctl(fd.get(), SIOCGIFINDEX, &request) != 0);
  CHECK(modprobe.runs() > 0);  // the call that is avoided
}

}  // namespace
}  // namespace banger::actuators::net

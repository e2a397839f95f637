// SPDX-License-Identifier: Apache-2.0
#include "actuators/vmm/accelerator.hpp"

#include <doctest/doctest.h>

#include <cerrno>

#include "actuators/vmm/tsc.hpp"

using namespace banger;
using namespace banger::actuators::vmm;

TEST_CASE("KVM is chosen only where ordinary guests run") {
  CHECK(choose_accelerator("auto", {0, true})->name == "kvm");
  CHECK(choose_accelerator("auto", {0, false}) ==
        Accelerator{"tcg", "/dev/kvm is there, but neither kvm_amd nor kvm_intel is loaded, so it cannot run ordinary guests"});
  CHECK(choose_accelerator("auto", {ENOENT, true}) == Accelerator{"tcg", "this host has no /dev/kvm"});
  CHECK(choose_accelerator("auto", {EACCES, true}) == Accelerator{"tcg", "/dev/kvm cannot be opened: Permission denied"});
}

TEST_CASE("configuration knows better, but has to be spelled right") {
  CHECK(choose_accelerator("kvm", {ENOENT, false})->name == "kvm");
  CHECK(choose_accelerator("tcg", {0, true})->name == "tcg");
  const auto wrong = choose_accelerator("xen", {0, true});
  REQUIRE_FALSE(wrong);
  CHECK(wrong.error().message == "accelerator \"xen\": expected auto, kvm or tcg");
}

TEST_CASE("the time stamp counter is measured once and plausibly") {
  const auto khz = host_tsc_khz();
  CHECK(khz > 200'000);
  CHECK(khz < 10'000'000);
  CHECK(host_tsc_khz() == khz);
}

// SPDX-License-Identifier: Apache-2.0
#include "reconcilers/virtual_machine/plan.hpp"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <vector>

#include "api/rows.hpp"
#include "base/files.hpp"
#include "base/text.hpp"
#include "reconcilers/virtual_machine/plan_forms_test.hpp"

namespace banger::reconcilers::virtual_machine {
namespace {

namespace fs = std::filesystem;

const fs::path kCases = fs::path(BANGER_SOURCE_DIR) / "testdata/plans/virtual_machine";

std::string text_of(const fs::path& path) {
  const auto text = read_file(path, kib(256));
  REQUIRE_MESSAGE(text.has_value(), path.string());
  return *text;
}

// What the published table says of status.conditions.
std::string_view condition_types() {
  const auto rows = api::schema::fields_of<api::VirtualMachineStatus>();
  const auto row = std::ranges::find(rows, "conditions", &api::schema::Field::name);
  REQUIRE(row != rows.end());
  return row->doc;
}

std::vector<fs::path> cases() {
  std::vector<fs::path> found;
  for (const auto& entry : fs::directory_iterator(kCases)) found.push_back(entry.path());
  std::ranges::sort(found);
  return found;
}

// The lines around the first difference.
std::string difference(std::string_view expected, std::string_view got) {
  const auto a = split(expected, '\n');
  const auto b = split(got, '\n');
  std::size_t first = 0;
  while (first < a.size() && first < b.size() && a[first] == b[first]) ++first;
  std::size_t tail = 0;
  while (tail + first < a.size() && tail + first < b.size() && a[a.size() - 1 - tail] == b[b.size() - 1 - tail]) ++tail;
  std::string out;
  for (std::size_t i = first < 3 ? 0 : first - 3; i < first; ++i) out += fmt::format("  {}\n", a[i]);
  for (std::size_t i = first; i + tail < a.size(); ++i) out += fmt::format("- {}\n", a[i]);
  for (std::size_t i = first; i + tail < b.size(); ++i) out += fmt::format("+ {}\n", b[i]);
  return out;
}

// A VMM is adopted as this launch's while its record names no process: so the record is to say that before it can be there.
bool launches_on_a_clear_record(const Plan& plan) {
  bool clear = false;
  for (const auto& each : plan.steps) {
    if (const auto* write = std::get_if<actuators::WriteSidecar>(&each.step)) clear = !write->sidecar.process;
    if (std::holds_alternative<actuators::LaunchVmm>(each.step)) return clear;
  }
  return true;
}

TEST_CASE("every golden case plans what its file says") {
  const bool update = std::getenv("BANGER_UPDATE_GOLDENS") != nullptr;
  const auto found = cases();
  CHECK(found.size() >= 25);
  for (const auto& directory : found) {
    const auto name = directory.filename().string();
    CAPTURE(name);
    PlanCase given;
    try {
      given = read_case(text_of(directory / "desired.yaml"), text_of(directory / "observed.yaml"));
    } catch (const std::exception& error) {
      FAIL_CHECK(std::string(error.what()));
      continue;
    }
    const auto plan = plan_for(given.vm, given.observed);
    CHECK(plan == plan_for(given.vm, given.observed));
    CHECK(launches_on_a_clear_record(plan));
    for (const auto& finding : plan.findings)
      CHECK_MESSAGE(condition_types().find(finding.type) != std::string_view::npos, finding.type);
    const auto got = write_plan(given, plan);
    if (update) {
      std::ofstream(directory / "plan.yaml") << got;
      continue;
    }
    const auto expected = text_of(directory / "plan.yaml");
    const bool same = got == expected;
    CHECK_MESSAGE(same, fmt::format("{}/plan.yaml (- expected, + planned):\n{}if the new plan is right: BANGER_UPDATE_GOLDENS=1 "
                                    "build/src/reconcilers/test_reconcilers -tc='every golden case*'",
                                    name, difference(expected, got)));
  }
}

}  // namespace
}  // namespace banger::reconcilers::virtual_machine

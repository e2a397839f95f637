// SPDX-License-Identifier: Apache-2.0
// The pages of docs/kinds/ say what the schema says, and their examples can be applied.
#include "api/docs.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cctype>
#include <filesystem>

#include "api/codec.hpp"
#include "base/files.hpp"

namespace banger::api {
namespace {

const std::filesystem::path kPages = std::filesystem::path(BANGER_SOURCE) / "docs/kinds";

std::string page_of(const KindInfo& kind) {
  auto page = read_file(kPages / (std::string(kind.singular) + ".md"), mib(1));
  REQUIRE_MESSAGE(page.has_value(), std::string(kind.name));
  return *std::move(page);
}

// The texts between ```yaml and ```.
std::vector<std::string> examples_of(std::string_view page) {
  constexpr std::string_view kFence = "```yaml\n";
  std::vector<std::string> examples;
  for (auto at = page.find(kFence); at != std::string_view::npos; at = page.find(kFence, at + 1)) {
    const auto start = at + kFence.size();
    examples.emplace_back(page.substr(start, page.find("```", start) - start));
  }
  return examples;
}

TEST_CASE("every kind has a page whose tables are those of the schema") {
  for (const auto& kind : kinds()) {
    const auto page = page_of(kind);
    const auto fresh = refresh_tables(page);
    REQUIRE(fresh.has_value());
    CHECK_MESSAGE(page == *fresh, "docs/kinds/" << kind.singular << ".md is stale: run schema_docs docs/kinds/*.md");
    const auto marker = "<!-- fields: " + std::string(kind.name);
    CHECK(page.find(marker) != std::string::npos);
    CHECK(page.find("# " + std::string(kind.name) + "\n") == 0);
  }
}

TEST_CASE("the example of every kind that people write can be applied") {
  for (const auto& kind : kinds()) {
    if (!kind.user_writable) continue;
    const auto examples = examples_of(page_of(kind));
    CHECK_FALSE(examples.empty());
    bool of_this_kind = false;
    for (const auto& example : examples) {
      const auto decoded = decode_manifest(example);
      for (const auto& refusal : decoded.refusals) FAIL_CHECK(to_string(refusal, kind.singular));
      for (const auto& document : decoded.value) of_this_kind = of_this_kind || kind_of(document.object) == kind.kind;
    }
    CHECK(of_this_kind);
  }
}

TEST_CASE("a stale page is written anew and then stays") {
  const std::string stale = "# x\n<!-- fields: Image.spec -->\nold\n<!-- end of fields -->\ntail\n";
  const auto fresh = refresh_tables(stale);
  REQUIRE(fresh.has_value());
  CHECK(*fresh != stale);
  CHECK(fresh->find("| `path` | absolute path | required |") != std::string::npos);
  CHECK(fresh->ends_with("<!-- end of fields -->\ntail\n"));
  CHECK(refresh_tables(*fresh) == *fresh);
}

TEST_CASE("markers that name nothing or are not closed are refused") {
  CHECK_FALSE(refresh_tables("<!-- fields: Pod.spec -->\n<!-- end of fields -->\n").has_value());
  CHECK_FALSE(refresh_tables("<!-- fields: Image.speck -->\n<!-- end of fields -->\n").has_value());
  CHECK_FALSE(refresh_tables("<!-- fields: Image.spec -->\n").has_value());
  CHECK_FALSE(refresh_tables("<!-- fields: Image.spec").has_value());
}

}  // namespace
}  // namespace banger::api

// SPDX-License-Identifier: Apache-2.0
// Manifest files: the tables of testdata/decode/, and hostile ones.
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <ctime>
#include <filesystem>
#include <string>

#include "api/codec.hpp"
#include "api/rows.hpp"
#include "base/files.hpp"
#include "base/text.hpp"

namespace banger::api {
namespace {

const std::filesystem::path kSource = BANGER_SOURCE;

std::string content_of(const std::filesystem::path& path) {
  auto content = read_file(path, mib(1));
  REQUIRE_MESSAGE(content.has_value(), path.string());
  return *std::move(content);
}

std::vector<std::filesystem::path> yaml_files(const std::filesystem::path& directory) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(directory)) {
    if (entry.path().extension() == ".yaml") files.push_back(entry.path());
  }
  std::ranges::sort(files);
  return files;
}

std::string messages(const std::vector<Refusal>& refusals, std::string_view file) {
  std::string text;
  for (const auto& refusal : refusals) text += to_string(refusal, file) + "\n";
  return text;
}

std::string manifest_messages(std::string_view yaml) { return messages(decode_manifest(yaml).refusals, "m.yaml"); }

double cpu_seconds() {
  timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

long peak_memory_kib() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss;
}

TEST_CASE("every refused file of the table is refused with exactly the expected messages") {
  const auto files = yaml_files(kSource / "testdata/decode/refused");
  CHECK(files.size() >= 140);
  for (auto path : files) {
    const auto name = path.filename().string();
    const auto decoded = decode_manifest(content_of(path));
    CAPTURE(name);
    CHECK(messages(decoded.refusals, name) == content_of(path.replace_extension(".expected")));
    CHECK_FALSE(decoded.refusals.empty());
    for (const auto& refusal : decoded.refusals) CHECK_FALSE(refusal.reason.empty());
  }
}

TEST_CASE("refusals stand in the order of the text") {
  for (const auto& path : yaml_files(kSource / "testdata/decode/refused")) {
    const auto decoded = decode_manifest(content_of(path));
    const auto position = [](const Refusal& refusal) { return std::pair(refusal.line, refusal.column); };
    CAPTURE(path.string());
    CHECK(std::ranges::is_sorted(decoded.refusals, {}, position));
  }
}

TEST_CASE("every accepted file of the table becomes the expected objects") {
  const auto files = yaml_files(kSource / "testdata/decode/accepted");
  CHECK(files.size() >= 8);
  for (auto path : files) {
    const auto name = path.filename().string();
    const auto decoded = decode_manifest(content_of(path));
    CAPTURE(name);
    CHECK(messages(decoded.refusals, name) == "");
    std::string objects;
    for (const auto& document : decoded.value) {
      objects += fmt::format("line {}\n{}\n{}\n", document.line, encode_text(document.object), document.canonical);
      CHECK(validate(document.object, nullptr).empty());
    }
    CHECK(objects == content_of(path.replace_extension(".expected")));
  }
}

TEST_CASE("every example under manifests/ can be applied") {
  const auto files = yaml_files(kSource / "manifests");
  std::vector<Kind> seen;
  for (const auto& path : files) {
    const auto decoded = decode_manifest(content_of(path));
    CHECK(messages(decoded.refusals, path.string()) == "");
    CHECK_FALSE(decoded.value.empty());
    for (const auto& document : decoded.value) seen.push_back(kind_of(document.object));
  }
  for (const auto& row : kinds()) {
    CAPTURE(std::string(row.name));
    if (row.user_writable) CHECK(std::ranges::find(seen, row.kind) != seen.end());
  }
}

TEST_CASE("good documents of a file are handed out beside refused ones") {
  const auto network = [](std::string_view spec) {
    return fmt::format("apiVersion: banger.dev/v1alpha1\nkind: Network\nmetadata: {{name: lan}}\nspec: {}\n", spec);
  };
  const auto decoded = decode_manifest(network("{mtu: 1}") + "---\n" + network("{mtu: 9000}") + "---\n" + network("{mtu: ["));
  REQUIRE(decoded.value.size() == 1);
  CHECK(decoded.value[0].line == 6);
  CHECK(std::get<Network>(decoded.value[0].object.body).spec.mtu == 9000);
  CHECK(decoded.refusals.size() == 2);
}

TEST_CASE("an empty file, comments and empty documents hold no objects and no errors") {
  for (const char* text : {"", "\n", "# nothing\n", "---\n", "---\n---\n# x\n---\n...\n", "\xef\xbb\xbf", "null\n"}) {
    CAPTURE(std::string(text));
    const auto decoded = decode_manifest(text);
    CHECK(decoded.value.empty());
    CHECK(messages(decoded.refusals, "") == "");
  }
}

TEST_CASE("a misspelling of a field by one letter names the field") {
  int tried = 0;
  for (const auto& field : schema::fields_of<VirtualMachineSpec>()) {
    for (std::size_t at = 0; at + 1 < field.name.size(); ++at) {
      std::string dropped(field.name);
      dropped.erase(at, 1);
      std::string swapped(field.name);
      std::swap(swapped[at], swapped[at + 1]);
      std::string doubled(field.name);
      doubled.insert(at, 1, doubled[at]);
      for (const auto& word : {dropped, swapped, doubled}) {
        if (word == field.name) continue;
        ++tried;
        const auto text = manifest_messages(fmt::format(
            "apiVersion: banger.dev/v1alpha1\nkind: VirtualMachine\nmetadata: {{name: web}}\nspec: {{image: a, {}: 1}}\n", word));
        CAPTURE(text);
        const auto expected = fmt::format("spec.{}: unknown field; did you mean \"{}\"?", word, field.name);
        CHECK(text.find(expected) != std::string::npos);
      }
    }
  }
  CHECK(tried > 200);
  CHECK(manifest_messages("apiVersion: banger.dev/v1alpha1\nkind: Network\nmetadata: {name: a}\nspec: {colour: red}\n") ==
        "m.yaml:4:8: spec.colour: unknown field\n");
}

TEST_CASE("a file of 128 KiB is read, a longer one is not") {
  const std::string head = "apiVersion: banger.dev/v1alpha1\nkind: Network\nmetadata: {name: lan}\n";
  const auto whole = head + std::string(128 * 1024 - head.size(), '#');
  CHECK(manifest_messages(whole) == "");
  CHECK(manifest_messages(whole + "#") ==
        "m.yaml:1:1: the file is longer than the 131072 bytes (128 KiB) that a manifest may have\n");
}

TEST_CASE("20000 values are read, more are not") {
  // apiVersion, kind, metadata, name, spec, ... and what the two documents hold beside the list.
  const auto with_items = [](std::size_t count) {
    std::string text = "- [";
    for (std::size_t i = 0; i < count; ++i) text += "1,";
    return text + "]\n";
  };
  CHECK(manifest_messages(with_items(19'998)) == "m.yaml:1:1: a document must be a map, is a list\n");
  CHECK(manifest_messages(with_items(19'999)).find("more than 20000 values in one file") != std::string::npos);
}

// Each would cost seconds or gigabytes if something in the way were not linear.
std::vector<std::pair<std::string, std::string>> hostile_texts() {
  constexpr std::size_t kSize = 128 * 1024;
  const auto repeated = [](std::string_view piece) {
    std::string text;
    while (text.size() + piece.size() <= kSize) text += piece;
    return text;
  };
  std::string bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n";
  for (char c = 'b'; c <= 'i'; ++c)
    bomb += fmt::format("{}: &{} [{}]\n", c, c, fmt::join(std::vector(9, fmt::format("*{}", static_cast<char>(c - 1))), ","));
  std::string wide_map = "a:\n";
  for (int i = 0; wide_map.size() < kSize - 32; ++i) wide_map += fmt::format("  k{}: 1\n", i);
  std::string documents;
  while (documents.size() < kSize - 8) documents += "---\n{}\n";
  return {{"brackets", std::string(kSize, '[')},
          {"braces", std::string(kSize, '{')},
          {"brackets hidden by comments", repeated("[[[[[[[[ #]]]]]]]]\n")},
          {"balanced brackets", repeated("[],")},
          {"dashes", repeated("- ")},
          {"question marks", repeated("? ")},
          {"colons", repeated(": ")},
          {"commas", "[" + repeated(",").substr(1)},
          {"quotes", repeated("\"")},
          {"unclosed quote", "a: \"" + std::string(kSize - 4, 'x')},
          {"many unclosed quotes", "[" + repeated("\"a\",").substr(4)},
          {"pipes", repeated("|\n")},
          {"ampersands", repeated("&a ")},
          {"bangs", repeated("!a ")},
          {"stars", repeated("*a ")},
          {"percent", repeated("%TAG ! a\n")},
          {"one long line", "a: " + std::string(kSize - 4, 'x')},
          {"one long key", std::string(kSize - 4, 'x') + ": a"},
          {"many lines of one scalar", "a: " + repeated("x\n ").substr(4)},
          {"blank lines", std::string(kSize, '\n')},
          {"spaces", std::string(kSize, ' ')},
          {"comment", std::string(kSize, '#')},
          {"alias bomb", bomb},
          {"wide map", wide_map},
          {"many documents", documents},
          {"flow list on one line", "[" + repeated("é,").substr(3) + "]"},
          {"backslashes", "a: \"" + std::string(kSize - 8, '\\') + "\""}};
}

TEST_CASE("no text of 128 KiB costs more than a moment") {
  for (const auto& [name, text] : hostile_texts()) {
    CAPTURE(name);
    REQUIRE(text.size() <= 128 * 1024);
    const auto memory = peak_memory_kib();
    const auto start = cpu_seconds();
    const auto decoded = decode_manifest(text);
    const auto spent = cpu_seconds() - start;
    const auto grown = peak_memory_kib() - memory;
    CAPTURE(messages(decoded.refusals, "").substr(0, 200));
    CHECK(decoded.value.empty());
    // Sanitizers and a busy machine make it several times slower than the 60 ms it is held to elsewhere.
    CHECK(spent < 1.0);
    CHECK(grown < 128 * 1024);
    if (std::getenv("BANGER_TIMES") != nullptr) {
      MESSAGE(fmt::format("{:30} {:6.1f} ms {:7} KiB", name, spent * 1e3, grown));
    }
  }
}

TEST_CASE("a file with errors everywhere is refused with the first hundred of them and their number") {
  std::string text;
  for (int i = 0; i < 500; ++i) text += "---\n{a: 1}\n";
  const auto decoded = decode_manifest(text);
  REQUIRE(decoded.refusals.size() == 101);
  CHECK(to_string(decoded.refusals[0], "m.yaml") == "m.yaml:2:1: apiVersion: is required");
  CHECK(to_string(decoded.refusals[100], "m.yaml") == "m.yaml:102:1: and 900 more errors");
}

TEST_CASE("a manifest cut off or changed anywhere is read or refused, never more") {
  const auto text = content_of(kSource / "testdata/decode/accepted/issue.yaml");
  for (std::size_t length = 0; length < text.size(); ++length) {
    const auto decoded = decode_manifest(std::string_view(text).substr(0, length));
    for (const auto& document : decoded.value) CHECK(validate(document.object, nullptr).empty());
  }
  for (std::size_t at = 0; at < text.size(); ++at) {
    for (const char c : {'\0', '"', '[', '{', ':', '&', '\xff', '\n', '-'}) {
      auto changed = text;
      changed[at] = c;
      const auto decoded = decode_manifest(changed);
      for (const auto& document : decoded.value) CHECK(validate(document.object, nullptr).empty());
    }
  }
}

}  // namespace
}  // namespace banger::api

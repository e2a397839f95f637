// SPDX-License-Identifier: Apache-2.0
#include "actuators/guest/keys.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <mutex>

#include "actuators/guest/key_forms.hpp"
#include "base/files.hpp"

namespace banger::actuators::guest {
namespace {

constexpr Bytes kKeyFileLimit = kib(16);

KeyPair forms_of(const Ed25519Key& key, std::string private_text) {
  return {.openssh_private = std::move(private_text),
          .openssh_public = write_openssh_public(key),
          .dropbear_private = write_dropbear_private(key)};
}

std::filesystem::path public_path(const std::filesystem::path& path) { return path.native() + ".pub"; }

// The public half is for people and tools; it follows the private one.
Result<void> keep_public_beside(const std::filesystem::path& path, const KeyPair& key) {
  const auto there = read_file(public_path(path), kKeyFileLimit);
  if (there && *there == key.openssh_public) return {};
  return write_file_durably(public_path(path), key.openssh_public, 0644);
}

}  // namespace

Result<KeyPair> generate_key(Random& random, std::string_view comment) {
  const bool clean = std::ranges::all_of(comment, [](char c) { return c >= 0x20 && c < 0x7f; });
  if (!clean) return fail(invalid("a key's comment must be printable ASCII on one line"));
  std::array<std::uint8_t, 32> seed{};
  random.fill(seed);
  std::array<std::uint8_t, 4> check{};
  random.fill(check);
  BGR_TRY(const auto key, key_from_seed(seed, comment));
  std::uint32_t number = 0;
  for (const auto byte : check) number = (number << 8U) | byte;
  return forms_of(key, write_openssh_private(key, number));
}

Result<KeyPair> load_key(const std::filesystem::path& path) {
  const auto doing = fmt::format("loading SSH key {}", path.native());
  auto text = read_file(path, kKeyFileLimit);
  if (!text) return fail(with_context(text.error(), doing));
  const auto key = read_openssh_private(*text);
  if (!key) return fail(with_context(key.error(), doing));
  return forms_of(*key, *std::move(text));
}

Result<KeyPair> ensure_key(const std::filesystem::path& path, Random& random, std::string_view comment) {
  // Two workers that both find no key would each make one, and one of them would hold a key that is not on disk.
  static std::mutex one_maker;
  const std::scoped_lock lock(one_maker);
  auto key = load_key(path);
  if (!key && key.error().code == ErrorCode::NotFound) {
    BGR_CHECK(make_directories(path.parent_path(), 0700));
    key = generate_key(random, comment);
    if (!key) return fail(key.error());
    BGR_CHECK(write_file_durably(path, key->openssh_private, 0600));
  }
  if (!key) return fail(key.error());
  BGR_CHECK(keep_public_beside(path, *key));
  return key;
}

}  // namespace banger::actuators::guest

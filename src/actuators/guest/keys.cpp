// SPDX-License-Identifier: Apache-2.0
#include "actuators/guest/keys.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <mutex>

#include "actuators/guest/key_forms.hpp"
#include "base/files.hpp"
#include "base/unique_fd.hpp"

namespace banger::actuators::guest {
namespace {

constexpr Bytes kKeyFileLimit = kib(16);

KeyPair forms_of(const Ed25519Key& key, std::string private_text) {
  return {.openssh_private = std::move(private_text),
          .openssh_public = write_openssh_public(key),
          .dropbear_private = write_dropbear_private(key)};
}

std::filesystem::path public_path(const std::filesystem::path& path) { return path.native() + ".pub"; }

// Whole for whoever reads it, and not synced: after a crash it may be gone.
Result<void> replace_file(const std::filesystem::path& path, std::string_view content, unsigned mode) {
  auto temporary = path;
  temporary += ".tmp";
  const auto doing = fmt::format("writing {}", path.native());
  (void)::unlink(temporary.c_str());
  const UniqueFd fd(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode));
  if (!fd.valid()) return fail(errno_error(doing, errno));
  if (auto put = write_all(fd.get(), content); !put) return fail(with_context(put.error(), doing));
  if (::rename(temporary.c_str(), path.c_str()) != 0) return fail(errno_error(doing, errno));
  return {};
}

// The public half is for people and tools; it follows the private one.
Result<void> keep_public_beside(const std::filesystem::path& path, const KeyPair& key) {
  const auto there = read_file(public_path(path), kKeyFileLimit);
  if (there && *there == key.openssh_public) return {};
  return replace_file(public_path(path), key.openssh_public, 0644);  // made anew wherever it differs
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
  // Two workers that both find no key would each make one, and one of them would hold a key that is not on disk. Those of
  // different VMs seldom meet.
  static std::array<std::mutex, 64> makers;
  const std::scoped_lock lock(makers[std::filesystem::hash_value(path) % makers.size()]);
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

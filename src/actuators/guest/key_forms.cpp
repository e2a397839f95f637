// SPDX-License-Identifier: Apache-2.0
#include "actuators/guest/key_forms.hpp"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <algorithm>
#include <memory>

#include "base/text.hpp"

namespace banger::actuators::guest {
namespace {

constexpr std::string_view kKeyType = "ssh-ed25519";
constexpr std::string_view kMagic{"openssh-key-v1\0", 15};
constexpr std::string_view kBegin = "-----BEGIN OPENSSH PRIVATE KEY-----";
constexpr std::string_view kEnd = "-----END OPENSSH PRIVATE KEY-----";
constexpr std::size_t kLineLength = 70;
constexpr std::size_t kBlock = 8;  // the block size of cipher "none"

struct FreeKey {
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
};

std::string_view view(const std::array<std::uint8_t, 32>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

void put_u32(std::string& out, std::uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) out.push_back(static_cast<char>((value >> static_cast<unsigned>(shift)) & 0xffU));
}

void put_string(std::string& out, std::string_view bytes) {
  put_u32(out, static_cast<std::uint32_t>(bytes.size()));
  out += bytes;
}

// Reads RFC 4251 values off the front; after the first that does not fit, everything read is empty and ok() is false.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : rest_(bytes) {}

  std::uint32_t u32() {
    const auto four = take(4);
    std::uint32_t value = 0;
    for (const char c : four) value = (value << 8U) | static_cast<std::uint8_t>(c);
    return value;
  }
  std::string_view string() { return take(u32()); }
  std::string_view take(std::size_t count) {
    if (!ok_ || count > rest_.size()) {
      ok_ = false;
      return {};
    }
    const auto out = rest_.substr(0, count);
    rest_.remove_prefix(count);
    return out;
  }
  [[nodiscard]] bool ok() const { return ok_; }
  [[nodiscard]] std::string_view rest() const { return rest_; }

 private:
  std::string_view rest_;
  bool ok_ = true;
};

// The base64 text between the two marker lines, line ends removed.
std::optional<std::string> armoured_text(std::string_view text) {
  const auto begin = text.find(kBegin);
  if (begin == std::string_view::npos) return std::nullopt;
  text.remove_prefix(begin + kBegin.size());
  const auto end = text.find(kEnd);
  if (end == std::string_view::npos) return std::nullopt;
  std::string out;
  for (const char c : text.substr(0, end)) {
    if (c != '\n' && c != '\r') out.push_back(c);
  }
  return out;
}

Result<Ed25519Key> read_private_section(std::string_view section) {
  Reader in(section);
  const auto check = in.u32();
  const auto check_again = in.u32();
  const auto type = in.string();
  const auto public_key = in.string();
  const auto both = in.string();
  const auto comment = in.string();
  if (!in.ok() || check != check_again) return fail(invalid("the private key is damaged"));
  if (type != kKeyType) return fail(invalid(fmt::format("the key is {}, expected {}", printable(type), kKeyType)));
  if (public_key.size() != 32 || both.size() != 64 || both.substr(32) != public_key) {
    return fail(invalid("the private key is damaged"));
  }
  std::array<std::uint8_t, 32> seed{};
  std::copy_n(both.begin(), seed.size(), seed.begin());
  BGR_TRY(auto key, key_from_seed(seed, comment));
  if (view(key.public_key) != public_key) return fail(invalid("the public half does not belong to the private key"));
  return key;
}

}  // namespace

std::string base64(std::string_view bytes) {
  std::string out(4 * ((bytes.size() + 2) / 3) + 1, '\0');  // EVP_EncodeBlock writes a terminating zero
  const int length = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                                     reinterpret_cast<const unsigned char*>(bytes.data()), static_cast<int>(bytes.size()));
  out.resize(static_cast<std::size_t>(length));
  return out;
}

std::optional<std::string> base64_decode(std::string_view text) {
  if (text.size() % 4 != 0 || text.size() > (1U << 20U)) return std::nullopt;
  const auto padding = text.ends_with("==") ? 2U : text.ends_with('=') ? 1U : 0U;
  const auto plain = text.substr(0, text.size() - padding);
  const bool clean = std::ranges::all_of(plain, [](char c) {
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '+' || c == '/';
  });
  if (!clean) return std::nullopt;
  std::string out(text.size() / 4 * 3, '\0');
  const int length = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                                     reinterpret_cast<const unsigned char*>(text.data()), static_cast<int>(text.size()));
  if (length < 0) return std::nullopt;
  out.resize(static_cast<std::size_t>(length) - padding);
  return out;
}

Result<Ed25519Key> key_from_seed(const std::array<std::uint8_t, 32>& seed, std::string_view comment) {
  const std::unique_ptr<EVP_PKEY, FreeKey> pkey(
      EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, nullptr, seed.data(), seed.size()));
  Ed25519Key key{.seed = seed, .public_key = {}, .comment = std::string(comment)};
  std::size_t length = key.public_key.size();
  if (!pkey || EVP_PKEY_get_raw_public_key(pkey.get(), key.public_key.data(), &length) != 1 || length != 32) {
    return fail(internal("libcrypto could not make an ed25519 key"));
  }
  return key;
}

std::string public_blob(const Ed25519Key& key) {
  std::string out;
  put_string(out, kKeyType);
  put_string(out, view(key.public_key));
  return out;
}

std::string write_openssh_private(const Ed25519Key& key, std::uint32_t check) {
  std::string section;
  put_u32(section, check);
  put_u32(section, check);
  put_string(section, kKeyType);
  put_string(section, view(key.public_key));
  put_string(section, fmt::format("{}{}", view(key.seed), view(key.public_key)));
  put_string(section, key.comment);
  for (char pad = 1; section.size() % kBlock != 0; ++pad) section.push_back(pad);

  std::string blob(kMagic);
  put_string(blob, "none");  // cipher
  put_string(blob, "none");  // key derivation
  put_string(blob, "");      // its options
  put_u32(blob, 1);          // number of keys
  put_string(blob, public_blob(key));
  put_string(blob, section);

  std::string out = fmt::format("{}\n", kBegin);
  const auto text = base64(blob);
  for (std::size_t at = 0; at < text.size(); at += kLineLength) {
    out += text.substr(at, kLineLength);
    out.push_back('\n');
  }
  out += fmt::format("{}\n", kEnd);
  return out;
}

std::string write_openssh_public(const Ed25519Key& key) {
  const auto text = fmt::format("{} {}", kKeyType, base64(public_blob(key)));
  return key.comment.empty() ? text + "\n" : fmt::format("{} {}\n", text, key.comment);
}

std::string write_dropbear_private(const Ed25519Key& key) {
  std::string out;
  put_string(out, kKeyType);
  put_string(out, fmt::format("{}{}", view(key.seed), view(key.public_key)));
  return out;
}

Result<Ed25519Key> read_openssh_private(std::string_view text) {
  const auto armoured = armoured_text(text);
  if (!armoured) return fail(invalid(fmt::format("expected an OpenSSH private key (\"{}\")", kBegin)));
  const auto blob = base64_decode(*armoured);
  if (!blob || !std::string_view(*blob).starts_with(kMagic)) return fail(invalid("the private key is damaged"));
  Reader in(std::string_view(*blob).substr(kMagic.size()));
  const auto cipher = in.string();
  const auto derivation = in.string();
  (void)in.string();
  const auto count = in.u32();
  if (!in.ok()) return fail(invalid("the private key is damaged"));
  if (cipher != "none" || derivation != "none") return fail(invalid("the private key has a passphrase; expected one without"));
  if (count != 1) return fail(invalid(fmt::format("the file holds {} keys; expected one", count)));
  (void)in.string();  // the public blob; the private section says it again
  const auto section = in.string();
  if (!in.ok()) return fail(invalid("the private key is damaged"));
  return read_private_section(section);
}

}  // namespace banger::actuators::guest

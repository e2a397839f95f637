// SPDX-License-Identifier: Apache-2.0
#include "actuators/guest/known_hosts.hpp"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <array>

#include "actuators/guest/key_forms.hpp"
#include "base/text.hpp"

namespace banger::actuators::guest {
namespace {

constexpr std::string_view kPinnedType = "ssh-ed25519";

}  // namespace

std::string known_hosts_name(std::string_view address, std::int64_t port) {
  return port == 22 ? std::string(address) : fmt::format("[{}]:{}", address, port);
}

std::string write_known_hosts(const std::vector<std::string>& names, std::string_view openssh_public) {
  const auto words = split(openssh_public.substr(0, openssh_public.find('\n')), ' ');
  std::string out;
  for (const auto& name : names) out += fmt::format("{} {} {}\n", name, words.at(0), words.size() > 1 ? words[1] : "");
  return out;
}

Result<std::string> pinned_key(std::string_view known_hosts, std::string_view name) {
  for (const auto line : split(known_hosts, '\n')) {
    const auto words = split(line, ' ');
    if (words.size() < 3 || words[0] != name || words[1] != kPinnedType) continue;
    if (auto blob = base64_decode(words[2])) return *std::move(blob);
  }
  return fail({ErrorCode::Denied, fmt::format("no {} host key is pinned for {}", kPinnedType, printable(name)), 0});
}

std::string fingerprint(std::string_view key_blob) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int length = 0;
  if (EVP_Digest(key_blob.data(), key_blob.size(), digest.data(), &length, EVP_sha256(), nullptr) != 1) return "SHA256:?";
  auto text = base64({reinterpret_cast<const char*>(digest.data()), length});
  while (text.ends_with('=')) text.pop_back();
  return "SHA256:" + text;
}

}  // namespace banger::actuators::guest

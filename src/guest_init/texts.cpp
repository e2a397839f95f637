// SPDX-License-Identifier: Apache-2.0
#include "guest_init/texts.hpp"

#include <algorithm>
#include <cstdint>

namespace banger::guest_init {
namespace {

constexpr std::string_view kKeysBegin = "# banger: begin";
constexpr std::string_view kKeysEnd = "# banger: end";
constexpr std::string_view kHostMark = "# banger";

// Takes the first line off text, without its line feed.
std::string_view next_line(std::string_view& text) {
  const auto end = text.find('\n');
  const auto line = text.substr(0, end);
  text = end == std::string_view::npos ? std::string_view{} : text.substr(end + 1);
  return line;
}

bool number(std::string_view text, unsigned& out) {
  std::uint64_t value = 0;
  if (text.empty() || text.size() > 10) return false;
  for (const char c : text) {
    if (c < '0' || c > '9') return false;
    value = value * 10 + static_cast<unsigned>(c - '0');
  }
  out = static_cast<unsigned>(value);
  return value < 0xFFFFFFFF;
}

}  // namespace

std::optional<Account> find_account(std::string_view passwd, std::string_view user) {
  while (!passwd.empty()) {
    auto line = next_line(passwd);
    std::vector<std::string_view> fields;  // name:password:uid:gid:comment:home:shell
    for (;;) {
      const auto colon = line.find(':');
      fields.push_back(line.substr(0, colon));
      if (colon == std::string_view::npos) break;
      line.remove_prefix(colon + 1);
    }
    Account account;
    if (fields.size() < 6 || fields[0] != user || !number(fields[2], account.uid) || !number(fields[3], account.gid)) continue;
    if (fields[5].empty() || fields[5].front() != '/') continue;
    account.home = fields[5];
    return account;
  }
  return std::nullopt;
}

std::string with_keys(std::string_view present, const std::vector<std::string>& keys) {
  std::string out;
  std::vector<std::string_view> theirs;
  bool ours = false;
  while (!present.empty()) {
    const auto line = next_line(present);
    if (line == kKeysBegin) ours = true;
    if (!ours) {
      theirs.push_back(line);
      out.append(line).append("\n");
    }
    if (line == kKeysEnd) ours = false;
  }
  std::string block;
  std::vector<std::string_view> written = theirs;
  for (const auto& key : keys) {
    if (std::find(written.begin(), written.end(), key) != written.end()) continue;
    written.push_back(key);
    block.append(key).append("\n");
  }
  if (block.empty()) return out;
  return out.append(kKeysBegin).append("\n").append(block).append(kKeysEnd).append("\n");
}

std::string with_host(std::string_view present, std::string_view hostname) {
  std::string out;
  if (present.empty()) out = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n";
  while (!present.empty()) {
    const auto line = next_line(present);
    const bool ours = line.size() >= kHostMark.size() && line.substr(line.size() - kHostMark.size()) == kHostMark;
    if (!ours) out.append(line).append("\n");
  }
  // 127.0.1.1: as Debian's installer does it, so that the name resolves whatever the network does.
  return out.append("127.0.1.1\t").append(hostname).append("\t").append(kHostMark).append("\n");
}

std::string resolv_conf(const std::vector<std::string>& nameservers) {
  std::string out = "# written by banger-init at every boot\n";
  for (const auto& server : nameservers) out.append("nameserver ").append(server).append("\n");
  return out;
}

}  // namespace banger::guest_init

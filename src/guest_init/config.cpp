// SPDX-License-Identifier: Apache-2.0
#include "guest_init/config.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "base/guest_config_format.hpp"

namespace banger::guest_init {
namespace {

using Fields = std::vector<std::string>;

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (;;) {
    const auto at = text.find(separator);
    parts.push_back(text.substr(0, at));
    if (at == std::string_view::npos) return parts;
    text.remove_prefix(at + 1);
  }
}

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

bool decode(std::string_view field, std::string& out) {
  out.clear();
  if (field == "-") return true;
  for (std::size_t i = 0; i < field.size(); ++i) {
    if (field[i] != '%') {
      out += field[i];
      continue;
    }
    const int high = i + 2 < field.size() ? hex_value(field[i + 1]) : -1;
    const int low = i + 2 < field.size() ? hex_value(field[i + 2]) : -1;
    if (high < 0 || low < 0) return false;
    out += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return !field.empty();
}

bool number(std::string_view text, unsigned base, unsigned most, unsigned& out) {
  out = 0;
  if (text.empty() || text.size() > 9) return false;
  for (const char c : text) {
    if (c < '0' || static_cast<unsigned>(c - '0') >= base) return false;
    out = out * base + static_cast<unsigned>(c - '0');
  }
  return out <= most;
}

bool ipv4(std::string_view text, std::uint32_t& out) {
  const auto parts = split(text, '.');
  if (parts.size() != 4) return false;
  out = 0;
  for (const auto part : parts) {
    unsigned octet = 0;
    if (!number(part, 10, 255, octet)) return false;
    out = (out << 8U) | octet;
  }
  return true;
}

bool is_path(const std::string& text) { return text.size() > 1 && text.front() == '/' && text.find('\0') == std::string::npos; }

bool is_name(const std::string& text) {
  return !text.empty() &&
         std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < 0x7F && c != '/' && c != ':'; });
}

// One function a keyword; false when the fields are not what it takes.
bool hostname(const Fields& f, Config& config) {
  config.hostname = f[0];
  return is_name(f[0]) && f[0].size() <= 64;
}
bool nameserver(const Fields& f, Config& config) {
  std::uint32_t ignored = 0;
  config.nameservers.push_back(f[0]);
  return ipv4(f[0], ignored);
}
bool nic(const Fields& f, Config& config) {
  Nic out;
  const auto slash = f[1].find('/');
  out.mac = f[0];
  for (auto& c : out.mac) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  const bool ok =
      out.mac.size() == 17 && slash != std::string::npos && ipv4(std::string_view(f[1]).substr(0, slash), out.address) &&
      number(std::string_view(f[1]).substr(slash + 1), 10, 32, out.prefix) && (f[2].empty() || ipv4(f[2], out.gateway));
  config.nics.push_back(std::move(out));
  return ok;
}
bool mount(const Fields& f, Config& config) {
  config.mounts.push_back({f[0], f[1]});
  return is_name(f[0]) && (f[1].empty() || is_path(f[1]));
}
bool user(const Fields& f, Config& config) {
  config.user = f[0];
  return is_name(f[0]);
}
bool key(const Fields& f, Config& config) {
  config.keys.push_back(f[0]);
  return !f[0].empty() && f[0].find_first_of(std::string_view("\n\r\0", 3)) == std::string::npos;
}
bool file(const Fields& f, Config& config) {
  File out;
  out.path = f[2];
  const bool ok =
      number(f[0], 10, 1'000'000, out.number) && number(f[1], 8, 07777, out.mode) && is_path(f[2]) && f[2].back() != '/';
  config.files.push_back(std::move(out));
  return ok;
}

struct Keyword {
  std::string_view name;
  std::size_t fields;
  bool (*take)(const Fields&, Config&);
};
constexpr std::array<Keyword, 7> kKeywords{{{guest_config::kHostname, 1, hostname},
                                            {guest_config::kNameserver, 1, nameserver},
                                            {guest_config::kNic, 3, nic},
                                            {guest_config::kMount, 2, mount},
                                            {guest_config::kUser, 1, user},
                                            {guest_config::kKey, 1, key},
                                            {guest_config::kFile, 3, file}}};

// What is wrong with the line, or "".
std::string take_line(std::string_view line, Config& config) {
  const auto words = split(line, ' ');
  const auto* const keyword =
      std::find_if(kKeywords.begin(), kKeywords.end(), [&](const Keyword& k) { return k.name == words[0]; });
  if (keyword == kKeywords.end()) return "a keyword that is not known";
  const std::string name(keyword->name);
  if (words.size() != keyword->fields + 1) return name + " takes " + std::to_string(keyword->fields) + " fields";
  Fields fields(keyword->fields);
  for (std::size_t i = 0; i < fields.size(); ++i) {
    if (!decode(words[i + 1], fields[i])) return name + " has a field that is not encoded as it should";
  }
  return keyword->take(fields, config) ? "" : name + " has a field that does not fit";
}

}  // namespace

std::optional<Config> parse_config(std::string_view text, std::string& reason) {
  Config config;
  unsigned line_number = 0;
  for (const auto line : split(text, '\n')) {
    ++line_number;
    std::string wrong;
    if (line_number == 1) {
      if (line != guest_config::kFirstLine) wrong = std::string("\"") + guest_config::kFirstLine + "\" was expected";
    } else if (!line.empty()) {
      wrong = take_line(line, config);
    }
    if (!wrong.empty()) {
      reason = "line " + std::to_string(line_number) + ": " + wrong;
      return std::nullopt;
    }
  }
  std::stable_sort(config.mounts.begin(), config.mounts.end(),
                   [](const Mount& a, const Mount& b) { return a.path.size() < b.path.size(); });
  return config;
}

std::vector<std::string> parse_module_order(std::string_view text) {
  std::vector<std::string> names;
  for (const auto line : split(text, '\n')) {
    if (!line.empty() && line.find('/') == std::string_view::npos) names.emplace_back(line);
  }
  return names;
}

std::string init_of(std::string_view command_line) {
  constexpr std::string_view kOption = "init=";
  std::string found;
  if (command_line.ends_with('\n')) command_line.remove_suffix(1);
  for (const auto word : split(command_line, ' ')) {
    if (word.substr(0, kOption.size()) == kOption) found = word.substr(kOption.size());
  }
  return is_path(found) ? found : "";
}

}  // namespace banger::guest_init

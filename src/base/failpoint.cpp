// SPDX-License-Identifier: Apache-2.0
#include "base/failpoint.hpp"

#ifdef BANGER_FAILPOINTS

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "base/text.hpp"

namespace banger {
namespace {

struct Term {
  std::uint64_t left = std::numeric_limits<std::uint64_t>::max();
  enum class Action { Off, Kill, Error } action = Action::Off;
  int sys_errno = 0;
};

constexpr std::array<std::pair<std::string_view, int>, 13> kErrnos{{{"EIO", EIO},
                                                                    {"ENOSPC", ENOSPC},
                                                                    {"EBUSY", EBUSY},
                                                                    {"EPERM", EPERM},
                                                                    {"EACCES", EACCES},
                                                                    {"ENOMEM", ENOMEM},
                                                                    {"EMFILE", EMFILE},
                                                                    {"ENFILE", ENFILE},
                                                                    {"EAGAIN", EAGAIN},
                                                                    {"ENOENT", ENOENT},
                                                                    {"ENXIO", ENXIO},
                                                                    {"EEXIST", EEXIST},
                                                                    {"ETIMEDOUT", ETIMEDOUT}}};

Term parse_term(std::string_view text) {
  Term term;
  if (const auto star = text.find('*'); star != std::string_view::npos) {
    std::from_chars(text.data(), text.data() + star, term.left);
    text.remove_prefix(star + 1);
  }
  if (text == "kill") term.action = Term::Action::Kill;
  if (text.starts_with("error(") && text.ends_with(")")) {
    term.action = Term::Action::Error;
    term.sys_errno = EIO;
    for (const auto& [name, value] : kErrnos) {
      if (text.substr(6, text.size() - 7) == name) term.sys_errno = value;
    }
  }
  return term;
}

using Points = std::map<std::string, std::vector<Term>, std::less<>>;

Points parse_environment() {
  Points points;
  const char* setting = std::getenv("BANGER_FAILPOINTS");
  if (setting == nullptr) return points;
  for (const auto entry : split(setting, ';')) {
    const auto equals = entry.find('=');
    if (equals == std::string_view::npos) continue;
    auto& terms = points[std::string(entry.substr(0, equals))];
    std::string_view rest = entry.substr(equals + 1);
    for (;;) {
      const auto arrow = rest.find("->");
      terms.push_back(parse_term(rest.substr(0, arrow)));
      if (arrow == std::string_view::npos) break;
      rest.remove_prefix(arrow + 2);
    }
  }
  return points;
}

}  // namespace

std::optional<Error> failpoint(std::string_view name) {
  static std::mutex mutex;
  static Points points = parse_environment();
  const std::scoped_lock lock(mutex);
  const auto found = points.find(name);
  if (found == points.end()) return std::nullopt;
  for (auto& term : found->second) {
    if (term.left == 0) continue;
    --term.left;
    if (term.action == Term::Action::Kill) ::kill(::getpid(), SIGKILL);
    if (term.action == Term::Action::Error) return errno_error(fmt::format("failpoint {}", name), term.sys_errno);
    return std::nullopt;
  }
  return std::nullopt;
}

}  // namespace banger

#endif

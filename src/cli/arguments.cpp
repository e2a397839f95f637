// SPDX-License-Identifier: Apache-2.0
#include "cli/arguments.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "base/text.hpp"

namespace banger::cli {
namespace {

std::string lower(std::string_view text) {
  std::string out(text);
  std::ranges::transform(out, out.begin(), [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  return out;
}

struct Alias {
  std::string_view word;
  std::string_view resource;
};
constexpr Alias kAliases[] = {{"sources", "manifestsources"}, {"source", "manifestsources"}, {"leases", "addressleases"},
                              {"lease", "addressleases"},     {"vms", "virtualmachines"},    {"nets", "networks"}};

Failure no_such_kind(std::string_view word) {
  std::vector<std::string_view> known;
  std::string all;
  for (const auto& kind : api::kinds()) {
    known.insert(known.end(), {kind.plural, kind.singular});
    all += (all.empty() ? "" : ", ") + std::string(kind.plural) +
           (kind.short_name.empty() ? std::string{} : fmt::format(" ({})", kind.short_name));
  }
  const auto near = nearest(lower(word), known);
  if (!near.empty()) return usage(fmt::format("there is no kind \"{}\"; did you mean \"{}\"?", printable(word), near));
  return usage(fmt::format("there is no kind \"{}\"; there are: {}", printable(word), all));
}

}  // namespace

Outcome<const api::KindInfo*> find_kind(std::string_view word) {
  auto small = lower(word);
  const auto* alias = std::ranges::find(kAliases, small, &Alias::word);
  if (alias != std::end(kAliases)) small = alias->resource;
  const auto* kind = api::find_resource(small);
  if (kind == nullptr) return give_up(no_such_kind(word));
  return kind;
}

Outcome<std::vector<Named>> parse_resources(const std::vector<std::string>& words) {
  std::vector<Named> found;
  if (words.empty()) return give_up(usage("a KIND is needed, for instance: vm"));
  const auto& first = words.front();
  if (first.find('/') == std::string::npos) {
    for (const auto part : split(first, ',')) {
      const auto kind = find_kind(part);
      if (!kind) return give_up(kind.error());
      if (words.size() == 1) found.push_back({*kind, ""});
      for (std::size_t i = 1; i < words.size(); ++i) {
        if (words[i].find('/') != std::string::npos) {
          return give_up(usage(fmt::format("\"{}\": name either KIND NAME… or KIND/NAME…, not both", printable(words[i]))));
        }
        found.push_back({*kind, words[i]});
      }
    }
    return found;
  }
  for (const auto& word : words) {
    const auto slash = word.find('/');
    if (slash == std::string::npos || slash == 0 || slash + 1 == word.size()) {
      return give_up(usage(fmt::format("\"{}\": expected KIND/NAME, for instance vm/web", printable(word))));
    }
    const auto kind = find_kind(std::string_view(word).substr(0, slash));
    if (!kind) return give_up(kind.error());
    found.push_back({*kind, word.substr(slash + 1)});
  }
  return found;
}

Outcome<std::vector<Named>> parse_objects(const std::vector<std::string>& words, std::string_view verb) {
  auto found = parse_resources(words);
  if (!found) return found;
  const auto whole = std::ranges::find_if(*found, [](const Named& named) { return named.name.empty(); });
  if (whole != found->end()) {
    return give_up(
        usage(fmt::format("which {}? say: bangerctl {} {} NAME", whole->kind->singular, verb, printable(words.front()))));
  }
  return found;
}

Outcome<std::string> vm_name(std::string_view word) {
  const auto slash = word.find('/');
  if (slash == std::string_view::npos) return std::string(word);
  const auto kind = find_kind(word.substr(0, slash));
  if (!kind) return give_up(kind.error());
  if ((*kind)->kind == api::Kind::VirtualMachine && slash + 1 < word.size()) return std::string(word.substr(slash + 1));
  return give_up(
      usage(fmt::format("\"{}\": expected the name of a virtual machine, for instance web or vm/web", printable(word))));
}

api::ObjectKey key_of(const Named& named, const Session& session) {
  return {named.kind->kind, named.kind->namespaced ? session.ns : "", named.name};
}

Outcome<std::chrono::milliseconds> parse_duration(std::string_view text) {
  const auto wrong = [&] {
    return give_up(usage(fmt::format("\"{}\" is not a duration; write it like 30s, 5m or 1h30m", printable(text))));
  };
  if (text == "0") return std::chrono::milliseconds{0};
  std::chrono::milliseconds sum{0};
  auto rest = text;
  if (rest.empty()) return wrong();
  while (!rest.empty()) {
    std::int64_t count = 0;
    const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), count);
    if (error != std::errc{} || count < 0 || count > 1'000'000'000) return wrong();
    rest.remove_prefix(static_cast<std::size_t>(end - rest.data()));
    const auto unit = rest.substr(0, std::min(rest.size(), rest.find_first_of("0123456789")));
    rest.remove_prefix(unit.size());
    if (unit == "ms") {
      sum += std::chrono::milliseconds(count);
    } else if (unit == "s") {
      sum += std::chrono::seconds(count);
    } else if (unit == "m") {
      sum += std::chrono::minutes(count);
    } else if (unit == "h") {
      sum += std::chrono::hours(count);
    } else {
      return wrong();
    }
  }
  return sum;
}

}  // namespace banger::cli

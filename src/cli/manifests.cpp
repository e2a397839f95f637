// SPDX-License-Identifier: Apache-2.0
#include "cli/manifests.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>
#include <map>

#include "base/text.hpp"
#include "base/unique_fd.hpp"
#include "base/units.hpp"

namespace banger::cli {
namespace {

namespace fs = std::filesystem;
constexpr Bytes kFileLimit = kib(128);

// Files and pipes alike; one byte more than the limit is enough to be refused by the decoder.
Outcome<std::string> read_descriptor(int fd, const std::string& name) {
  std::string text;
  std::array<char, 16384> block{};
  while (text.size() <= kFileLimit.value) {
    const auto got = ::read(fd, block.data(), block.size());
    if (got == 0) break;
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return give_up({kExitFailed, errno_error(fmt::format("reading {}", printable(name)), errno).message});
    text.append(block.data(), static_cast<std::size_t>(got));
  }
  return text;
}

Outcome<std::string> read_manifest(const std::string& name) {
  if (name == "-") return read_descriptor(STDIN_FILENO, "standard input");
  const UniqueFd fd(::open(name.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return give_up({kExitFailed, errno_error(fmt::format("opening {}", printable(name)), errno).message});
  return read_descriptor(fd.get(), name);
}

// The files that the arguments stand for; of a directory its *.yaml and *.yml, by name.
Outcome<std::vector<std::string>> expand(const std::vector<std::string>& arguments) {
  std::vector<std::string> files;
  for (const auto& argument : arguments) {
    std::error_code error;
    if (argument.empty()) return give_up(usage("-f wants a file, a directory or -, is empty"));
    if (argument == "-" || !fs::is_directory(argument, error)) {
      files.push_back(argument);
      continue;
    }
    std::vector<std::string> inside;
    for (fs::directory_iterator it(argument, error), end; !error && it != end; it.increment(error)) {
      const auto name = it->path().filename().string();
      const auto extension = it->path().extension();
      std::error_code ignored;
      if (!name.starts_with('.') && (extension == ".yaml" || extension == ".yml") && !it->is_directory(ignored)) {
        inside.push_back(it->path().string());
      }
    }
    if (error) return give_up({kExitFailed, fmt::format("reading {}: {}", printable(argument), error.message())});
    if (inside.empty()) return give_up({kExitFailed, fmt::format("{} holds no *.yaml or *.yml file", printable(argument))});
    std::ranges::sort(inside);
    files.insert(files.end(), inside.begin(), inside.end());
  }
  return files;
}

// A document that names no namespace belongs to that of -n.
Outcome<> settle_namespace(Manifest& manifest, const Session& session) {
  auto& meta = manifest.document.object.meta;
  if (!api::info(api::kind_of(manifest.document.object)).namespaced) return {};
  if (!manifest.document.says_namespace) {
    meta.ns = session.ns;
  } else if (session.ns_given && meta.ns != session.ns) {
    return give_up({kExitFailed, fmt::format("{}:{}: metadata.namespace is \"{}\", but -n says \"{}\"; drop one of them",
                                             printable(manifest.file), manifest.document.line, printable(meta.ns), session.ns)});
  }
  return {};
}

Outcome<> refuse_duplicates(const std::vector<Manifest>& manifests) {
  std::map<api::ObjectKey, const Manifest*> seen;
  for (const auto& manifest : manifests) {
    const auto key = api::key_of(manifest.document.object);
    const auto [it, fresh] = seen.emplace(key, &manifest);
    if (fresh) continue;
    return give_up({kExitFailed,
                    fmt::format("{}:{}: {} is also in {}:{}; keep one of them", printable(manifest.file), manifest.document.line,
                                printable(api::to_string(key)), printable(it->second->file), it->second->document.line)});
  }
  return {};
}

}  // namespace

Outcome<std::vector<Manifest>> load_manifests(const std::vector<std::string>& arguments, const Session& session) {
  const auto files = expand(arguments);
  if (!files) return give_up(files.error());
  std::vector<Manifest> manifests;
  std::string refused;
  for (const auto& file : *files) {
    const auto text = read_manifest(file);
    if (!text) return give_up(text.error());
    const auto shown = file == "-" ? std::string("standard input") : file;
    auto decoded = api::decode_manifest(*text);
    for (const auto& refusal : decoded.refusals) {
      refused += (refused.empty() ? "" : "\n") + printable(api::to_string(refusal, shown));
    }
    for (auto& document : decoded.value) manifests.push_back({shown, std::move(document)});
  }
  if (!refused.empty()) return give_up({kExitFailed, refused + "\nnothing was changed"});
  for (auto& manifest : manifests) {
    if (const auto settled = settle_namespace(manifest, session); !settled) return give_up(settled.error());
  }
  if (const auto single = refuse_duplicates(manifests); !single) return give_up(single.error());
  if (manifests.empty()) return give_up({kExitFailed, "the files given hold no objects; nothing was changed"});
  std::ranges::stable_sort(manifests, {}, [](const Manifest& manifest) { return api::kind_of(manifest.document.object); });
  return manifests;
}

}  // namespace banger::cli

// SPDX-License-Identifier: Apache-2.0
// Whether a scan read the directory whole, which ends adopt mode; and what is remembered of one that did.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/log.hpp"
#include "base/text.hpp"
#include "intake/manifest_directory.hpp"
#include "intake/pass.hpp"

namespace banger::intake {
namespace {

std::string named(const std::string& directory) {
  return directory.empty() ? std::string("the directory itself") : "the sub-directory " + directory;
}

}  // namespace

// Of one that cannot be read it is not known that the directory held anything.
void ManifestDirectory::remember_last_read() {
  if (options_.record.empty()) return;
  auto last = load_read_record(options_.record);
  if (!last) {
    log::warning("what the directory of manifests held when it was last read is not known", {{"error", last.error().message}});
  } else if (*last && (*last)->directory == printable(options_.directory)) {
    last_read_ = **std::move(last);
  }
}

// It and those of its sub-directories that hold a manifest which declares something.
std::set<std::string> ManifestDirectory::holding() const {
  std::set<std::string> out;
  for (const auto& [name, file] : table_.files()) {
    if (file.state == FileState::Good && !file.documents.empty()) out.insert(directory_of(name));
  }
  return out;
}

// Everything there was read to its end, understood and applied.
bool ManifestDirectory::was_read_without_error(const Pass& pass) const {
  if (!pass.readable() || table_.anything_settles()) return false;
  return std::ranges::all_of(pass.rows, [](const auto& entry) { return entry.second.state == "Applied"; });
}

// What is there may be less than what belongs there, with nothing to read wrong: a disk that is to be mounted on the directory
// or on what it leads to is not there yet. The first sign of it; empty: none.
std::string ManifestDirectory::lacking(const Pass& pass) const {
  const auto owned = owned_by(pass.live, options_.name);
  const auto claims = objects_.claims();
  if (pass.claims.empty() && !(owned.empty() && claims.empty()))
    return "no file declares anything, and there are objects or things on the host that are to be declared";
  const auto now = holding();
  std::set<std::string> before = last_read_ ? last_read_->held : std::set<std::string>{};
  for (const auto* object : owned) before.insert(directory_of(owner_of(*object)->file));
  for (const auto& directory : before) {
    if (!now.contains(directory)) return fmt::format("{} holds no manifest, and did when all were read last", named(directory));
  }
  if (!last_read_ || last_read_->identity == pass.identity) return "";
  const auto absent =
      std::ranges::find_if(owned, [&](const auto* object) { return !pass.claims.contains(api::key_of(*object)); });
  if (absent == owned.end() && claims.empty()) return "";
  return fmt::format("the directory is not the one that was read last, and no file of it declares {}",
                     api::to_string(absent != owned.end() ? api::key_of(**absent) : claims.begin()->first));
}

// Only where nobody doubts that this is the directory, and all of it.
void ManifestDirectory::keep_what_was_read(const Pass& pass) {
  if (options_.record.empty() || pass.directory != DirectoryState::Same || !was_read_without_error(pass)) return;
  if (pass.removals_settle || !pass.prune.wait.empty()) return;
  ReadRecord record{.directory = printable(options_.directory), .identity = pass.identity, .held = holding()};
  if (last_read_ == record) return;
  if (const auto kept = keep_read_record(options_.record, record); !kept) {
    if (std::exchange(record_trouble_, kept.error().message) != kept.error().message)
      log::warning("what the directory of manifests holds is not remembered", {{"error", kept.error().message}});
    return;
  }
  record_trouble_.clear();
  last_read_ = std::move(record);
}

}  // namespace banger::intake

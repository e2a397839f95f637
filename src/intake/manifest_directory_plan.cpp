// SPDX-License-Identifier: Apache-2.0
// What each file comes to: who owns its objects, what is to be written, what its row says.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "intake/manifest_directory.hpp"
#include "intake/pass.hpp"

namespace banger::intake {
namespace {

bool declares(const KnownFile& file, const api::ObjectKey& key) {
  return std::ranges::any_of(file.documents, [&](const auto& document) { return api::key_of(document.object) == key; });
}

// The first object that a file declares twice.
std::optional<std::string> declared_twice(const KnownFile& file) {
  std::map<api::ObjectKey, std::size_t> lines;
  for (const auto& document : file.documents) {
    const auto key = api::key_of(document.object);
    const auto [it, is_new] = lines.try_emplace(key, document.line);
    if (!is_new)
      return fmt::format("{}: {} is declared a second time, first in line {}", document.line, api::to_string(key), it->second);
  }
  return std::nullopt;
}

}  // namespace

void ManifestDirectory::plan(Pass& pass) {
  for (const auto& [name, file] : table_.files()) {
    auto& row = pass.rows[name];
    row.file = name;
    switch (file.state) {
      case FileState::Settling: {
        const auto& old = pass.old_status().files;
        const auto before = std::ranges::find(old, name, &api::SourceFileStatus::file);
        row = before != old.end()
                  ? *before
                  : api::SourceFileStatus{
                        .file = name, .state = "Waiting", .objects = 0, .message = name + ": is still being written"};
        break;
      }
      case FileState::Refused:
        row.state = "Invalid";
        row.message = file.problem;
        break;
      case FileState::Good:
        plan_file(pass, name, file);
        break;
    }
  }
}

// Who else has the object, as the end of a sentence; nothing: this file may have it.
std::optional<std::string> ManifestDirectory::rival(const Pass& pass, const std::string& file, const api::ObjectKey& key) const {
  if (const auto claim = pass.claims.find(key); claim != pass.claims.end()) return "is already declared by " + claim->second;
  const auto live = pass.live.find(key);
  if (live == pass.live.end()) return std::nullopt;
  const auto owner = owner_of(live->second);
  if (!owner || (owner->source == options_.name && owner->file == file)) return std::nullopt;
  if (owner->source != options_.name) {
    if (!pass.sources.contains(owner->source)) return std::nullopt;
    return fmt::format("already comes from {} of source {}", owner->file, owner->source);
  }
  if (table_.is_unknown(owner->file)) return fmt::format("already comes from {}, which cannot be understood now", owner->file);
  const auto* other = table_.find(owner->file);
  if (other == nullptr || !declares(*other, key)) return std::nullopt;
  return "is already declared by " + owner->file;
}

// The whole file or nothing of it: writes are planned only when every document of it can be applied.
void ManifestDirectory::plan_file(Pass& pass, const std::string& name, const KnownFile& file) {
  auto& row = pass.rows[name];
  const auto give_up = [&](std::string state, std::string message) {
    row.state = std::move(state);
    row.message = std::move(message);
  };
  if (const auto twice = declared_twice(file)) return give_up("Invalid", fmt::format("{}:{}", name, *twice));
  if (file.documents.empty()) {
    const auto owned = owned_by(pass.live, options_.name);
    const bool had_objects = std::ranges::any_of(owned, [&](const auto* object) { return owner_of(*object)->file == name; });
    // An emptied file is more often a full disk or a half-done edit than a wish.
    if (had_objects) return give_up("Invalid", name + ": holds no object any more; to remove its objects, delete the file");
  }
  std::vector<PlannedWrite> writes;
  for (const auto& document : file.documents) {
    const auto key = api::key_of(document.object);
    if (const auto other = rival(pass, name, key)) {
      return give_up("Conflict", fmt::format("{}:{}: {} {}", name, document.line, api::to_string(key), *other));
    }
    const auto live = pass.live.find(key);
    const auto current = live == pass.live.end() ? std::nullopt : std::optional(live->second);
    PlannedWrite write{.plan = plan_apply(document, current, {.source = options_.name, .file = name}), .file = name};
    if (write.plan.action == ApplyAction::Wait) {
      look_again_in(kPersonIsWaiting);
      return give_up("Waiting", fmt::format("{}:{}: {} is still being deleted", name, document.line, api::to_string(key)));
    }
    if (write.plan.action == ApplyAction::Refuse) {
      auto refusal = write.plan.refusals.front();
      if (refusal.line == 0) refusal.line = document.line;
      return give_up("Invalid", api::to_string(refusal, name));
    }
    write.taken_over = current && !owner_of(*current);
    if (write.plan.action != ApplyAction::Nothing) writes.push_back(std::move(write));
  }
  row.state = "Applied";
  row.objects = static_cast<std::int64_t>(file.documents.size());
  for (const auto& document : file.documents) pass.claims.emplace(api::key_of(document.object), name);
  std::ranges::move(writes, std::back_inserter(pass.writes));
}

}  // namespace banger::intake

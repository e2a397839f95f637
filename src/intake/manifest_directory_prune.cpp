// SPDX-License-Identifier: Apache-2.0
// What goes because no file declares it any more; whether it may, prune_guard decides.
#include <fmt/format.h>

#include <algorithm>
#include <ranges>
#include <utility>

#include "api/builtins.hpp"
#include "api/three_way.hpp"
#include "intake/abreast.hpp"
#include "intake/manifest_directory.hpp"
#include "intake/pass.hpp"

namespace banger::intake {
namespace {

// What was there before any file, and is referred to without one, stays as it is: it is nobody's again.
Result<void> release(store::Objects& objects, const api::ObjectKey& key) {
  const auto released = objects.edit(key, [](api::Object& object) -> Result<void> {
    object.meta.annotations.erase(std::string(kSourceAnnotation));
    object.meta.annotations.erase(std::string(api::kLastApplied));
    return {};
  });
  if (released || released.error().error.code == ErrorCode::NotFound) return {};
  return fail(with_context(released.error().error, "releasing " + api::to_string(key)));
}

}  // namespace

Result<void> ManifestDirectory::prune(Pass& pass) {
  std::set<api::ObjectKey> declared;
  for (const auto& [name, file] : table_.files()) {
    for (const auto& document : file.documents) declared.insert(api::key_of(document.object));
  }
  const auto owned = owned_by(pass.live, options_.name);
  PruneInput input{.directory = pass.directory,
                   .identity = pass.identity,
                   .owned = owned.size(),
                   .token = pass.old_status().prune_token,
                   .confirmed_token = std::get<api::ManifestSource>(pass.source.body).spec.confirmed_prune_token,
                   .held = options_.removals_held && options_.removals_held(),
                   .now_ms = clock_.wall().time_since_epoch().count()};
  const auto& waited = pass.old_status().waiting_removals;
  std::set<api::ObjectKey> fresh;
  for (const auto* object : owned) {
    const auto key = api::key_of(*object);
    if (pass.readable() && (declared.contains(key) || must_stay(pass, owner_of(*object)->file))) continue;
    input.undeclared.emplace(key, object->meta.uid);
    // A list that was cut short does not say who else has waited.
    if (waited.size() >= kMaxListed || std::ranges::find(waited, api::to_string(key)) != waited.end()) {
      input.waiting.insert(key);
    } else {
      fresh.insert(key);
    }
  }
  if (!settled(pass, fresh)) {
    pass.removals_settle = true;
    for (const auto& key : fresh) input.undeclared.erase(key);
  }
  pass.prune = decide_prune(input);
  if (!pass.prune.wait.empty()) look_again_in(kPersonIsWaiting);
  return remove(pass, pass.prune.remove);
}

// Objects of a file that is not applied as it stands keep their last good state, whatever the file says.
bool ManifestDirectory::must_stay(const Pass& pass, const std::string& file) const {
  if (table_.is_unknown(file)) return true;
  const auto row = pass.rows.find(file);
  return row != pass.rows.end() && row->second.state != "Applied";
}

// True when these removals may be decided: none is new, and no file is half read that might declare them again.
bool ManifestDirectory::settled(const Pass& pass, const std::set<api::ObjectKey>& fresh) {
  const auto now = clock_.steady();
  std::erase_if(missing_since_, [&](const auto& entry) { return !fresh.contains(entry.first); });
  auto newest = SteadyTime::min();
  for (const auto& key : fresh) newest = std::max(newest, missing_since_.try_emplace(key, now).first->second);
  if (fresh.empty()) return true;
  if (pass.readable() && table_.anything_settles()) {
    look_again_in(options_.settle.unchanged);
    return false;
  }
  const auto left = newest + options_.removal_settle - now;
  if (left <= std::chrono::milliseconds::zero()) return true;
  look_again_in(left);
  return false;
}

Result<void> ManifestDirectory::remove(Pass& pass, const std::set<api::ObjectKey>& keys) {
  std::vector<api::ObjectKey> same_kind;
  for (const auto& key : keys | std::views::reverse) {  // what refers to others goes first
    if (!same_kind.empty() && same_kind.back().kind != key.kind) {
      BGR_CHECK(remove_abreast(pass, same_kind));
      same_kind.clear();
    }
    const auto uid = pass.live.at(key).meta.uid;
    if (api::is_builtin(key)) {
      BGR_CHECK(release(objects_, key));
      events_.record(key, uid, api::EventType::Normal, "Released",
                     fmt::format("no file of source {} declares it any more; it is built in and stays", options_.name));
      pass.live.erase(key);
      missing_since_.erase(key);
      continue;
    }
    same_kind.push_back(key);
  }
  return remove_abreast(pass, same_kind);
}

// All of one kind, in no order.
Result<void> ManifestDirectory::remove_abreast(Pass& pass, const std::vector<api::ObjectKey>& keys) {
  std::vector<std::optional<Error>> errors(keys.size());
  abreast(keys.size(), options_.writers, [&](std::size_t i) {
    const auto uid = pass.live.at(keys[i]).meta.uid;
    const auto removed = objects_.remove(keys[i], {.uid = uid});
    if (removed) {
      events_.record(keys[i], uid, api::EventType::Normal, "Removed",
                     fmt::format("no file of source {} declares it any more", options_.name));
    } else if (const auto& error = removed.error().error;
               error.code != ErrorCode::NotFound && error.code != ErrorCode::Conflict) {
      errors[i] = with_context(error, "removing " + api::to_string(keys[i]));
    }
  });
  for (std::size_t i = 0; i < keys.size(); ++i) {
    if (errors[i]) continue;
    pass.live.erase(keys[i]);
    missing_since_.erase(keys[i]);
  }
  const auto failed = std::ranges::find_if(errors, [](const auto& error) { return error.has_value(); });
  return failed == errors.end() ? Result<void>{} : fail(**failed);
}

}  // namespace banger::intake

// SPDX-License-Identifier: Apache-2.0
#include "intake/manifest_directory.hpp"

#include <fmt/format.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <cerrno>
#include <ranges>
#include <utility>

#include "intake/pass.hpp"

namespace banger::intake {
namespace {

constexpr std::chrono::milliseconds kRetrySoon{50};
constexpr std::chrono::milliseconds kPersonIsWaiting{1'000};

// A store that cannot answer stops the scan; anything else concerns one object.
bool is_store_trouble(const Error& error) {
  return error.code == ErrorCode::Unavailable || error.code == ErrorCode::Busy || error.code == ErrorCode::Internal ||
         error.code == ErrorCode::Denied;
}

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

ManifestDirectory::ManifestDirectory(const Options& options, store::Objects& objects, api::EventSink& events, Clock& clock)
    : options_(options),
      objects_(objects),
      events_(events),
      clock_(clock),
      table_(options.settle, clock),
      poke_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

ManifestDirectory::~ManifestDirectory() = default;

Result<void> ManifestDirectory::scan() {
  look_again_.reset();
  Pass pass;
  look(pass);
  BGR_CHECK(load(pass));
  if (pass.readable()) {
    plan(pass);
    BGR_CHECK(write(pass));
  }
  BGR_CHECK(prune(pass));
  return publish(pass);
}

void ManifestDirectory::look(Pass& pass) {
  const auto give_up = [&](const Error& error) {
    const bool missing = error.code == ErrorCode::NotFound || error.sys_errno == ENOTDIR;
    pass.directory = missing ? DirectoryState::Missing : DirectoryState::Unreadable;
    pass.trouble = error.message;
    look_again_in(kPersonIsWaiting);  // nothing tells us when it comes back
  };
  auto reader = DirectoryReader::open(options_.directory);
  if (!reader) return give_up(reader.error());
  if (watch_) watch_->begin();
  const auto contents = reader->list([this](int fd, const std::string& relative) {
    if (watch_) watch_->watch(fd, relative);
  });
  if (!contents) return give_up(contents.error());
  if (watch_) watch_->end();
  pass.identity = to_string(contents->identity);
  table_.absorb(*contents, *reader, hints_);
  if (table_.look_again()) look_again_in(*table_.look_again());
}

Result<void> ManifestDirectory::load(Pass& pass) {
  BGR_CHECK(load_source(pass));
  for (const auto& kind : api::kinds()) {
    if (!kind.user_writable && kind.kind != api::Kind::ManifestSource) continue;
    BGR_TRY(auto listing, objects_.store().list({.kind = kind.kind}));
    for (auto& object : listing.objects) {
      if (kind.kind == api::Kind::ManifestSource) {
        pass.sources.insert(object.meta.name);
      } else {
        auto key = api::key_of(object);
        pass.live.emplace(std::move(key), std::move(object));
      }
    }
  }
  if (!pass.readable()) return {};
  const auto known = pass.source.meta.annotations.find(std::string(kIdentityAnnotation));
  const bool same =
      known != pass.source.meta.annotations.end() ? known->second == pass.identity : owned_by(pass.live, options_.name).empty();
  if (!same) pass.directory = DirectoryState::Replaced;
  return {};
}

Result<void> ManifestDirectory::load_source(Pass& pass) {
  const api::ObjectKey key{.kind = api::Kind::ManifestSource, .ns = "", .name = options_.name};
  auto stored = objects_.store().get(key);
  if (stored) {
    pass.source = *std::move(stored);
    if (std::get<api::ManifestSource>(pass.source.body).spec.directory == options_.directory) return {};
    auto edited = objects_.edit(key, [this](api::Object& object) -> Result<void> {
      std::get<api::ManifestSource>(object.body).spec.directory = options_.directory;
      return {};
    });
    if (!edited) return fail(std::move(edited).error().error);
    pass.source = *std::move(edited);
    return {};
  }
  if (stored.error().code != ErrorCode::NotFound) return fail(std::move(stored).error());
  api::ManifestSource body;
  body.spec.directory = options_.directory;
  auto created = objects_.create({.meta = {.name = options_.name}, .body = body});
  if (!created) return fail(std::move(created).error().error);
  pass.source = *std::move(created);
  return {};
}

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

Result<void> ManifestDirectory::write(Pass& pass) {
  // What others refer to comes first (the order of Kind).
  std::ranges::stable_sort(pass.writes, {}, [](const auto& write) { return api::key_of(write.plan.object); });
  for (const auto& write : pass.writes) {
    const auto key = api::key_of(write.plan.object);
    const bool create = write.plan.action == ApplyAction::Create;
    auto written = create ? objects_.create(write.plan.object) : objects_.update(write.plan.object);
    if (!written) {
      auto error = std::move(written).error().error;
      if (is_store_trouble(error)) return fail(with_context(std::move(error), "applying " + write.file));
      auto& row = pass.rows[write.file];
      row.state = error.code == ErrorCode::Invalid ? "Invalid" : "Waiting";
      row.message = fmt::format("{}: {}", write.file, error.message);
      if (error.code != ErrorCode::Invalid) look_again_in(kRetrySoon);  // it changed since it was read
      continue;
    }
    const auto from = fmt::format("{} of source {}", write.file, options_.name);
    if (create) {
      events_.record(key, written->meta.uid, api::EventType::Normal, "Created", "declared by " + from);
    } else if (write.taken_over) {
      events_.record(key, written->meta.uid, api::EventType::Normal, "TakenOver",
                     "was made through the API, now declared by " + from);
    }
    pass.live.insert_or_assign(key, *std::move(written));
  }
  return {};
}

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
  for (const auto& key : keys | std::views::reverse) {  // what refers to others goes first
    const auto& uid = pass.live.at(key).meta.uid;
    events_.record(key, uid, api::EventType::Normal, "Removed",
                   fmt::format("no file of source {} declares it any more", options_.name));
    auto removed = objects_.remove(key, {.uid = uid});
    if (!removed && removed.error().error.code != ErrorCode::NotFound && removed.error().error.code != ErrorCode::Conflict) {
      return fail(with_context(std::move(removed).error().error, "removing " + api::to_string(key)));
    }
    pass.live.erase(key);
    missing_since_.erase(key);
  }
  return {};
}

Result<void> ManifestDirectory::publish(Pass& pass) {
  const auto key = api::key_of(pass.source);
  const auto owned = owned_by(pass.live, options_.name);
  if (may_accept_identity(pass)) {
    auto edited = objects_.edit(key, [&](api::Object& object) -> Result<void> {
      object.meta.annotations[std::string(kIdentityAnnotation)] = pass.identity;
      return {};
    });
    if (!edited) return fail(std::move(edited).error().error);
  }
  std::vector<api::SourceFileStatus> rows;
  for (auto& [name, row] : pass.rows) {
    if (row.state != "Applied") {
      row.objects = std::ranges::count_if(owned, [&](const auto* object) { return owner_of(*object)->file == row.file; });
    }
    rows.push_back(row);
  }
  if (!pass.readable()) rows = pass.old_status().files;
  const auto now = std::chrono::floor<std::chrono::seconds>(clock_.wall());
  const auto next = status_of(
      pass.old_status(),
      {.rows = rows, .prune = pass.prune, .trouble = pass.trouble, .generation = pass.source.meta.generation, .now = now});
  if (next == pass.old_status()) return {};
  announce(pass, next);
  auto written = objects_.edit_status(key, [&](api::Object& object) -> Result<void> {
    std::get<api::ManifestSource>(object.body).status = next;
    return {};
  });
  if (!written) return fail(with_context(std::move(written).error().error, "writing the status of source " + options_.name));
  return {};
}

// A directory is taken for the one it was when everything that came from it is in it again (or a file that may hold it is).
bool ManifestDirectory::may_accept_identity(const Pass& pass) const {
  if (!pass.readable() || pass.removals_settle || !pass.prune.wait.empty()) return false;
  const auto known = pass.source.meta.annotations.find(std::string(kIdentityAnnotation));
  if (known != pass.source.meta.annotations.end() && known->second == pass.identity) return false;
  return std::ranges::all_of(owned_by(pass.live, options_.name), [&](const auto* object) {
    return pass.claims.contains(api::key_of(*object)) || table_.find(owner_of(*object)->file) != nullptr;
  });
}

// One event for each file whose row became bad or says something else than before, and one when removals begin to wait.
void ManifestDirectory::announce(const Pass& pass, const api::ManifestSourceStatus& next) {
  const auto key = api::key_of(pass.source);
  const auto& old = pass.old_status();
  for (const auto& row : next.files) {
    const auto before = std::ranges::find(old.files, row.file, &api::SourceFileStatus::file);
    const bool news = before == old.files.end() || before->state != row.state || before->message != row.message;
    if (!news || (row.state != "Invalid" && row.state != "Conflict")) continue;
    events_.record(key, pass.source.meta.uid, api::EventType::Warning,
                   row.state == "Invalid" ? "ManifestInvalid" : "ManifestConflict", row.message);
  }
  if (!next.prune_token.empty() && next.prune_token != old.prune_token) {
    events_.record(key, pass.source.meta.uid, api::EventType::Warning, "PruneSuspended", pass.prune.message);
  }
}

void ManifestDirectory::look_again_in(std::chrono::milliseconds delay) {
  look_again_ = look_again_ ? std::min(*look_again_, delay) : delay;
}

}  // namespace banger::intake

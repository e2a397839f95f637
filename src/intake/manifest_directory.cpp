// SPDX-License-Identifier: Apache-2.0
#include "intake/manifest_directory.hpp"

#include <fmt/format.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <utility>

#include "intake/abreast.hpp"
#include "intake/pass.hpp"

namespace banger::intake {
namespace {

constexpr std::chrono::milliseconds kRetrySoon{50};

// A store that cannot answer stops the scan; anything else concerns one object.
bool is_store_trouble(const Error& error) {
  return error.code == ErrorCode::Unavailable || error.code == ErrorCode::Busy || error.code == ErrorCode::Internal ||
         error.code == ErrorCode::Denied;
}

}  // namespace

ManifestDirectory::ManifestDirectory(const Options& options, store::Objects& objects, api::EventSink& events, Clock& clock)
    : options_(options),
      objects_(objects),
      events_(events),
      clock_(clock),
      table_(options.settle, clock),
      poke_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  remember_last_read();
}

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
  const bool held = options_.removals_held && options_.removals_held();
  if (held && was_read_without_error(pass)) pass.lacks = lacking(pass);
  if (!pass.lacks.empty()) look_again_in(kPersonIsWaiting);  // nothing tells us of a mount
  BGR_CHECK(publish(pass));
  if (held && was_read_without_error(pass) && pass.lacks.empty()) options_.read_whole();
  if (!held) keep_what_was_read(pass);
  return {};
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

Result<void> ManifestDirectory::write(Pass& pass) {
  // What others refer to comes first (the order of Kind).
  std::ranges::stable_sort(pass.writes, {}, [](const auto& write) { return api::key_of(write.plan.object); });
  const auto kind_of = [](const PlannedWrite& write) { return api::kind_of(write.plan.object); };
  for (auto begin = pass.writes.begin(); begin != pass.writes.end();) {
    const auto end = std::find_if(begin, pass.writes.end(), [&](const auto& write) { return kind_of(write) != kind_of(*begin); });
    const auto count = static_cast<std::size_t>(end - begin);
    std::vector<std::optional<store::WriteResult<api::Object>>> written(count);
    std::atomic<bool> trouble = false;
    abreast(count, options_.writers, [&](std::size_t i) {
      if (trouble) return;
      const auto& plan = begin[static_cast<std::ptrdiff_t>(i)].plan;
      written[i] = plan.action == ApplyAction::Create ? objects_.create(plan.object) : objects_.update(plan.object);
      if (!*written[i] && is_store_trouble(written[i]->error().error)) trouble = true;
    });
    Result<void> done;
    for (std::size_t i = 0; i < count; ++i) {
      const auto& write = begin[static_cast<std::ptrdiff_t>(i)];
      if (!written[i]) continue;  // not tried any more
      if (!*written[i] && is_store_trouble(written[i]->error().error)) {
        done = fail(with_context(written[i]->error().error, "applying " + write.file));
      } else {
        note_written(pass, write, *written[i]);
      }
    }
    if (!done) return done;
    begin = end;
  }
  return {};
}

void ManifestDirectory::note_written(Pass& pass, const PlannedWrite& write, const store::WriteResult<api::Object>& written) {
  const auto key = api::key_of(write.plan.object);
  if (!written) {
    const auto& error = written.error().error;
    auto& row = pass.rows[write.file];
    row.state = error.code == ErrorCode::Invalid ? "Invalid" : "Waiting";
    row.message = fmt::format("{}: {}", write.file, error.message);
    if (error.code != ErrorCode::Invalid) look_again_in(kRetrySoon);  // it changed since it was read
    return;
  }
  const auto from = fmt::format("{} of source {}", write.file, options_.name);
  if (write.plan.action == ApplyAction::Create) {
    events_.record(key, written->meta.uid, api::EventType::Normal, "Created", "declared by " + from);
  } else if (write.taken_over) {
    events_.record(key, written->meta.uid, api::EventType::Normal, "TakenOver",
                   "was made through the API, now declared by " + from);
  }
  pass.live.insert_or_assign(key, *written);
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
  const auto next = status_of(pass.old_status(), {.rows = rows,
                                                  .prune = pass.prune,
                                                  .trouble = pass.trouble,
                                                  .lacks = pass.lacks,
                                                  .generation = pass.source.meta.generation,
                                                  .now = now});
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

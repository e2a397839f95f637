// SPDX-License-Identifier: Apache-2.0
// What one scan of a manifest directory knows, from the look at the directory to the published status.
#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "api/object.hpp"
#include "intake/apply.hpp"
#include "intake/manifest_directory.hpp"
#include "intake/prune_guard.hpp"

namespace banger::intake {

// Remembers which directory was read, on the ManifestSource: "<device>:<inode>".
inline constexpr std::string_view kIdentityAnnotation = "banger.dev/directory-identity";

// How often to look while something is awaited that inotify does not tell: a confirmation, a deletion's end, a directory.
inline constexpr std::chrono::milliseconds kPersonIsWaiting{1'000};

struct PlannedWrite {
  ApplyPlan plan;
  std::string file;
  bool taken_over = false;  // it was made through the API
};

struct ManifestDirectory::Pass {
  DirectoryState directory = DirectoryState::Same;  // Missing or Unreadable: nothing else of it is known
  std::string trouble;                              // why it could not be read
  std::string identity;                             // as it is now

  api::Object source;                            // the ManifestSource
  std::set<std::string> sources;                 // names of all ManifestSources
  std::map<api::ObjectKey, api::Object> live;    // every object that a manifest could declare
  std::map<api::ObjectKey, std::string> claims;  // key → the file that has it from this scan on
  std::vector<PlannedWrite> writes;
  std::map<std::string, api::SourceFileStatus> rows;  // by file
  PruneDecision prune;
  std::string lacks;             // adopt mode: why what was read without an error may not be all
  bool removals_settle = false;  // some removals are not old enough to be decided

  [[nodiscard]] bool readable() const { return directory == DirectoryState::Same || directory == DirectoryState::Replaced; }
  [[nodiscard]] const api::ManifestSourceStatus& old_status() const { return std::get<api::ManifestSource>(source.body).status; }
};

// Every object that came from this source and is not on its way out.
std::vector<const api::Object*> owned_by(const std::map<api::ObjectKey, api::Object>& live, const std::string& source);

// Rows and removals in the status at most; with more, those that are applied are left out first.
inline constexpr std::size_t kMaxListed = 2'000;

struct StatusInput {
  std::vector<api::SourceFileStatus> rows;  // ordered by file
  PruneDecision prune;
  std::string trouble;  // why the directory could not be read; empty: it could
  std::string lacks;    // why it may not be whole, which keeps adopt mode on
  std::uint64_t generation = 0;
  WallTime now;
};

// What publish() writes; equal to old when nothing has changed.
api::ManifestSourceStatus status_of(const api::ManifestSourceStatus& old, const StatusInput& input);

}  // namespace banger::intake

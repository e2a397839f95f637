// SPDX-License-Identifier: Apache-2.0
// Kind ManifestSource: a place desired state is read from (now: a watched directory), as rows for people.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "api/meta.hpp"

namespace banger::api {

// The annotation that says which file an object came from: "<source>:<relative file>". Only the intake writes it: an object that
// bears it goes when its file does, so a copy of it on another object would be a death sentence.
inline constexpr std::string_view kSourceAnnotation = "banger.dev/source";

struct SourceFileStatus {
  std::string file;   // relative to the directory
  std::string state;  // Applied | Invalid | Conflict | Waiting
  std::int64_t objects = 0;
  std::string message;  // file:line:column and what is wrong
  bool operator==(const SourceFileStatus&) const = default;
};

struct ManifestSourceSpec {
  std::string directory;
  // `bangerctl sources confirm` copies status.prune_token here: the removals that wait under that token may go.
  std::string confirmed_prune_token;
  bool operator==(const ManifestSourceSpec&) const = default;
};

struct ManifestSourceStatus {
  std::uint64_t observed_generation = 0;
  std::vector<Condition> conditions;  // Ready, PruneSuspended
  std::vector<SourceFileStatus> files;
  std::vector<std::string> waiting_removals;  // "VirtualMachine default/web"
  std::string prune_token;
  bool operator==(const ManifestSourceStatus&) const = default;
};

struct ManifestSource {
  ManifestSourceSpec spec;
  ManifestSourceStatus status;
  bool operator==(const ManifestSource&) const = default;
};

}  // namespace banger::api

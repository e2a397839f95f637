// SPDX-License-Identifier: Apache-2.0
// The verbs of bangerctl: what each takes, and the function that carries it out. One file a verb.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cli/session.hpp"

namespace banger::cli {

inline constexpr std::chrono::minutes kDefaultTimeout{5};

struct ApplyOptions {
  std::vector<std::string> files;  // files, directories, "-"
};
Outcome<> apply(const ApplyOptions& options, const Session& session);

enum class OutputFormat { Table, Wide, Json, Yaml, Name };
struct GetOptions {
  std::vector<std::string> words;
  std::string selector;
  OutputFormat output = OutputFormat::Table;
  bool all_namespaces = false;
  bool watch = false;
};
Outcome<> get(const GetOptions& options, const Session& session);

struct DescribeOptions {
  std::vector<std::string> words;
};
Outcome<> describe(const DescribeOptions& options, const Session& session);

struct DeleteOptions {
  std::vector<std::string> files;
  std::vector<std::string> words;
  bool ignore_not_found = false;
  bool wait = true;
  std::chrono::milliseconds timeout = kDefaultTimeout;
};
Outcome<> remove(const DeleteOptions& options, const Session& session);

struct WaitOptions {
  std::vector<std::string> words;
  std::string what;  // "condition=Ready", "condition=Ready=False", "create", "delete"
  std::chrono::milliseconds timeout = kDefaultTimeout;
};
Outcome<> wait(const WaitOptions& options, const Session& session);

struct PowerOptions {
  std::vector<std::string> names;
  bool wait = false;
  std::chrono::milliseconds timeout = kDefaultTimeout;
};
Outcome<> start(const PowerOptions& options, const Session& session);
Outcome<> stop(const PowerOptions& options, const Session& session);
Outcome<> restart(const PowerOptions& options, const Session& session);

struct SshOptions {
  std::string vm;
  std::vector<std::string> command;
};
Outcome<> ssh(const SshOptions& options, const Session& session);  // returns only when it failed

struct LogsOptions {
  std::string vm;
  std::optional<std::uint64_t> tail;
  bool follow = false;
  bool previous = false;
};
Outcome<> logs(const LogsOptions& options, const Session& session);

struct EventsOptions {
  std::string about;  // KIND/NAME; empty: all
  bool all_namespaces = false;
  bool watch = false;
};
Outcome<> events(const EventsOptions& options, const Session& session);

struct ConfirmOptions {
  std::string source;  // empty: every source that waits
};
Outcome<> confirm_sources(const ConfirmOptions& options, const Session& session);
// `get sources`: a row a file.
Outcome<> get_sources(const GetOptions& options, const Session& session);

struct GcOptions {
  bool dry_run = false;
  bool yes = false;      // living machines of nobody are ended and their data deleted
  bool confirm = false;  // ends adopt mode, nothing else
  OutputFormat output = OutputFormat::Table;
  std::chrono::milliseconds timeout = kDefaultTimeout;
};
Outcome<> gc(const GcOptions& options, const Session& session);

Outcome<> version(const Session& session);

}  // namespace banger::cli

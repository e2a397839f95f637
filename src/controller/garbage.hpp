// SPDX-License-Identifier: Apache-2.0
// What of ours on the host belongs to no stored object, and how it goes: the sorting and the order are pure, the collector does
// it.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "actuators/host.hpp"
#include "api/object.hpp"
#include "base/result.hpp"
#include "controller/adopt_mode.hpp"
#include "controller/metrics.hpp"
#include "store/objects.hpp"

namespace banger::controller {

enum class Fate {
  Kept,               // its owner is stored
  Collected,          // an orphan that the daemon removes by itself
  NeedsConfirmation,  // an orphan that runs, or holds data: only when somebody says so
  Waits,              // an orphan that cannot go yet
  LeftAlone,          // not ours
};
std::string_view name_of(Fate fate);  // "Kept", "Collected", …

struct GarbageRow {
  actuators::HostObject object;
  std::optional<api::ObjectKey> owner;  // the stored object
  Fate fate = Fate::LeftAlone;
  std::string reason;  // a clause
  bool operator==(const GarbageRow&) const = default;
};

inline bool is_orphan(const GarbageRow& row) { return row.fate != Fate::Kept && row.fate != Fate::LeftAlone; }

// owners: every stored object that things on a host are made for, by uid. Pure. adopting: nothing is collected now.
std::vector<GarbageRow> classify(const std::vector<actuators::HostObject>& inventory,
                                 const std::map<std::string, api::ObjectKey>& owners, bool adopting);

enum class Permission {
  Harmless,   // what holds no living process and no data
  Everything  // living VMs are ended at once and data goes
};

// How one owner's orphans go: the steps in order. While anything of a VM lives its VMM is ended and no more is done; the rest is
// for the next time.
struct Teardown {
  std::string uid;
  std::vector<actuators::Step> steps;
  std::string waits_for;  // what must end before the rest can go; empty: nothing
  bool operator==(const Teardown&) const = default;
};
std::vector<Teardown> plan_teardown(const std::vector<GarbageRow>& rows, Permission permission);

struct GarbageReport {
  std::string adopting;  // why nothing is collected; empty: things are
  std::vector<GarbageRow> rows;
  // Of a collection only.
  std::vector<std::string> done;    // steps that changed something
  std::vector<std::string> failed;  // steps that could not go on, with why
  bool unfinished = false;          // asking again goes on
  bool operator==(const GarbageReport&) const = default;
};

// Thread-safe; one collection at a time. Nothing passed in is owned.
class GarbageCollector {
 public:
  GarbageCollector(store::Objects& objects, actuators::Host& host, const AdoptMode& adopt_mode, Metrics& metrics);

  // What is there now. Sets banger_orphans.
  Result<GarbageReport> look();

  // One pass; Conflict in adopt mode. Everything that is left then is in the report.
  Result<GarbageReport> collect(Permission permission);

  // For a timer: collects what is harmless and was an orphan at the last call too; nothing in adopt mode.
  void run();

 private:
  // The host is read before the store: an object that is made meanwhile has its things later than that.
  Result<std::vector<GarbageRow>> rows();
  Result<std::map<std::string, api::ObjectKey>> owners() const;
  Result<std::vector<const Teardown*>> still_orphans(const std::vector<Teardown>& plan);
  void carry_out(const std::vector<Teardown>& plan, GarbageReport& report);

  store::Objects& objects_;
  actuators::Host& host_;
  const AdoptMode& adopt_mode_;
  Metrics& metrics_;
  std::mutex collecting_;
  std::set<std::string> seen_;  // uids of orphans at the last run(), under collecting_
};

}  // namespace banger::controller

// SPDX-License-Identifier: Apache-2.0
// What a new database is filled with after the old one was lost: a pure decision from records and labels, and its carrying out.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "actuators/host.hpp"
#include "api/object.hpp"
#include "base/clock.hpp"
#include "base/random.hpp"
#include "base/result.hpp"
#include "store/objects.hpp"
#include "store/store.hpp"

namespace banger::controller {

inline constexpr store::Revision kEpoch = 1'000'000'000;  // between the revisions of a lost database and those of the next

// Something on the host that says whose it is.
struct OwnerLabel {
  std::string uid;
  api::ObjectKey of;
  std::string where;  // "link bgr…-0"
  bool operator==(const OwnerLabel&) const = default;
};

struct RecoveryInput {
  std::vector<actuators::StoredRecord> records;
  std::vector<OwnerLabel> labels;
  std::size_t labelled = 0;   // things of ours, also those that do not say whose by name
  store::Revision floor = 0;  // the base of the lost database, where it is known
  std::string directory;      // of the database
  std::string damage;         // why it was set aside; empty: it was gone
  std::string set_aside;      // where it is now
};

struct RecoveryPlan {
  std::vector<api::Object> objects;           // with their old uids, in the order of Kind; statuses are rebuilt by passes
  std::vector<api::AddressLeaseSpec> leases;  // of the VMs among them
  store::Objects::Claims claims;              // what has a label or is named by a record, and no record of its own
  store::Revision base = 0;                   // of the new database
  std::vector<std::string> problems;          // what does not come back by itself, a sentence each
  std::string report;                         // one sentence; empty: a first start, nothing was lost
  bool operator==(const RecoveryPlan&) const = default;
};

RecoveryPlan plan_recovery(const RecoveryInput& input);

// The claims that are left at a later start: of labels, and of networks that VMs' records name, whose uid no living object has. A
// name that several uids claim is nobody's. Pure.
store::Objects::Claims claims_of(const std::vector<OwnerLabel>& labels, const std::set<std::string>& living);
Result<store::Objects::Claims> claims_left(std::vector<OwnerLabel> labels, actuators::Host& host, store::Store& store);

// What things on the host say of their owners; labelled: how many things of ours there are.
Result<std::vector<OwnerLabel>> owner_labels(actuators::Host& host, std::size_t& labelled);

// Puts objects and leases into an empty store. Errors: the store's; nothing half-filled may be used then.
Result<void> carry_out(const RecoveryPlan& plan, store::Objects& objects);

// The database of a state directory, opened; or, when it is gone or damaged, one that was filled from what is left. It appears in
// its place only when it is whole, so a crash on the way starts over. What is told of the loss stands in report.
struct RecoveryPorts {
  actuators::Host& host;
  Clock& clock;
  Random& random;
};
struct OpenedState {
  std::unique_ptr<store::Store> store;
  RecoveryPlan plan;  // of a loss; report empty: the database was whole, or there was never one
};
// ensure: makes the objects that exist from the start. before: called with the plan of a loss before the new database takes its
// place (adopt mode is written down). labels: what is found on the host.
struct RecoverySteps {
  std::function<Result<void>(store::Objects&)> ensure;
  std::function<Result<void>(const RecoveryPlan&)> before;
  std::function<Result<std::vector<OwnerLabel>>(std::size_t& labelled)> labels;
};
Result<OpenedState> open_state(const std::string& directory, const RecoveryPorts& ports, const RecoverySteps& steps);

}  // namespace banger::controller

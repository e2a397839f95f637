// SPDX-License-Identifier: Apache-2.0
#include "controller/recovery.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <set>
#include <tuple>
#include <utility>

#include "base/files.hpp"
#include "base/text.hpp"
#include "reconcilers/publish.hpp"

namespace banger::controller {
namespace {

using actuators::StoredRecord;

// Of two records of one name (a VM that was being deleted, and its successor) the one that is wanted longer.
bool is_better(const api::Object& one, const api::Object& other) {
  if (one.meta.deletion_time.has_value() != other.meta.deletion_time.has_value()) return !one.meta.deletion_time;
  return std::tuple(one.meta.creation_time, one.meta.generation, one.meta.uid) >
         std::tuple(other.meta.creation_time, other.meta.generation, other.meta.uid);
}

// As it goes into the store: nothing that a person must not have lost is left out, and what was made for it is removed with it.
api::Object restored(const StoredRecord& record) {
  auto object = *record.object;
  object.meta.resource_version = 0;
  object.meta.generation = std::max<std::uint64_t>(object.meta.generation, 1);
  auto& finalizers = object.meta.finalizers;
  const std::string teardown(reconcilers::kTeardownFinalizer);
  if (std::ranges::find(finalizers, teardown) == finalizers.end()) finalizers.push_back(teardown);
  return object;
}

std::string without_prefix(const std::string& address) { return address.substr(0, address.find('/')); }

std::string lease_name(const api::AddressLeaseSpec& lease) { return lease.network + "." + lease.address; }

api::Object lease_object(const api::AddressLeaseSpec& lease) {
  api::Object object;
  object.meta.name = lease_name(lease);
  object.body = api::AddressLease{.spec = lease};
  return object;
}

std::string counted(std::size_t count, std::string_view what) {
  return fmt::format("{} {}{}", count, what, count == 1 ? "" : "s");
}

class Planner {
 public:
  explicit Planner(const RecoveryInput& input) : input_(input) {}

  RecoveryPlan run() {
    choose_objects();
    for (const auto* record : chosen_) add_leases(*record);
    add_claims();
    add_unreadable();
    plan_.base = base();
    plan_.report = report();
    return std::move(plan_);
  }

 private:
  void choose_objects() {
    std::map<api::ObjectKey, const StoredRecord*> best;
    for (const auto& record : input_.records) {
      if (!record.object) continue;
      auto& current = best[api::key_of(*record.object)];
      const StoredRecord* loser = current;
      if (current == nullptr || is_better(*record.object, *current->object)) {
        current = &record;
      } else {
        loser = &record;
      }
      if (loser == nullptr) continue;
      plan_.problems.push_back(fmt::format("{} {} does not come back: {} is another one of that name",
                                           api::to_string(api::key_of(*record.object)), loser->uid, current->uid));
    }
    for (const auto& [key, record] : best) {  // ordered by kind
      plan_.objects.push_back(restored(*record));
      uids_.insert(record->uid);
      keys_.insert(key);
      chosen_.push_back(record);
    }
  }

  void add_leases(const StoredRecord& record) {
    if (!record.sidecar) return;
    for (std::size_t i = 0; i < record.sidecar->nics.size(); ++i) {
      const auto& nic = record.sidecar->nics[i];
      api::AddressLeaseSpec lease{.network = nic.network,
                                  .address = without_prefix(nic.address),
                                  .vm_uid = record.uid,
                                  .vm_namespace = record.object->meta.ns,
                                  .vm_name = record.object->meta.name,
                                  .interface_index = static_cast<std::int64_t>(i)};
      if (lease.network.empty() || lease.address.empty()) continue;
      if (const auto [at, is_new] = leased_.emplace(lease_name(lease), record.uid); !is_new) {
        plan_.problems.push_back(fmt::format("{} of the Network {} is recorded for two VMs, {} and {}: the first keeps it",
                                             lease.address, lease.network, at->second, record.uid));
        continue;
      }
      if (const auto wrong = api::validate(lease_object(lease), nullptr); !wrong.empty()) {
        plan_.problems.push_back(fmt::format("the address of {} on the Network {} is not recorded as one: {}: {}",
                                             api::to_string(api::key_of(*record.object)), printable(lease.network),
                                             wrong.front().field, wrong.front().message));
        continue;
      }
      plan_.leases.push_back(std::move(lease));
    }
  }

  // A name that several uids claim is nobody's: which of them is meant, nothing says.
  void add_claims() {
    std::map<api::ObjectKey, std::set<std::string>> claimed;
    for (const auto& label : input_.labels) claimed[label.of].insert(label.uid);
    for (const auto* record : chosen_) {
      if (!record->sidecar) continue;
      for (const auto& nic : record->sidecar->nics) {
        if (is_uid(nic.network_uid)) claimed[{api::Kind::Network, "", nic.network}].insert(nic.network_uid);
      }
    }
    for (auto& [key, uids] : claimed) {
      if (keys_.contains(key) || key.name.empty()) continue;
      std::erase_if(uids, [&](const auto& uid) { return uids_.contains(uid) || !is_uid(uid); });
      if (uids.size() == 1) {
        plan_.claims.emplace(key, *uids.begin());
      } else if (uids.size() > 1) {
        plan_.problems.push_back(fmt::format("{} is named by labels of {} uids ({}): none of them is taken over",
                                             api::to_string(key), uids.size(),
                                             join(std::vector(uids.begin(), uids.end()), ", ")));
      }
    }
  }

  void add_unreadable() {
    std::set<std::string> claimed;
    for (const auto& [key, uid] : plan_.claims) claimed.insert(uid);
    for (const auto& record : input_.records) {
      if (record.object || claimed.contains(record.uid)) continue;
      plan_.problems.push_back(
          fmt::format("{} {} does not come back: {}", api::info(record.kind).name, record.uid, printable(record.error)));
    }
  }

  bool anything() const { return !input_.records.empty() || !input_.labels.empty() || input_.labelled > 0; }

  store::Revision base() const {
    if (!anything() && input_.damage.empty()) return 0;
    store::Revision highest = input_.floor;
    for (const auto& record : input_.records) {
      if (record.object) highest = std::max(highest, record.object->meta.resource_version);
    }
    return highest + kEpoch;
  }

  std::string report() const {
    if (!anything() && input_.damage.empty()) return {};
    std::string what = input_.damage.empty() ? fmt::format("the database {} was gone", input_.directory)
                                             : fmt::format("the database {} was damaged ({}) and is now {}", input_.directory,
                                                           printable(input_.damage), input_.set_aside);
    std::map<api::Kind, std::size_t> counts;
    for (const auto& object : plan_.objects) ++counts[api::kind_of(object)];
    std::vector<std::string> parts;
    for (const auto& [kind, count] : counts) parts.push_back(counted(count, api::info(kind).name));
    if (!plan_.leases.empty()) parts.push_back(counted(plan_.leases.size(), "AddressLease"));
    what += parts.empty() ? "; no record was left to fill a new one from"
                          : fmt::format("; a new one was filled from records: {}", join(parts, ", "));
    const auto going = std::ranges::count_if(plan_.objects, [](const auto& each) { return each.meta.deletion_time.has_value(); });
    if (going > 0)
      what += fmt::format("; {} of them {} being deleted before, and that goes on", going, going == 1 ? "was" : "were");
    if (!plan_.claims.empty())
      what +=
          fmt::format("; {} known by labels only will be taken over when declared again", counted(plan_.claims.size(), "object"));
    if (!plan_.problems.empty()) what += fmt::format("; {} could not be brought back", counted(plan_.problems.size(), "thing"));
    return what;
  }

  const RecoveryInput& input_;
  RecoveryPlan plan_;
  std::vector<const StoredRecord*> chosen_;
  std::set<std::string> uids_;
  std::set<api::ObjectKey> keys_;
  std::map<std::string, std::string> leased_;  // name of the lease → uid of the VM
};

// The base of the last database that was made here.
std::string floor_file(const std::string& directory) { return directory + ".base"; }

store::Revision read_floor(const std::string& directory) {
  const auto text = read_own_file(floor_file(directory), kib(1));
  store::Revision floor = 0;
  if (text) std::from_chars(text->data(), text->data() + text->size(), floor);
  return floor;
}

Result<OpenedState> restore(const std::string& directory, const store::FoundStore& found, const RecoveryPorts& ports,
                            const RecoverySteps& steps) {
  RecoveryInput input{.directory = directory, .damage = found.damage, .set_aside = found.set_aside};
  BGR_TRY(input.records, ports.host.records());
  BGR_TRY(input.labels, steps.labels(input.labelled));
  input.floor = read_floor(directory);
  OpenedState out{.store = nullptr, .plan = plan_recovery(input)};
  const auto beside = directory + ".new";
  BGR_CHECK(store::discard_rocksdb_store(beside));
  BGR_TRY(auto made, store::make_rocksdb_store(beside, out.plan.base));
  {
    store::Objects objects(*made, ports.clock, ports.random);
    BGR_CHECK(carry_out(out.plan, objects));
    objects.claim(out.plan.claims);
    BGR_CHECK(steps.ensure(objects));
    out.plan.claims = objects.claims();
  }
  if (out.plan.base > 0) BGR_CHECK(write_file_durably(floor_file(directory), std::to_string(out.plan.base) + "\n", 0600));
  if (!out.plan.report.empty()) BGR_CHECK(steps.before(out.plan));
  BGR_TRY(out.store, store::settle_rocksdb_store(std::move(made), beside, directory));
  return out;
}

}  // namespace

store::Objects::Claims claims_of(const std::vector<OwnerLabel>& labels, const std::set<std::string>& living) {
  std::map<api::ObjectKey, std::set<std::string>> uids;
  for (const auto& label : labels) {
    if (!living.contains(label.uid) && is_uid(label.uid) && !label.of.name.empty()) uids[label.of].insert(label.uid);
  }
  store::Objects::Claims claims;
  for (const auto& [key, of] : uids) {
    if (of.size() == 1) claims.emplace(key, *of.begin());
  }
  return claims;
}

Result<store::Objects::Claims> claims_left(std::vector<OwnerLabel> labels, actuators::Host& host, store::Store& store) {
  std::set<std::string> living;
  for (const auto& kind : api::kinds()) {
    BGR_TRY(const auto listing, store.list({.kind = kind.kind, .ns = std::nullopt}));
    for (const auto& object : listing.objects) living.insert(object.meta.uid);
  }
  BGR_TRY(const auto records, host.records());
  for (const auto& record : records) {
    if (!record.sidecar) continue;
    for (const auto& nic : record.sidecar->nics)
      labels.push_back({.uid = nic.network_uid, .of = {api::Kind::Network, "", nic.network}, .where = record.path});
  }
  return claims_of(labels, living);
}

Result<std::vector<OwnerLabel>> owner_labels(actuators::Host& host, std::size_t& labelled) {
  BGR_TRY(const auto things, host.inventory());
  std::vector<OwnerLabel> labels;
  labelled = 0;
  for (const auto& thing : things) {
    if (thing.belonging != actuators::Belonging::Ours || !is_uid(thing.uid)) continue;
    ++labelled;
    if (thing.of)
      labels.push_back({.uid = thing.uid, .of = *thing.of, .where = fmt::format("{} {}", name_of(thing.type), thing.name)});
  }
  return labels;
}

RecoveryPlan plan_recovery(const RecoveryInput& input) { return Planner(input).run(); }

Result<void> carry_out(const RecoveryPlan& plan, store::Objects& objects) {
  for (const auto& object : plan.objects) {
    const auto stored = objects.store().create(object);
    if (!stored) return fail(with_context(stored.error(), "restoring " + api::to_string(api::key_of(object))));
  }
  for (const auto& lease : plan.leases) {
    const auto stored = objects.create(lease_object(lease));
    if (!stored) return fail(with_context(stored.error().error, "restoring the lease of " + lease.address));
  }
  return {};
}

Result<OpenedState> open_state(const std::string& directory, const RecoveryPorts& ports, const RecoverySteps& steps) {
  BGR_TRY(auto found, store::find_rocksdb_store(directory, ports.clock.wall()));
  if (found.store == nullptr) return restore(directory, found, ports, steps);
  OpenedState out{.store = std::move(found.store), .plan = {}};
  store::Objects objects(*out.store, ports.clock, ports.random);
  BGR_CHECK(steps.ensure(objects));
  return out;
}

}  // namespace banger::controller

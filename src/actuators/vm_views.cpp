// SPDX-License-Identifier: Apache-2.0
#include "actuators/vm_views.hpp"

#include <algorithm>
#include <optional>
#include <utility>

#include "actuators/names.hpp"

namespace banger::actuators {
namespace {

bool are_as_seen(const std::vector<const LinkView*>& links, const std::vector<LinkView>& seen) {
  return std::ranges::equal(links, seen, [](const LinkView* now, const LinkView& before) { return *now == before; });
}

bool is_as_seen(const block::RootDiskView* root, const VmView& seen) {
  if (root == nullptr) return !seen.snapshot && seen.loops.empty() && seen.root_unseen.empty();
  return root->snapshot == seen.snapshot && root->loops == seen.loops && root->unseen == seen.root_unseen;
}

}  // namespace

VmView view_of(const std::string& uid, const VmFiles& files, const std::string& boot_id) {
  VmView view{.uid = uid,
              .directory_exists = files.directory_exists,
              .directory_is_link = files.directory_is_link,
              .sidecar = files.sidecar,
              .sidecar_error = files.sidecar_error,
              .pinned_addresses = files.pinned_addresses,
              .disks = files.disks};
  view.initrd_config_hash = files.initrd_config_hash;
  view.boot_id = boot_id;
  return view;
}

Shared<VmView> VmViews::view_of(const std::string& uid, VmParts parts) {
  const auto before = given_.find(uid);
  if (before != given_.end()) {
    const auto& [files, vmm, jobs, view] = before->second;
    if (files.is(parts.files) && vmm.is(parts.machine.vmm) && view->run_directory_exists == parts.machine.run_directory_exists &&
        are_as_seen(parts.links, view->links) && is_as_seen(parts.root, *view) && jobs == parts.jobs) {
      return view;
    }
  }
  auto view = actuators::view_of(uid, *parts.files, boot_id_);
  view.vmm = *parts.machine.vmm;
  view.run_directory_exists = parts.machine.run_directory_exists;
  if (parts.root != nullptr) {
    view.snapshot = parts.root->snapshot;
    view.loops = parts.root->loops;
    view.root_unseen = parts.root->unseen;
  }
  view.links.reserve(parts.links.size());
  for (const auto* link : parts.links) view.links.push_back(*link);
  view.jobs.reserve(parts.jobs.size());
  for (const auto& job : parts.jobs) view.jobs.push_back(*job);
  Given given{.files = std::move(parts.files),
              .vmm = std::move(parts.machine.vmm),
              .jobs = std::move(parts.jobs),
              .view = std::move(view)};
  return given_.insert_or_assign(uid, std::move(given)).first->second.view;
}

void VmViews::keep_only(const std::map<std::string, Shared<VmView>>& views) {
  if (given_.size() == views.size()) return;
  std::erase_if(given_, [&](const auto& given) { return !views.contains(given.first); });
}

std::unordered_map<std::string_view, std::vector<const LinkView*>> links_by_vm(const std::vector<LinkView>& links,
                                                                               const std::set<std::string>& uids) {
  std::unordered_map<std::string_view, std::vector<const LinkView*>> all;
  std::unordered_map<std::string, std::string_view> by_short_id;
  all.reserve(uids.size());
  by_short_id.reserve(uids.size());
  for (const auto& uid : uids) {
    all.try_emplace(uid);
    by_short_id.emplace(short_id(uid), uid);
  }
  for (const auto& link : links) {
    const auto labelled = all.find(link.owner);
    if (labelled != all.end()) labelled->second.push_back(&link);
    const auto id = short_id_of_tap(link.name);
    const auto by_name = id ? by_short_id.find(*id) : by_short_id.end();
    if (by_name != by_short_id.end() && by_name->second != link.owner) all.at(by_name->second).push_back(&link);
  }
  for (auto& [uid, own] : all) std::ranges::sort(own, {}, &LinkView::name);
  return all;
}

}  // namespace banger::actuators

// SPDX-License-Identifier: Apache-2.0
// Turns link and nftables events into hints about whose objects changed.
#pragma once

#include <linux/netlink.h>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "actuators/net/link_messages.hpp"
#include "actuators/net/nat_rules.hpp"
#include "base/result.hpp"
#include "base/unique_fd.hpp"

namespace banger::actuators::net {

// Remembers who owns which link index and table, because some events do not say. Pure; one thread at a time.
class HintFilter {
 public:
  void learn(const std::vector<LinkRecord>& links, const std::vector<NatTable>& tables);

  // The uid to look at, "" for anything, nothing for events that cannot matter to us.
  std::optional<std::string> on_route_message(const nlmsghdr& header);
  std::optional<std::string> on_nft_message(const nlmsghdr& header);

 private:
  std::optional<std::string> on_link(const LinkRecord& link, bool deleted);
  std::map<int, std::string> links_;           // index -> uid, "" when it is not ours
  std::map<std::string, std::string> tables_;  // name -> uid
};

class Watcher {
 public:
  using Hint = std::function<void(const std::string& uid)>;
  using Learn = std::function<Result<void>(HintFilter&)>;

  // Subscribes, then lets learn read what is there, then starts the thread.
  static Result<std::unique_ptr<Watcher>> start(Hint hint, const Learn& learn);
  Watcher(const Watcher&) = delete;
  Watcher& operator=(const Watcher&) = delete;
  ~Watcher();

 private:
  Watcher() = default;
  void run();
  UniqueFd route_;
  UniqueFd nft_;
  UniqueFd stop_;
  HintFilter filter_;
  Hint hint_;
  std::thread thread_;
};

}  // namespace banger::actuators::net

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
#include <utility>
#include <vector>

#include "actuators/net/link_messages.hpp"
#include "actuators/net/nat_rules.hpp"
#include "base/result.hpp"
#include "base/unique_fd.hpp"

namespace banger::actuators::net {

// Remembers what every link was last seen to be and who owns which table: some events do not say, and most say nothing new (six
// come of a tap that is put on a bridge, and each time some of the bridge). Pure; one thread at a time.
class HintFilter {
 public:
  using Leaving = std::function<bool(int index)>;
  // leaving: about links that are being removed by ourselves only their end is news.
  explicit HintFilter(Leaving leaving = {}) : leaving_(std::move(leaving)) {}
  void learn(const std::vector<LinkRecord>& links, const std::vector<NatTable>& tables);

  // The uid to look at, "" for anything, nothing for events that cannot matter to us.
  std::optional<std::string> on_route_message(const nlmsghdr& header);
  std::optional<std::string> on_nft_message(const nlmsghdr& header);

 private:
  std::optional<std::string> on_link(const LinkRecord& link, bool deleted);
  struct Seen {
    std::string uid;  // empty: not ours
    LinkView view;    // as far as events tell
    int master_index = 0;
    bool operator==(const Seen&) const = default;
  };
  static Seen seen(const LinkRecord& link);
  Leaving leaving_;
  std::map<int, Seen> links_;                  // by index
  std::map<std::string, std::string> tables_;  // name -> uid
};

class Watcher {
 public:
  using Hint = std::function<void(const std::string& uid)>;
  using Learn = std::function<Result<void>(HintFilter&)>;

  // Subscribes, then lets learn read what is there, then starts the thread.
  static Result<std::unique_ptr<Watcher>> start(Hint hint, const Learn& learn, HintFilter::Leaving leaving = {});
  Watcher(const Watcher&) = delete;
  Watcher& operator=(const Watcher&) = delete;
  ~Watcher();

 private:
  explicit Watcher(HintFilter::Leaving leaving) : filter_(std::move(leaving)) {}
  void run();
  UniqueFd route_;
  UniqueFd nft_;
  UniqueFd stop_;
  HintFilter filter_;
  Hint hint_;
  std::thread thread_;
};

}  // namespace banger::actuators::net

// SPDX-License-Identifier: Apache-2.0
// Takes taps away many at a time: the kernel waits as long for one link that is removed by itself as for hundreds in one request.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "actuators/net/link_messages.hpp"
#include "actuators/net/route_socket.hpp"
#include "actuators/net/tap_device.hpp"
#include "base/error.hpp"
#include "base/random.hpp"
#include "base/result.hpp"

namespace banger::actuators::net {

// A tap of ours that is to go, held open by us: nobody can open it any more, and what is removed by its device is that very link.
struct DoomedTap {
  int index = 0;
  std::string name;
  std::string owner_uid;
  TapDevice device;
};

struct TapReaperOptions {
  std::chrono::milliseconds quiet{4};     // so long without a further tap a request is made …
  std::chrono::milliseconds longest{60};  // … or so long after the first one …
  std::size_t most = 256;                 // … or when so many are there. More are not held at a time: each is a descriptor
};

// All that is noted is put into a link group with a random number of ours, and the group is removed in one request: after a look
// at who is in it. With anything in it that was not noted, or that does not bear its owner's label any more, the taps are removed
// one by one instead and another number is taken. A crash loses the list and no more: the links stay as they are.
// Thread-safe.
class TapReaper {
 public:
  // Its socket and thread belong to the network namespace of the caller.
  static Result<std::unique_ptr<TapReaper>> start(std::string instance, TapReaperOptions options = {});
  TapReaper(const TapReaper&) = delete;
  TapReaper& operator=(const TapReaper&) = delete;
  ~TapReaper();  // the request under way ends; what waits stays

  // It goes soon. Waits while too many are held.
  void note(DoomedTap tap);
  [[nodiscard]] bool holds(int index) const;
  // Why a tap that was noted is still there; said once.
  std::optional<Error> take_error(int index);
  // Waits until nothing is held any more; false: that took longer than this.
  bool settle(std::chrono::milliseconds limit);

  // --- what tests look at ---
  [[nodiscard]] std::uint32_t group() const;
  [[nodiscard]] std::size_t requests() const;  // removals that were asked for, of a group or of one tap

 private:
  struct Look {
    std::vector<DoomedTap*> fit;  // as they were noted
    bool alone = false;           // the group holds them and nothing else
  };
  TapReaper(std::string instance, TapReaperOptions options, RouteSocket socket);
  void run();
  std::vector<DoomedTap> next_batch();
  void remove(std::vector<DoomedTap> batch);
  void mark(std::vector<DoomedTap>& batch);
  Result<Look> look_at(std::vector<DoomedTap>& batch);
  bool is_as_noted(const LinkRecord& link, const DoomedTap& tap) const;
  void remove_together(const Look& look);
  void remove_alone(DoomedTap& tap);
  void keep_error(const DoomedTap& tap, const Error& error);
  void take_number(const std::vector<LinkRecord>& links);

  const std::string instance_;
  const TapReaperOptions options_;
  RouteSocket socket_;  // of the thread
  SystemRandom random_;
  mutable std::mutex mutex_;
  std::condition_variable woken_;
  std::condition_variable settled_;
  std::vector<DoomedTap> waiting_;
  std::set<int> held_;  // indices: waiting, or under way
  std::map<int, Error> errors_;
  std::uint32_t group_ = 0;
  std::size_t requests_ = 0;
  bool hurry_ = false;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace banger::actuators::net

// SPDX-License-Identifier: Apache-2.0
// Bridges, taps, addresses and address translation of one network namespace, by netlink alone.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "actuators/host.hpp"
#include "actuators/step.hpp"
#include "base/result.hpp"

namespace banger::actuators::net {

// Thread-safe: workers call it concurrently. Its sockets belong to the network namespace of the thread that called open(); every
// calling thread must be in that one, because /dev/net/tun and /proc/sys/net follow the caller.
//
// Every step looks first and answers Unchanged when nothing had to be done. An object of the right name without our label is left
// as it is: Conflict, "NameConflict: …". Names that this program would not give (other than [A-Za-z0-9._-], too long) are Invalid
// before anything is sent. Labels are written with this daemon's instance, and one that tells of another instance is no label of
// ours.
class NetActuator {
 public:
  static Result<std::unique_ptr<NetActuator>> open(std::string instance);
  NetActuator(const NetActuator&) = delete;
  NetActuator& operator=(const NetActuator&) = delete;
  ~NetActuator();

  // The bridge is made without spanning tree, with a MAC of its uid; MTU, state and address are repaired. Every other IPv4
  // address found on it is removed: the bridge is ours.
  Result<Applied> apply(const MakeBridge& step);
  // A new tap lives only as long as our file descriptor until it bears its label: no crash leaves an unlabelled one. The bridge
  // must exist (NotFound) and bear a label of ours (Conflict).
  Result<Applied> apply(const MakeTap& step);
  // A tap is noted, and goes within a few ms, with all that are noted meanwhile (tap_reaper.hpp); its view says so, and its
  // owner's hint comes when it is gone. Unchanged: absent, or noted already. Busy: a tap that a process has open, or a bridge
  // that still carries taps of ours.
  Result<Applied> apply(const RemoveLink& step);
  // Busy: the ruleset was changed by someone else between our look and our write.
  Result<Applied> apply(const WriteNat& step);
  Result<Applied> apply(const RemoveNat& step);

  // All of the namespace, in index order: one link dump and one address dump. A bridge of one of these networks that a crash left
  // without its label is that network's.
  Result<std::vector<LinkView>> links(const std::vector<NetworkQuery>& networks = {});
  Result<std::optional<LinkView>> link(const std::string& name);
  Result<std::vector<RouteView>> routes();    // IPv4, main table; the default route is 0.0.0.0/0; one entry a next hop
  Result<std::vector<NatView>> nat_tables();  // tables of family ip named banger-*
  Result<bool> forwarding();                  // net.ipv4.ip_forward
  std::vector<std::string>
  host_nameservers();  // IPv4, without loopback; systemd-resolved's upstreams where its stub is all there is

  // Waits until every tap that was noted is gone or could not go; false: that took longer than limit.
  bool settle(std::chrono::milliseconds limit);

  // Starts a thread that calls hint(uid) when a link or table labelled with uid changes in what is observed of it, and hint("")
  // when something changed whose owner it cannot tell (foreign links that come and go, lost events). Hints only wake: they may be
  // late or too many. Once; stops in the destructor.
  Result<void> watch(std::function<void(const std::string& uid)> hint);

 private:
  struct State;
  [[nodiscard]] std::function<bool(const std::string& comment)> owned_by(const std::string& uid) const;
  void judge(LinkView& view) const;  // whose it is, and whether it goes
  explicit NetActuator(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace banger::actuators::net

// SPDX-License-Identifier: Apache-2.0
// What this folder's tests share: namespaces of their own, foreign objects, and the nft program as an independent witness.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "actuators/host.hpp"
#include "actuators/net/net_actuator.hpp"
#include "actuators/step.hpp"
#include "base/unique_fd.hpp"

namespace banger::actuators::net {

// Moves this thread (and those it starts from now on) into a fresh network namespace. True, with the reason printed, when we are
// not root. The namespace and all in it go when its last socket is closed and the next test has made its own.
bool skip_without_fresh_namespace();
bool skip_without_nft();

inline const std::string kNetworkUid = "0b5e6f6a-1111-4222-8333-444455556666";
inline const std::string kVmUid = "1b5e6f6a-1111-4222-8333-444455556666";
inline const std::string kOtherUid = "2c5e6f6a-1111-4222-8333-444455556666";

inline const std::string kInstance = "0123abcd";  // of the actuator under test
inline const api::ObjectKey kOf{api::Kind::VirtualMachine, "default", "web"};
inline const std::string kOtherInstance = "89abcdef";  // of another daemon on the same machine

std::string label_of(const std::string& uid);  // as the actuator under test writes it

MakeBridge bridge_step();
MakeTap tap_step();
WriteNat nat_step();

std::unique_ptr<NetActuator> open_net();                      // asserts
LinkView link_of(NetActuator& net, const std::string& name);  // asserts that it is there
std::vector<NatView> nat_views(NetActuator& net);             // asserts

// Made behind the actuator's back, by other means than netlink.
UniqueFd open_tap(const std::string& name);         // attached while the descriptor is open
void make_foreign_tap(const std::string& name);     // persistent, no alias
void make_foreign_bridge(const std::string& name);  // by ioctl, no alias
void delete_tap_behind_our_back(const std::string& name);

// Runs nft without a shell; asserts that it succeeds; its output.
std::string nft(const std::vector<std::string>& words);

}  // namespace banger::actuators::net

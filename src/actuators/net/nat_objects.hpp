// SPDX-License-Identifier: Apache-2.0
// libnftnl's objects: owners, ours as they should be, and what any of them says, as values.
#pragma once

#include <libnftnl/chain.h>
#include <libnftnl/rule.h>
#include <libnftnl/table.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "actuators/net/nat_rules.hpp"

namespace banger::actuators::net {

template <auto Free>
struct Freed {
  template <class T>
  void operator()(T* object) const {
    Free(object);
  }
};
using Table = std::unique_ptr<nftnl_table, Freed<nftnl_table_free>>;
using Chain = std::unique_ptr<nftnl_chain, Freed<nftnl_chain_free>>;
using Rule = std::unique_ptr<nftnl_rule, Freed<nftnl_rule_free>>;

// The object just allocated; libnftnl answers null only when there is no memory.
template <class T>
T* made(T* object) {
  if (object == nullptr) std::abort();
  return object;
}

inline constexpr const char* kPostrouting = "postrouting";
inline constexpr const char* kForward = "forward";

Table make_table(const std::string& name, const std::string& comment);  // no comment where it is empty
Chain make_chain(const std::string& table, const NatChain& facts);
std::vector<NatChain> wanted_chains();
std::vector<Rule> wanted_rules(const WantedNat& wanted);

std::string comment_of(const nftnl_table* table);  // "" without one
NatTable facts_of(const nftnl_table* table);       // without chains and rules
NatChain facts_of(const nftnl_chain* chain);
NatRule facts_of(const nftnl_rule* rule);
std::string text_or_empty(const char* text);

}  // namespace banger::actuators::net

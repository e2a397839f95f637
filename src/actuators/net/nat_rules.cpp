// SPDX-License-Identifier: Apache-2.0
#include "actuators/net/nat_rules.hpp"

#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <libnftnl/common.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#include <algorithm>
#include <cstddef>
#include <memory>
#include <utility>

#include "actuators/net/nat_objects.hpp"

namespace banger::actuators::net {
namespace {

constexpr std::string_view kTablePrefix = "banger-";
constexpr std::size_t kBatchBytes = 16U << 10U;

std::uint16_t nft_message(std::uint32_t type) { return static_cast<std::uint16_t>((NFNL_SUBSYS_NFTABLES << 8U) | type); }

class BatchWriter {
 public:
  explicit BatchWriter(std::uint32_t generation) : bytes_(kBatchBytes) {
    auto* begin = nftnl_batch_begin(at(), sequence_++);
    mnl_attr_put_u32(begin, NFNL_BATCH_GENID, htonl(generation));
    used_ += begin->nlmsg_len;
  }

  nlmsghdr* header(std::uint32_t type, std::uint16_t flags) {
    ++acknowledgements_;
    return nftnl_nlmsg_build_hdr(at(), static_cast<std::uint16_t>(type), NFPROTO_IPV4,
                                 static_cast<std::uint16_t>(flags | NLM_F_ACK), sequence_++);
  }
  void done(const nlmsghdr* message) { used_ += MNL_ALIGN(message->nlmsg_len); }

  Batch finish() {
    used_ += nftnl_batch_end(at(), sequence_)->nlmsg_len;
    bytes_.resize(used_);
    return {.bytes = std::move(bytes_), .acknowledgements = acknowledgements_};
  }

 private:
  // Our largest table takes about 2 KiB: names and addresses are of fixed or bounded size.
  char* at() { return bytes_.data() + used_; }
  std::vector<char> bytes_;
  std::size_t used_ = 0;
  std::uint32_t sequence_ = 0;
  std::uint32_t acknowledgements_ = 0;
};

void put_delete(BatchWriter& batch, const std::string& name) {
  auto* message = batch.header(NFT_MSG_DELTABLE, 0);
  nftnl_table_nlmsg_build_payload(message, make_table(name, {}).get());
  batch.done(message);
}

std::vector<char> question(std::uint32_t type, std::uint16_t flags) {
  std::vector<char> bytes(NLMSG_HDRLEN + sizeof(nfgenmsg));
  nftnl_nlmsg_build_hdr(bytes.data(), static_cast<std::uint16_t>(type), NFPROTO_IPV4, flags, 0);
  return bytes;
}

NatTable* find(std::vector<NatTable>& tables, std::string_view name) {
  const auto at = std::ranges::find(tables, name, &NatTable::name);
  return at == tables.end() ? nullptr : &*at;
}

// The attribute of this number on the first level, after the fixed part of netfilter messages.
const nlattr* find_attribute(const nlmsghdr& header, int type) {
  const auto* at = static_cast<const nlattr*>(mnl_nlmsg_get_payload_offset(&header, sizeof(nfgenmsg)));
  const auto* end = static_cast<const char*>(mnl_nlmsg_get_payload_tail(&header));
  while (mnl_attr_ok(at, static_cast<int>(end - reinterpret_cast<const char*>(at)))) {
    if (mnl_attr_get_type(at) == type) return at;
    at = mnl_attr_next(at);
  }
  return nullptr;
}

template <class Object, class Free>
bool parsed(int result, const std::unique_ptr<Object, Free>& object, int family) {
  return result >= 0 && object && family == NFPROTO_IPV4;
}

}  // namespace

NatTable table_of(const WantedNat& wanted) {
  NatTable table{.name = wanted.table, .comment = wanted.comment, .flags = 0, .uses = 0, .chains = wanted_chains(), .rules = {}};
  table.uses = static_cast<std::uint32_t>(table.chains.size());
  for (const auto& rule : wanted_rules(wanted)) table.rules.push_back(facts_of(rule.get()));
  return table;
}

NatView view_of(const NatTable& table) {
  NatView view{.table = table.name, .comment = table.comment, .bridge = "", .cidr = ""};
  const auto masquerade = std::ranges::find(table.rules, kPostrouting, &NatRule::chain);
  if (masquerade == table.rules.end() || !masquerade->source || masquerade->link.empty()) return view;
  const WantedNat guess{.table = table.name, .comment = table.comment, .bridge = masquerade->link, .cidr = *masquerade->source};
  auto wanted = table_of(guess);
  auto there = table;
  std::ranges::sort(wanted.chains, {}, &NatChain::name);  // the order of chains means nothing, that of rules in one does
  std::ranges::sort(there.chains, {}, &NatChain::name);
  std::ranges::stable_sort(wanted.rules, {}, &NatRule::chain);
  std::ranges::stable_sort(there.rules, {}, &NatRule::chain);
  if (there != wanted) return view;
  view.bridge = guess.bridge;
  view.cidr = to_string(guess.cidr);
  return view;
}

void collect(const nlmsghdr& header, std::vector<NatTable>& tables) {
  const int type = header.nlmsg_type;
  if (header.nlmsg_len < NLMSG_HDRLEN + sizeof(nfgenmsg)) return;
  const int family = static_cast<const nfgenmsg*>(mnl_nlmsg_get_payload(&header))->nfgen_family;
  if (type == nft_message(NFT_MSG_NEWTABLE)) {
    const Table table(made(nftnl_table_alloc()));
    if (!parsed(nftnl_table_nlmsg_parse(&header, table.get()), table, family)) return;
    auto facts = facts_of(table.get());
    if (facts.name.starts_with(kTablePrefix)) tables.push_back(std::move(facts));
  } else if (type == nft_message(NFT_MSG_NEWCHAIN)) {
    const Chain chain(made(nftnl_chain_alloc()));
    if (!parsed(nftnl_chain_nlmsg_parse(&header, chain.get()), chain, family)) return;
    auto* table = find(tables, text_or_empty(nftnl_chain_get_str(chain.get(), NFTNL_CHAIN_TABLE)));
    if (table != nullptr) table->chains.push_back(facts_of(chain.get()));
  } else if (type == nft_message(NFT_MSG_NEWRULE)) {
    const Rule rule(made(nftnl_rule_alloc()));
    if (!parsed(nftnl_rule_nlmsg_parse(&header, rule.get()), rule, family)) return;
    auto* table = find(tables, text_or_empty(nftnl_rule_get_str(rule.get(), NFTNL_RULE_TABLE)));
    if (table != nullptr) table->rules.push_back(facts_of(rule.get()));
  }
}

Batch replace_batch(const WantedNat& wanted, bool exists, std::uint32_t generation) {
  BatchWriter batch(generation);
  if (exists) put_delete(batch, wanted.table);
  auto* message = batch.header(NFT_MSG_NEWTABLE, NLM_F_CREATE | NLM_F_EXCL);
  nftnl_table_nlmsg_build_payload(message, make_table(wanted.table, wanted.comment).get());
  batch.done(message);
  for (const auto& facts : wanted_chains()) {
    message = batch.header(NFT_MSG_NEWCHAIN, NLM_F_CREATE | NLM_F_EXCL);
    nftnl_chain_nlmsg_build_payload(message, make_chain(wanted.table, facts).get());
    batch.done(message);
  }
  for (const auto& rule : wanted_rules(wanted)) {
    message = batch.header(NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND);
    nftnl_rule_nlmsg_build_payload(message, rule.get());
    batch.done(message);
  }
  return batch.finish();
}

Batch delete_batch(const std::string& table, std::uint32_t generation) {
  BatchWriter batch(generation);
  put_delete(batch, table);
  return batch.finish();
}

std::vector<char> ask_tables() { return question(NFT_MSG_GETTABLE, NLM_F_DUMP); }
std::vector<char> ask_chains() { return question(NFT_MSG_GETCHAIN, NLM_F_DUMP); }
std::vector<char> ask_rules() { return question(NFT_MSG_GETRULE, NLM_F_DUMP); }
std::vector<char> ask_generation() { return question(NFT_MSG_GETGEN, 0); }

std::optional<std::uint32_t> decode_generation(const nlmsghdr& header) {
  if (header.nlmsg_type != nft_message(NFT_MSG_NEWGEN) || header.nlmsg_len < NLMSG_HDRLEN + sizeof(nfgenmsg)) return {};
  const auto* number = find_attribute(header, NFTA_GEN_ID);
  if (number == nullptr || mnl_attr_validate(number, MNL_TYPE_U32) != 0) return {};
  return ntohl(mnl_attr_get_u32(number));
}

NatEvent decode_nat_event(const nlmsghdr& header) {
  const auto type = header.nlmsg_type & 0xffU;
  if (header.nlmsg_type >> 8U != NFNL_SUBSYS_NFTABLES || header.nlmsg_len < NLMSG_HDRLEN + sizeof(nfgenmsg)) return {};
  if (static_cast<const nfgenmsg*>(mnl_nlmsg_get_payload(&header))->nfgen_family != NFPROTO_IPV4) return {};
  if (type == NFT_MSG_NEWTABLE || type == NFT_MSG_DELTABLE) {
    const Table table(made(nftnl_table_alloc()));
    if (nftnl_table_nlmsg_parse(&header, table.get()) < 0) return {};
    return {.table = text_or_empty(nftnl_table_get_str(table.get(), NFTNL_TABLE_NAME)), .comment = comment_of(table.get())};
  }
  const bool inside = type == NFT_MSG_NEWCHAIN || type == NFT_MSG_DELCHAIN || type == NFT_MSG_NEWRULE || type == NFT_MSG_DELRULE;
  if (!inside) return {};
  static_assert(NFTA_CHAIN_TABLE == 1 && NFTA_RULE_TABLE == 1);
  const auto* name = find_attribute(header, NFTA_CHAIN_TABLE);
  if (name == nullptr || mnl_attr_validate(name, MNL_TYPE_NUL_STRING) != 0) return {};
  return {.table = mnl_attr_get_str(name), .comment = ""};
}

}  // namespace banger::actuators::net

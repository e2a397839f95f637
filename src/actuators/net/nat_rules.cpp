// SPDX-License-Identifier: Apache-2.0
#include "actuators/net/nat_rules.hpp"

#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <libnftnl/chain.h>
#include <libnftnl/common.h>
#include <libnftnl/expr.h>
#include <libnftnl/rule.h>
#include <libnftnl/table.h>
#include <libnftnl/udata.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter_ipv4.h>
#include <net/if.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>
#include <utility>

namespace banger::actuators::net {
namespace {

constexpr std::string_view kTablePrefix = "banger-";
constexpr const char* kPostrouting = "postrouting";
constexpr const char* kForward = "forward";
constexpr std::uint32_t kSourceOffset = 12;  // of the source address in an IPv4 header
constexpr std::size_t kBatchBytes = 16U << 10U;

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

template <class T>
T* made(T* object) {
  if (object == nullptr) std::abort();  // out of memory
  return object;
}

std::string text_or_empty(const char* text) { return text == nullptr ? std::string() : std::string(text); }

// --- objects -------------------------------------------------------------------------------------------------------------------
Table make_table(const std::string& name, const std::string& comment) {
  Table table(made(nftnl_table_alloc()));
  nftnl_table_set_u32(table.get(), NFTNL_TABLE_FAMILY, NFPROTO_IPV4);
  nftnl_table_set_str(table.get(), NFTNL_TABLE_NAME, name.c_str());
  if (comment.empty()) return table;
  // The comment as nft(8) writes and shows it: a typed, zero-terminated string in the table's user data (Linux 5.10).
  const std::unique_ptr<nftnl_udata_buf, Freed<nftnl_udata_buf_free>> data(made(nftnl_udata_buf_alloc(256)));
  if (!nftnl_udata_put_strz(data.get(), NFTNL_UDATA_TABLE_COMMENT, comment.c_str())) std::abort();
  nftnl_table_set_data(table.get(), NFTNL_TABLE_USERDATA, nftnl_udata_buf_data(data.get()), nftnl_udata_buf_len(data.get()));
  return table;
}

Chain make_chain(const std::string& table, const NatChain& facts) {
  Chain chain(made(nftnl_chain_alloc()));
  nftnl_chain_set_u32(chain.get(), NFTNL_CHAIN_FAMILY, NFPROTO_IPV4);
  nftnl_chain_set_str(chain.get(), NFTNL_CHAIN_TABLE, table.c_str());
  nftnl_chain_set_str(chain.get(), NFTNL_CHAIN_NAME, facts.name.c_str());
  nftnl_chain_set_str(chain.get(), NFTNL_CHAIN_TYPE, facts.type.c_str());
  nftnl_chain_set_u32(chain.get(), NFTNL_CHAIN_HOOKNUM, facts.hook);
  nftnl_chain_set_s32(chain.get(), NFTNL_CHAIN_PRIO, facts.priority);
  nftnl_chain_set_u32(chain.get(), NFTNL_CHAIN_POLICY, facts.policy);
  return chain;
}

// Puts expressions on a rule, one after another.
class RuleWriter {
 public:
  RuleWriter(const std::string& table, const char* chain) : rule_(made(nftnl_rule_alloc())) {
    nftnl_rule_set_u32(rule_.get(), NFTNL_RULE_FAMILY, NFPROTO_IPV4);
    nftnl_rule_set_str(rule_.get(), NFTNL_RULE_TABLE, table.c_str());
    nftnl_rule_set_str(rule_.get(), NFTNL_RULE_CHAIN, chain);
  }

  void source_is(Cidr cidr) {
    auto* load = add("payload");
    nftnl_expr_set_u32(load, NFTNL_EXPR_PAYLOAD_BASE, NFT_PAYLOAD_NETWORK_HEADER);
    nftnl_expr_set_u32(load, NFTNL_EXPR_PAYLOAD_DREG, NFT_REG_1);
    nftnl_expr_set_u32(load, NFTNL_EXPR_PAYLOAD_OFFSET, kSourceOffset);
    nftnl_expr_set_u32(load, NFTNL_EXPR_PAYLOAD_LEN, 4);
    const std::uint32_t mask = htonl(netmask(cidr.prefix));
    const std::uint32_t zero = 0;
    auto* bits = add("bitwise");
    nftnl_expr_set_u32(bits, NFTNL_EXPR_BITWISE_SREG, NFT_REG_1);
    nftnl_expr_set_u32(bits, NFTNL_EXPR_BITWISE_DREG, NFT_REG_1);
    nftnl_expr_set_u32(bits, NFTNL_EXPR_BITWISE_LEN, 4);
    nftnl_expr_set(bits, NFTNL_EXPR_BITWISE_MASK, &mask, sizeof mask);
    nftnl_expr_set(bits, NFTNL_EXPR_BITWISE_XOR, &zero, sizeof zero);
    const std::uint32_t network = htonl(network_of(cidr).address.value);
    compare(NFT_CMP_EQ, &network, sizeof network);
  }

  void link_is(std::uint32_t key, std::uint32_t operation, const std::string& link) {
    auto* meta = add("meta");
    nftnl_expr_set_u32(meta, NFTNL_EXPR_META_KEY, key);
    nftnl_expr_set_u32(meta, NFTNL_EXPR_META_DREG, NFT_REG_1);
    std::array<char, IFNAMSIZ> name{};  // compared whole, zeros included
    std::copy_n(link.begin(), std::min(link.size(), name.size() - 1), name.begin());
    compare(operation, name.data(), name.size());
  }

  void masquerade() { add("masq"); }
  void accept() {
    auto* verdict = add("immediate");
    nftnl_expr_set_u32(verdict, NFTNL_EXPR_IMM_DREG, NFT_REG_VERDICT);
    nftnl_expr_set_u32(verdict, NFTNL_EXPR_IMM_VERDICT, NF_ACCEPT);
  }

  Rule take() { return std::move(rule_); }

 private:
  nftnl_expr* add(const char* name) {
    auto* expression = made(nftnl_expr_alloc(name));
    nftnl_rule_add_expr(rule_.get(), expression);
    return expression;
  }
  void compare(std::uint32_t operation, const void* bytes, std::size_t length) {
    auto* expression = add("cmp");
    nftnl_expr_set_u32(expression, NFTNL_EXPR_CMP_SREG, NFT_REG_1);
    nftnl_expr_set_u32(expression, NFTNL_EXPR_CMP_OP, operation);
    nftnl_expr_set(expression, NFTNL_EXPR_CMP_DATA, bytes, static_cast<std::uint32_t>(length));
  }
  Rule rule_;
};

std::vector<NatChain> wanted_chains() {
  // Priorities by their names in nft(8): srcnat and filter.
  return {{.name = kPostrouting, .type = "nat", .hook = NF_INET_POST_ROUTING, .priority = NF_IP_PRI_NAT_SRC, .policy = NF_ACCEPT},
          {.name = kForward, .type = "filter", .hook = NF_INET_FORWARD, .priority = NF_IP_PRI_FILTER, .policy = NF_ACCEPT}};
}

std::vector<Rule> wanted_rules(const WantedNat& wanted) {
  std::vector<Rule> rules;
  RuleWriter masquerade(wanted.table, kPostrouting);
  masquerade.source_is(wanted.cidr);
  masquerade.link_is(NFT_META_OIFNAME, NFT_CMP_NEQ, wanted.bridge);
  masquerade.masquerade();
  rules.push_back(masquerade.take());
  for (const auto key : {NFT_META_IIFNAME, NFT_META_OIFNAME}) {
    RuleWriter forward(wanted.table, kForward);
    forward.link_is(key, NFT_CMP_EQ, wanted.bridge);
    forward.accept();
    rules.push_back(forward.take());
  }
  return rules;
}

// --- facts ---------------------------------------------------------------------------------------------------------------------
std::string comment_of(const nftnl_table* table) {
  std::uint32_t length = 0;
  const auto* data = static_cast<const std::uint8_t*>(nftnl_table_get_data(table, NFTNL_TABLE_USERDATA, &length));
  std::span<const std::uint8_t> rest(data, data == nullptr ? 0 : length);
  while (rest.size() >= 2 && rest.size() >= 2U + rest[1]) {  // type, length, value
    if (rest[0] == NFTNL_UDATA_TABLE_COMMENT) {
      const std::string_view value(reinterpret_cast<const char*>(rest.data() + 2), rest[1]);
      return std::string(value.substr(0, value.find('\0')));
    }
    rest = rest.subspan(2U + rest[1]);
  }
  return {};
}

NatTable facts_of(const nftnl_table* table) {
  return {.name = text_or_empty(nftnl_table_get_str(table, NFTNL_TABLE_NAME)),
          .comment = comment_of(table),
          .flags = nftnl_table_get_u32(table, NFTNL_TABLE_FLAGS),
          .uses = nftnl_table_get_u32(table, NFTNL_TABLE_USE),
          .chains = {},
          .rules = {}};
}

NatChain facts_of(const nftnl_chain* chain) {
  return {.name = text_or_empty(nftnl_chain_get_str(chain, NFTNL_CHAIN_NAME)),
          .type = text_or_empty(nftnl_chain_get_str(chain, NFTNL_CHAIN_TYPE)),
          .hook = nftnl_chain_get_u32(chain, NFTNL_CHAIN_HOOKNUM),
          .priority = nftnl_chain_get_s32(chain, NFTNL_CHAIN_PRIO),
          .policy = nftnl_chain_get_u32(chain, NFTNL_CHAIN_POLICY)};
}

// What an expression says of link and source. The mask comes before the compared network.
void read_expression(const nftnl_expr* expression, NatRule& rule, std::uint32_t& mask) {
  const auto name = text_or_empty(nftnl_expr_get_str(expression, NFTNL_EXPR_NAME));
  std::uint32_t length = 0;
  if (name == "bitwise") {
    const auto* bytes = nftnl_expr_get(expression, NFTNL_EXPR_BITWISE_MASK, &length);
    if (bytes != nullptr && length == sizeof mask) std::memcpy(&mask, bytes, sizeof mask);
  }
  if (name != "cmp") return;
  const auto* bytes = static_cast<const char*>(nftnl_expr_get(expression, NFTNL_EXPR_CMP_DATA, &length));
  if (bytes == nullptr) return;
  if (length == IFNAMSIZ) {
    const std::string_view link(bytes, length);
    rule.link = link.substr(0, link.find('\0'));
  } else if (length == sizeof(std::uint32_t)) {
    std::uint32_t network = 0;
    std::memcpy(&network, bytes, sizeof network);
    rule.source = {.address = {ntohl(network)}, .prefix = static_cast<std::uint8_t>(std::popcount(mask))};
  }
}

NatRule facts_of(const nftnl_rule* rule) {
  struct Walk {
    NatRule rule;
    std::uint32_t mask = 0xffffffffU;
  } walk;
  walk.rule.chain = text_or_empty(nftnl_rule_get_str(rule, NFTNL_RULE_CHAIN));
  nftnl_expr_foreach(
      const_cast<nftnl_rule*>(rule),
      [](nftnl_expr* expression, void* data) {
        auto& so_far = *static_cast<Walk*>(data);
        read_expression(expression, so_far.rule, so_far.mask);
        std::array<char, 1024> line{};
        nftnl_expr_snprintf(line.data(), line.size(), expression, NFTNL_OUTPUT_DEFAULT, 0);
        so_far.rule.program += text_or_empty(nftnl_expr_get_str(expression, NFTNL_EXPR_NAME)) + " " + line.data() + "\n";
        return 0;
      },
      &walk);
  return std::move(walk.rule);
}

// --- messages ------------------------------------------------------------------------------------------------------------------
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

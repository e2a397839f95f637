// SPDX-License-Identifier: Apache-2.0
#include "actuators/net/nat_objects.hpp"

#include <arpa/inet.h>
#include <libnftnl/common.h>
#include <libnftnl/expr.h>
#include <libnftnl/udata.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter_ipv4.h>
#include <net/if.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <utility>

namespace banger::actuators::net {
namespace {

constexpr std::uint32_t kSourceOffset = 12;  // of the source address in an IPv4 header

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

}  // namespace

std::string text_or_empty(const char* text) { return text == nullptr ? std::string() : std::string(text); }

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

}  // namespace banger::actuators::net

// SPDX-License-Identifier: Apache-2.0
#include "actuators/net/link_reader.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>

namespace banger::actuators::net {
namespace {

template <class Question>
Result<std::optional<LinkRecord>> read_one(RouteSocket& socket, Question question, std::string_view doing) {
  std::optional<LinkRecord> found;
  const auto visit = [&](const nlmsghdr& header) {
    if (auto record = decode_link(header)) found = std::move(record);
  };
  if (auto asked = socket.ask(question, doing, visit, [&] { found.reset(); }); !asked) {
    if (asked.error().code == ErrorCode::NotFound) return std::optional<LinkRecord>{};
    return fail(asked.error());
  }
  return found;
}

template <class Record, class Decode>
Result<std::vector<Record>> read_all(RouteSocket& socket, const Message& question, std::string_view doing, Decode decode) {
  std::vector<Record> records;
  const auto visit = [&](const nlmsghdr& header) {
    if (auto record = decode(header)) records.push_back(*std::move(record));
  };
  BGR_CHECK(socket.ask(question, doing, visit, [&] { records.clear(); }));
  return records;
}

Result<std::vector<AddressRecord>> read_address_records(RouteSocket& socket, int index) {
  BGR_TRY(auto records, read_all<AddressRecord>(socket, ask_addresses(index), "reading addresses", decode_address));
  // Kernels before strict checking dump the addresses of every link.
  if (index != 0) std::erase_if(records, [&](const AddressRecord& record) { return record.index != index; });
  return records;
}

}  // namespace

Result<std::optional<LinkRecord>> read_link(RouteSocket& socket, std::string_view name) {
  return read_one(socket, ask_link(name), fmt::format("looking for link {}", name));
}

Result<std::optional<LinkRecord>> read_link(RouteSocket& socket, int index) {
  return read_one(socket, ask_link(index), fmt::format("looking for link {}", index));
}

Result<std::vector<LinkRecord>> read_link_records(RouteSocket& socket) {
  return read_all<LinkRecord>(socket, ask_links(), "reading links", decode_link);
}

Result<std::vector<Cidr>> read_addresses(RouteSocket& socket, int index) {
  BGR_TRY(const auto records, read_address_records(socket, index));
  std::vector<Cidr> addresses;
  addresses.reserve(records.size());
  for (const auto& record : records) addresses.push_back(record.address);
  return addresses;
}

std::vector<LinkView> views_of(std::vector<LinkRecord> links, const std::vector<AddressRecord>& addresses) {
  const auto index_of = [](const LinkRecord& link) { return static_cast<int>(link.view.index); };
  if (!std::ranges::is_sorted(links, {}, index_of)) std::ranges::stable_sort(links, {}, index_of);  // the kernel's order, mostly
  const auto duplicates = std::ranges::unique(links, {}, index_of);
  links.erase(duplicates.begin(), duplicates.end());
  const auto find = [&](int index) {
    const auto found = std::ranges::lower_bound(links, index, {}, index_of);
    return found != links.end() && index_of(*found) == index ? &*found : nullptr;
  };
  for (const auto& address : addresses) {
    if (auto* owner = find(address.index)) owner->view.addresses.push_back(to_string(address.address));
  }
  for (auto& link : links) {
    if (const auto* master = link.master_index == 0 ? nullptr : find(link.master_index)) link.view.master = master->view.name;
  }
  std::vector<LinkView> views;
  views.reserve(links.size());
  for (auto& link : links) views.push_back(std::move(link.view));
  return views;
}

Result<std::vector<LinkView>> read_link_views(RouteSocket& socket) {
  BGR_TRY(auto links, read_link_records(socket));
  BGR_TRY(const auto addresses, read_address_records(socket, 0));
  return views_of(std::move(links), addresses);
}

Result<std::optional<LinkView>> read_link_view(RouteSocket& socket, const LinkNames& names, std::string_view name) {
  BGR_TRY(auto record, read_link(socket, name));
  if (!record) return std::optional<LinkView>{};
  BGR_TRY(const auto addresses, read_addresses(socket, static_cast<int>(record->view.index)));
  for (const auto& address : addresses) record->view.addresses.push_back(to_string(address));
  if (record->master_index != 0) {
    BGR_TRY(const auto master, names.name_of(record->master_index));
    if (master) record->view.master = *master;
  }
  return std::optional(std::move(record->view));
}

Result<std::vector<RouteView>> read_route_views(RouteSocket& socket) {
  BGR_TRY(const auto records, read_all<RouteRecord>(socket, ask_routes(), "reading routes", decode_route));
  std::map<int, std::string> names;
  std::vector<RouteView> views;
  for (const auto& record : records) {
    if (record.links.empty()) views.push_back({.destination = record.destination, .link = ""});
    for (const int index : record.links) {
      const auto [name, is_new] = names.try_emplace(index);
      if (is_new) {
        BGR_TRY(const auto link, read_link(socket, index));
        if (link) name->second = link->view.name;
      }
      views.push_back({.destination = record.destination, .link = name->second});
    }
  }
  return views;
}

}  // namespace banger::actuators::net

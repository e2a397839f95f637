// SPDX-License-Identifier: Apache-2.0
// The netfilter netlink socket and the steps on our tables. One caller at a time: the kernel takes one transaction at a time too.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "actuators/net/nat_rules.hpp"
#include "actuators/step.hpp"
#include "base/result.hpp"

struct mnl_socket;

namespace banger::actuators::net {

class NftSocket {
 public:
  static Result<std::unique_ptr<NftSocket>> open();

  Result<std::vector<NatTable>> tables();  // ours by name; consistent with each other or Busy
  // A table of this name whose comment is_ours denies is left as it is: Conflict.
  using IsOurs = std::function<bool(const std::string& comment)>;
  Result<Applied> write(const WantedNat& wanted, const IsOurs& is_ours);
  Result<Applied> remove(const std::string& table, const IsOurs& is_ours);

 private:
  struct Close {
    void operator()(mnl_socket* socket) const;
  };
  struct Snapshot {
    std::uint32_t generation = 0;
    std::vector<NatTable> tables;
  };
  using Visit = std::function<void(const nlmsghdr&)>;
  explicit NftSocket(std::unique_ptr<mnl_socket, Close> socket);
  Result<void> ask(std::vector<char> question, const Visit& visit);
  Result<std::uint32_t> generation();
  Result<Snapshot> look();
  Result<void> commit(Batch batch, std::string_view doing);

  std::mutex mutex_;
  std::unique_ptr<mnl_socket, Close> socket_;
  std::vector<char> buffer_;
  std::uint32_t sequence_ = 0;
};

}  // namespace banger::actuators::net

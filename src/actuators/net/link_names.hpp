// SPDX-License-Identifier: Apache-2.0
// Names and numbers of links, asked without the kernel's link lock: a removal of many links holds that for long.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "base/result.hpp"
#include "base/unique_fd.hpp"

namespace banger::actuators::net {

class LinkNames {
 public:
  static Result<LinkNames> open();  // in the network namespace of the caller, for good

  // 5 us each. Nothing: there is no such link. From any thread. index_of needs CAP_NET_RAW.
  [[nodiscard]] Result<std::optional<int>> index_of(const std::string& name) const;
  [[nodiscard]] Result<std::optional<std::string>> name_of(int index) const;

 private:
  explicit LinkNames(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
  std::unique_ptr<std::mutex> one_at_a_time_ = std::make_unique<std::mutex>();  // what the socket is bound to is state
};

}  // namespace banger::actuators::net

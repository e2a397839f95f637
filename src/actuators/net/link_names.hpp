// SPDX-License-Identifier: Apache-2.0
// Names and numbers of links, asked without the kernel's link lock: a removal of many links holds that for long.
#pragma once

#include <optional>
#include <string>

#include "base/result.hpp"
#include "base/unique_fd.hpp"

namespace banger::actuators::net {

class LinkNames {
 public:
  static Result<LinkNames> open();  // in the network namespace of the caller, for good

  // 5 us each. Nothing: there is no such link.
  [[nodiscard]] Result<std::optional<int>> index_of(const std::string& name) const;
  [[nodiscard]] Result<std::optional<std::string>> name_of(int index) const;

 private:
  explicit LinkNames(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

}  // namespace banger::actuators::net

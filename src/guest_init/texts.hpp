// SPDX-License-Identifier: Apache-2.0
// The texts of files in the guest that others write, too: what they become with our part in them. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace banger::guest_init {

struct Account {
  unsigned uid = 0;
  unsigned gid = 0;
  std::string home;  // absolute
  bool operator==(const Account&) const = default;
};

// The user's line of /etc/passwd.
std::optional<Account> find_account(std::string_view passwd, std::string_view user);

// authorized_keys with our keys between marker lines at its end; an earlier block of ours is replaced, a key that stands
// elsewhere in it is not repeated, and what others wrote stays.
std::string with_keys(std::string_view present, const std::vector<std::string>& keys);

// /etc/hosts with one line of ours for this host's name, and with localhost if there was nothing.
std::string with_host(std::string_view present, std::string_view hostname);

std::string resolv_conf(const std::vector<std::string>& nameservers);

}  // namespace banger::guest_init

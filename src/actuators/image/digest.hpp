// SPDX-License-Identifier: Apache-2.0
// SHA-256 of bytes that pass by.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

struct evp_md_ctx_st;

namespace banger::actuators::image {

class Sha256 {
 public:
  Sha256();
  void add(std::string_view bytes);
  std::array<std::uint8_t, 32> finish();  // once

 private:
  struct Free {
    void operator()(evp_md_ctx_st* context) const;
  };
  std::unique_ptr<evp_md_ctx_st, Free> context_;
};

std::array<std::uint8_t, 32> sha256(std::string_view bytes);
std::string hex(const std::array<std::uint8_t, 32>& digest);  // 64 characters

// A version 8 UUID (RFC 9562) from the text's digest: the same text, the same UUID.
std::array<std::uint8_t, 16> uuid_from(std::string_view text);

}  // namespace banger::actuators::image

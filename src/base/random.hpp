// SPDX-License-Identifier: Apache-2.0
// Randomness as a port, so that a seed reproduces a run.
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace banger {

class Random {
 public:
  virtual ~Random() = default;
  virtual void fill(std::span<std::uint8_t> out) = 0;
};

class SystemRandom final : public Random {  // getrandom(2); good for keys
 public:
  void fill(std::span<std::uint8_t> out) override;
};

class SeededRandom final : public Random {  // splitmix64; for tests and the simulation only. Not thread-safe.
 public:
  explicit SeededRandom(std::uint64_t seed) : state_(seed) {}
  void fill(std::span<std::uint8_t> out) override;

 private:
  std::uint64_t state_;
};

// A version 4 UUID in its 36-character lower-case form (RFC 9562).
std::string new_uid(Random& random);

// True for the 36-character lower-case form of any UUID; the only shape of uid that reaches a path or a kernel name.
bool is_uid(std::string_view text);

// count lower-case hexadecimal characters.
std::string random_hex(Random& random, std::size_t count);

}  // namespace banger

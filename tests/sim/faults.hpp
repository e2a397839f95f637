// SPDX-License-Identifier: Apache-2.0
// What goes wrong at a call of a port, and when: armed one by one, or by a rate; with a table of what was met where.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "actuators/step.hpp"
#include "base/error.hpp"
#include "sim/draw.hpp"

namespace banger::simulation {

// The places: every step, then the calls that are none.
enum class Place : std::uint8_t { StoreWrite = std::variant_size_v<actuators::Step>, ObserveVm, Observe, ObserveAll, Inventory };
inline constexpr std::size_t kPlaces = static_cast<std::size_t>(Place::Inventory) + 1;
std::size_t place_of(const actuators::Step& step);
std::string_view name_of_place(std::size_t place);

// The errnos of the fault matrix (F4…F10).
inline constexpr std::size_t kErrnos = 9;
int errno_of(std::size_t index);
std::string_view name_of_errno(std::size_t index);

// The daemon is killed before or after the effect, or the call answers an errno before or after it.
struct Fault {
  bool after = false;
  std::optional<std::size_t> sys_errno;  // an index; nothing: a kill
  bool operator==(const Fault&) const = default;
};
inline constexpr std::size_t kFaults = 2 + 2 * kErrnos;
std::size_t index_of(const Fault& fault);
Fault fault_at(std::size_t index);
std::string describe(const Fault& fault);
Error error_of(const Fault& fault);

struct Coverage {
  std::array<std::uint64_t, kPlaces> met{};                          // calls
  std::array<std::array<std::uint64_t, kFaults>, kPlaces> faults{};  // by place and fault
  void add(const Coverage& other);
};

class Faults {
 public:
  Faults(Draw draw, Coverage& coverage) : draw_(draw), coverage_(coverage) {}

  // At the call of this number from now (1: the next) of this place, or of any step.
  void arm(std::optional<std::size_t> place, std::uint32_t call, const Fault& fault) { armed_.push_back({place, call, fault}); }
  // Every call fails with one of these errnos (a bit each) in so many of a thousand cases; 0: none does.
  void set_rate(std::uint32_t per_mille, std::uint32_t errnos) {
    per_mille_ = per_mille;
    errnos_ = errnos & ((1U << kErrnos) - 1);
  }
  void clear();

  // Each call of a port asks once.
  std::optional<Fault> at(std::size_t place);
  [[nodiscard]] std::uint64_t met() const { return met_; }

 private:
  struct Armed {
    std::optional<std::size_t> place;
    std::uint32_t calls = 1;
    Fault fault;
  };
  std::optional<Fault> draw_by_rate(std::size_t place);

  Draw draw_;
  Coverage& coverage_;
  std::vector<Armed> armed_;
  std::uint32_t per_mille_ = 0;
  std::uint32_t errnos_ = 0;
  std::uint64_t met_ = 0;
};

}  // namespace banger::simulation

// SPDX-License-Identifier: Apache-2.0
#include "sim/faults.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>

namespace banger::simulation {
namespace {

struct Named {
  int value;
  std::string_view name;
};
constexpr std::array<Named, kErrnos> kTable{{{EIO, "EIO"},
                                             {ENOSPC, "ENOSPC"},
                                             {EBUSY, "EBUSY"},
                                             {EPERM, "EPERM"},
                                             {ENOMEM, "ENOMEM"},
                                             {EMFILE, "EMFILE"},
                                             {EAGAIN, "EAGAIN"},
                                             {EINTR, "EINTR"},
                                             {ETIMEDOUT, "ETIMEDOUT"}}};

template <std::size_t... Index>
std::array<std::string_view, sizeof...(Index)> step_names(std::index_sequence<Index...>) {
  return {actuators::name_of(actuators::Step(std::in_place_index<Index>))...};
}

constexpr std::size_t kSteps = std::variant_size_v<actuators::Step>;

// Reads have no effect: what goes wrong with them goes wrong before.
bool is_read(std::size_t place) { return place > static_cast<std::size_t>(Place::StoreWrite); }

}  // namespace

std::size_t place_of(const actuators::Step& step) { return step.index(); }

std::string_view name_of_place(std::size_t place) {
  static const auto kNames = step_names(std::make_index_sequence<kSteps>());
  static constexpr std::array<std::string_view, kPlaces - kSteps> kOthers{"StoreWrite", "ObserveVm", "Observe", "ObserveAll",
                                                                          "Inventory"};
  return place < kSteps ? kNames.at(place) : kOthers.at(place - kSteps);
}

int errno_of(std::size_t index) { return kTable.at(index).value; }
std::string_view name_of_errno(std::size_t index) { return kTable.at(index).name; }

std::size_t index_of(const Fault& fault) {
  const std::size_t after = fault.after ? 1 : 0;
  return fault.sys_errno ? 2 + 2 * *fault.sys_errno + after : after;
}

Fault fault_at(std::size_t index) {
  Fault fault{.after = index % 2 == 1, .sys_errno = {}};
  if (index >= 2) fault.sys_errno = (index - 2) / 2;
  return fault;
}

std::string describe(const Fault& fault) {
  return fmt::format("{} {}", fault.sys_errno ? name_of_errno(*fault.sys_errno) : "killed", fault.after ? "after" : "before");
}

Error error_of(const Fault& fault) { return errno_error("simulated fault", errno_of(fault.sys_errno.value_or(0))); }

void Coverage::add(const Coverage& other) {
  for (std::size_t place = 0; place < kPlaces; ++place) {
    met[place] += other.met[place];
    for (std::size_t fault = 0; fault < kFaults; ++fault) faults[place][fault] += other.faults[place][fault];
  }
}

void Faults::clear() {
  armed_.clear();
  per_mille_ = 0;
}

std::optional<Fault> Faults::draw_by_rate(std::size_t place) {
  if (per_mille_ == 0 || errnos_ == 0 || draw_.below(1000) >= per_mille_) return std::nullopt;
  std::size_t index = draw_.below(kErrnos);
  while ((errnos_ >> index & 1U) == 0) index = (index + 1) % kErrnos;
  return Fault{.after = place < kSteps && draw_.one_in(2), .sys_errno = index};
}

std::optional<Fault> Faults::at(std::size_t place) {
  ++coverage_.met.at(place);
  std::optional<Fault> found;
  for (auto& armed : armed_) {
    const bool here = armed.place ? *armed.place == place : place < kSteps;
    if (here && armed.calls > 0 && --armed.calls == 0 && !found) found = armed.fault;
  }
  std::erase_if(armed_, [](const Armed& armed) { return armed.calls == 0; });
  if (!found) found = draw_by_rate(place);
  if (!found) return found;
  if (is_read(place)) found->after = false;
  ++coverage_.faults.at(place).at(index_of(*found));
  ++met_;
  return found;
}

}  // namespace banger::simulation

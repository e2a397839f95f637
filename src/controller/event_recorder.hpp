// SPDX-License-Identifier: Apache-2.0
// Writes events: repeats are counted, and no loop can flood the store with them.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "api/event_sink.hpp"
#include "base/clock.hpp"
#include "store/objects.hpp"

namespace banger::controller {

struct EventRecorderOptions {
  // Distinct events of one object, as client-go's spam filter: this many at once, then one per refill.
  double burst = 25;
  std::chrono::milliseconds refill{300'000};
  // Writes of one event's count: this many at once, then one per refill; what comes in between is added to the next write.
  double repeat_burst = 10;
  std::chrono::milliseconds repeat_refill{1'000};
  std::size_t max_remembered = 4096;  // events and objects; more makes it forget all, which costs a read each
};

// Events stand in the namespace of what they are about ("default" for what has none), named "<object>.<16 hexadecimal digits>":
// the digits tell (kind, uid, type, reason, message) apart, so a restarted daemon goes on counting. Thread-safe. A write that
// fails is logged once until one succeeds, and its count goes with the next; callers never hear of it.
class EventRecorder final : public api::EventSink {
 public:
  EventRecorder(store::Objects& objects, Clock& clock, const EventRecorderOptions& options = {})
      : options_(options), objects_(objects), clock_(clock) {}

  void record(const api::ObjectKey& involved, const std::string& uid, api::EventType type, std::string_view reason,
              std::string_view message) override;

  // Writes the counts that are held back. For a timer, every ten seconds or so, and before the end.
  void flush();

  [[nodiscard]] std::uint64_t dropped() const;  // distinct events that the limit kept out

 private:
  struct Bucket {
    double tokens = 0;
    SteadyTime filled{};
  };
  struct Remembered {
    api::Event event;  // its count is what has not been written
    Bucket bucket;
  };

  static bool take(Bucket& bucket, double burst, std::chrono::milliseconds refill, SteadyTime now);
  std::optional<api::Event> admit(const api::ObjectKey& name, api::Event event);
  void write(const api::ObjectKey& name, const api::Event& event);
  Result<void> try_write(const api::ObjectKey& name, const api::Event& event);

  const EventRecorderOptions options_;
  store::Objects& objects_;
  Clock& clock_;
  mutable std::mutex mutex_;
  std::map<api::ObjectKey, Remembered> remembered_;                   // by the event's key
  std::map<std::pair<api::ObjectKey, std::string>, Bucket> buckets_;  // by the involved object
  std::uint64_t dropped_ = 0;
  bool failing_ = false;
};

}  // namespace banger::controller

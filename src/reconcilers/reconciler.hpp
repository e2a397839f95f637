// SPDX-License-Identifier: Apache-2.0
// What the controller runtime asks of a reconciler: look at one key again and say when to look next.
#pragma once

#include <chrono>
#include <optional>
#include <string_view>
#include <vector>

#include "actuators/host.hpp"
#include "api/event_sink.hpp"
#include "api/object.hpp"
#include "base/clock.hpp"
#include "base/error.hpp"
#include "base/random.hpp"
#include "store/objects.hpp"

namespace banger::reconcilers {

// What every reconciler works with; nothing in it is owned. Each may be called from several worker threads, never for one key in
// two.
struct Ports {
  store::Objects& objects;
  actuators::Host& host;
  api::EventSink& events;
  Clock& clock;
  Random& random;
};

// A pass that does something or waits for it is not yet a success: a VM whose start fails at its last step, or an image whose
// build fails at its end, would forget that on the way there and try without a pause for ever. So the failures of a key are
// forgotten by a pass that changes nothing and wants no look before this; who waits for a job asks for an earlier one.
inline constexpr std::chrono::milliseconds kAtRest = std::chrono::seconds(5);

// What a pass found: error → look again with this key's backoff (5 ms … 5 min), if retryable or not; requeue_after → look again
// then; neither → only when something changes.
struct Outcome {
  std::optional<Error> error;
  std::optional<std::chrono::milliseconds> requeue_after;
  std::size_t mutations = 0;                // steps that answered Changed
  std::vector<std::string_view> changed{};  // their names
};

class Reconciler {
 public:
  virtual ~Reconciler() = default;
  virtual api::Kind kind() const = 0;
  virtual Outcome reconcile(const api::ObjectKey& key) = 0;

  // Keys of this kind that may need another look because another object changed (an Image became Ready: the VMs that wait for
  // it). The changed object's own key is enqueued by the runtime and not returned.
  virtual std::vector<api::ObjectKey> affected_by(const store::Change& change) = 0;

  // Resync: of this kind's stored objects, those whose plan against this one observation of the host is not empty. Pure apart
  // from reads of the store; mutates nothing. The runtime enqueues them for a pass of their own.
  virtual std::vector<api::ObjectKey> drifted(const actuators::HostView& host) = 0;
};

}  // namespace banger::reconcilers

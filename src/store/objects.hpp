// SPDX-License-Identifier: Apache-2.0
// The rules of the Kubernetes envelope over a store: who may write what, when the generation moves, when a deleted object goes.
// Used by the API server, the intake and the reconcilers, so that there is one set of rules.
#pragma once

#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>

#include "api/codec.hpp"
#include "api/object.hpp"
#include "base/clock.hpp"
#include "base/random.hpp"
#include "base/result.hpp"
#include "store/store.hpp"

namespace banger::store {

// An error with the refusals behind it (HTTP 422 causes); refusals are empty unless error.code is Invalid.
struct WriteError {
  Error error;
  std::vector<api::Refusal> refusals;
};
template <class T>
using WriteResult = std::expected<T, WriteError>;

class Objects {
 public:
  // Neither is owned. random gives uids; a uid whose first 10 base32 digits (names.hpp short_id) are taken by a living object is
  // drawn again.
  Objects(Store& store, Clock& clock, Random& random) : store_(store), clock_(clock), random_(random) {}

  Store& store() { return store_; }

  // uids that are spoken for: what bears them is there, but no object. An object that is created under such a key gets that uid,
  // and so takes over what bears it. Each is good for one object. A claim whose uid a living object has already is dropped.
  using Claims = std::map<api::ObjectKey, std::string>;
  void claim(Claims claims);
  [[nodiscard]] Claims claims() const;
  // Before what bears the uid is taken away: no object gets it by a claim from here on, nor one with the same short id. False:
  // one is being created under it at this moment, and nothing has changed.
  [[nodiscard]] bool withdraw_claim(const std::string& uid);

  // Validates, gives uid, creation time, generation 1; drops status. Errors: Invalid (also for a resourceVersion that is set),
  // AlreadyExists.
  WriteResult<api::Object> create(api::Object object);

  // Replaces labels, annotations, finalizers, owner references and spec by those of object; uid, creation time, deletion time and
  // status stay. generation +1 when the spec differs. object.meta.resource_version 0: no precondition; a uid that is set must be
  // the stored one (Conflict otherwise). While it is being deleted no finalizer may be added; when the last finalizer goes, the
  // object goes (the last state is returned). A write that leaves spec, labels and annotations as they are is not validated
  // again, so that an object which an older version accepted can still be let go. Errors: NotFound, Conflict, Invalid.
  WriteResult<api::Object> update(const api::Object& object);

  // Replaces status only. Same precondition rules. Status of a kind without one: Invalid.
  WriteResult<api::Object> update_status(const api::Object& object);

  // Reads, lets change edit it, writes with the read version; again on Conflict, at most 8 times. change returns an error to give
  // up (a Conflict of its own is not tried again). It may be called several times and may not rename the object.
  using Edit = std::function<Result<void>(api::Object&)>;
  WriteResult<api::Object> edit(const api::ObjectKey& key, const Edit& change);
  WriteResult<api::Object> edit_status(const api::ObjectKey& key, const Edit& change);

  struct DeleteOptions {
    std::optional<std::string> uid;  // preconditions: Conflict when they do not hold
    std::optional<Revision> resource_version;
  };
  struct Deleted {
    api::Object object;
    bool gone = false;  // false: finalizers hold it, deletion_time is set
  };
  // Without finalizers the object goes at once, else deletion_time is set (once) and generation +1. Errors: NotFound, Conflict.
  WriteResult<Deleted> remove(const api::ObjectKey& key, const DeleteOptions& options);

 private:
  enum class Part { Main, Status };
  WriteResult<api::Object> edit_part(const api::ObjectKey& key, const Edit& change, Part part);
  WriteResult<api::Object> write_part(const api::Object& object, Part part);
  std::optional<std::string> begin_claimed(const api::ObjectKey& key);
  void end_claimed(const std::string& uid, bool used);

  Store& store_;
  Clock& clock_;
  Random& random_;
  mutable std::mutex mutex_;
  Claims claims_;
  std::multiset<std::string> being_created_;  // uids of claims
};

}  // namespace banger::store

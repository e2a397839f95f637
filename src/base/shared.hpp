// SPDX-License-Identifier: Apache-2.0
// A value that its holders share and nobody changes: a copy is a pointer, and the same value is recognised without looking
// inside.
#pragma once

#include <memory>
#include <utility>

namespace banger {

template <class T>
class Shared {
 public:
  Shared(T value) : value_(std::make_shared<const T>(std::move(value))) {}  // NOLINT(google-explicit-constructor)

  const T& operator*() const { return *value_; }
  const T* operator->() const { return value_.get(); }
  [[nodiscard]] bool is(const Shared& other) const { return value_ == other.value_; }  // one and the same, not only equal

  friend bool operator==(const Shared& a, const Shared& b) { return a.is(b) || *a == *b; }
  friend bool operator==(const Shared& a, const T& b) { return *a == b; }

 private:
  std::shared_ptr<const T> value_;
};

}  // namespace banger

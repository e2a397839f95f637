// SPDX-License-Identifier: Apache-2.0
// A value or the one Error. Exceptions stop at the wrapper of the library that threw.
#pragma once

#include <expected>
#include <utility>

#include "base/error.hpp"

namespace banger {

template <class T>
using Result = std::expected<T, Error>;

inline std::unexpected<Error> fail(Error error) { return std::unexpected<Error>(std::move(error)); }

}  // namespace banger

#define BGR_JOIN2(a, b) a##b
#define BGR_JOIN(a, b) BGR_JOIN2(a, b)

// BGR_TRY(auto fd, open_file(path)): declares fd from the value, or returns the error from the enclosing function.
#define BGR_TRY(declaration, expression)                                                                     \
  auto BGR_JOIN(bgr_try_, __LINE__) = (expression);                                                          \
  if (!BGR_JOIN(bgr_try_, __LINE__)) return ::banger::fail(std::move(BGR_JOIN(bgr_try_, __LINE__)).error()); \
  declaration = *std::move(BGR_JOIN(bgr_try_, __LINE__))

// BGR_CHECK(write_all(fd, bytes)): returns the error from the enclosing function; the value, if any, is dropped.
#define BGR_CHECK(expression)                                                                                 \
  do {                                                                                                        \
    if (auto bgr_checked = (expression); !bgr_checked) return ::banger::fail(std::move(bgr_checked).error()); \
  } while (false)

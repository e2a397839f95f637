// SPDX-License-Identifier: Apache-2.0
#include "base/error.hpp"

#include <doctest/doctest.h>

#include <cerrno>

#include "base/result.hpp"

using namespace banger;

namespace {
Result<int> half(int n) {
  if (n % 2 != 0) return fail(invalid("odd"));
  return n / 2;
}
Result<int> quarter(int n) {
  BGR_TRY(const int once, half(n));
  BGR_TRY(const int twice, half(once));
  return twice;
}
}  // namespace

TEST_CASE("an errno becomes a sentence with its name and the code callers branch on") {
  const auto error = errno_error("creating tap bgr-1", EBUSY);
  CHECK(error.message == "creating tap bgr-1: Device or resource busy (EBUSY)");
  CHECK(error.code == ErrorCode::Busy);
  CHECK(error.sys_errno == EBUSY);
  CHECK(errno_error("x", ENOENT).code == ErrorCode::NotFound);
  CHECK(errno_error("x", ENOSPC).code == ErrorCode::Unavailable);
}

TEST_CASE("only Busy, Unavailable and Conflict are retried") {
  CHECK(is_retryable({ErrorCode::Busy, ""}));
  CHECK(is_retryable({ErrorCode::Unavailable, ""}));
  CHECK(is_retryable({ErrorCode::Conflict, ""}));
  CHECK_FALSE(is_retryable({ErrorCode::Invalid, ""}));
  CHECK_FALSE(is_retryable({ErrorCode::Denied, ""}));
}

TEST_CASE("context goes in front and the code stays") {
  const auto error = with_context(errno_error("open", EACCES), "reading web.yaml");
  CHECK(error.message == "reading web.yaml: open: Permission denied (EACCES)");
  CHECK(error.code == ErrorCode::Denied);
}

TEST_CASE("BGR_TRY passes the value on or returns the error") {
  CHECK(quarter(8).value() == 2);
  CHECK(quarter(6).error().message == "odd");
}

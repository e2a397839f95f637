// SPDX-License-Identifier: Apache-2.0
#include "base/error.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace banger {
namespace {

ErrorCode code_for(int sys_errno) {
  switch (sys_errno) {
    case ENOENT:
    case ENODEV:
    case ENXIO:
    case ESRCH:
      return ErrorCode::NotFound;
    case EEXIST:
      return ErrorCode::AlreadyExists;
    case EBUSY:
    case ETXTBSY:
      return ErrorCode::Busy;
    case EACCES:
    case EPERM:
    case EROFS:
      return ErrorCode::Denied;
    case ENOSPC:
    case EDQUOT:
    case EAGAIN:
    case ENOMEM:
    case EMFILE:
    case ENFILE:
    case EINTR:
    case ETIMEDOUT:
    case ECONNREFUSED:
    case ECONNRESET:
    case EHOSTUNREACH:
    case ENETUNREACH:
      return ErrorCode::Unavailable;
    case EINVAL:
    case ENAMETOOLONG:
    case ELOOP:
      return ErrorCode::Invalid;
    default:
      return ErrorCode::Internal;
  }
}

}  // namespace

std::string_view to_string(ErrorCode code) {
  switch (code) {
    case ErrorCode::Invalid:
      return "Invalid";
    case ErrorCode::NotFound:
      return "NotFound";
    case ErrorCode::AlreadyExists:
      return "AlreadyExists";
    case ErrorCode::Conflict:
      return "Conflict";
    case ErrorCode::Busy:
      return "Busy";
    case ErrorCode::Unavailable:
      return "Unavailable";
    case ErrorCode::Denied:
      return "Denied";
    case ErrorCode::Gone:
      return "Gone";
    case ErrorCode::Internal:
      return "Internal";
  }
  return "Internal";
}

bool is_retryable(const Error& error) {
  return error.code == ErrorCode::Busy || error.code == ErrorCode::Unavailable || error.code == ErrorCode::Conflict;
}

Error invalid(std::string message) { return {ErrorCode::Invalid, std::move(message)}; }
Error not_found(std::string message) { return {ErrorCode::NotFound, std::move(message)}; }
Error internal(std::string message) { return {ErrorCode::Internal, std::move(message)}; }

Error errno_error(std::string_view doing, int sys_errno) {
  const char* name = strerrorname_np(sys_errno);
  const char* text = strerrordesc_np(sys_errno);
  return {code_for(sys_errno),
          fmt::format("{}: {} ({})", doing, text != nullptr ? text : "unknown error",
                      name != nullptr ? name : std::to_string(sys_errno)),
          sys_errno};
}

Error with_context(Error error, std::string_view doing) {
  error.message = fmt::format("{}: {}", doing, error.message);
  return error;
}

}  // namespace banger

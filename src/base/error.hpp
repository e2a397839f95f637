// SPDX-License-Identifier: Apache-2.0
// The one error value of the project: a code that callers branch on and a sentence that people read.
#pragma once

#include <string>
#include <string_view>

namespace banger {

enum class ErrorCode {
  Invalid,        // the input is wrong; trying again cannot help
  NotFound,       // the thing named does not exist (any more)
  AlreadyExists,  // create: the name is taken
  Conflict,       // a newer version or a foreign object is in the way; read again, then retry
  Busy,           // the kernel or another pass holds it; retry with backoff
  Unavailable,    // a peer, disk or service cannot answer now; retry with backoff
  Denied,         // permissions
  Gone,           // the revision asked for was compacted
  Internal,       // a bug or a broken promise of a library
};

// PascalCase name of the code, as it stands in reasons ("NotFound").
std::string_view to_string(ErrorCode code);

struct Error {
  ErrorCode code = ErrorCode::Internal;
  std::string message;
  int sys_errno = 0;  // errno(3) where a system call failed, else 0

  bool operator==(const Error&) const = default;
};

// True for Busy, Unavailable and Conflict: the work queue backs off and tries again.
bool is_retryable(const Error& error);

Error invalid(std::string message);
Error not_found(std::string message);
Error internal(std::string message);

// "<doing>: <strerror> (<ENAME>)", with the code that fits the errno (ENOENT NotFound, EEXIST AlreadyExists, EBUSY Busy,
// EACCES/EPERM Denied, ENOSPC/EDQUOT/EAGAIN/ENOMEM/EMFILE/ENFILE Unavailable, EINVAL Invalid, else Internal).
Error errno_error(std::string_view doing, int sys_errno);

// The same error one boundary further out: "<doing>: <message>".
Error with_context(Error error, std::string_view doing);

}  // namespace banger

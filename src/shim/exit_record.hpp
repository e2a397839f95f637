// SPDX-License-Identifier: Apache-2.0
// exit.json: how the VMM ended, for the daemon that comes to look.
#pragma once

#include <sys/types.h>

#include "shim/stream.hpp"

namespace banger::shim {

struct Ending {
  pid_t pid = 0;           // of the VMM; 0 when none was started
  int exit_code = 0;       // when signal is 0
  int signal = 0;          // that ended the VMM
  const char* error = "";  // why no VMM was started; else empty
  const Tail* standard_error = nullptr;
  const Tail* serial = nullptr;
  const Tail* events = nullptr;  // what the VMM's event monitor said
};

// Writes {pid, exitCode, signal, finished (ms since the epoch), error, stderrTail, serialTail, eventsTail} so that the file is
// there whole or not at all. Bytes of the tails stand as the characters U+0000..U+00FF. False: errno says why.
bool write_exit_record(const char* path, const Ending& ending);

}  // namespace banger::shim

// SPDX-License-Identifier: Apache-2.0
// The one voice of banger-init, and the ways it ends.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace banger::guest_init {

// What went wrong, for people; nothing: it worked.
using Problem = std::optional<std::string>;

Problem problem(std::string_view doing);  // "<doing>: <what errno says>"

// One line "banger-init: …" on /dev/console. Bytes that could move a terminal's cursor become "?".
void say(std::string_view text);

std::int64_t milliseconds();  // of the monotonic clock

// Says why, and switches the machine off: a VM that cannot run must end, not hang.
[[noreturn]] void give_up(std::string_view why);

// sync, then reboot(2) with this command; does not return.
[[noreturn]] void end_machine(int command);

}  // namespace banger::guest_init

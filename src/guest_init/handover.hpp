// SPDX-License-Identifier: Apache-2.0
// The end of banger-init's work: the root becomes the root, and the image's init, if it has one, becomes PID 1.
#pragma once

#include <string>

#include "guest_init/root.hpp"

namespace banger::guest_init {

// The program to hand over to: init= of the kernel's command line, else the first of the usual places that is there; empty: none.
std::string find_image_init(const Root& root);

// Moves /dev, /proc and /sys into the new root, frees the initial one (and the secrets in it) and makes the new one the root.
void switch_root(const Root& root, const char* new_root);

// Runs the image's init as PID 1. Returns only when that fails, with the reason.
Problem hand_over(const std::string& init, char** arguments);

// For an image without an init: mounts what programs expect, starts /etc/banger/start or /etc/rc.local, reaps, and ends the
// machine on SIGTERM (power off) or SIGINT (restart).
[[noreturn]] void be_init();

}  // namespace banger::guest_init

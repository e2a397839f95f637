// SPDX-License-Identifier: Apache-2.0
// For tests only: mounts that nobody else sees.
#pragma once

namespace banger::testing {

// Moves this process into a mount namespace of its own, from which no mount spreads. False, with errno, where that is not
// permitted, or, in a chroot whose root is no mount point, where mounts would spread all the same. Allocates nothing: it may be
// called after fork in a program with threads.
bool enter_private_mounts();

}  // namespace banger::testing

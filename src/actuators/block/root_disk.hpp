// SPDX-License-Identifier: Apache-2.0
// A root disk that is a dm-snapshot: the node, the loops below it and their repair (step.hpp says what each step promises). What
// the node holds is all there is to it: no descriptor of ours stays open, and a crash anywhere leaves at most a node without a
// table, which the next try removes.
#pragma once

#include <string>

#include "actuators/block/device_mapper.hpp"
#include "actuators/names.hpp"
#include "actuators/step.hpp"
#include "base/result.hpp"

namespace banger::actuators::block {

Result<Applied> apply(const ActivateRootDisk& step, const Layout& layout);
Result<Applied> apply(const GrowRootCow& step, const Layout& layout);
Result<Applied> apply(const DeactivateRootDisk& step);

// The VM's node, by its name or else by its uuid (somebody may have renamed it); nothing where there is none or no device-mapper.
Result<std::optional<dm::Node>> find_root_node(const std::string& vm_uid);

// Busy while there is a node of this VM. Where device-mapper does not answer, an error unless it has no root.cow; the next too.
Result<void> check_inactive(const std::string& vm_uid, const Layout& layout);

// What was written through the node is on the platter; one that is suspended is resumed, since it would wait for ever. False:
// there is no node of ours.
Result<bool> sync_root_node(const std::string& vm_uid, const Layout& layout);

}  // namespace banger::actuators::block

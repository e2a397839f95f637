// SPDX-License-Identifier: Apache-2.0
// vm.json as a plan wants it: names before what they name is made, cleared when that was seen to be gone, built anew when it was
// lost, and always with the object as it is wanted.
#pragma once

#include "reconcilers/virtual_machine/situation.hpp"

namespace banger::reconcilers::virtual_machine {

// The status tells that the VM has run.
bool status_says_it_ran(const api::VirtualMachineStatus& status);

// What can be known without vm.json: from the object, its status and what is observed.
actuators::Sidecar rebuilt_record(const Situation& at);

// "vm.json is gone", or why it cannot be read.
std::string record_loss(const Situation& at);

// What the living VMM was made from. Where it is not, a record that is built anew has generation 0, and its launched_spec is that
// of the time of the loss.
bool launch_is_known(const Situation& at);

// The record of a VM that does not run, without what was seen to be gone.
actuators::Sidecar cleared_record(const Situation& at);

// The VMM that is verified, as the record is to name it.
std::optional<actuators::ProcessRecord> process_of(const Situation& at);

// Puts the object as it is wanted into each record that the plan writes; when it writes none and vm.json says something else or
// is not there, it writes one.
void keep_object_on_record(Plan& plan, const Situation& at);

}  // namespace banger::reconcilers::virtual_machine

// SPDX-License-Identifier: Apache-2.0
// object.json in the directories of Networks, Images and Kernels, and the collection of all records.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "actuators/host.hpp"
#include "actuators/names.hpp"
#include "actuators/step.hpp"
#include "base/result.hpp"

namespace banger::actuators {

// The directory is made if need be, the file synced. Unchanged when it says the same already. Denied: the directory is not ours
// alone.
Result<Applied> write_record(const api::Object& record, const Layout& layout);

RecordView read_record(api::Kind kind, const std::string& uid, const Layout& layout);

// Under which the VM's known_hosts pins its guest's host key, in the order of the file.
std::vector<std::string> pinned_addresses(const std::string& vm_uid, const Layout& layout);

// As Host::records(). Errors: a directory that is there and cannot be listed.
Result<std::vector<StoredRecord>> stored_records(const Layout& layout);

}  // namespace banger::actuators

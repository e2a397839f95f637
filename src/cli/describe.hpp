// SPDX-License-Identifier: Apache-2.0
// Parts of `describe`: sections of aligned lines.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api/object.hpp"

namespace banger::cli {

// "Name:        web"
void print_field(std::string_view name, std::string_view value);
// A title, then a table indented below it; "  none" when there are no rows.
void print_section(std::string_view title, const std::vector<std::string>& header,
                   const std::vector<std::vector<std::string>>& rows);

// Desired beside observed, kernel object by kernel object. describe_vm.cpp
void describe_vm(const api::VirtualMachine& vm);
// What bangerd last saw of it on the host; nothing is claimed that the status does not say.
void describe_kernel_objects(const std::vector<api::KernelObjectStatus>& objects);

}  // namespace banger::cli

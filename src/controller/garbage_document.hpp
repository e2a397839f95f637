// SPDX-License-Identifier: Apache-2.0
// A garbage report as the API's document: kind HostObjectList.
#pragma once

#include <string>

#include "controller/garbage.hpp"

namespace banger::controller {

std::string document_of(const GarbageReport& report);

}  // namespace banger::controller

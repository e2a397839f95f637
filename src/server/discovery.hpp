// SPDX-License-Identifier: Apache-2.0
// Discovery documents: which groups, versions and resources there are.
#pragma once

#include <string>
#include <string_view>

namespace banger::server {

std::string api_versions();                              // GET /api: no core group
std::string api_groups();                                // GET /apis
std::string api_group();                                 // GET /apis/banger.dev
std::string api_resources();                             // GET /apis/banger.dev/v1alpha1
std::string version_document(std::string_view version);  // GET /version

}  // namespace banger::server

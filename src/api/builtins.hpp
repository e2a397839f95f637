// SPDX-License-Identifier: Apache-2.0
// The objects that bangerd makes by itself at its start, and that manifests refer to without declaring them.
#pragma once

#include <string_view>

#include "api/meta.hpp"

namespace banger::api {

inline constexpr std::string_view kBuiltinNetwork = "default";
inline constexpr std::string_view kBuiltinKernel = "host";

inline bool is_builtin(const ObjectKey& key) {
  return (key.kind == Kind::Network && key.name == kBuiltinNetwork) || (key.kind == Kind::Kernel && key.name == kBuiltinKernel);
}

}  // namespace banger::api

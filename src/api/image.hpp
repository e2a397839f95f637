// SPDX-License-Identifier: Apache-2.0
// Kind Image: a root file system that VMs start from.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "api/meta.hpp"
#include "base/units.hpp"

namespace banger::api {

enum class ImageFormat { Auto, Tar, Raw };  // YAML: auto, tar, raw. Raw: an ext4 file system without partitions

struct ImageSpec {
  std::string path;  // absolute path of the tar (plain, gzip, xz, zstd) or ext4 file on the host
  ImageFormat format = ImageFormat::Auto;
  std::string digest;         // "sha256:<64 hex>"; empty: not checked
  std::optional<Bytes> size;  // of the file system made from a tar; absent: content + 25 %, at least 64Mi
  bool operator==(const ImageSpec&) const = default;
};

struct ImageStatus {
  std::uint64_t observed_generation = 0;
  std::vector<Condition> conditions;  // Ready
  std::string digest;                 // of the source
  std::string path;                   // of the base ext4 file that root disks are made from
  std::string format;
  Bytes size;
  std::string
      source;  // what the base was built from: "<generation>:<bytes>:<mtime in ns>"; "building …" or "failed …" in between
  bool operator==(const ImageStatus&) const = default;
};

struct Image {
  ImageSpec spec;
  ImageStatus status;
  bool operator==(const Image&) const = default;
};

}  // namespace banger::api

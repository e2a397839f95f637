// SPDX-License-Identifier: Apache-2.0
// Reads a tar file (plain, gzip, xz, zstd) entry by entry through libarchive while taking the digest of the file itself.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>

#include "actuators/image/tree.hpp"
#include "base/result.hpp"
#include "base/units.hpp"

namespace banger::actuators::image {

struct ArchiveLimits {
  Bytes unpacked = gib(21);    // of the whole stream
  std::uint64_t ratio = 200;   // unpacked to packed …
  Bytes ratio_from = mib(16);  // … once this much came out
};

class ArchiveReader {
 public:
  // fd is read from its start; it stays the caller's. name is for messages.
  static Result<ArchiveReader> open(int fd, std::string name, std::stop_token stop, ArchiveLimits limits = {});

  ArchiveReader(ArchiveReader&&) noexcept;
  ArchiveReader& operator=(ArchiveReader&&) noexcept;
  ~ArchiveReader();

  // The next entry, nothing at the end. Errors: Invalid for what is no tar file, is damaged or unpacks too far; Unavailable when
  // stop was requested.
  Result<std::optional<Entry>> next();

  // The content of the regular file that next() gave last: its parts by rising offset; what is not given is zeros.
  using Sink = std::function<Result<void>(std::uint64_t offset, std::string_view bytes)>;
  Result<void> content(const Sink& sink);

  // After next() gave nothing: "sha256:<64 hex>" of the whole file.
  Result<std::string> digest();

 private:
  struct State;
  explicit ArchiveReader(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace banger::actuators::image

// SPDX-License-Identifier: Apache-2.0
#include "store/rocksdb_logger.hpp"

#include <rocksdb/env.h>

#include <array>
#include <cstdarg>
#include <cstdio>
#include <string>

#include "base/log.hpp"
#include "base/text.hpp"

namespace banger::store {
namespace {

class ForwardingLogger final : public rocksdb::Logger {
 public:
  ForwardingLogger() : Logger(rocksdb::InfoLogLevel::WARN_LEVEL) {}

  // The base class answers the other overload by calling this one with level Info.
  void Logv(const rocksdb::InfoLogLevel level, const char* format, va_list arguments) override {
    if (level < GetInfoLogLevel() || level >= rocksdb::InfoLogLevel::HEADER_LEVEL) return;
    std::array<char, 1024> text{};
    std::vsnprintf(text.data(), text.size(), format, arguments);
    std::string sentence = printable(text.data());
    if (level == rocksdb::InfoLogLevel::WARN_LEVEL) {
      log::warning("rocksdb", {{"message", std::move(sentence)}});
    } else {
      log::error("rocksdb", {{"message", std::move(sentence)}});
    }
  }
  void Logv(const char* format, va_list arguments) override { Logv(rocksdb::InfoLogLevel::INFO_LEVEL, format, arguments); }
  void LogHeader(const char*, va_list) override {}  // the options, at every open
};

}  // namespace

std::shared_ptr<rocksdb::Logger> make_rocksdb_logger() { return std::make_shared<ForwardingLogger>(); }

}  // namespace banger::store

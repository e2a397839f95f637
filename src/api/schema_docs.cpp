// SPDX-License-Identifier: Apache-2.0
// schema_docs FILE…: writes the field tables of these pages anew from the schema.
#include <fmt/format.h>

#include <cstdio>

#include "api/docs.hpp"
#include "base/files.hpp"

namespace {

banger::Result<void> refresh(const char* file) {
  BGR_TRY(const auto page, banger::read_file(file, banger::mib(1)));
  BGR_TRY(const auto fresh, banger::api::refresh_tables(page));
  if (fresh == page) return {};
  fmt::print("{} is written anew\n", file);
  return banger::write_file_durably(file, fresh, 0644);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    fmt::print(stderr, "usage: schema_docs docs/kinds/*.md\n");
    return 2;
  }
  for (int i = 1; i < argc; ++i) {
    if (const auto done = refresh(argv[i]); !done) {
      fmt::print(stderr, "{}: {}\n", argv[i], done.error().message);
      return 1;
    }
  }
  return 0;
}

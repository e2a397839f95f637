// SPDX-License-Identifier: Apache-2.0
// What the tests of this room share: objects to store, directories that go away, child processes.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "api/object.hpp"
#include "base/unique_fd.hpp"
#include "store/store.hpp"

namespace banger::store {

// Under TMPDIR, else in memory, else under /tmp; removed with all that is in it. Thousands of synced writes a run would be at the
// mercy of what else uses the disk, and a killed process loses no more of a tmpfs than of a disk.
class TempDirectory {
 public:
  TempDirectory();
  ~TempDirectory();
  TempDirectory(const TempDirectory&) = delete;
  TempDirectory& operator=(const TempDirectory&) = delete;
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  [[nodiscard]] std::string store() const { return path_ / "store"; }

 private:
  std::filesystem::path path_;
};

api::Object make_vm(const std::string& name, const std::string& ns = "default");  // with a uid of its own
api::Object make_network(const std::string& name);
api::VirtualMachineSpec& spec_of(api::Object& vm);
const api::VirtualMachineSpec& spec_of(const api::Object& vm);
api::ObjectKey vm_key(const std::string& name, const std::string& ns = "default");

// The value; a failed check and an abort of the test case when there is none.
template <class T>
T must(Result<T> result);
std::unique_ptr<Store> must_open(const std::string& directory);

// This program again, running one (skipped) test case, in a process of its own: RocksDB's threads do not survive a fork, and
// failpoints are read once. The writing end of a pipe is the child's descriptor 3.
class Child {
 public:
  Child(const std::string& test_case, const std::map<std::string, std::string>& environment);
  ~Child();  // kills it if need be
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  std::string read_some();  // what the child wrote; empty: it has ended
  std::string read_all();
  void kill();
  int wait();  // exit code, or 128 + signal

 private:
  pid_t pid_ = -1;
  UniqueFd output_;
};

inline constexpr int kChildOutput = 3;
void tell_parent(std::string_view text);        // in the child
std::string from_parent(const char* variable);  // in the child; empty when the case is run by hand

}  // namespace banger::store

#include <doctest/doctest.h>

template <class T>
T banger::store::must(Result<T> result) {
  if (!result) FAIL(result.error().message);
  return *std::move(result);
}

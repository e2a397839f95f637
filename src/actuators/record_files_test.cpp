// SPDX-License-Identifier: Apache-2.0
#include "actuators/record_files.hpp"

#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>

#include "actuators/record.hpp"
#include "actuators/vm_files.hpp"
#include "actuators/vmm/fixture.hpp"
#include "base/files.hpp"

using namespace banger;
using namespace banger::actuators;
namespace fs = std::filesystem;
using vmm::test::fresh_uid;

namespace {

api::Object network(const std::string& uid) {
  api::Object object{.meta = {.name = "lan", .uid = uid, .resource_version = 12, .generation = 1}, .body = api::Network{}};
  std::get<api::Network>(object.body).status.cidr = "10.63.0.0/24";
  return object;
}

struct RecordScene {
  vmm::test::Directory directory;
  Layout layout{directory.path() / "s", directory.path() / "r"};
  std::string uid = fresh_uid();
  fs::path record = network_dir(layout, uid) / kRecordFile;
};

TEST_CASE("a record is written once, with its directory, for us alone") {
  RecordScene scene;
  CHECK(write_record(network(scene.uid), scene.layout) == Applied::Changed);
  CHECK(write_record(network(scene.uid), scene.layout) == Applied::Unchanged);
  CHECK(read_record(api::Kind::Network, scene.uid, scene.layout).object == network(scene.uid));
  struct stat info{};
  REQUIRE(::stat(scene.record.c_str(), &info) == 0);
  CHECK((info.st_mode & 07777U) == 0600);
  REQUIRE(::stat(scene.record.parent_path().c_str(), &info) == 0);
  CHECK((info.st_mode & 07777U) == 0700);
}

TEST_CASE("what others could have written is not read, and is written anew") {
  struct Case {
    std::string name;
    std::function<void(const RecordScene&)> spoil;
    std::string says;
  };
  const std::vector<Case> cases{
      {"a link",
       [](const RecordScene& s) {
         fs::rename(s.record, s.directory.path() / "elsewhere");
         fs::create_symlink(s.directory.path() / "elsewhere", s.record);
       },
       "is a symbolic link"},
      {"a directory",
       [](const RecordScene& s) {
         fs::remove(s.record);
         fs::create_directory(s.record);
       },
       "is not a regular file"},
      {"writable by all", [](const RecordScene& s) { ::chmod(s.record.c_str(), 0666); }, "may be written by others (mode 0666)"},
      {"another user's", [](const RecordScene& s) { (void)!::chown(s.record.c_str(), 65534, 65534); }, "belongs to user 65534"},
      {"cut in half", [](const RecordScene& s) { fs::resize_file(s.record, fs::file_size(s.record) / 2); }, "cannot be read"},
      {"empty", [](const RecordScene& s) { fs::resize_file(s.record, 0); }, "cannot be read"},
      {"another object's",
       [](const RecordScene& s) {
         const auto other = fresh_uid();
         REQUIRE(write_record(network(other), s.layout));
         fs::copy_file(network_dir(s.layout, other) / kRecordFile, s.record, fs::copy_options::overwrite_existing);
         fs::remove_all(network_dir(s.layout, other));
       },
       "is that of Network lan"},
      {"too long", [](const RecordScene& s) { fs::resize_file(s.record, 5U << 20U); }, "is longer than"},
  };
  for (const auto& row : cases) {
    CAPTURE(row.name);
    RecordScene scene;
    if (row.name == "another user's" && ::geteuid() != 0) {
      MESSAGE("skipped: giving a file away needs root");
      continue;
    }
    REQUIRE(write_record(network(scene.uid), scene.layout));
    row.spoil(scene);
    const auto view = read_record(api::Kind::Network, scene.uid, scene.layout);
    CHECK_FALSE(view.object);
    CAPTURE(view.error);
    CHECK(view.error.find(row.says) != std::string::npos);
    const auto all = stored_records(scene.layout);
    REQUIRE(all);
    REQUIRE(all->size() == 1);
    CHECK_FALSE(all->front().object);
    CHECK(all->front().error == view.error);
    if (row.name == "a directory") continue;  // nothing of ours: a rename over it fails and says so
    CHECK(write_record(network(scene.uid), scene.layout) == Applied::Changed);
    CHECK(read_record(api::Kind::Network, scene.uid, scene.layout).object == network(scene.uid));
  }
}

TEST_CASE("a directory that is not ours alone is neither read nor written") {
  RecordScene scene;
  REQUIRE(write_record(network(scene.uid), scene.layout));
  ::chmod(scene.record.parent_path().c_str(), 0777);
  CHECK(read_record(api::Kind::Network, scene.uid, scene.layout).error.find("may be written by others") != std::string::npos);
  const auto written = write_record(network(scene.uid), scene.layout);
  REQUIRE_FALSE(written);
  CHECK(written.error().code == ErrorCode::Denied);
  fs::rename(scene.record.parent_path(), scene.directory.path() / "moved");
  fs::create_directory_symlink(scene.directory.path() / "moved", scene.record.parent_path());
  CHECK(read_record(api::Kind::Network, scene.uid, scene.layout).error.find("is not a directory") != std::string::npos);
  CHECK(write_record(network(scene.uid), scene.layout).error().code == ErrorCode::Denied);
}

TEST_CASE("all records are collected, networks first, those that cannot be read with the reason") {
  RecordScene scene;
  CHECK(stored_records(scene.layout).value().empty());
  REQUIRE(write_record(network(scene.uid), scene.layout));
  const auto image = fresh_uid();
  fs::create_directories(image_dir(scene.layout, image));
  const auto vm = fresh_uid();
  fs::create_directories(vm_dir(scene.layout, vm));
  Sidecar sidecar{.uid = vm, .ns = "default", .name = "web", .generation = 3};
  sidecar.launched_spec.cpus = 4;
  REQUIRE(write_sidecar(sidecar, scene.layout));
  fs::create_directories(scene.layout.state_dir / "vms" / "not-a-uid");
  const auto all = stored_records(scene.layout).value();
  REQUIRE(all.size() == 3);
  CHECK(all[0].kind == api::Kind::Network);
  CHECK(all[1].kind == api::Kind::Image);
  CHECK(all[1].error == "there is no " + (image_dir(scene.layout, image) / kRecordFile).native());
  CHECK(all[2].sidecar == sidecar);
  REQUIRE(all[2].object);
  CHECK(all[2].object->meta.name == "web");
  CHECK(all[2].object->meta.generation == 3);
  CHECK(std::get<api::VirtualMachine>(all[2].object->body).spec.cpus == 4);

  sidecar.meta = {.name = "web", .ns = "default", .uid = vm, .generation = 5, .labels = {{"a", "b"}}};
  sidecar.spec.cpus = 8;
  REQUIRE(write_sidecar(sidecar, scene.layout));
  const auto again = stored_records(scene.layout).value();
  CHECK(again[2].object->meta == sidecar.meta);
  CHECK(std::get<api::VirtualMachine>(again[2].object->body).spec.cpus == 8);
}

TEST_CASE("the addresses that a guest's host key is pinned under are read from known_hosts, each once, in order") {
  RecordScene scene;
  const auto uid = fresh_uid();
  fs::create_directories(vm_dir(scene.layout, uid));
  CHECK(pinned_addresses(uid, scene.layout).empty());
  std::ofstream(known_hosts_path(scene.layout, uid))
      << "10.63.0.7 ssh-ed25519 AAAA\n[10.64.0.9]:2222 ssh-ed25519 AAAA\n10.63.0.7 ssh-ed25519 BBBB\nweb ssh-ed25519 AAAA\n\n[\n";
  ::chmod(known_hosts_path(scene.layout, uid).c_str(), 0600);
  CHECK(pinned_addresses(uid, scene.layout) == std::vector<std::string>{"10.63.0.7", "10.64.0.9"});
  ::chmod(known_hosts_path(scene.layout, uid).c_str(), 0666);
  CHECK(pinned_addresses(uid, scene.layout).empty());
}

}  // namespace

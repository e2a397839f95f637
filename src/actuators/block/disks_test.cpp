// SPDX-License-Identifier: Apache-2.0
#include "actuators/block/disks.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <string>

#include "actuators/block/copy_file.hpp"
#include "actuators/block/device_mapper.hpp"
#include "actuators/block/ext4.hpp"
#include "actuators/block/ext4_writer.hpp"
#include "actuators/block/testing.hpp"
#include "base/unique_fd.hpp"

namespace banger::actuators::block {
namespace {

const std::string kUid = "0123abcd-0123-4567-89ab-0123456789ab";

struct DisksFixture {
  testing::Directory directory;
  Layout layout{directory.path() / "state", directory.path() / "run"};
  std::string base = directory.path() / "base.ext4";

  DisksFixture() {
    std::filesystem::create_directories(vm_dir(layout, kUid));
    testing::write(base, "");
    REQUIRE(make_empty_ext4(base, {.size = mib(64), .label = "base"}).has_value());
  }
  [[nodiscard]] MakeRootDisk root(Bytes size, api::DiskBackend backend = api::DiskBackend::Copy) const {
    return {.vm_uid = kUid, .base_path = base, .size = size, .backend = backend};
  }
  [[nodiscard]] std::size_t files() const {
    std::size_t count = 0;
    for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(vm_dir(layout, kUid))) ++count;
    return count;
  }
};

// Files may not become longer than this many bytes while it lives: a full disk, as far as write(2) tells (EFBIG).
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    handler_ = std::signal(SIGXFSZ, SIG_IGN);
    const rlimit now{bytes, before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &now);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }

 private:
  rlimit before_{};
  void (*handler_)(int) = SIG_DFL;
};

}  // namespace

TEST_CASE("a root disk is a sparse copy of its base, extended to its size, and only its owner may read it") {
  const DisksFixture f;
  const auto made = run(f.root(mib(192)), f.layout, {});
  REQUIRE(made);
  CHECK(*made == "copy");
  const auto path = root_disk_path(f.layout, kUid);
  CHECK(std::filesystem::file_size(path) == mib(192).value);
  struct stat info{};
  REQUIRE(::stat(path.c_str(), &info) == 0);
  CHECK((info.st_mode & 0777) == 0600);
  CHECK(info.st_blocks * 512 < 8 << 20);
  CHECK((testing::read(path).substr(0, mib(64).value) == testing::read(f.base)));
  CHECK(testing::is_clean(path));
  CHECK(f.files() == 1);
}

TEST_CASE("an existing root disk keeps its content, whatever is asked") {
  const DisksFixture f;
  testing::write(root_disk_path(f.layout, kUid), "precious");
  const auto made = run(f.root({0}, api::DiskBackend::Reflink), f.layout, {});
  REQUIRE(made);
  CHECK(*made == "copy");
  CHECK(testing::read(root_disk_path(f.layout, kUid)) == "precious");
}

TEST_CASE("an existing root disk grows, keeps what it holds, and never shrinks") {
  const DisksFixture f;
  const auto path = root_disk_path(f.layout, kUid);
  testing::write(path, "precious");
  REQUIRE(run(f.root(mib(1)), f.layout, {}));
  CHECK(std::filesystem::file_size(path) == mib(1).value);
  CHECK(testing::read(path).starts_with("precious"));
  REQUIRE(run(f.root(kib(64)), f.layout, {}));
  CHECK(std::filesystem::file_size(path) == mib(1).value);
}

TEST_CASE("without a size the root disk is as large as its base") {
  const DisksFixture f;
  REQUIRE(run(f.root({0}), f.layout, {}));
  CHECK(std::filesystem::file_size(root_disk_path(f.layout, kUid)) == mib(64).value);
}

TEST_CASE("a root disk that cannot be made is refused in a sentence and leaves nothing behind") {
  const DisksFixture f;
  const auto refuse = [&](const MakeRootDisk& job, ErrorCode code, const std::string& part) {
    CAPTURE(part);
    const auto made = run(job, f.layout, {});
    REQUIRE_FALSE(made);
    CHECK(made.error().code == code);
    CAPTURE(made.error().message);
    CHECK(made.error().message.find(part) != std::string::npos);
    CHECK(f.files() == 0);
  };
  refuse(f.root(mib(32)), ErrorCode::Invalid, "rootDisk.size is 33554432 bytes, but the image needs at least 67108864");
  if (!dm::check_snapshot_target()) {
    refuse(f.root(mib(192), api::DiskBackend::DmSnapshot), ErrorCode::Unavailable,
           "rootDisk.backend is dm-snapshot, but: /dev/mapper/control does not work");
  }
  auto job = f.root(mib(192));
  job.base_path = f.directory.path() / "absent";
  refuse(job, ErrorCode::NotFound, "absent");
  testing::write(job.base_path, std::string(4096, 'x'));
  refuse(job, ErrorCode::Invalid, "is not an ext4 file system");
  std::stop_source stop;
  stop.request_stop();
  const auto made = run(f.root(mib(192), api::DiskBackend::Copy), f.layout, stop.get_token());
  REQUIRE_FALSE(made);
  CHECK(made.error().code == ErrorCode::Unavailable);
  CHECK(f.files() == 0);
  const UniqueFd from(::open(f.base.c_str(), O_RDONLY | O_CLOEXEC));
  const UniqueFd to(::open((f.directory.path() / "to").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!share_extents(from.get(), to.get()).value_or(true)) {
    refuse(f.root(mib(192), api::DiskBackend::Reflink), ErrorCode::Invalid,
           "cannot share extents (btrfs and XFS can); use auto or copy");
  }
}

TEST_CASE("auto takes what this host has best, and says why it is no better") {
  const DisksFixture f;
  const auto made = run(f.root({0}, api::DiskBackend::Auto), f.layout, {});
  REQUIRE(made);
  CAPTURE(*made);
  if (dm::check_snapshot_target()) {
    CHECK(*made == "dm-snapshot");
    CHECK(std::filesystem::exists(root_cow_path(f.layout, kUid)));
  } else {
    CHECK((made->starts_with("copy: no dm-snapshot: /dev/mapper/control") || made->starts_with("reflink: no dm-snapshot: ")));
    CHECK(std::filesystem::exists(root_disk_path(f.layout, kUid)));
  }
}

TEST_CASE("a base that other disks made longer by a hole is still as large as its file system") {
  const DisksFixture f;
  std::filesystem::resize_file(f.base, mib(512).value);
  REQUIRE(run(f.root({0}), f.layout, {}));
  CHECK(std::filesystem::file_size(root_disk_path(f.layout, kUid)) == mib(64).value);
  CHECK(testing::is_clean(root_disk_path(f.layout, kUid)));
  REQUIRE(run(f.root(mib(64)), f.layout, {}));
}

TEST_CASE("what a crashed run left is overwritten, and a write that fails leaves nothing") {
  const DisksFixture f;
  testing::write(vm_dir(f.layout, kUid) / ".root.img.tmp", "half");
  {
    const FileSizeLimit full(1 << 20);
    CHECK_FALSE(run(f.root(mib(192)), f.layout, {}));
    CHECK_FALSE(run(MakeDataDisk{.vm_uid = kUid, .disk = "data", .size = mib(64)}, f.layout, {}));
  }
  CHECK(f.files() == 0);
  testing::write(vm_dir(f.layout, kUid) / ".root.img.tmp", "half");
  REQUIRE(run(f.root(mib(192)), f.layout, {}));
  CHECK(f.files() == 1);
  CHECK(testing::is_clean(root_disk_path(f.layout, kUid)));
}

TEST_CASE("a data disk is made once, then grown, never shrunk and never made anew") {
  const DisksFixture f;
  MakeDataDisk job{.vm_uid = kUid, .disk = "data", .size = mib(64)};
  const auto path = data_disk_path(f.layout, kUid, "data");
  CHECK(run(job, f.layout, {}).value_or("") == "made");
  CHECK(testing::is_clean(path));
  const auto facts = read_ext4_facts(path);
  REQUIRE((facts && *facts));
  CHECK((*facts)->label == "data");
  const auto before = testing::read(path);
  CHECK(run(job, f.layout, {}).value_or("") == "kept");
  job.size = mib(128);
  CHECK(run(job, f.layout, {}).value_or("") == "grown");
  CHECK(std::filesystem::file_size(path) == mib(128).value);
  job.size = mib(32);
  CHECK(run(job, f.layout, {}).value_or("") == "kept");
  CHECK(std::filesystem::file_size(path) == mib(128).value);
  CHECK((testing::read(path).substr(0, mib(64).value) == before));
  testing::write(path, "not a file system");
  CHECK(run(job, f.layout, {}).value_or("") == "grown");
  CHECK(testing::read(path).starts_with("not a file system"));
}

TEST_CASE("a disk that went after it was seen is not made anew by the job that was to grow it") {
  const DisksFixture f;
  const MakeDataDisk data{.vm_uid = kUid, .disk = "data", .size = mib(64), .present = true};
  const auto grown = run(data, f.layout, {});
  REQUIRE(!grown);
  CHECK(grown.error().code == ErrorCode::NotFound);
  CHECK(!std::filesystem::exists(data_disk_path(f.layout, kUid, "data")));
  auto root = f.root(mib(1));
  root.present = true;
  const auto root_grown = run(root, f.layout, {});
  REQUIRE(!root_grown);
  CHECK(root_grown.error().code == ErrorCode::NotFound);
  CHECK(!std::filesystem::exists(root_disk_path(f.layout, kUid)));
}

TEST_CASE("disks are observed by their files, root first, and synced") {
  const DisksFixture f;
  CHECK(observe_disks(f.layout, "0123abcd-0123-4567-89ab-ffffffffffff").value().empty());
  CHECK(apply(SyncDisks{kUid}, f.layout).value() == Applied::Unchanged);
  REQUIRE(run(MakeDataDisk{.vm_uid = kUid, .disk = "a", .size = mib(8)}, f.layout, {}));
  REQUIRE(run(MakeDataDisk{.vm_uid = kUid, .disk = "root", .size = mib(8)}, f.layout, {}));
  REQUIRE(run(f.root(mib(192)), f.layout, {}));
  testing::write(vm_dir(f.layout, kUid) / "vm.json", "{}");
  testing::write(vm_dir(f.layout, kUid) / ".disk-b.img.tmp", "");
  const auto disks = observe_disks(f.layout, kUid).value();
  REQUIRE(disks.size() == 3);
  CHECK(disks[0].path == root_disk_path(f.layout, kUid).native());
  CHECK(disks[0].size == mib(192));
  CHECK(disks[0].allocated < mib(8));
  CHECK(disks[0].backend == "copy");
  CHECK(disks[1].backend.empty());
  CHECK(disks[1].name == "a");
  CHECK(disks[2].name == "root");
  CHECK(apply(SyncDisks{kUid}, f.layout).value() == Applied::Changed);
}

TEST_CASE("copies keep data and holes where they are") {
  const testing::Directory directory;
  const auto path = directory.path() / "from";
  {
    const UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    for (const off_t at : {off_t{0}, off_t{1} << 20, off_t{37} << 20}) REQUIRE(::pwrite(fd.get(), "data", 4, at) == 4);
    REQUIRE(::ftruncate(fd.get(), off_t{64} << 20) == 0);
  }
  const UniqueFd from(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  const UniqueFd to(::open((directory.path() / "to").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  REQUIRE(copy_data(from.get(), to.get(), length_of(from.get()).value(), {}));
  CHECK((testing::read(path) == testing::read(directory.path() / "to")));
  struct stat info{};
  REQUIRE(::fstat(to.get(), &info) == 0);
  CHECK(info.st_blocks * 512 <= 1 << 20);
}

}  // namespace banger::actuators::block

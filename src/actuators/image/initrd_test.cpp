// SPDX-License-Identifier: Apache-2.0
#include "actuators/image/initrd.hpp"

#include <archive.h>
#include <archive_entry.h>
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <map>
#include <string>

#include "actuators/block/testing.hpp"
#include "actuators/boot_config.hpp"
#include "actuators/guest/keys.hpp"
#include "actuators/image/cpio.hpp"
#include "actuators/image/kernels.hpp"
#include "actuators/image/modules.hpp"
#include "actuators/image/tar_maker.hpp"
#include "actuators/image/vm_initrd.hpp"
#include "base/random.hpp"

namespace banger::actuators::image {
namespace {

const std::string kVmUid = "0123abcd-0123-4567-89ab-0123456789ab";

// Names, permissions and contents of one cpio archive, as libarchive reads it.
std::map<std::string, std::pair<unsigned, std::string>> read_cpio(const std::string& bytes) {
  std::map<std::string, std::pair<unsigned, std::string>> out;
  archive* handle = ::archive_read_new();
  ::archive_read_support_format_cpio(handle);
  ::archive_read_open_memory(handle, bytes.data(), bytes.size());
  archive_entry* entry = nullptr;
  while (::archive_read_next_header(handle, &entry) == ARCHIVE_OK) {
    std::string content(static_cast<std::size_t>(::archive_entry_size(entry)), '\0');
    if (!content.empty())
      CHECK(::archive_read_data(handle, content.data(), content.size()) == static_cast<la_ssize_t>(content.size()));
    out[::archive_entry_pathname(entry)] = {::archive_entry_mode(entry), content};
  }
  ::archive_read_free(handle);
  return out;
}

constexpr std::string_view kModulesDep =
    "kernel/drivers/virtio/virtio.ko: kernel/drivers/virtio/virtio_ring.ko\n"
    "kernel/drivers/virtio/virtio_ring.ko:\n"
    "kernel/drivers/virtio/virtio_mmio.ko.zst: kernel/drivers/virtio/virtio.ko kernel/drivers/virtio/virtio_ring.ko\n"
    "kernel/drivers/block/virtio_blk.ko.xz: kernel/drivers/virtio/virtio.ko kernel/drivers/virtio/virtio_ring.ko\n"
    "kernel/drivers/char/hw_random/virtio-rng.ko.gz: kernel/drivers/virtio/virtio.ko kernel/drivers/virtio/virtio_ring.ko\n"
    "kernel/drivers/net/other.ko: kernel/drivers/virtio/virtio.ko\n"
    "kernel/fs/ext4/ext4.ko: kernel/lib/crc16.ko kernel/fs/mbcache.ko kernel/fs/jbd2/jbd2.ko\n"
    "kernel/lib/crc16.ko:\nkernel/fs/mbcache.ko:\nkernel/fs/jbd2/jbd2.ko:\n\n";

void make_modules(const std::filesystem::path& directory) {
  testing::write(directory / "modules.dep", std::string(kModulesDep));
  for (const auto& path : modules_to_load(kModulesDep)) {
    std::filesystem::create_directories((directory / path).parent_path());
    auto bytes =
        "\x7F"
        "ELF module " +
        path;
    if (path.ends_with(".zst")) bytes = testing::packed(bytes, "zstd");
    if (path.ends_with(".xz")) bytes = testing::packed(bytes, "xz");
    if (path.ends_with(".gz")) bytes = testing::packed(bytes, "gzip");
    testing::write(directory / path, bytes);
  }
}

struct InitrdFixture {
  testing::Directory directory;
  Layout layout{directory.path() / "state", directory.path() / "run"};
  std::filesystem::path init = directory.path() / "banger-init";
  std::filesystem::path modules = directory.path() / "modules";

  InitrdFixture() {
    testing::write(init, "the init");
    std::filesystem::create_directories(modules);
    make_modules(modules);
  }
  [[nodiscard]] Result<std::string> build(const std::string& modules_dir) const {
    return run(BuildInitrd{.kernel_uid = kVmUid, .modules_dir = modules_dir}, layout, init, {});
  }
};

}  // namespace

TEST_CASE("a cpio archive is read back by libarchive") {
  CpioWriter cpio;
  cpio.add_directory("a", 0755);
  cpio.add_file("a/b", 0640, "content");
  cpio.add_file("a/empty", 0600, "");
  cpio.add_char_device("console", 0600, 5, 1);
  const auto bytes = cpio.finish();
  CHECK(bytes.size() % 4 == 0);
  CHECK(bytes.starts_with("070701"));
  const auto files = read_cpio(bytes);
  REQUIRE(files.size() == 4);
  CHECK(files.at("a").first == (S_IFDIR | 0755));
  CHECK(files.at("a/b") == std::pair<unsigned, std::string>{S_IFREG | 0640, "content"});
  CHECK(files.at("a/empty").second.empty());
  CHECK(files.at("console").first == (S_IFCHR | 0600));
}

TEST_CASE("modules are loaded after what they need, once, and only those that a guest needs") {
  CHECK(modules_to_load(kModulesDep) ==
        std::vector<std::string>{"kernel/drivers/virtio/virtio_ring.ko", "kernel/drivers/virtio/virtio.ko",
                                 "kernel/drivers/virtio/virtio_mmio.ko.zst", "kernel/drivers/block/virtio_blk.ko.xz",
                                 "kernel/drivers/char/hw_random/virtio-rng.ko.gz", "kernel/fs/jbd2/jbd2.ko",
                                 "kernel/fs/mbcache.ko", "kernel/lib/crc16.ko", "kernel/fs/ext4/ext4.ko"});
  CHECK(modules_to_load("").empty());
  CHECK(modules_to_load("no colon\n\n:\n").empty());
}

TEST_CASE("the initrd holds the init and the modules, unpacked, and is not written again for the same input") {
  const InitrdFixture f;
  const auto path = f.build(f.modules);
  REQUIRE(path);
  CHECK(std::filesystem::path(*path).parent_path() == kernel_dir(f.layout, kVmUid));
  CHECK(std::filesystem::path(*path).filename().native().size() == std::string("initrd-").size() + 16);
  const auto files = read_cpio(testing::read(*path));
  CHECK(files.at("init") == std::pair<unsigned, std::string>{S_IFREG | 0755, "the init"});
  CHECK(files.at("banger/modules/virtio_mmio.ko").second ==
        "\x7F"
        "ELF module kernel/drivers/virtio/virtio_mmio.ko.zst");
  CHECK(files.at("banger/modules/virtio_blk.ko").second ==
        "\x7F"
        "ELF module kernel/drivers/block/virtio_blk.ko.xz");
  CHECK(files.at("banger/modules/virtio_rng.ko").second ==
        "\x7F"
        "ELF module kernel/drivers/char/hw_random/virtio-rng.ko.gz");
  CHECK(files.at("banger/modules/order").second ==
        "virtio_ring.ko\nvirtio.ko\nvirtio_mmio.ko\nvirtio_blk.ko\nvirtio_rng.ko\njbd2.ko\nmbcache.ko\ncrc16.ko\next4.ko\n");
  const auto before = file_facts(*path);
  CHECK(f.build(f.modules) == path);
  CHECK(file_facts(*path) == before);
  testing::write(f.init, "another init");
  CHECK(f.build(f.modules) != path);
  const auto without = f.build("");
  REQUIRE(without);
  CHECK(read_cpio(testing::read(*without)).at("banger/modules/order").second.empty());
}

TEST_CASE("an initrd that cannot be built is refused in a sentence") {
  const InitrdFixture f;
  CHECK(f.build(f.directory.path() / "absent").error().code == ErrorCode::NotFound);
  testing::write(f.modules / "kernel/drivers/block/virtio_blk.ko.xz",
                 "\xFD"
                 "7zXZ broken");
  const auto broken = f.build(f.modules);
  REQUIRE_FALSE(broken);
  CHECK(broken.error().code == ErrorCode::Invalid);
  CHECK(broken.error().message.find("virtio_blk.ko.xz: it is not a kernel module") != std::string::npos);
  testing::write(f.modules / "kernel/drivers/block/virtio_blk.ko.xz",
                 testing::packed(std::string(9999, 'x'), "xz").substr(0, 100));
  CHECK(f.build(f.modules).error().message.find("virtio_blk.ko.xz: it cannot be unpacked") != std::string::npos);
  std::filesystem::remove(f.modules / "kernel/drivers/block/virtio_blk.ko.xz");
  CHECK(f.build(f.modules).error().message.find("virtio_blk.ko.xz") != std::string::npos);
  std::filesystem::remove(f.init);
  CHECK(f.build(f.modules).error().message.find("banger-init") != std::string::npos);
}

TEST_CASE("a VM's initrd is its kernel's with the configuration behind it, and knows its hash") {
  const InitrdFixture f;
  SeededRandom random(1);
  std::filesystem::create_directories(vm_dir(f.layout, kVmUid));
  REQUIRE(guest::ensure_key(host_key_path(f.layout, kVmUid), random, "web"));
  std::filesystem::create_directories(client_key_path(f.layout).parent_path());
  const auto client = guest::ensure_key(client_key_path(f.layout), random, "bangerd");
  REQUIRE(client);
  const auto base = (f.directory.path() / "base").native();
  testing::write(base, "070701 base, odd");  // 16 bytes and one more below
  testing::write(base, testing::read(base) + "!");
  WriteVmInitrd step{.vm_uid = kVmUid,
                     .base_initrd = base,
                     .config = {.hostname = "web",
                                .ssh_user = "root",
                                .authorized_keys = {"ssh-ed25519 AAAA you"},
                                .files = {{.path = "/etc/motd", .content = "hello\n"}}}};
  CHECK_FALSE(observe_initrd_hash(f.layout, kVmUid));
  CHECK(apply(step, f.layout).value() == Applied::Changed);
  CHECK(observe_initrd_hash(f.layout, kVmUid) == boot_config_hash(step.config, base));
  CHECK(apply(step, f.layout).value() == Applied::Unchanged);
  const auto path = vm_initrd_path(f.layout, kVmUid);
  const auto bytes = testing::read(path);
  CHECK((std::filesystem::status(path).permissions() & std::filesystem::perms::all) == std::filesystem::perms(0600));
  CHECK(bytes.substr(0, 20) == std::string("070701 base, odd!\0\0\0", 20));
  const auto files = read_cpio(bytes.substr(20));
  const auto config = files.at("banger/config").second;
  CHECK(config.find("\nkey ssh-ed25519%20AAAA%20you\nkey ssh-ed25519%20AAAA") != std::string::npos);
  CHECK(config.find("%20bangerd\n") != std::string::npos);
  CHECK(config.find("%0A") == std::string::npos);
  CHECK(files.at("banger/files/0").second == "hello\n");
  CHECK(files.at("banger/ssh/host_key").second == testing::read(host_key_path(f.layout, kVmUid)));
  CHECK(files.at("banger/ssh/host_key").first == (S_IFREG | 0600));
  CHECK_FALSE(files.at("banger/ssh/dropbear_host_key").second.empty());
  const auto boot = testing::read("/proc/sys/kernel/random/boot_id").substr(0, 36);
  auto of_another_boot = bytes;
  of_another_boot[of_another_boot.rfind(boot)] = 'x';  // not synced when it was written: a crash may have left anything
  testing::write(path, of_another_boot);
  CHECK_FALSE(observe_initrd_hash(f.layout, kVmUid));
  CHECK(apply(step, f.layout).value() == Applied::Changed);
  step.config.hostname = "web2";
  CHECK(apply(step, f.layout).value() == Applied::Changed);
  testing::write(path, bytes.substr(0, bytes.size() - 1));
  CHECK_FALSE(observe_initrd_hash(f.layout, kVmUid));
  step.base_initrd = f.directory.path() / "absent";
  CHECK(apply(step, f.layout).error().code == ErrorCode::NotFound);
}

TEST_CASE("without an SSH user no key is needed and none is handed over") {
  const InitrdFixture f;
  std::filesystem::create_directories(vm_dir(f.layout, kVmUid));
  testing::write(f.init, "base");
  const WriteVmInitrd step{.vm_uid = kVmUid, .base_initrd = f.init, .config = {.hostname = "web"}};
  CHECK(apply(step, f.layout).value() == Applied::Changed);
  const auto files = read_cpio(testing::read(vm_initrd_path(f.layout, kVmUid)).substr(4));
  CHECK_FALSE(files.contains("banger/ssh/host_key"));
  auto with_keys = step;
  with_keys.config.ssh_user = "root";
  CHECK(apply(with_keys, f.layout).error().code == ErrorCode::NotFound);
}

TEST_CASE("kernels are found with their modules, the newest first") {
  const testing::Directory directory;
  const auto boot = directory.path() / "boot";
  const auto modules = directory.path() / "modules";
  std::filesystem::create_directories(boot);
  for (const char* version :
       {"6.1.0-9-cloud-amd64", "6.1.0-56-cloud-amd64", "6.1.0-56-amd64", "5.10.0-30-amd64", "6.12~rc1", "6.12"}) {
    testing::write(boot / (std::string("vmlinuz-") + version), "k");
    std::filesystem::create_directories(modules / version);
  }
  testing::write(boot / "vmlinuz-7.0-without-modules", "k");
  testing::write(boot / "vmlinuz-", "k");
  testing::write(boot / "initrd.img-6.1.0-9-cloud-amd64", "k");
  std::string found;
  for (const auto& kernel : host_kernels(boot, modules)) found += kernel.version + " ";
  CHECK(found == "6.12 6.12~rc1 6.1.0-56-cloud-amd64 6.1.0-56-amd64 6.1.0-9-cloud-amd64 5.10.0-30-amd64 ");
  CHECK(host_kernels(directory.path() / "absent", modules).empty());
}

TEST_CASE("versions compare as Debian's do") {
  const auto less = [](std::string_view a, std::string_view b) { return version_less(a, b) && !version_less(b, a); };
  CHECK(less("1.0", "1.0.1"));
  CHECK(less("1.9", "1.10"));
  CHECK(less("1.0~rc1", "1.0"));
  CHECK(less("1.0a", "1.0b"));
  CHECK(less("1.0", "1.0a"));
  CHECK(less("1.0a", "1.0+"));
  CHECK(less("", "0a"));
  CHECK_FALSE(version_less("1.0", "1.00"));
  CHECK_FALSE(version_less("1.00", "1.0"));
}

TEST_CASE("the files of an image and a kernel are observed") {
  const InitrdFixture f;
  CHECK_FALSE(observe_image_files(f.layout, {.uid = kVmUid, .source_path = "/absent"}).directory_exists);
  std::filesystem::create_directories(image_dir(f.layout, kVmUid));
  for (const char* name : {"base-b.ext4", "base-a.ext4", ".base-a.ext4.tmp", "base-.ext4", "other"})
    testing::write(image_dir(f.layout, kVmUid) / name, "x");
  const auto image = observe_image_files(f.layout, {.uid = kVmUid, .source_path = f.init.native()});
  CHECK(image.directory_exists);
  CHECK(image.source.exists);
  CHECK(image.source.size == Bytes{8});
  CHECK(image.source.mtime_ns > 0);
  REQUIRE(image.built.size() == 2);
  CHECK(image.built[0].path.ends_with("/base-a.ext4"));
  REQUIRE(f.build(""));
  const auto kernel = observe_kernel_files(f.layout, {.uid = kVmUid, .path = f.init.native()});
  CHECK(kernel.kernel.exists);
  CHECK_FALSE(kernel.boots);
  CHECK_FALSE(kernel.initrd.exists);
  CHECK(kernel.built.size() == 1);
  const auto with = observe_kernel_files(f.layout, {.uid = kVmUid, .path = f.init.native(), .initrd = f.init.native()});
  CHECK(with.initrd.exists);
  CHECK_FALSE(observe_kernel_files(f.layout, {.uid = kVmUid, .path = "", .initrd = "/absent"}).initrd.exists);
}

TEST_CASE("a kernel is a vmlinux or a bzImage, and nothing else is") {
  const testing::Directory directory;
  const auto is = [&](std::string content) {
    testing::write(directory.path() / "file", content);
    return is_kernel(directory.path() / "file");
  };
  std::string image(4096, '\0');
  CHECK_FALSE(is(image));
  image.replace(0x202, 4, "HdrS");
  CHECK_FALSE(is(image));  // without the boot flag
  image.replace(0x1fe, 2, "\x55\xaa");
  CHECK(is(image));
  CHECK_FALSE(is(image.substr(0, 0x205)));
  std::string elf(4096, '\0');
  elf.replace(0, 4,
              "\x7f"
              "ELF");
  elf[16] = 2;
  CHECK(is(elf));
  elf[16] = 3;  // as programs are that go anywhere
  CHECK_FALSE(is(elf));
  CHECK_FALSE(is(""));
  CHECK_FALSE(is("#!/bin/sh\n"));
  CHECK_FALSE(is_kernel(directory.path()));
  CHECK_FALSE(is_kernel(directory.path() / "absent"));
}

}  // namespace banger::actuators::image

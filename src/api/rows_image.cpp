// SPDX-License-Identifier: Apache-2.0
// Rows of Image and Kernel: what VMs are made from.
#include <array>

#include "api/rows.hpp"

namespace banger::api::schema {

template <>
std::span<const std::string_view> spellings_of<ImageFormat>() {
  static constexpr std::array<std::string_view, 3> kSpellings{"auto", "tar", "raw"};
  return kSpellings;
}

template <>
std::span<const Field> fields_of<ImageSpec>() {
  static const Field kRows[] = {
      {.name = "path",
       .member = member<&ImageSpec::path>(),
       .doc = "file on the host: a tar (plain, gzip, xz or zstd) or an ext4 file system without partitions",
       .required = true,
       .format = Format::AbsolutePath},
      {.name = "format", .member = member<&ImageSpec::format>(), .doc = "what the file is; `auto` looks into it"},
      {.name = "digest",
       .member = member<&ImageSpec::digest>(),
       .doc = "the file must have this digest",
       .format = Format::Sha256Digest,
       .default_text = "not checked"},
      {.name = "size",
       .member = member<&ImageSpec::size>(),
       .doc = "size of the file system that is made from a tar",
       .min = static_cast<std::int64_t>(mib(1).value),
       .max = static_cast<std::int64_t>(gib(64 * 1024).value),
       .default_text = "the content and a quarter more, at least 64Mi"},
  };
  return kRows;
}

template <>
std::span<const Field> fields_of<ImageStatus>() {
  static const Field kRows[] = {
      {.name = "observedGeneration",
       .member = member<&ImageStatus::observed_generation>(),
       .doc = "the generation that the status speaks of",
       .min = 0},
      {.name = "conditions", .member = member<&ImageStatus::conditions>(), .doc = "Ready", .list_key = "type"},
      {.name = "digest", .member = member<&ImageStatus::digest>(), .doc = "digest of the source file"},
      {.name = "path", .member = member<&ImageStatus::path>(), .doc = "the base ext4 file that root disks are made from"},
      {.name = "format", .member = member<&ImageStatus::format>(), .doc = "what the source file is"},
      {.name = "size", .member = member<&ImageStatus::size>(), .doc = "size of the base file system"},
      {.name = "source",
       .member = member<&ImageStatus::source>(),
       .doc = "generation, size and modification time of the source file that the base was built from"},
  };
  return kRows;
}

template <>
std::span<const Field> fields_of<Image>() {
  static const Field kRows[] = {
      {.name = "spec", .member = member<&Image::spec>(), .doc = "what is asked for"},
      {.name = "status", .member = member<&Image::status>(), .doc = "what is known", .server_owned = true},
  };
  return kRows;
}

template <>
std::span<const std::string_view> spellings_of<KernelSource>() {
  static constexpr std::array<std::string_view, 2> kSpellings{"HostPackage", "File"};
  return kSpellings;
}

template <>
std::span<const Field> fields_of<KernelSpec>() {
  static const Field kRows[] = {
      {.name = "source",
       .member = member<&KernelSpec::source>(),
       .doc = "`HostPackage`: the newest kernel package installed on the host; `File`: the file at `path`",
       .update = UpdateClass::Restart},
      {.name = "path",
       .member = member<&KernelSpec::path>(),
       .doc = "a vmlinux or bzImage on the host; required with `File`, forbidden with `HostPackage`",
       .format = Format::AbsolutePath,
       .update = UpdateClass::Restart},
      {.name = "initrd",
       .member = member<&KernelSpec::initrd>(),
       .doc = "an initrd on the host; only with `File`",
       .format = Format::AbsolutePath,
       .default_text = "generated from the modules",
       .update = UpdateClass::Restart},
      {.name = "modulesDir",
       .member = member<&KernelSpec::modules_dir>(),
       .doc = "the kernel's modules, such as /lib/modules/6.1.0; only with `File`",
       .format = Format::AbsolutePath,
       .default_text = "the kernel has what it needs built in",
       .update = UpdateClass::Restart},
      {.name = "args",
       .member = member<&KernelSpec::args>(),
       .doc = "the guest's command line, before the VM's `kernelArgs`",
       .format = Format::KernelArgument,
       .max_items = 64,
       .update = UpdateClass::Restart},
  };
  return kRows;
}

template <>
std::span<const Field> fields_of<KernelStatus>() {
  static const Field kRows[] = {
      {.name = "observedGeneration",
       .member = member<&KernelStatus::observed_generation>(),
       .doc = "the generation that the status speaks of",
       .min = 0},
      {.name = "conditions", .member = member<&KernelStatus::conditions>(), .doc = "Ready", .list_key = "type"},
      {.name = "version", .member = member<&KernelStatus::version>(), .doc = "release of the kernel"},
      {.name = "path", .member = member<&KernelStatus::path>(), .doc = "the kernel file that is booted"},
      {.name = "initrd", .member = member<&KernelStatus::initrd>(), .doc = "the initrd, generated or given"},
  };
  return kRows;
}

template <>
std::span<const Field> fields_of<Kernel>() {
  static const Field kRows[] = {
      {.name = "spec", .member = member<&Kernel::spec>(), .doc = "what is asked for"},
      {.name = "status", .member = member<&Kernel::status>(), .doc = "what is known", .server_owned = true},
  };
  return kRows;
}

}  // namespace banger::api::schema

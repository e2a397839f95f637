// SPDX-License-Identifier: Apache-2.0
// What there is to boot: installed kernel packages, and the files of images and kernels as the host shows them.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "actuators/host.hpp"
#include "actuators/names.hpp"

namespace banger::actuators::image {

// Every <boot>/vmlinuz-<version> with a directory <modules>/<version>, newest first.
std::vector<HostKernel> host_kernels(const std::filesystem::path& boot = "/boot",
                                     const std::filesystem::path& modules = "/lib/modules");

// As Debian compares versions without epoch: runs of digits by value, "~" before everything, letters before other characters.
bool version_less(std::string_view a, std::string_view b);

FileFacts file_facts(const std::filesystem::path& path);  // absent or no regular file: exists is false

// An ELF program that is linked to an address, as vmlinux is, or a bzImage (Linux' x86 boot protocol 2.00 and later).
bool is_kernel(const std::filesystem::path& path);

// The regular files <directory>/<prefix>*<suffix>, sorted by name.
std::vector<FileFacts> files_named(const std::filesystem::path& directory, std::string_view prefix, std::string_view suffix);

// Without the jobs, which are not on disk.
ImageView observe_image_files(const Layout& layout, const ImageQuery& query);
KernelView observe_kernel_files(const Layout& layout, const KernelQuery& query);

}  // namespace banger::actuators::image

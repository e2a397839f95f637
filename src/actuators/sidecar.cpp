// SPDX-License-Identifier: Apache-2.0
#include "actuators/sidecar.hpp"

#include <fmt/format.h>

#include "api/decode.hpp"
#include "api/encode.hpp"
#include "api/rows.hpp"
#include "base/random.hpp"
#include "base/text.hpp"

namespace banger::api::schema {

using actuators::KernelRecord;
using actuators::NicRecord;
using actuators::ProcessRecord;
using actuators::Sidecar;

template <>
std::span<const Field> fields_of<NicRecord>() {
  static const Field kRows[] = {
      {.name = "network", .member = member<&NicRecord::network>(), .doc = "name of the Network"},
      {.name = "networkUid", .member = member<&NicRecord::network_uid>(), .doc = "uid of the Network"},
      {.name = "tap", .member = member<&NicRecord::tap>(), .doc = "name of the link"},
      {.name = "mac", .member = member<&NicRecord::mac>(), .doc = "MAC address in the guest"},
      {.name = "address", .member = member<&NicRecord::address>(), .doc = "address and prefix in the guest"},
      {.name = "gateway", .member = member<&NicRecord::gateway>(), .doc = "default route of the guest"},
      {.name = "tapIndex", .member = member<&NicRecord::tap_index>(), .doc = "interface index of the tap at launch"},
      {.name = "mtu", .member = member<&NicRecord::mtu>(), .doc = "that the guest was told at launch"},
      {.name = "nameservers", .member = member<&NicRecord::nameservers>(), .doc = "of the network at launch"},
  };
  return kRows;
}

template <>
std::span<const Field> fields_of<KernelRecord>() {
  static const Field kRows[] = {
      {.name = "path", .member = member<&KernelRecord::path>(), .doc = "the kernel's file"},
      {.name = "initrd", .member = member<&KernelRecord::initrd>(), .doc = "the kernel's initrd"},
      {.name = "args", .member = member<&KernelRecord::args>(), .doc = "the Kernel's arguments"},
  };
  return kRows;
}

template <>
std::span<const Field> fields_of<ProcessRecord>() {
  static const Field kRows[] = {
      {.name = "pid", .member = member<&ProcessRecord::pid>(), .doc = "of the VMM"},
      {.name = "startTimeTicks", .member = member<&ProcessRecord::start_time_ticks>(), .doc = "field 22 of /proc/PID/stat"},
      {.name = "exe", .member = member<&ProcessRecord::exe>(), .doc = "its program"},
      {.name = "socket", .member = member<&ProcessRecord::socket>(), .doc = "its monitor"},
  };
  return kRows;
}

template <>
std::span<const Field> fields_of<Sidecar>() {
  static const Field kRows[] = {
      {.name = "format", .member = member<&Sidecar::format>(), .doc = "of this file", .always = true},
      {.name = "uid", .member = member<&Sidecar::uid>(), .doc = "of the VM"},
      {.name = "namespace", .member = member<&Sidecar::ns>(), .doc = "of the VM"},
      {.name = "name", .member = member<&Sidecar::name>(), .doc = "of the VM"},
      {.name = "generation", .member = member<&Sidecar::generation>(), .doc = "of launchedSpec"},
      {.name = "launchedSpec", .member = member<&Sidecar::launched_spec>(), .doc = "what the VMM was made from"},
      {.name = "nics", .member = member<&Sidecar::nics>(), .doc = "network interfaces"},
      {.name = "kernel", .member = member<&Sidecar::kernel>(), .doc = "what was booted"},
      {.name = "imageDigest", .member = member<&Sidecar::image_digest>(), .doc = "of the image"},
      {.name = "rootBackend", .member = member<&Sidecar::root_backend>(), .doc = "how the root disk was made"},
      {.name = "rootBackendReason", .member = member<&Sidecar::root_backend_reason>(), .doc = "why no better one"},
      {.name = "rootSize", .member = member<&Sidecar::root_size>(), .doc = "of the root disk when it was activated last"},
      {.name = "dmName", .member = member<&Sidecar::dm_name>(), .doc = "of the device-mapper node"},
      {.name = "loopFiles", .member = member<&Sidecar::loop_files>(), .doc = "backing files of loops"},
      {.name = "process", .member = member<&Sidecar::process>(), .doc = "the VMM of the last launch"},
      {.name = "metadata", .member = member<&Sidecar::meta>(), .doc = "of the object"},
      {.name = "spec", .member = member<&Sidecar::spec>(), .doc = "of the object, as it is wanted"},
      {.name = "diskNames", .member = member<&Sidecar::disk_names>(), .doc = "data disks that were made"},
      {.name = "bootId", .member = member<&Sidecar::boot_id>(), .doc = "of the host at launch"},
      {.name = "launches", .member = member<&Sidecar::launches>(), .doc = "how often a VMM was started"},
      {.name = "launched", .member = member<&Sidecar::launched>(), .doc = "when it was started last"},
      {.name = "syncNonce", .member = member<&Sidecar::sync_nonce>(), .doc = "of the last confirmed sync"},
      {.name = "ended", .member = member<&Sidecar::ended>(), .doc = "how the last launch ended"},
      {.name = "restarts", .member = member<&Sidecar::restarts>(), .doc = "launches after an end nobody asked for"},
      {.name = "failures", .member = member<&Sidecar::failures>(), .doc = "such ends in a row"},
      {.name = "restartAfter", .member = member<&Sidecar::restart_after>(), .doc = "not launched again before this"},
  };
  return kRows;
}

}  // namespace banger::api::schema

namespace banger::actuators {
namespace {

constexpr std::uint32_t kFormat = 1;

}  // namespace

std::string encode_sidecar(const Sidecar& sidecar) {
  return api::schema::encode_text_of(api::schema::type_of<Sidecar>(), &sidecar) + "\n";
}

Result<Sidecar> decode_sidecar(std::string_view text) {
  Sidecar sidecar;
  sidecar.format = 0;  // a file that does not say is not ours
  if (auto read = api::schema::read_stored(text, api::schema::type_of<Sidecar>(), &sidecar); !read) {
    return fail(with_context(std::move(read).error(), "vm.json cannot be read"));
  }
  if (sidecar.format != kFormat) {
    return fail(invalid(fmt::format("vm.json has format {}, this program reads format {}", sidecar.format, kFormat)));
  }
  if (!is_uid(sidecar.uid)) {
    return fail(invalid(fmt::format("vm.json has no valid uid, but {}", api::schema::shown(sidecar.uid))));
  }
  const auto& meta = sidecar.meta;
  if (!meta.uid.empty() && (meta.uid != sidecar.uid || meta.name != sidecar.name || meta.ns != sidecar.ns)) {
    return fail(invalid(fmt::format("vm.json contradicts itself: it is of {} {}/{}, and its object is {} {}/{}", sidecar.uid,
                                    printable(sidecar.ns), printable(sidecar.name), printable(meta.uid), printable(meta.ns),
                                    printable(meta.name))));
  }
  return sidecar;
}

}  // namespace banger::actuators

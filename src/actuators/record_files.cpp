// SPDX-License-Identifier: Apache-2.0
#include "actuators/record_files.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <system_error>

#include "actuators/record.hpp"
#include "actuators/vm_files.hpp"
#include "base/files.hpp"
#include "base/inet.hpp"
#include "base/random.hpp"
#include "base/text.hpp"

namespace banger::actuators {
namespace {

constexpr Bytes kRecordLimit = mib(4);

std::filesystem::path directory_of(api::Kind kind, const std::string& uid, const Layout& layout) {
  if (kind == api::Kind::Network) return network_dir(layout, uid);
  return kind == api::Kind::Image ? image_dir(layout, uid) : kernel_dir(layout, uid);
}

// The uids that have an entry below this directory, whatever it is.
Result<std::set<std::string>> uids_below(const std::filesystem::path& directory) {
  std::set<std::string> out;
  std::error_code error;
  std::filesystem::directory_iterator at(directory, error);
  for (; !error && at != std::filesystem::directory_iterator(); at.increment(error)) {
    auto name = at->path().filename().native();
    if (is_uid(name)) out.insert(std::move(name));
  }
  if (error && error != std::errc::no_such_file_or_directory)
    return fail(errno_error(fmt::format("reading {}", directory.native()), error.value()));
  return out;
}

StoredRecord vm_record(const std::string& uid, const Layout& layout) {
  StoredRecord out{.kind = api::Kind::VirtualMachine, .uid = uid, .path = sidecar_path(layout, uid).native()};
  VmView view{.uid = uid};
  add_sidecar(view, layout);
  if (view.sidecar) {
    out.object = object_of(*view.sidecar);
    out.sidecar = std::move(view.sidecar);
  } else {
    out.error = view.sidecar_error.empty() ? fmt::format("there is no {}", out.path) : view.sidecar_error;
  }
  return out;
}

StoredRecord plain_record(api::Kind kind, const std::string& uid, const Layout& layout) {
  StoredRecord out{.kind = kind, .uid = uid, .path = (directory_of(kind, uid, layout) / kRecordFile).native()};
  auto view = read_record(kind, uid, layout);
  out.object = std::move(view.object);
  out.error = std::move(view.error);
  if (!out.object && out.error.empty()) out.error = fmt::format("there is no {}", out.path);
  return out;
}

}  // namespace

// "10.1.2.3 ssh-ed25519 …" or "[10.1.2.3]:2222 ssh-ed25519 …", a line each.
std::vector<std::string> pinned_addresses(const std::string& vm_uid, const Layout& layout) {
  std::vector<std::string> out;
  const auto text = read_own_file(known_hosts_path(layout, vm_uid), kib(64));
  if (!text) return out;
  for (const auto line : split(*text, '\n')) {
    std::string_view name = line;
    name = name.substr(0, name.find(' '));
    if (name.starts_with('[')) name = name.substr(1, name.find(']') - 1);
    std::string address(name);
    if (parse_ipv4(address) && std::ranges::find(out, address) == out.end()) out.push_back(std::move(address));
  }
  return out;
}

RecordView read_record(api::Kind kind, const std::string& uid, const Layout& layout) {
  RecordView view;
  const auto path = directory_of(kind, uid, layout) / kRecordFile;
  const auto text = read_own_file(path, kRecordLimit);
  if (!text) {
    if (text.error().code != ErrorCode::NotFound) view.error = text.error().message;
    return view;
  }
  auto object = decode_record(*text);
  if (!object) {
    view.error = fmt::format("{}: {}", path.native(), object.error().message);
  } else if (object->meta.uid != uid || api::kind_of(*object) != kind) {
    view.error = fmt::format("{} is that of {} ({})", path.native(), api::to_string(api::key_of(*object)), object->meta.uid);
  } else {
    view.object = *std::move(object);
  }
  return view;
}

Result<Applied> write_record(const api::Object& record, const Layout& layout) {
  const auto directory = directory_of(api::kind_of(record), record.meta.uid, layout);
  const bool made = !std::filesystem::exists(directory);
  BGR_CHECK(make_directories(directory, 0700));
  BGR_CHECK(check_own_directory(directory));
  if (made) BGR_CHECK(fsync_directory(directory.parent_path()));
  const auto path = directory / kRecordFile;
  const auto text = encode_record(record);
  if (const auto old = read_own_file(path, kRecordLimit); old && *old == text) return Applied::Unchanged;
  BGR_CHECK(write_file_durably(path, text, 0600));
  return Applied::Changed;
}

Result<std::vector<StoredRecord>> stored_records(const Layout& layout) {
  std::vector<StoredRecord> out;
  for (const auto& [kind, below] : {std::pair{api::Kind::Network, "networks"}, std::pair{api::Kind::Kernel, "kernels"},
                                    std::pair{api::Kind::Image, "images"}}) {
    BGR_TRY(const auto uids, uids_below(layout.state_dir / below));
    for (const auto& uid : uids) out.push_back(plain_record(kind, uid, layout));
  }
  BGR_TRY(const auto uids, uids_below(layout.state_dir / "vms"));
  for (const auto& uid : uids) out.push_back(vm_record(uid, layout));
  return out;
}

}  // namespace banger::actuators

// SPDX-License-Identifier: Apache-2.0
#include "actuators/guest/ssh.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <mutex>
#include <set>
#include <utility>
#include <vector>

#include "actuators/guest/key_forms.hpp"
#include "actuators/guest/known_hosts.hpp"
#include "actuators/guest/ssh_session.hpp"
#include "base/files.hpp"
#include "base/inet.hpp"
#include "base/text.hpp"

namespace banger::actuators::guest {
namespace {

constexpr std::chrono::milliseconds kProbeLimit{1'000};
constexpr std::size_t kTailLength = 200;
constexpr Bytes kKnownHostsLimit = kib(64);

bool is_nonce(std::string_view nonce) {
  return nonce.size() >= 8 && nonce.size() <= 64 &&
         std::ranges::all_of(nonce, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

Result<void> check_port(std::int64_t port) {
  if (port < 1 || port > 65535) return fail(invalid(fmt::format("SSH port {}: expected 1..65535", port)));
  return {};
}

Result<Endpoint> endpoint_of(const SshTarget& target) {
  const auto address = parse_ipv4(target.address);
  if (!address) return fail(invalid(fmt::format("SSH address \"{}\": expected like 10.1.2.3", printable(target.address))));
  BGR_CHECK(check_port(target.port));
  return Endpoint{.address = *address, .port = static_cast<std::uint16_t>(target.port)};
}

Result<SshPeer> peer_of(const SshTarget& target, const Layout& layout) {
  if (!is_uid(target.vm_uid)) return fail(invalid(fmt::format("VM \"{}\" is not a uid", printable(target.vm_uid))));
  if (target.user.empty()) return fail(invalid("SSH user is empty"));
  BGR_TRY(const auto endpoint, endpoint_of(target));
  const auto path = known_hosts_path(layout, target.vm_uid);
  const auto text = read_file(path, kKnownHostsLimit);
  if (!text) return fail({ErrorCode::Denied, fmt::format("no host key is pinned: {}", text.error().message), 0});
  auto pinned = pinned_key(*text, known_hosts_name(target.address, target.port));
  if (!pinned) return fail(with_context(pinned.error(), path.native()));
  return SshPeer{
      .endpoint = endpoint,
      .user = target.user,
      .pinned_key = *std::move(pinned),
      .repin_hint = fmt::format("a restart of the virtual machine gives it the key pinned in {} again", path.native())};
}

// True when the line stands in the text, whole and ended.
bool has_line(std::string_view text, std::string_view line) {
  while (!text.empty()) {
    const auto end = text.find('\n');
    if (end == std::string_view::npos) return false;
    if (text.substr(0, end) == line) return true;
    text.remove_prefix(end + 1);
  }
  return false;
}

std::string how_it_ended(const ExecOutput& output) {
  const auto tail = output.text.size() > kTailLength ? output.text.substr(output.text.size() - kTailLength) : output.text;
  const auto said = tail.empty() ? std::string("it said nothing") : fmt::format("it said \"{}\"", printable(tail));
  return output.end == ExecEnd::Eof ? fmt::format("the command ended without the nonce; {}", said)
                                    : fmt::format("{}; {}", output.why, said);
}

// Opened without following a link: what is at our path must be a directory of its own.
Result<bool> ensure_private_directory(const std::filesystem::path& path) {
  const bool is_new = ::mkdir(path.c_str(), 0700) == 0;
  if (!is_new && errno != EEXIST) return fail(errno_error(fmt::format("making {}", path.native()), errno));
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  struct stat info{};
  if (!fd.valid() || ::fstat(fd.get(), &info) != 0) return fail(errno_error(fmt::format("opening {}", path.native()), errno));
  const bool wrong_mode = (info.st_mode & 07777U) != 0700;
  if (wrong_mode && ::fchmod(fd.get(), 0700) != 0) return fail(errno_error(fmt::format("chmod of {}", path.native()), errno));
  return is_new || wrong_mode;
}

// The directory of all VMs is made once; its name need not be synced for each of them.
Result<void> sync_once(const std::filesystem::path& directory) {
  static std::mutex mutex;
  static std::set<std::filesystem::path> synced;
  const std::scoped_lock lock(mutex);
  if (synced.contains(directory)) return {};
  BGR_CHECK(fsync_directory(directory));
  synced.insert(directory);
  return {};
}

}  // namespace

Result<std::string> run(const SyncGuest& job, const Layout& layout, std::stop_token stop) {
  if (!is_nonce(job.nonce)) return fail(invalid("the nonce must be 8 to 64 of 0-9 a-f"));
  BGR_TRY(const auto peer, peer_of(job.target, layout));
  BGR_TRY(const auto client, load_key(client_key_path(layout)));
  BGR_TRY(auto session, SshSession::connect(peer, client, SshLimits{}, std::move(stop)));
  const auto wanted = fmt::format("BGR-SYNC-{}", job.nonce);
  const auto output = session.exec(fmt::format("sync && echo {}", wanted), [&](auto text) { return has_line(text, wanted); });
  if (output && output->end == ExecEnd::Enough) return job.nonce;
  const auto why = output ? how_it_ended(*output) : output.error().message;
  return fail({ErrorCode::Unavailable, fmt::format("SyncNotConfirmed: {}: {}", to_string(peer.endpoint), why), 0});
}

Result<std::string> run(const ProbeSsh& job, const Layout& layout, std::stop_token stop) {
  (void)layout;  // a banner proves nothing about who sends it; no key is needed
  BGR_TRY(const auto endpoint, endpoint_of(job.target));
  const auto deadline = std::chrono::steady_clock::now() + kProbeLimit;
  const auto unreachable = [&](const Error& error) {
    return fail({ErrorCode::Unavailable, fmt::format("GuestUnreachable: {}: {}", to_string(endpoint), error.message), 0});
  };
  const auto wire = Wire::connect(endpoint, deadline, std::move(stop));
  if (!wire) return unreachable(wire.error());
  auto banner = read_banner(*wire, deadline);
  if (!banner) return unreachable(banner.error());
  return banner;
}

Result<Applied> apply(const MakeVmDirectory& step, const Layout& layout, Random& random) {
  if (!is_uid(step.vm_uid)) return fail(invalid(fmt::format("VM \"{}\" is not a uid", printable(step.vm_uid))));
  BGR_CHECK(check_port(step.port));
  std::vector<std::string> names;
  for (const auto& address : step.addresses) {
    if (!parse_ipv4(address)) return fail(invalid(fmt::format("address \"{}\": expected like 10.1.2.3", printable(address))));
    names.push_back(known_hosts_name(address, step.port));
  }
  const auto directory = vm_dir(layout, step.vm_uid);
  BGR_CHECK(make_directories(directory.parent_path(), 0700));
  BGR_TRY(bool changed, ensure_private_directory(directory));

  const auto key_path = host_key_path(layout, step.vm_uid);
  changed = changed || ::access(key_path.c_str(), F_OK) != 0;
  BGR_TRY(const auto key, ensure_key(key_path, random, fmt::format("banger-vm-{}", short_id(step.vm_uid))));

  const auto wanted = write_known_hosts(names, key.openssh_public);
  const auto there = read_file(known_hosts_path(layout, step.vm_uid), kKnownHostsLimit);
  if (!there || *there != wanted) {
    BGR_CHECK(write_file_durably(known_hosts_path(layout, step.vm_uid), wanted, 0600));
    changed = true;
  }
  if (changed) {
    // The files are durable; so must be the names that lead to them, also after a crash between mkdir and here.
    BGR_CHECK(fsync_directory(directory.parent_path()));
    BGR_CHECK(sync_once(layout.state_dir));
  }
  return changed ? Applied::Changed : Applied::Unchanged;
}

Result<KeyPair> ensure_client_key(const Layout& layout, Random& random) {
  return ensure_key(client_key_path(layout), random, "banger");
}

}  // namespace banger::actuators::guest

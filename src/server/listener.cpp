// SPDX-License-Identifier: Apache-2.0
#include "server/listener.hpp"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <vector>

#include "base/files.hpp"

namespace banger::server {
namespace {

Result<sockaddr_un> address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof(address.sun_path)) {
    return fail(invalid(
        fmt::format("the socket path {} has {} bytes; it must have 1 to {}", path, path.size(), sizeof(address.sun_path) - 1)));
  }
  std::memcpy(address.sun_path, path.c_str(), path.size());
  return address;
}

const sockaddr* as_sockaddr(const sockaddr_un& address) { return reinterpret_cast<const sockaddr*>(&address); }

// Makes way for a new socket file: nothing there, or a socket that nobody answers on.
Result<void> clear_the_way(const std::string& path, const sockaddr_un& address) {
  struct stat info{};
  if (::lstat(path.c_str(), &info) != 0) {
    if (errno == ENOENT) return {};
    return fail(errno_error(fmt::format("looking at {}", path), errno));
  }
  if (!S_ISSOCK(info.st_mode)) {
    return fail(invalid(fmt::format("{} exists and is not a socket; move it away, or choose another socket path", path)));
  }
  const UniqueFd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!probe.valid()) return fail(errno_error("making a socket", errno));
  if (::connect(probe.get(), as_sockaddr(address), sizeof(address)) == 0 || errno == EAGAIN || errno == EINPROGRESS) {
    return fail(
        {ErrorCode::Busy, fmt::format("another bangerd serves {}; stop it first, or give this one another socket path", path)});
  }
  if (errno != ECONNREFUSED && errno != ENOENT) return fail(errno_error(fmt::format("asking who serves {}", path), errno));
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return fail(errno_error(fmt::format("removing the stale {}", path), errno));
  return {};
}

bool is_member(int connection, const ucred& peer, gid_t group) {
  if (peer.gid == group) return true;
  std::vector<gid_t> groups(256);
  for (;;) {
    auto bytes = static_cast<socklen_t>(groups.size() * sizeof(gid_t));
    if (::getsockopt(connection, SOL_SOCKET, SO_PEERGROUPS, groups.data(), &bytes) == 0) {
      groups.resize(bytes / sizeof(gid_t));
      return std::ranges::find(groups, group) != groups.end();
    }
    if (errno != ERANGE || bytes / sizeof(gid_t) <= groups.size()) return false;
    groups.resize(bytes / sizeof(gid_t));
  }
}

}  // namespace

Result<UniqueFd> listen_on(const ServerOptions& options) {
  const auto& path = options.socket_path;
  BGR_TRY(const auto address, address_of(path));
  BGR_CHECK(make_directories(std::filesystem::path(path).parent_path(), 0755));
  BGR_CHECK(clear_the_way(path, address));
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.valid()) return fail(errno_error("making a socket", errno));
  // The file is born with the mode of the unbound socket (unix(7) leaves it out; net/unix/af_unix.c has it), so there is no
  // moment in which others could connect.
  if (::fchmod(fd.get(), 0600) != 0) return fail(errno_error("setting the mode of a socket", errno));
  if (::bind(fd.get(), as_sockaddr(address), sizeof(address)) != 0) {
    return fail(errno_error(fmt::format("binding {}", path), errno));
  }
  if (options.group && ::chown(path.c_str(), static_cast<uid_t>(-1), *options.group) != 0) {
    return fail(errno_error(fmt::format("giving {} to group {}", path, *options.group), errno));
  }
  if (::chmod(path.c_str(), options.socket_mode) != 0)
    return fail(errno_error(fmt::format("setting the mode of {}", path), errno));
  if (::listen(fd.get(), SOMAXCONN) != 0) return fail(errno_error(fmt::format("listening on {}", path), errno));
  return fd;
}

std::optional<std::string> refusal_of_peer(int connection, const ServerOptions& options) {
  ucred peer{};
  socklen_t bytes = sizeof(peer);
  if (::getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &peer, &bytes) != 0) {
    return errno_error("asking the kernel who connected", errno).message;
  }
  if (peer.uid == 0 || peer.uid == ::geteuid()) return std::nullopt;
  if (options.group && is_member(connection, peer, *options.group)) return std::nullopt;
  auto allowed = ::geteuid() == 0 ? std::string("root") : fmt::format("root and user {}", ::geteuid());
  if (options.group) allowed += fmt::format(" and members of group {}", *options.group);
  return fmt::format("user {} may not use this bangerd; it serves {} only", peer.uid, allowed);
}

}  // namespace banger::server

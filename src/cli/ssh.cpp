// SPDX-License-Identifier: Apache-2.0
// bangerctl ssh: a shell or a command in the guest, by the OpenSSH client.
#include "cli/ssh.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/inet.hpp"
#include "base/text.hpp"
#include "cli/arguments.hpp"
#include "cli/verbs.hpp"

namespace banger::cli {
namespace {

// A file name inside an option of ssh_config(5): percent signs are tokens there, spaces separate.
std::string option_path(std::string_view path) {
  std::string out = "\"";
  for (const char c : path) out += c == '%' ? std::string("%%") : std::string(1, c);
  return out + '"';
}

bool plain_path(std::string_view path) {
  return path.starts_with('/') &&
         std::ranges::none_of(path, [](char c) { return c == '"' || c == '\n' || c == '\\' || c == '$'; });
}

bool plain_user(std::string_view user) {
  return !user.empty() && !user.starts_with('-') && std::ranges::all_of(user, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
  });
}

Failure cannot(const api::Object& vm, std::string_view why) {
  return {kExitFailed, fmt::format("virtual machine \"{}\" {}", printable(vm.meta.name), why)};
}

Outcome<> check_running(const api::Object& vm) {
  const auto& body = std::get<api::VirtualMachine>(vm.body);
  const auto name = printable(vm.meta.name);
  const auto phase = body.status.phase.empty() ? std::string("Pending") : printable(body.status.phase);
  if (!body.spec.ssh) {
    return give_up(cannot(vm, "has no spec.ssh, so nothing in it lets you in; add spec.ssh with your key and apply it"));
  }
  if (phase == "Running") return {};
  if (vm.meta.deletion_time) return give_up(cannot(vm, "is being deleted"));
  if (body.spec.power_state == api::PowerState::Stopped) {
    return give_up(cannot(vm, fmt::format("is {}; start it with: bangerctl start {}", phase, name)));
  }
  return give_up(
      cannot(vm, fmt::format("is {}, not Running yet; wait with: bangerctl wait --for=condition=Ready vm/{}", phase, name)));
}

}  // namespace

Outcome<std::vector<std::string>> ssh_arguments(const api::Object& vm, const std::vector<std::string>& command) {
  if (const auto running = check_running(vm); !running) return give_up(running.error());
  const auto& status = std::get<api::VirtualMachine>(vm.body).status;
  if (!status.ssh)
    return give_up(
        cannot(vm, fmt::format("has no address for SSH yet; look with: bangerctl describe vm {}", printable(vm.meta.name))));
  const auto& ssh = *status.ssh;
  const auto address = parse_ipv4(std::string_view(ssh.address).substr(0, ssh.address.find('/')));
  if (!address || !plain_user(ssh.user) || !plain_path(ssh.identity_file) || !plain_path(ssh.known_hosts_file) || ssh.port < 1 ||
      ssh.port > 65535) {
    return give_up(cannot(vm, "has a status.ssh that cannot be used; look with: bangerctl get vm -o yaml"));
  }
  std::vector<std::string> arguments{"ssh",
                                     "-o",
                                     "StrictHostKeyChecking=yes",
                                     "-o",
                                     "UserKnownHostsFile=" + option_path(ssh.known_hosts_file),
                                     "-o",
                                     "GlobalKnownHostsFile=/dev/null",
                                     "-o",
                                     "IdentitiesOnly=yes",
                                     "-o",
                                     "IdentityFile=" + option_path(ssh.identity_file),
                                     "-p",
                                     std::to_string(ssh.port),
                                     "--",
                                     fmt::format("{}@{}", ssh.user, to_string(*address))};
  arguments.insert(arguments.end(), command.begin(), command.end());
  return arguments;
}

Outcome<> ssh(const SshOptions& options, const Session& session) {
  const auto name = vm_name(options.vm);
  if (!name) return give_up(name.error());
  const api::ObjectKey key{api::Kind::VirtualMachine, session.ns, *name};
  const auto vm = session.client.get(key);
  if (!vm) return give_up(failure_of(vm.error(), key));
  auto arguments = ssh_arguments(*vm, options.command);
  if (!arguments) return give_up(arguments.error());
  const auto& identity = std::get<api::VirtualMachine>(vm->body).status.ssh->identity_file;
  if (::access(identity.c_str(), R_OK) != 0) {
    return give_up(
        {kExitFailed, fmt::format("{}; run bangerctl ssh as root",
                                  errno_error(fmt::format("reading the key {}", printable(identity)), errno).message)});
  }
  std::vector<char*> raw;
  for (auto& argument : *arguments) raw.push_back(argument.data());
  raw.push_back(nullptr);
  flush_output();
  ::execvp("ssh", raw.data());
  if (errno == ENOENT) return give_up({kExitFailed, "there is no ssh on PATH; install the package openssh-client"});
  return give_up({kExitFailed, errno_error("running ssh", errno).message});
}

}  // namespace banger::cli

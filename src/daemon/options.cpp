// SPDX-License-Identifier: Apache-2.0
#include "daemon/options.hpp"

#include <CLI/CLI.hpp>
#include <filesystem>
#include <map>

#include "daemon/version.hpp"

namespace banger::daemon {
namespace {

std::string absolute(const std::string& path) {
  return path.empty() ? path : std::filesystem::absolute(path).lexically_normal().native();
}

}  // namespace

std::expected<Options, int> parse_options(int argc, char** argv) {
  Options options;
  CLI::App app{"bangerd keeps the microVMs of this host equal to what their manifests say."};
  app.set_version_flag("--version", std::string("bangerd ") + std::string(kProgramVersion));
  app.add_option("--manifests", options.manifests, "directory of YAML manifests to watch");
  app.add_option("--state-dir", options.state_dir, "database, disks and keys; survives a reboot")->capture_default_str();
  app.add_option("--run-dir", options.run_dir, "sockets; keep it short, a socket path has at most 107 bytes")
      ->capture_default_str();
  app.add_option("--socket", options.socket, "API socket (default: <run-dir>/bangerd.sock)");
  app.add_option("--libexec", options.libexec, "directory of banger-shim and banger-init (default: beside bangerd)");
  app.add_option("--qemu", options.qemu, "QEMU program (default: qemu-system-x86_64 on PATH)");
  app.add_option("--accelerator", options.accelerator, "auto takes KVM where it can run guests, else TCG")
      ->check(CLI::IsMember({"auto", "kvm", "tcg"}))
      ->capture_default_str();
  app.add_option("--workers", options.workers, "reconcile passes at a time")->check(CLI::Range(1U, 64U))->capture_default_str();
  const std::map<std::string, log::Format> formats{
      {"auto", log::Format::Auto}, {"text", log::Format::Text}, {"json", log::Format::Json}};
  app.add_option("--log-format", options.log_format, "auto: text on a terminal, else JSON")
      ->transform(CLI::CheckedTransformer(formats));
  const std::map<std::string, log::Level> levels{
      {"debug", log::Level::Debug}, {"info", log::Level::Info}, {"warning", log::Level::Warning}, {"error", log::Level::Error}};
  app.add_option("--log-level", options.log_level, "what is worth a line")->transform(CLI::CheckedTransformer(levels));
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return std::unexpected(app.exit(error) == 0 ? 0 : 2);
  }
  options.state_dir = absolute(options.state_dir);
  options.run_dir = absolute(options.run_dir);
  options.manifests = absolute(options.manifests);
  options.socket = options.socket.empty() ? options.run_dir + "/bangerd.sock" : absolute(options.socket);
  return options;
}

}  // namespace banger::daemon

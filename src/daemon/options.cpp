// SPDX-License-Identifier: Apache-2.0
#include "daemon/options.hpp"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <map>

#include "base/text.hpp"
#include "daemon/version.hpp"

namespace banger::daemon {
namespace {

std::string absolute(const std::string& path) {
  return path.empty() ? path : std::filesystem::absolute(path).lexically_normal().native();
}

// One sentence on standard error, as every other refusal.
std::unexpected<int> wrong(std::string text) {
  while (text.ends_with('.') || text.ends_with(' ')) text.pop_back();
  fmt::print(stderr, "bangerd: {}; see: bangerd --help\n", printable(text));
  return std::unexpected(2);
}

}  // namespace

std::expected<Options, int> parse_options(int argc, char** argv) {
  Options options;
  CLI::App app{"bangerd keeps the microVMs of this host equal to what their manifests say.", "bangerd"};
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
  static const std::map<std::string, log::Format> kFormats{
      {"auto", log::Format::Auto}, {"text", log::Format::Text}, {"json", log::Format::Json}};
  static const std::map<std::string, log::Level> kLevels{
      {"debug", log::Level::Debug}, {"info", log::Level::Info}, {"warning", log::Level::Warning}, {"error", log::Level::Error}};
  // Checked as words: CLI11's transformers would take and show the numbers behind them.
  std::string format = "auto";
  std::string level = "info";
  app.add_option("--log-format", format, "auto: text on a terminal, else JSON")
      ->check(CLI::IsMember({"auto", "text", "json"}))
      ->capture_default_str();
  app.add_option("--log-level", level, "what is worth a line")
      ->check(CLI::IsMember({"debug", "info", "warning", "error"}))
      ->capture_default_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& success) {
    app.exit(success);
    return std::unexpected(0);
  } catch (const CLI::ParseError& error) {
    return wrong(error.what());
  }
  for (const auto& [name, value] : {std::pair{"--state-dir", &options.state_dir}, {"--run-dir", &options.run_dir}}) {
    if (value->empty()) return wrong(fmt::format("{} wants a directory, is empty", name));
  }
  options.log_format = kFormats.at(format);
  options.log_level = kLevels.at(level);
  options.state_dir = absolute(options.state_dir);
  options.run_dir = absolute(options.run_dir);
  options.manifests = absolute(options.manifests);
  options.qemu = absolute(options.qemu);
  options.socket = options.socket.empty() ? options.run_dir + "/bangerd.sock" : absolute(options.socket);
  return options;
}

}  // namespace banger::daemon

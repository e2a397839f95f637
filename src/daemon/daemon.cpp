// SPDX-License-Identifier: Apache-2.0
#include "daemon/daemon.hpp"

#include <fmt/format.h>
#include <malloc.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <future>
#include <memory>
#include <thread>
#include <vector>

#include "actuators/local_host.hpp"
#include "actuators/names.hpp"
#include "base/clock.hpp"
#include "base/log.hpp"
#include "base/random.hpp"
#include "controller/adopt_mode.hpp"
#include "controller/garbage_document.hpp"
#include "controller/metrics.hpp"
#include "controller/recovery.hpp"
#include "controller/runtime.hpp"
#include "daemon/preflight.hpp"
#include "daemon/version.hpp"
#include "intake/manifest_directory.hpp"
#include "server/server.hpp"
#include "store/objects.hpp"
#include "store/store.hpp"

namespace banger::daemon {
namespace {

constexpr std::size_t kManifestWriters = 8;
constexpr std::chrono::milliseconds kMemoryReturn{15'000};

Result<std::string> documented(Result<controller::GarbageReport> report) {
  if (!report) return fail(std::move(report).error());
  return controller::document_of(*report);
}

// SIGTERM and SIGINT wait for us, in every thread made after this.
sigset_t block_stop_signals() {
  sigset_t signals;
  ::sigemptyset(&signals);
  ::sigaddset(&signals, SIGTERM);
  ::sigaddset(&signals, SIGINT);
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  return signals;
}

// sd_notify(3)'s protocol: one datagram to the socket in NOTIFY_SOCKET. Silence is fine: nobody may be listening.
void notify_ready() {
  const char* path = std::getenv("NOTIFY_SOCKET");
  if (path == nullptr || *path == '\0') return;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::size_t length = std::strlen(path);
  if (length >= sizeof(address.sun_path)) return;
  std::memcpy(address.sun_path, path, length);
  if (path[0] == '@') address.sun_path[0] = '\0';
  const UniqueFd fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  constexpr std::string_view kReady = "READY=1";
  ::sendto(fd.get(), kReady.data(), kReady.size(), MSG_NOSIGNAL, reinterpret_cast<const sockaddr*>(&address),
           static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + length));
}

// The database, or a new one filled from what is left of the old one.
Result<controller::OpenedState> open_store(const Options& options, actuators::Host& host, controller::AdoptMode& adopt_mode,
                                           Clock& clock, Random& random) {
  BGR_TRY(auto state,
          controller::open_state(options.state_dir + "/db", {host, clock, random}, controller::recovery_steps(host, adopt_mode)));
  if (!state.plan.report.empty()) log::warning("state was lost", {{"report", state.plan.report}});
  for (const auto& problem : state.plan.problems) log::warning("not brought back", {{"problem", problem}});
  if (adopt_mode.active()) log::warning(adopt_mode.text());
  return state;
}

intake::Options manifest_options(const Options& options, controller::AdoptMode& adopt_mode) {
  intake::Options out{.directory = options.manifests};
  out.writers = kManifestWriters;
  out.record = options.state_dir + "/manifests.read";
  out.removals_held = [&adopt_mode] { return adopt_mode.active(); };
  out.read_whole = [&adopt_mode] { (void)adopt_mode.leave("every manifest was read"); };
  return out;
}

void warn_of_manifests(const std::string& path) {
  std::error_code ignored;
  if (path.empty() || std::filesystem::is_directory(path, ignored)) return;
  if (std::filesystem::exists(path, ignored)) {
    log::warning("--manifests is not a directory, and nothing is read: give the directory that the manifests are in",
                 {{"manifests", path}});
  } else {
    log::warning("the directory of manifests is not there: make it, and it is read within ten seconds", {{"manifests", path}});
  }
}

}  // namespace

Result<void> run(const Options& given) {
  const auto stop_signals = block_stop_signals();
  BGR_TRY(const auto grounds, prepare(given));
  auto options = given;
  options.state_dir = grounds.state_dir;
  SystemClock clock;
  const auto began = clock.steady();
  SystemRandom random;
  const actuators::Layout layout{options.state_dir, options.run_dir};

  controller::AdoptMode adopt_mode(layout.state_dir / "adopting");
  controller::Metrics metrics;  // outlives the host: a hint under way when the manager goes still counts in it
  auto& adopting = metrics.gauge("banger_adopt_mode", "1 while what came back after a loss is neither pruned nor collected.");
  metrics.before_text([&] { adopting.set(adopt_mode.active() ? 1 : 0); });
  BGR_TRY(const auto host, actuators::make_local_host({.layout = layout,
                                                       .shim_path = grounds.shim_path,
                                                       .init_path = grounds.init_path,
                                                       .qemu_path = options.qemu,
                                                       .accelerator = options.accelerator},
                                                      clock, random));
  // The host is read beside the database; what of it stays as it was is not read again when the manager compares the two. An
  // error shows there.
  const auto first_look = std::async(std::launch::async, [&host = *host] { (void)host.observe_all({}); });
  BGR_TRY(const auto state, open_store(options, *host, adopt_mode, clock, random));
  store::Objects objects(*state.store, clock, random);
  BGR_CHECK(controller::claim_labelled(objects, *host, adopt_mode));
  controller::Runtime runtime({.workers = options.workers, .began = began}, {objects, *host, clock, random, metrics, adopt_mode},
                              layout, state.plan);
  auto& manager = runtime.manager();
  auto& garbage = runtime.garbage();
  const auto collect = [&](const server::Collection& asked) {
    if (asked.end_adopt_mode) {
      (void)adopt_mode.leave();
      return documented(garbage.look());
    }
    return documented(garbage.collect(asked.everything ? controller::Permission::Everything : controller::Permission::Harmless));
  };
  // What a burst of starts or the reading of the database took is not needed again soon.
  manager.every(kMemoryReturn, "give freed memory back", [] { ::malloc_trim(0); });
  server::Server server({.socket_path = options.socket, .version = std::string(kProgramVersion)}, objects,
                        {.metrics_text = [&] { return metrics.text(); },
                         .ready = [&] { return manager.ready(); },
                         .notice = [&] { return adopt_mode.text(); },
                         .serial_log_path = [&](const api::Object& vm) -> Result<std::string> {
                           return actuators::serial_log_path(layout, vm.meta.uid).native();
                         },
                         .host_objects = [&] { return documented(garbage.look()); },
                         .collect = collect});
  BGR_CHECK(server.start());
  first_look.wait();
  BGR_CHECK(manager.start());
  ::malloc_trim(0);
  std::unique_ptr<intake::ManifestDirectory> directory;
  std::jthread intake;  // after the directory that it works on: an early end joins it first
  if (!options.manifests.empty()) {
    directory =
        std::make_unique<intake::ManifestDirectory>(manifest_options(options, adopt_mode), objects, runtime.events(), clock);
    intake = std::jthread([&](const std::stop_token& stop) { directory->run(stop); });
  }
  log::info("serving", {{"socket", options.socket}, {"state", options.state_dir}, {"manifests", options.manifests}});
  warn_of_manifests(options.manifests);
  notify_ready();

  int signal = 0;
  ::sigwait(&stop_signals, &signal);
  log::info("stopping; VMs keep running", {{"signal", strsignal(signal)}});
  if (intake.joinable()) {
    intake.request_stop();
    intake.join();
  }
  manager.stop();
  server.stop();
  runtime.events().flush();  // the last counts; nobody records any more
  return {};
}

}  // namespace banger::daemon

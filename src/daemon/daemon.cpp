// SPDX-License-Identifier: Apache-2.0
#include "daemon/daemon.hpp"

#include <fmt/format.h>
#include <malloc.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <chrono>
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
#include "controller/cow_metrics.hpp"
#include "controller/event_recorder.hpp"
#include "controller/garbage.hpp"
#include "controller/garbage_document.hpp"
#include "controller/manager.hpp"
#include "controller/metrics.hpp"
#include "controller/recovery.hpp"
#include "daemon/preflight.hpp"
#include "daemon/version.hpp"
#include "intake/manifest_directory.hpp"
#include "reconcilers/kinds.hpp"
#include "server/server.hpp"
#include "store/objects.hpp"
#include "store/store.hpp"

namespace banger::daemon {
namespace {

constexpr std::chrono::milliseconds kEventFlush{10'000};
constexpr std::chrono::milliseconds kOrphanLook{60'000};
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
  controller::RecoverySteps steps;
  steps.ensure = [](store::Objects& objects) { return reconcilers::ensure_builtins(objects); };
  steps.before = [&](const controller::RecoveryPlan& plan) { return adopt_mode.enter(plan.report); };
  steps.labels = [&](std::size_t& labelled) { return controller::owner_labels(host, labelled); };
  BGR_TRY(auto state, controller::open_state(options.state_dir + "/db", {host, clock, random}, steps));
  if (!state.plan.report.empty()) log::warning("state was lost", {{"report", state.plan.report}});
  for (const auto& problem : state.plan.problems) log::warning("not brought back", {{"problem", problem}});
  if (adopt_mode.active()) log::warning(adopt_mode.text());
  return state;
}

// In adopt mode, also that of an earlier start: what bears a label and has no object waits for one of its name.
Result<void> claim_labelled(store::Objects& objects, actuators::Host& host, const controller::AdoptMode& adopt_mode) {
  if (!adopt_mode.active()) return {};
  std::size_t labelled = 0;
  BGR_TRY(const auto labels, controller::owner_labels(host, labelled));
  BGR_TRY(auto claims, controller::claims_left(labels, host, objects.store()));
  objects.claim(std::move(claims));
  return {};
}

// Where a person looks: an event on the one object that every host has.
void tell_of_loss(controller::EventRecorder& events, store::Objects& objects, controller::AdoptMode& adopt_mode,
                  const controller::RecoveryPlan& loss) {
  const api::ObjectKey key{.kind = api::Kind::Network, .ns = "", .name = "default"};
  const auto network = objects.store().get(key);
  const auto uid = network ? network->meta.uid : "";
  if (!loss.report.empty()) events.record(key, uid, api::EventType::Warning, "StateLost", loss.report);
  for (const auto& problem : loss.problems) events.record(key, uid, api::EventType::Warning, "NotRestored", problem);
  if (adopt_mode.active()) events.record(key, uid, api::EventType::Warning, "AdoptMode", adopt_mode.text());
  adopt_mode.on_leave([&events, key, uid](const std::string& how) {
    events.record(key, uid, api::EventType::Normal, "AdoptModeEnded", "what no manifest declares may go again: " + how);
  });
}

intake::Options manifest_options(const Options& options, controller::AdoptMode& adopt_mode) {
  intake::Options out{.directory = options.manifests};
  out.writers = kManifestWriters;
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

Result<void> run(const Options& options) {
  const auto stop_signals = block_stop_signals();
  BGR_TRY(const auto grounds, prepare(options));
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
  // The host is read beside the database; what of it stays as it was is not read again when the manager compares the two, which
  // waits for this look. An error shows there.
  const auto first_look = std::async(std::launch::async, [&host = *host] { (void)host.observe_all({}); });
  BGR_TRY(const auto state, open_store(options, *host, adopt_mode, clock, random));
  store::Objects objects(*state.store, clock, random);
  BGR_CHECK(claim_labelled(objects, *host, adopt_mode));
  controller::EventRecorder events(objects, clock);
  tell_of_loss(events, objects, adopt_mode, state.plan);
  controller::Manager manager({.workers = options.workers, .began = began}, objects, *host, clock, metrics);
  metrics.before_text([&] { controller::publish_cow_fill(objects, metrics); });
  controller::GarbageCollector garbage(objects, *host, adopt_mode, metrics);
  const auto collect = [&](const server::Collection& asked) {
    if (asked.end_adopt_mode) {
      (void)adopt_mode.leave();
      return documented(garbage.look());
    }
    return documented(garbage.collect(asked.everything ? controller::Permission::Everything : controller::Permission::Harmless));
  };
  manager.every(kOrphanLook, "collect what belongs to no object", [&] { garbage.run(); });
  // What a burst of starts or the reading of the database took is not needed again soon.
  manager.every(kMemoryReturn, "give freed memory back", [] { ::malloc_trim(0); });
  manager.every(kEventFlush, "write the counts of repeated events", [&] { events.flush(); });
  for (auto& reconciler : reconcilers::make_reconcilers({objects, *host, events, clock, random}, layout)) {
    manager.add(std::move(reconciler));
  }
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
  BGR_CHECK(manager.start());
  ::malloc_trim(0);
  std::unique_ptr<intake::ManifestDirectory> directory;
  std::jthread intake;  // after the directory that it works on: an early end joins it first
  if (!options.manifests.empty()) {
    directory = std::make_unique<intake::ManifestDirectory>(manifest_options(options, adopt_mode), objects, events, clock);
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
  events.flush();  // the last counts; nobody records any more
  return {};
}

}  // namespace banger::daemon

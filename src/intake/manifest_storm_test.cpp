// SPDX-License-Identifier: Apache-2.0
// run() on a real directory: what inotify brings in, and a storm of people and programs writing at once.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <random>
#include <set>
#include <thread>

#include "base/files.hpp"
#include "intake/bench_test.hpp"
#include "intake/change_watch.hpp"

namespace banger::intake {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;

// run() on a thread of its own, with the machine's clock.
struct Running {
  explicit Running(milliseconds rescan = milliseconds{600'000}, const SettleRules& settle = {}) {
    fs::create_directory(root);
    auto opened = store->watch({.after = 0});
    REQUIRE(opened);
    changes = *std::move(opened);
    intake = std::make_unique<ManifestDirectory>(Options{.directory = root.native(), .rescan = rescan, .settle = settle}, objects,
                                                 events, clock);
    thread = std::jthread([this](const std::stop_token& stop) { intake->run(stop); });
  }

  void stop() {
    thread.request_stop();
    thread.join();
  }

  // Waits for the store, not for time to pass; the limit only ends a test that has failed.
  template <class Condition>
  bool eventually(const Condition& condition) {
    const auto limit = clock.steady() + milliseconds{60'000};
    while (!condition()) {
      if (clock.steady() > limit) return false;
      const auto next = changes->next(4096, milliseconds{1'000});
      if (!next) {
        REQUIRE(next.error().code == ErrorCode::Gone);
        changes = *store->watch({.after = store->revision()});
      }
    }
    return true;
  }
  bool has(const std::string& name) { return store->get(vm_key(name)).has_value(); }
  std::int64_t cpus(const std::string& name) {
    const auto object = store->get(vm_key(name));
    return object ? std::get<api::VirtualMachine>(object->body).spec.cpus : 0;
  }
  std::string state(const std::string& file) {
    const auto object = store->get({.kind = api::Kind::ManifestSource, .ns = "", .name = "manifests"});
    if (!object) return "";
    for (const auto& row : std::get<api::ManifestSource>(object->body).status.files) {
      if (row.file == file) return row.state;
    }
    return "";
  }

  ScratchDirectory scratch;
  const fs::path root = scratch.path() / "manifests";
  std::unique_ptr<store::Store> store = store::make_memory_store();
  SystemClock clock;
  SystemRandom random;
  store::Objects objects{*store, clock, random};
  RecordingSink events;
  std::unique_ptr<store::Watch> changes;
  std::unique_ptr<ManifestDirectory> intake;
  std::jthread thread;
};

TEST_CASE("inotify brings in what is written, moved here, put into new sub-directories, and what is removed") {
  Running it;  // its periodic look is ten minutes away
  write_text(it.root / "a.yaml", vm_yaml("written"));
  CHECK(it.eventually([&] { return it.has("written"); }));
  write_text(it.scratch.path() / "elsewhere", vm_yaml("moved"));
  fs::rename(it.scratch.path() / "elsewhere", it.root / "b.yaml");
  CHECK(it.eventually([&] { return it.has("moved"); }));
  fs::create_directories(it.root / "x" / "y");
  write_text(it.root / "x" / "y" / "c.yaml", vm_yaml("deep"));
  CHECK(it.eventually([&] { return it.has("deep"); }));
  write_text(it.root / "a.yaml", vm_yaml("written", "  cpus: 2\n"));
  CHECK(it.eventually([&] { return it.cpus("written") == 2; }));
  fs::remove(it.root / "a.yaml");
  CHECK(it.eventually([&] { return !it.has("written"); }));
  fs::remove_all(it.root / "x");
  CHECK(it.eventually([&] { return !it.has("deep"); }));
  CHECK(it.has("moved"));
}

TEST_CASE("a confirmation is acted on when it comes, not at the next look") {
  Running it;
  for (int i = 0; i < 40; ++i) write_text(it.root / fmt::format("{}.yaml", i), vm_yaml(fmt::format("vm{}", i)));
  CHECK(it.eventually([&] { return it.state("39.yaml") == "Applied" && it.state("0.yaml") == "Applied"; }));
  for (int i = 0; i < 40; ++i) fs::remove(it.root / fmt::format("{}.yaml", i));
  const api::ObjectKey source{.kind = api::Kind::ManifestSource, .ns = "", .name = "manifests"};
  const auto token = [&] { return std::get<api::ManifestSource>(it.store->get(source)->body).status.prune_token; };
  CHECK(it.eventually([&] { return !token().empty(); }));
  REQUIRE(it.objects.edit(source, [&](api::Object& object) -> Result<void> {
    auto& body = std::get<api::ManifestSource>(object.body);
    body.spec.confirmed_prune_token = body.status.prune_token;
    return {};
  }));
  CHECK(it.eventually([&] { return !it.has("vm0") && !it.has("vm39"); }));
}

TEST_CASE("a directory that is not there yet is found when it comes") {
  Running it;
  fs::remove(it.root);
  it.intake->poke();
  fs::create_directory(it.root);
  write_text(it.root / "a.yaml", vm_yaml("one"));
  CHECK(it.eventually([&] { return it.has("one"); }));
}

TEST_CASE("a file that somebody has open for writing is not taken half, however long they pause") {
  Running it(milliseconds{600'000}, {.unclosed = milliseconds{600'000}});
  write_text(it.root / "watched.yaml", vm_yaml("watched"));
  CHECK(it.eventually([&] { return it.has("watched"); }));
  UniqueFd fd(::open((it.root / "slow.yaml").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
  REQUIRE(fd.valid());
  REQUIRE(write_all(fd.get(), vm_yaml("first")));
  // Other files, written after it and each taken by a scan of its own, show that the first one was seen and left alone.
  for (int i = 0; i < 5; ++i) {
    const auto name = "other" + std::to_string(i);
    write_text(it.root / (name + ".yaml"), vm_yaml(name));
    CHECK(it.eventually([&] { return it.has(name); }));
  }
  CHECK_FALSE(it.has("first"));
  REQUIRE(write_all(fd.get(), vm_yaml("second")));
  fd.reset();
  CHECK(it.eventually([&] { return it.has("first") && it.has("second"); }));
}

TEST_CASE("what inotify did not say is found by the periodic look") {
  Running it(milliseconds{50});
  const auto text = vm_yaml("one", "  cpus: 1\n");
  write_text(it.root / "a.yaml", text);
  CHECK(it.eventually([&] { return it.has("one"); }));
  // An edit through a mapping makes no event.
  const UniqueFd fd(::open((it.root / "a.yaml").c_str(), O_RDWR | O_CLOEXEC));
  REQUIRE(fd.valid());
  void* mapped = ::mmap(nullptr, text.size(), PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  REQUIRE(mapped != MAP_FAILED);
  static_cast<char*>(mapped)[text.size() - 2] = '2';
  REQUIRE(::msync(mapped, text.size(), MS_SYNC) == 0);
  CHECK(it.eventually([&] { return it.cpus("one") == 2; }));
  ::munmap(mapped, text.size());
}

TEST_CASE("an overflow of the queue is a reason to look, and nothing that was said before it counts") {
  auto watch = ChangeWatch::open();
  REQUIRE(watch);
  ScratchDirectory scratch;
  const UniqueFd directory(::open(scratch.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  watch->begin();
  watch->watch(directory.get(), "");
  watch->end();
  WriterHints hints{{"old.yaml", WriterHint::Closed}};
  CHECK(watch->drain(hints) == Noticed::Nothing);
  write_text(scratch.path() / "a.yaml", "x");
  CHECK(watch->drain(hints) == Noticed::Change);
  CHECK(hints.at("a.yaml") == WriterHint::Closed);
  std::string limit;
  std::ifstream("/proc/sys/fs/inotify/max_queued_events") >> limit;
  for (long i = 0; i <= std::stol(limit) / 2; ++i) {  // two kinds of events in turn: the kernel merges equal neighbours
    REQUIRE(::chmod((scratch.path() / "a.yaml").c_str(), 0600) == 0);
    REQUIRE(::truncate((scratch.path() / "a.yaml").c_str(), i % 2) == 0);
  }
  CHECK(watch->drain(hints) == Noticed::Change);
  CHECK_FALSE(hints.contains("old.yaml"));
  CHECK_FALSE(hints.contains("a.yaml"));
}

TEST_CASE("events of temporary files are no reason to look") {
  auto watch = ChangeWatch::open();
  REQUIRE(watch);
  ScratchDirectory scratch;
  const UniqueFd directory(::open(scratch.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  watch->begin();
  watch->watch(directory.get(), "sub");
  watch->end();
  WriterHints hints;
  for (const auto* name : {".a.yaml.swp", "4913", "a.yaml~", "#a.yaml#", "x.tmp", "notes.txt"}) {
    write_text(scratch.path() / name, "x");
    fs::remove(scratch.path() / name);
  }
  CHECK(watch->drain(hints) == Noticed::Nothing);
  const UniqueFd file(::open((scratch.path() / "b.yaml").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
  CHECK(watch->drain(hints) == Noticed::Writing);
  CHECK(hints.at("sub/b.yaml") == WriterHint::Open);
}

// --- the storm ---------------------------------------------------------------------------------------------------------------
constexpr int kSteady = 20;    // objects that have a file from the beginning to the end
constexpr int kFleeting = 10;  // objects whose files come and go
constexpr int kWriters = 4;
constexpr milliseconds kStorm{3'000};

// One writer's share of the directory; nobody else touches its files, so that it knows what should be true in the end.
class Writer {
 public:
  Writer(fs::path root, int number) : root_(std::move(root)), number_(number), random_(static_cast<unsigned>(number)) {}

  void begin() {
    for (int i = 0; i < kSteady; ++i) steady_.push_back(create(name("s", i)));
    for (int i = 0; i < kFleeting; ++i) fleeting_.push_back("");
  }

  void disturb() {
    const auto i = static_cast<std::size_t>(pick(kSteady));
    switch (pick(8)) {
      case 0:
        return replace_atomically(steady_[i], name("s", static_cast<int>(i)));
      case 1:
        return rewrite_in_place(steady_[i], name("s", static_cast<int>(i)));
      case 2:
        return rename(steady_[i]);
      case 3:
        return break_and_mend(steady_[i], name("s", static_cast<int>(i)));
      case 4:
        return editor_save(steady_[i], name("s", static_cast<int>(i)));
      case 5:
        return remove_and_make(steady_[i], name("s", static_cast<int>(i)));
      default:
        return toggle(static_cast<std::size_t>(pick(kFleeting)));
    }
  }

  // VM name → cpus, as the files say now.
  [[nodiscard]] const std::map<std::string, int>& expected() const { return expected_; }

 private:
  int pick(int below) { return static_cast<int>(random_() % static_cast<unsigned>(below)); }
  [[nodiscard]] std::string name(const std::string& kind, int i) const {
    return kind + std::to_string(number_) + "-" + std::to_string(i);
  }
  std::string text(const std::string& vm) {
    expected_[vm] = 1 + pick(32);
    return vm_yaml(vm, "  cpus: " + std::to_string(expected_[vm]) + "\n");
  }
  static void write_plain(const fs::path& path, const std::string& content) {
    std::ofstream out(path, std::ios::binary | std::ios::trunc);
    out << content;
  }
  std::string fresh_path() {
    return (root_ / ("w" + std::to_string(number_) + "-" + std::to_string(++files_) + ".yaml")).native();
  }

  std::string create(const std::string& vm) {
    auto path = fresh_path();
    write_plain(path, text(vm));
    return path;
  }
  void replace_atomically(const std::string& path, const std::string& vm) {
    write_plain(path + ".tmp", text(vm));
    fs::rename(path + ".tmp", path);
  }
  void rewrite_in_place(const std::string& path, const std::string& vm) {
    const auto content = text(vm);
    std::ofstream out(path, std::ios::binary | std::ios::trunc);
    for (std::size_t at = 0; at < content.size(); at += 16) {
      out << content.substr(at, 16) << std::flush;
      std::this_thread::yield();
    }
  }
  void rename(std::string& path) {
    auto to = fresh_path();
    fs::rename(path, to);
    path = std::move(to);
  }
  void break_and_mend(const std::string& path, const std::string& vm) {
    write_plain(path, "spec: {{{ broken");
    std::this_thread::yield();
    replace_atomically(path, vm);
  }
  void editor_save(const std::string& path, const std::string& vm) {  // as vim does with backupcopy=no
    write_plain(root_ / "4913", "");
    fs::rename(path, path + "~");
    write_plain(path, text(vm));
    fs::remove(path + "~");
    std::error_code somebody_elses;
    fs::remove(root_ / "4913", somebody_elses);
  }
  void remove_and_make(const std::string& path, const std::string& vm) {  // as git checkout does
    fs::remove(path);
    std::this_thread::yield();
    write_plain(path, text(vm));
  }
  void toggle(std::size_t i) {
    const auto vm = name("f", static_cast<int>(i));
    if (fleeting_[i].empty()) {
      fleeting_[i] = create(vm);
    } else {
      fs::remove(fleeting_[i]);
      fleeting_[i].clear();
      expected_.erase(vm);
    }
  }

  fs::path root_;
  int number_;
  std::mt19937 random_;
  int files_ = 0;
  std::vector<std::string> steady_;
  std::vector<std::string> fleeting_;
  std::map<std::string, int> expected_;
};

std::map<std::string, int> stored_vms(store::Store& store) {
  std::map<std::string, int> vms;
  const auto listing = store.list({.kind = api::Kind::VirtualMachine});
  REQUIRE(listing);
  for (const auto& object : listing->objects) {
    vms[object.meta.name] = static_cast<int>(std::get<api::VirtualMachine>(object.body).spec.cpus);
  }
  return vms;
}

TEST_CASE("after a storm the store is what the files say, and nothing that always had a file was ever deleted") {
  Running it;
  std::vector<Writer> writers;
  for (int i = 0; i < kWriters; ++i) writers.emplace_back(it.root, i);
  for (auto& writer : writers) writer.begin();
  CHECK(it.eventually([&] { return stored_vms(*it.store).size() == kWriters * kSteady; }));
  std::map<std::string, std::string> uids;
  const auto before = it.store->list({.kind = api::Kind::VirtualMachine});
  for (const auto& object : before->objects) uids[object.meta.name] = object.meta.uid;

  const auto end = it.clock.steady() + kStorm;
  {
    std::vector<std::jthread> threads;
    for (auto& writer : writers) {
      threads.emplace_back([&] {
        while (it.clock.steady() < end) writer.disturb();
      });
    }
  }

  std::map<std::string, int> expected;
  for (const auto& writer : writers) expected.insert(writer.expected().begin(), writer.expected().end());
  // Files that went in bunches wait for a person: be that person.
  const api::ObjectKey source{.kind = api::Kind::ManifestSource, .ns = "", .name = "manifests"};
  CHECK(it.eventually([&] {
    if (stored_vms(*it.store) == expected) return true;
    const auto object = it.store->get(source);
    const auto& body = std::get<api::ManifestSource>(object->body);
    if (!body.status.prune_token.empty() && body.spec.confirmed_prune_token != body.status.prune_token) {
      const auto confirmed = it.objects.edit(source, [](api::Object& now) -> Result<void> {
        auto& manifests = std::get<api::ManifestSource>(now.body);
        manifests.spec.confirmed_prune_token = manifests.status.prune_token;
        return {};
      });
      CHECK(confirmed);
    }
    return false;
  }));
  it.stop();
  CHECK(stored_vms(*it.store) == expected);
  for (const auto& [name, uid] : uids) {
    CAPTURE(name);
    const auto object = it.store->get(vm_key(name));
    REQUIRE(object);
    CHECK(object->meta.uid == uid);
  }
}

}  // namespace
}  // namespace banger::intake

// SPDX-License-Identifier: Apache-2.0
#include "reconcilers/image/reconciler.hpp"

#include "reconcilers/world_test.hpp"

namespace banger::reconcilers::image {
namespace {

using std::chrono::seconds;

struct ImageWorld : World {
  const api::ObjectKey demo = key(api::Kind::Image, "demo");
  api::ImageStatus seen() { return body<api::Image>(demo).status; }
  std::string said() { return condition(seen().conditions, "Ready"); }
  std::string sentence() { return api::find_condition(seen().conditions, "Ready")->message; }
  std::ptrdiff_t builds() {
    return std::ranges::count_if(host.log(), [](const auto& line) { return line.starts_with("StartJob build"); });
  }
  void edit(const std::function<void(api::ImageSpec&)>& change) {
    REQUIRE(objects
                .edit(demo,
                      [&](api::Object& object) -> Result<void> {
                        change(std::get<api::Image>(object.body).spec);
                        return {};
                      })
                .has_value());
  }
};

TEST_CASE_FIXTURE(ImageWorld, "an image is built once and stays as it is, over daemon restarts too") {
  create_image();
  settle();
  CHECK(said() == "True Ready");
  CHECK(seen().path.starts_with("/var/lib/banger/images/"));
  CHECK(seen().digest.starts_with("sha256:"));
  CHECK(seen().size == mib(64));
  host.restart_daemon();
  restart();
  clock.advance(seconds(31));
  settle();
  CHECK(builds() == 1);
}

TEST_CASE_FIXTURE(ImageWorld, "a status that was wiped comes back from the record, also when the source is gone") {
  create_image();
  settle();
  const auto before = seen();
  host.clear_log();
  for (const bool source_is_there : {true, false}) {
    CAPTURE(source_is_there);
    if (!source_is_there) host.remove_file("/srv/demo.tar");
    REQUIRE(objects.edit_status(demo, [](api::Object& object) -> Result<void> {
      std::get<api::Image>(object.body).status = {};
      return {};
    }));
    settle();
    CHECK(said() == (source_is_there ? "True Ready" : "True SourceGone"));
    CHECK(seen().path == before.path);
    CHECK(seen().digest == before.digest);
  }
  auto log = host.log();
  std::erase(log, "ForgetJob build");  // of the one build; nothing on disk
  CHECK(log == std::vector<std::string>{});
}

TEST_CASE_FIXTURE(ImageWorld, "a source that changed is built anew, and the last base serves meanwhile") {
  create_image();
  settle();
  const auto before = seen();
  host.hold_jobs("build");
  host.add_file("/srv/demo.tar", mib(11), 8);
  clock.advance(seconds(31));
  for (int i = 0; i < 4; ++i) pass(demo);
  CHECK(said() == "True Building");
  CHECK(seen().path == before.path);
  host.release_jobs("build");
  settle();
  CHECK(said() == "True Ready");
  CHECK(seen().path != before.path);
  CHECK(builds() == 2);
}

TEST_CASE_FIXTURE(ImageWorld, "a source that changes while it is read is read again") {
  create_image();
  host.hold_jobs("build");
  for (int i = 0; i < 3; ++i) pass(demo);
  host.release_jobs("build");
  host.add_file("/srv/demo.tar", mib(11), 9);  // after the reading, before its end was seen
  settle();
  CHECK(builds() == 2);
  CHECK(said() == "True Ready");
}

TEST_CASE_FIXTURE(ImageWorld, "a daemon that dies in the middle of a build builds again") {
  create_image();
  host.hold_jobs("build");
  for (int i = 0; i < 3; ++i) pass(demo);
  host.restart_daemon();
  restart();
  host.release_jobs("build");
  settle();
  CHECK(said() == "True Ready");
  CHECK(builds() == 2);
}

TEST_CASE_FIXTURE(ImageWorld, "a source that is not there is named; one that vanished leaves the last base") {
  create_image("demo", "/srv/absent.tar");
  settle();
  CHECK(said() == "False SourceNotFound");
  CHECK(sentence() == "/srv/absent.tar: there is no such file on this host");
  host.add_file("/srv/absent.tar", mib(1), 3);
  clock.advance(seconds(31));
  settle();
  CHECK(said() == "True Ready");
  host.remove_file("/srv/absent.tar");
  clock.advance(seconds(31));
  settle();
  CHECK(said() == "True SourceGone");
  CHECK_FALSE(seen().path.empty());
}

TEST_CASE_FIXTURE(ImageWorld, "another spec makes the old base unfit until the new one is built") {
  create_image();
  settle();
  host.hold_jobs("build");
  edit([](auto& spec) { spec.size = mib(128); });
  for (int i = 0; i < 4; ++i) pass(demo);
  CHECK(said() == "False Building");
  host.release_jobs("build");
  settle();
  CHECK(seen().size == mib(128));
  CHECK(said() == "True Ready");
}

TEST_CASE_FIXTURE(ImageWorld, "a wrong digest is said once and not tried again until something changes") {
  create_image();
  settle();
  edit([](auto& spec) { spec.digest = "sha256:" + std::string(64, 'f'); });
  settle();
  CHECK(said() == "False BuildFailed");
  CHECK(sentence().find("its digest is sha256:") != std::string::npos);
  const auto tried = builds();
  for (int i = 0; i < 5; ++i) {
    clock.advance(seconds(31));
    settle();
  }
  CHECK(builds() == tried);
  edit([](auto& spec) { spec.digest.clear(); });
  settle();
  CHECK(said() == "True Ready");
}

TEST_CASE_FIXTURE(ImageWorld, "a build that may succeed another time is tried again with an error") {
  create_image();
  host.fail_jobs("build", Error{.code = ErrorCode::Unavailable, .message = "no space left", .sys_errno = 28});
  bool failed = false;
  for (int i = 0; i < 6; ++i) failed = pass(demo).error.has_value() || failed;
  CHECK(failed);
  host.fail_jobs("build", std::nullopt);
  settle();
  CHECK(said() == "True Ready");
}

TEST_CASE_FIXTURE(ImageWorld, "a deleted image takes its directory with it, at any point of its build") {
  for (int passes = 0; passes < 5; ++passes) {
    CAPTURE(passes);
    create_image();
    const auto uid = store->get(demo)->meta.uid;
    if (passes == 2) host.hold_jobs("build");
    for (int i = 0; i < passes; ++i) pass(demo);
    remove(demo);
    settle();
    CHECK_FALSE(exists(demo));
    const auto view = *host.observe_image({.uid = uid, .source_path = "/srv/demo.tar"});
    CHECK_FALSE(view.directory_exists);
    CHECK(view.built.empty());
    CHECK(view.jobs.empty());
    host.release_jobs("build");
  }
}

}  // namespace
}  // namespace banger::reconcilers::image

// SPDX-License-Identifier: Apache-2.0
#include "reconcilers/image/plan.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.hpp"
#include "reconcilers/record.hpp"

namespace banger::reconcilers::image {
namespace {

using api::ConditionStatus;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr milliseconds kAtOnce{0};
constexpr milliseconds kJobCheck = seconds(2);      // its end wakes us earlier; not at rest (kAtRest)
constexpr milliseconds kSourceCheck = seconds(30);  // files have no event that reaches us
constexpr std::string_view kBuilding = "building";
constexpr std::string_view kFailed = "failed";

// status.source: "KEY", or "building KEY OLD" and "failed KEY OLD", where OLD is the key of the base that is there, if any.
struct Source {
  std::string state;  // empty: built
  std::string key;
  std::string base;
};

Source parse_source(const std::string& text) {
  const auto words = split(text, ' ');
  if (words.size() < 2) return {.state = "", .key = text, .base = text};
  return {.state = std::string(words[0]), .key = std::string(words[1]), .base = words.size() > 2 ? std::string(words[2]) : ""};
}

struct Situation {
  const api::Object& object;
  const api::Image& image;
  const Observed& observed;
  std::string wanted;  // what status.source says when the base is right
  Source source;       // what it says
  bool has_base;       // the base that the status names is there
};

Finding ready(ConditionStatus status, std::string reason, std::string message) {
  return {.type = "Ready", .status = status, .reason = std::move(reason), .message = std::move(message)};
}

const actuators::JobView* build_job(const Observed& observed) {
  const auto found = std::ranges::find(observed.host.jobs, "build", [](const auto& job) { return job.key.name; });
  return found == observed.host.jobs.end() ? nullptr : &*found;
}

actuators::JobKey job_key(const Situation& at) { return {.owner_uid = at.object.meta.uid, .name = "build"}; }

// The base that is there is not what is wanted; VMs may go on using it only if just the source changed, not the spec.
Finding while_building(const Situation& at, std::string reason, std::string message) {
  const bool same_spec = at.source.base.starts_with(fmt::format("{}:", at.object.meta.generation));
  const auto status = at.has_base && same_spec ? ConditionStatus::True : ConditionStatus::False;
  return ready(status, std::move(reason), std::move(message));
}

std::string in_state(std::string_view state, const Situation& at) {
  const auto text = fmt::format("{} {}", state, at.wanted);
  return at.has_base ? text + " " + at.source.base : text;
}

void forget(Plan& plan, const Situation& at) {
  plan.steps.push_back({.name = "ForgetBuild", .step = actuators::ForgetJob{job_key(at)}, .undo = {}});
}

void start(Plan& plan, const Situation& at, bool stale_job) {
  if (stale_job) forget(plan, at);
  const actuators::BuildImage spec{.image_uid = at.object.meta.uid, .spec = at.image.spec};
  plan.steps.push_back({.name = "Build", .step = actuators::StartJob{.key = job_key(at), .spec = spec}, .undo = {}});
  plan.source = in_state(kBuilding, at);
  plan.findings.push_back(while_building(at, "Building", fmt::format("is built from {}", printable(at.image.spec.path))));
  plan.look_again = kAtOnce;
}

void take_result(Plan& plan, const Situation& at, const actuators::JobView& job) {
  auto built = actuators::decode_built_image(job.result);
  if (!built) {
    forget(plan, at);
    plan.error = built.error();
    plan.findings.push_back(while_building(at, "BuildFailed", built.error().message));
    return;
  }
  plan.source = at.wanted;
  plan.built = *std::move(built);
  plan.findings.push_back(ready(ConditionStatus::True, "Ready", fmt::format("built from {}", printable(at.image.spec.path))));
  plan.events.push_back({.type = api::EventType::Normal, .reason = "Built", .message = "built " + plan.built->digest});
  plan.look_again = kAtOnce;
}

void take_failure(Plan& plan, const Situation& at, const actuators::JobView& job) {
  const auto error = job.error.value_or(internal("the build failed and does not say why"));
  forget(plan, at);
  plan.findings.push_back(ready(ConditionStatus::False, "BuildFailed", error.message));
  plan.events.push_back({.type = api::EventType::Warning, .reason = "BuildFailed", .message = error.message});
  if (is_retryable(error) || error.code == ErrorCode::Internal || error.code == ErrorCode::NotFound) {
    plan.error = error;
  } else {
    plan.source = in_state(kFailed, at);  // the same file and spec can only fail again
    plan.look_again = kSourceCheck;
  }
}

void settle(Plan& plan, const Situation& at, std::string reason, std::string message) {
  plan.findings.push_back(
      ready(at.has_base ? ConditionStatus::True : ConditionStatus::False, std::move(reason), std::move(message)));
  plan.look_again = kSourceCheck;
}

Plan plan_deletion(const Situation& at) {
  Plan plan{.source = at.image.status.source};
  if (build_job(at.observed) != nullptr) forget(plan, at);
  if (at.observed.host.directory_exists || !at.observed.host.built.empty())
    plan.steps.push_back({.name = "Directory", .step = actuators::RemoveImageDirectory{at.object.meta.uid}, .undo = {}});
  if (plan.steps.empty()) {
    plan.finalizer = FinalizerChange::Remove;
  } else {
    plan.findings.push_back(ready(ConditionStatus::False, "Deleting", "its files are being removed"));
    plan.look_again = kAtOnce;
  }
  return plan;
}

void plan_build(Plan& plan, const Situation& at) {
  const auto* job = build_job(at.observed);
  const bool same = at.source.key == at.wanted;
  const actuators::JobSpec spec = actuators::BuildImage{.image_uid = at.object.meta.uid, .spec = at.image.spec};
  const bool current = job != nullptr && job->spec == spec && same && at.source.state == kBuilding;
  if (same && at.source.state.empty() && at.has_base) {
    settle(plan, at, "Ready", fmt::format("built from {}", printable(at.image.spec.path)));
  } else if (same && at.source.state == kFailed) {
    const auto* old = api::find_condition(at.image.status.conditions, "Ready");
    plan.findings.push_back(ready(ConditionStatus::False, "BuildFailed", old != nullptr ? old->message : "the build failed"));
    plan.look_again = kSourceCheck;
  } else if (!at.observed.host.source.exists) {
    const auto path = printable(at.image.spec.path);
    if (job != nullptr && job->state != actuators::JobState::Running) forget(plan, at);
    if (at.has_base) {
      settle(plan, at, "SourceGone", fmt::format("{} is not there any more; what was built from it last is used", path));
    } else {
      settle(plan, at, "SourceNotFound", fmt::format("{}: there is no such file on this host", path));
    }
  } else if (job != nullptr && job->state == actuators::JobState::Running) {
    plan.findings.push_back(while_building(at, "Building", fmt::format("is built from {}", printable(at.image.spec.path))));
    plan.look_again = kJobCheck;
  } else if (current && job->state == actuators::JobState::Done) {
    take_result(plan, at, *job);
  } else if (current && job->state == actuators::JobState::Failed) {
    take_failure(plan, at, *job);
  } else {
    start(plan, at, job != nullptr);
  }
}

}  // namespace

Plan plan_for(const api::Object& object, const Observed& observed) {
  const auto& image = std::get<api::Image>(object.body);
  const auto& source = observed.host.source;
  const bool has_base = !image.status.path.empty() && std::ranges::any_of(observed.host.built, [&](const auto& file) {
    return file.exists && file.path == image.status.path;
  });
  const Situation at{
      .object = object,
      .image = image,
      .observed = observed,
      .wanted = fmt::format("{}:{}:{}", object.meta.generation, source.size.value, source.mtime_ns),
      .source = parse_source(image.status.source),
      .has_base = has_base,
  };
  if (object.meta.deletion_time) return plan_deletion(at);
  Plan plan{.source = image.status.source};
  if (!has_finalizer(object)) plan.finalizer = FinalizerChange::Add;
  plan_record(object, observed.host.record, plan.steps, plan.events);
  plan_build(plan, at);
  return plan;
}

}  // namespace banger::reconcilers::image

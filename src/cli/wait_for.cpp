// SPDX-License-Identifier: Apache-2.0
#include "cli/wait_for.hpp"

#include <fmt/format.h>

#include <boost/json.hpp>
#include <variant>

#include "api/codec.hpp"
#include "base/text.hpp"
#include "cli/documents.hpp"

namespace banger::cli {
namespace json = boost::json;
namespace {

// Decodes what the server sent and asks check. An object of the same name made anew is another object, but check sees it: what
// was waited for is a state, not an identity.
Result<bool> ask(const Check& check, const json::value& document) {
  BGR_TRY(const auto object, api::decode_stored(json::serialize(document)));
  return check(&object);
}

}  // namespace

Outcome<Waited> wait_for(const api::ObjectKey& key, const Check& check, Deadline deadline, const Session& session) {
  const auto target = fmt::format("{}?fieldSelector={}", client::collection_path(key.kind, key.ns),
                                  client::percent_encode("metadata.name=" + key.name));
  for (bool first = true; first || std::chrono::steady_clock::now() < deadline; first = false) {  // a limit of 0: look once
    const auto listed = session.client.get_json(target);
    if (!listed) return give_up(failure_of(listed.error()));
    const auto* items = find_at(*listed, "items");
    if (items == nullptr || !items->is_array() || items->as_array().empty()) {
      if (check(nullptr)) return Waited::Done;
    } else {
      const auto there = ask(check, items->as_array().front());
      if (!there) return give_up(failure_of(there.error()));
      if (*there) return Waited::Done;
    }
    bool done = false;
    std::optional<Error> wrong;
    const auto ended = session.client.watch(
        fmt::format("{}&watch=true&resourceVersion={}", target, text_at(*listed, "metadata.resourceVersion")), "application/json",
        [&](std::string_view type, const json::value& document) {
          if (type == "BOOKMARK") return true;
          if (type == "DELETED") {
            done = check(nullptr);
            return !done;
          }
          const auto there = ask(check, document);
          if (!there) wrong = there.error();
          done = there && *there;
          return !done && !wrong;
        },
        {.deadline = deadline, .stop = nullptr});
    if (wrong) return give_up(failure_of(*wrong));
    if (done) return Waited::Done;
    if (!ended && ended.error().code != ErrorCode::Gone) return give_up(failure_of(ended.error()));
  }
  return Waited::TimedOut;
}

const std::vector<api::Condition>& conditions_of(const api::Object& object) {
  static const std::vector<api::Condition> kNone;
  return std::visit(
      [](const auto& body) -> const std::vector<api::Condition>& {
        if constexpr (requires { body.status.conditions; }) {
          return body.status.conditions;
        } else {
          return kNone;
        }
      },
      object.body);
}

std::string sentence_of(const api::Object& object, std::string_view name) {
  const auto* condition = api::find_condition(conditions_of(object), name);
  if (condition == nullptr) return fmt::format("there is no condition {} yet", name);
  const auto* status = condition->status == api::ConditionStatus::True    ? "True"
                       : condition->status == api::ConditionStatus::False ? "False"
                                                                          : "Unknown";
  return printable(fmt::format("{} is {} ({}): {}", name, status, condition->reason, condition->message));
}

}  // namespace banger::cli

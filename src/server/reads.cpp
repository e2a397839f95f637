// SPDX-License-Identifier: Apache-2.0
// GET: objects, lists, watches, serial logs.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <random>

#include "base/text.hpp"
#include "server/handler.hpp"
#include "server/serial_log.hpp"
#include "server/watch_stream.hpp"

namespace banger::server {
namespace {

Answer<std::optional<std::uint64_t>> number_parameter(const Target& target, std::string_view name) {
  const auto text = target.get(name);
  if (!text || text->empty()) return std::nullopt;
  std::uint64_t value = 0;
  const auto* end = text->data() + text->size();
  const auto [stopped, error] = std::from_chars(text->data(), end, value);
  if (error != std::errc{} || stopped != end) {
    return refuse(bad_request(fmt::format("{} must be a decimal number, is \"{}\"", name, printable(*text))));
  }
  return value;
}

Answer<Selection> selection_of(const Target& target, const Resource& resource) {
  auto labels = LabelSelector::parse(target.get("labelSelector").value_or(""));
  if (!labels) return refuse(bad_request(labels.error().message));
  auto fields = FieldSelector::parse(target.get("fieldSelector").value_or(""), resource.kind->kind);
  if (!fields) return refuse(bad_request(fields.error().message));
  return Selection{*std::move(labels), *std::move(fields), resource.ns};
}

// Errors of the store on a collection name no object.
StatusError list_error(const Error& error, const Resource& resource) { return from_error(error, {resource.kind->kind, "", ""}); }

std::vector<api::Object> selected(store::Listing&& listing, const Selection& selection) {
  std::erase_if(listing.objects, [&](const api::Object& object) { return !selection.matches(object); });
  return std::move(listing.objects);
}

// timeoutSeconds; without it 30 to 60 minutes, so that watches of one start do not all end at once.
std::chrono::milliseconds watch_time(std::optional<std::uint64_t> asked) {
  constexpr std::uint64_t kDay = 86'400;
  if (asked && *asked > 0) return std::chrono::seconds(std::min(*asked, kDay));
  thread_local std::minstd_rand random{std::random_device{}()};
  return std::chrono::seconds(std::uniform_int_distribution<int>(1800, 3600)(random));
}

}  // namespace

Answer<Reply> Handler::get(const Request& request, const Target& target, const Resource& resource) {
  const auto view = negotiate(request.accept, target);
  if (!view) return refuse(view.error());
  if (resource.name.empty()) return target.flag("watch") ? watch(target, resource, *view) : list(target, resource, *view);
  const auto object = objects_.store().get(resource.key());
  if (!object) return refuse(from_error(object.error(), resource.key()));
  return Response{.content_type = content_type_of(*view), .body = show_object(*view, *object, clock_.wall()) + "\n"};
}

Answer<Reply> Handler::list(const Target& target, const Resource& resource, const View& view) {
  const auto selection = selection_of(target, resource);
  if (!selection) return refuse(selection.error());
  const auto asked = number_parameter(target, "resourceVersion");
  if (!asked) return refuse(asked.error());
  const auto match = target.get("resourceVersionMatch").value_or("");
  if (target.get("sendInitialEvents")) return refuse(invalid_field("sendInitialEvents", "is for watches only"));
  if (!match.empty() && !*asked) return refuse(invalid_field("resourceVersionMatch", "needs a resourceVersion"));
  if (!match.empty() && match != "Exact" && match != "NotOlderThan") {
    return refuse(invalid_field("resourceVersionMatch", "must be Exact or NotOlderThan"));
  }
  if (!target.get("continue").value_or("").empty()) {
    return refuse(expired("lists are never cut, so no continue token is valid; list again without it"));
  }
  store::ListQuery query{.kind = resource.kind->kind, .ns = std::nullopt};
  if (!resource.ns.empty()) query.ns = resource.ns;
  auto listing = objects_.store().list(query);
  if (!listing) return refuse(list_error(listing.error(), resource));
  const auto revision = listing->revision;
  if (*asked && **asked > revision) return refuse(too_large_revision(**asked, revision));
  if (match == "Exact" && **asked != revision) {
    return refuse(expired(fmt::format("only the current revision {} can be listed, not {}", revision, **asked)));
  }
  const auto objects = selected(*std::move(listing), *selection);
  return Response{.content_type = content_type_of(view),
                  .body = show_list(view, resource.kind->kind, objects, revision, clock_.wall()) + "\n"};
}

Answer<Reply> Handler::watch(const Target& target, const Resource& resource, const View& view) {
  const auto selection = selection_of(target, resource);
  if (!selection) return refuse(selection.error());
  const auto asked = number_parameter(target, "resourceVersion");
  if (!asked) return refuse(asked.error());
  const auto seconds = number_parameter(target, "timeoutSeconds");
  if (!seconds) return refuse(seconds.error());
  const bool initial_asked = target.flag("sendInitialEvents");
  const auto match = target.get("resourceVersionMatch").value_or("");
  if (initial_asked && match != "NotOlderThan") {
    return refuse(invalid_field("resourceVersionMatch", "must be NotOlderThan when sendInitialEvents is set"));
  }
  if (!target.get("sendInitialEvents") && !match.empty()) {
    return refuse(invalid_field("resourceVersionMatch", "is for watches with sendInitialEvents only"));
  }
  WatchPlan plan{.kind = resource.kind->kind,
                 .selection = *selection,
                 .view = view,
                 .bookmarks = target.flag("allowWatchBookmarks"),
                 .mark_initial_end = initial_asked && target.flag("allowWatchBookmarks"),
                 .bookmark_interval = options_.bookmark_interval,
                 .deadline = clock_.steady() + watch_time(*seconds)};
  auto& store = objects_.store();
  const auto from = asked->value_or(0);
  if (const auto current = store.revision(); from > current) return refuse(too_large_revision(from, current));
  if (from > 0 && !initial_asked) {
    auto changes = store.watch({.kind = plan.kind, .after = from});
    if (!changes) return refuse(list_error(changes.error(), resource));
    return std::make_unique<WatchStream>(*std::move(changes), std::vector<api::Object>{}, from, std::move(plan), clock_);
  }
  store::ListQuery query{.kind = plan.kind, .ns = std::nullopt};
  if (!resource.ns.empty()) query.ns = resource.ns;
  auto listing = store.list(query);
  if (!listing) return refuse(list_error(listing.error(), resource));
  const auto revision = listing->revision;
  auto changes = store.watch({.kind = plan.kind, .after = revision});
  if (!changes) return refuse(list_error(changes.error(), resource));
  auto initial = selected(*std::move(listing), *selection);
  return std::make_unique<WatchStream>(*std::move(changes), std::move(initial), revision, std::move(plan), clock_);
}

Answer<Reply> Handler::log(const Target& target, const Resource& resource) {
  const auto lines = number_parameter(target, "tailLines");
  if (!lines) return refuse(lines.error());
  const auto object = objects_.store().get(resource.key());
  if (!object) return refuse(from_error(object.error(), resource.key()));
  if (!hooks_.serial_log_path) {
    return refuse(from_error({ErrorCode::Unavailable, "this daemon keeps no serial logs"}, resource.key()));
  }
  auto path = hooks_.serial_log_path(*object);
  if (!path) return refuse(from_error(path.error(), resource.key()));
  auto stream = LogStream::open(
      {.path = *std::move(path), .tail_lines = *lines, .follow = target.flag("follow"), .previous = target.flag("previous")},
      clock_);
  if (!stream && stream.error().code == ErrorCode::NotFound) {
    return refuse({.code = 404,
                   .reason = "NotFound",
                   .message = fmt::format("virtual machine \"{}\": {}", resource.name, stream.error().message),
                   .kind = std::string(resource.kind->plural),
                   .name = resource.name});
  }
  if (!stream) return refuse(from_error(stream.error(), resource.key()));
  return *std::move(stream);
}

}  // namespace banger::server

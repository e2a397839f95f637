// SPDX-License-Identifier: Apache-2.0
// POST, PUT, PATCH, DELETE. Who may change what is decided by store/objects.hpp; here requests become calls of it.
#include <fmt/format.h>

#include <boost/json.hpp>

#include "api/builtins.hpp"
#include "api/codec.hpp"
#include "api/manifest_source.hpp"
#include "api/three_way.hpp"
#include "base/random.hpp"
#include "base/text.hpp"
#include "server/body.hpp"
#include "server/handler.hpp"

namespace banger::server {
namespace json = boost::json;
namespace {

constexpr int kPatchAttempts = 5;
constexpr int kNameAttempts = 8;

// The rules of a write without the write: a store that holds nothing but the object in question.
class Rehearsal {
 public:
  explicit Rehearsal(Clock& clock) : store_(store::make_memory_store()), objects_(*store_, clock, random_) {}

  store::Objects& objects() { return objects_; }
  Answer<void> bring(const api::Object& object) {
    const auto stored = store_->create(object);
    if (!stored) return refuse(from_error(stored.error(), api::key_of(object)));
    return {};
  }

 private:
  std::unique_ptr<store::Store> store_;
  SystemRandom random_;
  store::Objects objects_;
};

store::WriteResult<api::Object> rehearse_create(store::Store& real, Clock& clock, const api::Object& object) {
  if (const auto there = real.get(api::key_of(object))) {
    return std::unexpected<store::WriteError>(
        {{ErrorCode::AlreadyExists,
          fmt::format("{}.{} \"{}\" already exists", api::info(api::kind_of(object)).plural, api::kGroup, object.meta.name)},
         {}});
  }
  auto created = Rehearsal(clock).objects().create(object);
  if (created) created->meta.resource_version = 0;
  return created;
}

store::WriteResult<api::Object> rehearse_update(store::Store& real, Clock& clock, api::Object object) {
  const auto key = api::key_of(object);
  auto current = real.get(key);
  if (!current) return std::unexpected<store::WriteError>({current.error(), {}});
  if (object.meta.resource_version != 0 && object.meta.resource_version != current->meta.resource_version) {
    return std::unexpected<store::WriteError>(
        {{ErrorCode::Conflict,
          fmt::format("Operation cannot be fulfilled on {}.{} \"{}\": the object has been modified; please apply your changes to "
                      "the latest version and try again",
                      api::info(key.kind).plural, api::kGroup, key.name)},
         {}});
  }
  Rehearsal rehearsal(clock);
  if (const auto brought = rehearsal.bring(*current); !brought) {
    return std::unexpected<store::WriteError>({internal(brought.error().message), {}});
  }
  object.meta.resource_version = 0;
  auto updated = rehearsal.objects().update(object);
  if (updated) updated->meta.resource_version = current->meta.resource_version;
  return updated;
}

Response with_warnings(Response response, const std::vector<std::string>& warnings) {
  for (const auto& warning : warnings) {
    std::string quoted;
    for (const char c : warning) {
      if (c == '"' || c == '\\') quoted += '\\';
      quoted += c;
    }
    response.headers.emplace_back("Warning", fmt::format("299 - \"{}\"", quoted));
  }
  return response;
}

// metadata.generateName, when there is no name.
std::string generated_prefix(const json::value& document) {
  const auto* metadata = document.as_object().if_contains("metadata");
  if (metadata == nullptr || !metadata->is_object()) return {};
  const auto* name = metadata->as_object().if_contains("name");
  if (name != nullptr && name->is_string() && !name->as_string().empty()) return {};
  const auto* prefix = metadata->as_object().if_contains("generateName");
  return prefix != nullptr && prefix->is_string() ? std::string(prefix->as_string()) : std::string{};
}

// Five characters without vowels, so that no words come out.
std::string generated_suffix() {
  constexpr std::string_view kAlphabet = "bcdfghjklmnpqrstvwxz2456789";
  std::uint8_t bytes[5];
  SystemRandom().fill(bytes);
  std::string suffix;
  for (const auto byte : bytes) suffix += kAlphabet[byte % kAlphabet.size()];
  return suffix;
}

bool names_a_version(const json::value& patch) {
  const auto* metadata = patch.as_object().if_contains("metadata");
  return metadata != nullptr && metadata->is_object() && metadata->as_object().contains("resourceVersion");
}

// Which file an object came from is not the client's to say: a copy of another object would go when that one's file does.
void keep_source(api::Object& object, const api::Object* current) {
  const std::string source(api::kSourceAnnotation);
  object.meta.annotations.erase(source);
  if (current == nullptr || !current->meta.annotations.contains(source)) return;
  // Neither is what that file said last: with other words in their place the file would seem to have changed, and would undo
  // the very edit that brings them.
  for (const auto& name : {source, std::string(api::kLastApplied)}) {
    object.meta.annotations.erase(name);
    const auto kept = current->meta.annotations.find(name);
    if (kept != current->meta.annotations.end()) object.meta.annotations.insert(*kept);
  }
}

// A key that stands twice in the text is gone after parsing, so the text itself is asked.
Answer<json::value> parse_whole_object(const Request& request, const Resource& resource) {
  auto document = parse_json_object(request.body);
  if (!document) return document;
  auto refusals = api::decode_object(request.body).refusals;
  std::erase_if(refusals, [](const api::Refusal& refusal) { return refusal.reason != "FieldValueDuplicate"; });
  if (!refusals.empty()) return refuse(from_refusals(refusals, resource.key()));
  return document;
}

struct WriteParameters {
  View view;
  Strictness strictness = Strictness::Strict;
  Run run = Run::Real;
};

Answer<WriteParameters> parameters_of(const Request& request, const Target& target) {
  const auto view = negotiate(request.accept, target);
  if (!view) return refuse(view.error());
  const auto strictness = strictness_of(target);
  if (!strictness) return refuse(strictness.error());
  const auto run = run_of(target);
  if (!run) return refuse(run.error());
  return WriteParameters{*view, *strictness, *run};
}

}  // namespace

Answer<Reply> Handler::create(const Request& request, const Target& target, const Resource& resource) {
  const auto parameters = parameters_of(request, target);
  if (!parameters) return refuse(parameters.error());
  if (resource.kind->namespaced && resource.ns.empty()) {
    return refuse(method_not_allowed(fmt::format("{} are created below /namespaces/NAMESPACE", resource.kind->plural), "GET"));
  }
  if (const auto media = expect_media(request, kJsonType); !media) return refuse(media.error());
  auto document = parse_whole_object(request, resource);
  if (!document) return refuse(document.error());
  const auto prefix = generated_prefix(*document);
  for (int attempt = 1;; ++attempt) {
    if (!prefix.empty()) (*document).as_object()["metadata"].as_object()["name"] = prefix + generated_suffix();
    auto body = decode_body(*document, resource, parameters->strictness);
    if (!body) return refuse(body.error());
    if (body->object.meta.resource_version != 0) {
      return refuse(bad_request("resourceVersion should not be set on objects to be created"));
    }
    keep_source(body->object, nullptr);
    const auto created =
        parameters->run == Run::Dry ? rehearse_create(objects_.store(), clock_, body->object) : objects_.create(body->object);
    if (created) {
      return with_warnings({.status = 201,
                            .content_type = content_type_of(parameters->view),
                            .body = show_object(parameters->view, *created, clock_.wall()) + "\n"},
                           body->warnings);
    }
    const bool taken = created.error().error.code == ErrorCode::AlreadyExists;
    if (prefix.empty() || !taken || attempt == kNameAttempts) {
      return refuse(from_write_error(created.error(), api::key_of(body->object)));
    }
  }
}

Answer<Reply> Handler::replace(const Request& request, const Target& target, const Resource& resource) {
  const auto parameters = parameters_of(request, target);
  if (!parameters) return refuse(parameters.error());
  if (const auto media = expect_media(request, kJsonType); !media) return refuse(media.error());
  auto document = parse_whole_object(request, resource);
  if (!document) return refuse(document.error());
  auto body = decode_body(*std::move(document), resource, parameters->strictness);
  if (!body) return refuse(body.error());
  if (body->object.meta.resource_version == 0) {
    return refuse(from_refusals({{.field = "metadata.resourceVersion",
                                  .reason = "FieldValueInvalid",
                                  .message = "Invalid value: 0: must be specified for an update"}},
                                resource.key()));
  }
  const auto current = objects_.store().get(resource.key());  // another one by then: a Conflict
  keep_source(body->object, current ? &*current : nullptr);
  const auto written =
      parameters->run == Run::Dry ? rehearse_update(objects_.store(), clock_, body->object) : objects_.update(body->object);
  if (!written) return refuse(from_write_error(written.error(), resource.key()));
  return with_warnings(
      {.content_type = content_type_of(parameters->view), .body = show_object(parameters->view, *written, clock_.wall()) + "\n"},
      body->warnings);
}

Answer<Reply> Handler::patch(const Request& request, const Target& target, const Resource& resource) {
  const auto parameters = parameters_of(request, target);
  if (!parameters) return refuse(parameters.error());
  if (const auto media = expect_media(request, kMergePatchType); !media) return refuse(media.error());
  const auto change = parse_json_object(request.body);
  if (!change) return refuse(change.error());
  if (!resource.kind->user_writable) return confirm_prune(request, parameters->view, resource);
  for (int attempt = 1;; ++attempt) {
    const auto current = objects_.store().get(resource.key());
    if (!current) return refuse(from_error(current.error(), resource.key()));
    auto document = api::encode(*current);
    api::merge_patch(document, *change);
    if (!document.is_object()) return refuse(bad_request("the patch leaves no object"));
    auto body = decode_body(std::move(document), resource, parameters->strictness);
    if (!body) return refuse(body.error());
    keep_source(body->object, &*current);
    const auto written =
        parameters->run == Run::Dry ? rehearse_update(objects_.store(), clock_, body->object) : objects_.update(body->object);
    if (written) {
      return with_warnings({.content_type = content_type_of(parameters->view),
                            .body = show_object(parameters->view, *written, clock_.wall()) + "\n"},
                           body->warnings);
    }
    const bool raced = written.error().error.code == ErrorCode::Conflict && !names_a_version(*change);
    if (!raced || attempt == kPatchAttempts) return refuse(from_write_error(written.error(), resource.key()));
  }
}

// The one thing a client may write on a ManifestSource: the token under which removals wait.
Answer<Reply> Handler::confirm_prune(const Request& request, const View& view, const Resource& resource) {
  const auto change = parse_json_object(request.body);
  if (!change) return refuse(change.error());
  const auto* spec = change->as_object().if_contains("spec");
  const auto* token = spec != nullptr && spec->is_object() ? spec->as_object().if_contains("confirmedPruneToken") : nullptr;
  if (token == nullptr || !token->is_string() || spec->as_object().size() != 1 || change->as_object().size() != 1) {
    return refuse(forbidden("only spec.confirmedPruneToken of a manifestsource may be patched"));
  }
  const std::string confirmed(token->as_string());
  const auto written = objects_.edit(resource.key(), [&](api::Object& object) -> Result<void> {
    auto& source = std::get<api::ManifestSource>(object.body);
    if (confirmed.empty() || confirmed != source.status.prune_token) {
      return fail({ErrorCode::Conflict,
                   fmt::format("Operation cannot be fulfilled on manifestsources.banger.dev \"{}\": no removals wait under that "
                               "token (any more); look at `bangerctl get sources` and confirm again",
                               resource.name)});
    }
    source.spec.confirmed_prune_token = confirmed;
    return {};
  });
  if (!written) return refuse(from_write_error(written.error(), resource.key()));
  return Response{.content_type = content_type_of(view), .body = show_object(view, *written, clock_.wall()) + "\n"};
}

Answer<Reply> Handler::remove(const Request& request, const Target& target, const Resource& resource) {
  const auto view = negotiate(request.accept, target);
  if (!view) return refuse(view.error());
  const auto asked = decode_delete(request, target);
  if (!asked) return refuse(asked.error());
  auto* objects = &objects_;
  Rehearsal rehearsal(clock_);
  auto options = asked->options;
  if (asked->run == Run::Dry) {
    const auto current = objects_.store().get(resource.key());
    if (!current) return refuse(from_error(current.error(), resource.key()));
    if (options.resource_version && *options.resource_version == current->meta.resource_version) options.resource_version.reset();
    if (const auto brought = rehearsal.bring(*current); !brought) return refuse(brought.error());
    objects = &rehearsal.objects();
  }
  const auto removed = objects->remove(resource.key(), options);
  if (!removed) return refuse(from_write_error(removed.error(), resource.key()));
  std::vector<std::string> warnings;
  if (api::is_builtin(resource.key())) {
    warnings.push_back(fmt::format("{} is built in: what refers to it waits until bangerd starts next and makes it anew",
                                   api::to_string(resource.key())));
  }
  if (removed->gone) return with_warnings(success(resource.key(), removed->object.meta.uid), warnings);
  return with_warnings(
      {.content_type = content_type_of(*view), .body = show_object(*view, removed->object, clock_.wall()) + "\n"}, warnings);
}

}  // namespace banger::server

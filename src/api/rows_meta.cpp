// SPDX-License-Identifier: Apache-2.0
// Rows of the envelope, and of the kinds as wholes.
#include <array>
#include <utility>

#include "api/rows.hpp"

namespace banger::api::schema {
namespace {

template <std::size_t I = 0>
Body body_of(std::size_t index) {
  if constexpr (I + 1 < std::variant_size_v<Body>) {
    if (index != I) return body_of<I + 1>(index);
  }
  return Body(std::in_place_index<I>);
}

template <std::size_t... I>
const Type& type_at(std::size_t index, std::index_sequence<I...>) {
  const std::array<const Type& (*)(), sizeof...(I)> types{&type_of<std::variant_alternative_t<I, Body>>...};
  return types.at(index)();
}

}  // namespace

const Type& body_type(Kind kind) {
  return type_at(static_cast<std::size_t>(kind), std::make_index_sequence<std::variant_size_v<Body>>());
}
std::span<const Field> body_fields(Kind kind) { return body_type(kind).fields(); }

const void* body_address(const Body& body) {
  return std::visit([](const auto& value) -> const void* { return &value; }, body);
}
void* body_address(Body& body) {
  return std::visit([](auto& value) -> void* { return &value; }, body);
}
Body new_body(Kind kind) { return body_of(static_cast<std::size_t>(kind)); }

template <>
std::span<const std::string_view> spellings_of<Kind>() {
  static const auto kNames = [] {
    std::array<std::string_view, std::variant_size_v<Body>> names;
    for (const auto& row : kinds()) names.at(static_cast<std::size_t>(row.kind)) = row.name;
    return names;
  }();
  return kNames;
}

template <>
std::span<const std::string_view> spellings_of<ConditionStatus>() {
  static constexpr std::array<std::string_view, 3> kSpellings{"True", "False", "Unknown"};
  return kSpellings;
}

template <>
std::span<const Field> fields_of<OwnerReference>() {
  static const Field kRows[] = {
      {.name = "apiVersion",
       .member = member<&OwnerReference::api_version>(),
       .doc = "API version of the owner",
       .required = true},
      {.name = "kind", .member = member<&OwnerReference::kind>(), .doc = "kind of the owner", .required = true},
      {.name = "name", .member = member<&OwnerReference::name>(), .doc = "name of the owner", .required = true},
      {.name = "uid", .member = member<&OwnerReference::uid>(), .doc = "uid of the owner", .required = true},
  };
  return kRows;
}

template <>
std::span<const Field> fields_of<ObjectMeta>() {
  // The format of name depends on the kind: check.cpp.
  static const Field kRows[] = {
      {.name = "name",
       .member = member<&ObjectMeta::name>(),
       .doc = "name, unique within its kind and namespace",
       .required = true},
      {.name = "namespace",
       .member = member<&ObjectMeta::ns>(),
       .doc = "namespace, for kinds that have one",
       .default_text = "default"},
      {.name = "uid", .member = member<&ObjectMeta::uid>(), .doc = "identity, given at creation", .server_owned = true},
      {.name = "resourceVersion",
       .member = member<&ObjectMeta::resource_version>(),
       .doc = "the store's revision of the last change",
       .server_owned = true,
       .format = Format::DecimalText,
       .min = 0},
      {.name = "generation",
       .member = member<&ObjectMeta::generation>(),
       .doc = "counts changes of the spec",
       .server_owned = true,
       .min = 0},
      {.name = "creationTimestamp",
       .member = member<&ObjectMeta::creation_time>(),
       .doc = "when the object was created",
       .server_owned = true},
      {.name = "deletionTimestamp",
       .member = member<&ObjectMeta::deletion_time>(),
       .doc = "when deletion was asked for",
       .server_owned = true},
      {.name = "labels", .member = member<&ObjectMeta::labels>(), .doc = "words to select objects by"},
      {.name = "annotations", .member = member<&ObjectMeta::annotations>(), .doc = "notes that nothing selects by"},
      {.name = "finalizers",
       .member = member<&ObjectMeta::finalizers>(),
       .doc = "who has to clean up before the object goes",
       .server_owned = true,
       .max_items = 32},
      {.name = "ownerReferences",
       .member = member<&ObjectMeta::owner_references>(),
       .doc = "objects that this one goes with",
       .server_owned = true,
       .max_items = 32,
       .list_key = "uid"},
  };
  return kRows;
}

template <>
std::span<const Field> fields_of<Condition>() {
  static const Field kRows[] = {
      {.name = "type", .member = member<&Condition::type>(), .doc = "what is said to hold or not", .required = true},
      {.name = "status", .member = member<&Condition::status>(), .doc = "whether it holds"},
      {.name = "observedGeneration",
       .member = member<&Condition::observed_generation>(),
       .doc = "the generation of the object that was looked at",
       .min = 0},
      {.name = "lastTransitionTime", .member = member<&Condition::last_transition_time>(), .doc = "when the status last changed"},
      {.name = "reason", .member = member<&Condition::reason>(), .doc = "one CamelCase word for programs"},
      {.name = "message", .member = member<&Condition::message>(), .doc = "a sentence for people"},
  };
  return kRows;
}

template <>
std::span<const Field> fields_of<KernelObjectStatus>() {
  static const Field kRows[] = {
      {.name = "type",
       .member = member<&KernelObjectStatus::type>(),
       .doc = "process, cgroup, tap, dm device, loop, file, bridge or nft table"},
      {.name = "name", .member = member<&KernelObjectStatus::name>(), .doc = "its name, as other tools show it"},
      {.name = "desired", .member = member<&KernelObjectStatus::desired>(), .doc = "present or absent"},
      {.name = "observed",
       .member = member<&KernelObjectStatus::observed>(),
       .doc = "present, absent, unknown (it could not be looked at), or foreign: something of that name that is not ours"},
      {.name = "detail", .member = member<&KernelObjectStatus::detail>(), .doc = "what else was seen of it"},
  };
  return kRows;
}

}  // namespace banger::api::schema

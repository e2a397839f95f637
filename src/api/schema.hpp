// SPDX-License-Identifier: Apache-2.0
// The schema table: one row a field. Decode, encode, defaults, validation, changed fields and the docs walk the same rows.
//
// A row is bound to its struct member by a template over the member pointer (member<&VirtualMachineSpec::cpus>()), which yields
// functions that need not know the struct. A new field costs the member and its row; default values are the members' own
// initialisers.
#pragma once

#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "api/formats.hpp"
#include "api/update_class.hpp"
#include "base/clock.hpp"
#include "base/units.hpp"

namespace banger::api::schema {

enum class Shape { Text, Integer, Quantity, Time, Milliseconds, Enum, Struct, List, TextMap };

struct Field;

// What can be done with a value of one C++ type through a pointer to it. Only the functions of its shape are there.
struct Type {
  Shape shape = Shape::Text;
  // Integer, Quantity (bytes), Time (ms since 1970), Milliseconds, Enum (index of its spelling)
  std::int64_t (*read)(const void* value) = nullptr;
  void (*write)(void* value, std::int64_t number) = nullptr;
  std::int64_t lowest = std::numeric_limits<std::int64_t>::min();  // what the member can hold
  std::int64_t highest = std::numeric_limits<std::int64_t>::max();
  std::span<const std::string_view> (*spellings)() = nullptr;  // Enum
  // List
  const Type& (*element)() = nullptr;
  std::size_t (*size)(const void* list) = nullptr;
  const void* (*at)(const void* list, std::size_t index) = nullptr;
  void* (*append)(void* list) = nullptr;
  // Struct
  std::span<const Field> (*fields)() = nullptr;
  const void* (*prototype)() = nullptr;  // a value-initialised one: the defaults
};

// Specialised for every struct and enum of the schema, beside its rows (rows.hpp).
template <class T>
std::span<const Field> fields_of();
template <class E>
std::span<const std::string_view> spellings_of();

namespace detail {

template <class T>
inline constexpr bool kIsVector = false;
template <class T>
inline constexpr bool kIsVector<std::vector<T>> = true;

template <std::integral T>
void limit_to(Type& type) {
  if (std::in_range<std::int64_t>(std::numeric_limits<T>::min()))
    type.lowest = static_cast<std::int64_t>(std::numeric_limits<T>::min());
  if (std::in_range<std::int64_t>(std::numeric_limits<T>::max())) {
    type.highest = static_cast<std::int64_t>(std::numeric_limits<T>::max());
  }
}

template <class T>
Type number_type(Shape shape) {
  return {.shape = shape,
          .read = [](const void* value) { return static_cast<std::int64_t>(*static_cast<const T*>(value)); },
          .write = [](void* value, std::int64_t number) { *static_cast<T*>(value) = static_cast<T>(number); }};
}

template <class T>
Type struct_type() {
  return {.shape = Shape::Struct, .fields = &fields_of<T>, .prototype = []() -> const void* {
            static const T value{};
            return &value;
          }};
}

inline Type quantity_type() {
  return {.shape = Shape::Quantity,
          .read = [](const void* value) { return static_cast<std::int64_t>(static_cast<const Bytes*>(value)->value); },
          .write = [](void* value, std::int64_t n) { static_cast<Bytes*>(value)->value = static_cast<std::uint64_t>(n); }};
}

inline Type time_type() {
  return {.shape = Shape::Time,
          .read =
              [](const void* value) {
                return static_cast<std::int64_t>(static_cast<const WallTime*>(value)->time_since_epoch().count());
              },
          .write = [](void* value, std::int64_t n) { *static_cast<WallTime*>(value) = WallTime{std::chrono::milliseconds{n}}; }};
}

inline Type milliseconds_type() {
  using std::chrono::milliseconds;
  return {.shape = Shape::Milliseconds,
          .read = [](const void* value) { return static_cast<std::int64_t>(static_cast<const milliseconds*>(value)->count()); },
          .write = [](void* value, std::int64_t n) { *static_cast<milliseconds*>(value) = milliseconds{n}; }};
}

template <class E>
Type enum_type() {
  auto type = number_type<E>(Shape::Enum);
  type.spellings = &spellings_of<E>;
  return type;
}

}  // namespace detail

template <class T>
const Type& type_of();

namespace detail {

template <class List>
Type list_type() {
  return {.shape = Shape::List,
          .element = &type_of<typename List::value_type>,
          .size = [](const void* list) { return static_cast<const List*>(list)->size(); },
          .at = [](const void* list, std::size_t i) -> const void* { return &(*static_cast<const List*>(list))[i]; },
          .append = [](void* list) -> void* { return &static_cast<List*>(list)->emplace_back(); }};
}

template <class T>
Type make_type() {
  if constexpr (std::same_as<T, std::string>) {
    return {.shape = Shape::Text};
  } else if constexpr (std::same_as<T, Bytes>) {
    return quantity_type();
  } else if constexpr (std::same_as<T, WallTime>) {
    return time_type();
  } else if constexpr (std::same_as<T, std::chrono::milliseconds>) {
    return milliseconds_type();
  } else if constexpr (std::same_as<T, std::map<std::string, std::string>>) {
    return {.shape = Shape::TextMap};
  } else if constexpr (kIsVector<T>) {
    return list_type<T>();
  } else if constexpr (std::is_enum_v<T>) {
    return enum_type<T>();
  } else if constexpr (std::integral<T>) {
    auto type = number_type<T>(Shape::Integer);
    limit_to<T>(type);
    return type;
  } else {
    return struct_type<T>();
  }
}

}  // namespace detail

template <class T>
const Type& type_of() {
  static const Type type = detail::make_type<T>();
  return type;
}

// How a field's value is reached from the struct that owns it.
struct Member {
  const Type& (*type)() = nullptr;
  const void* (*get)(const void* owner) = nullptr;  // the value; null: an empty optional
  void* (*make)(void* owner) = nullptr;             // the value; an optional is engaged by it
  bool optional = false;
};

namespace detail {

template <class P>
struct PointerTraits;
template <class C, class M>
struct PointerTraits<M C::*> {
  using Owner = C;
  using Value = M;
};

template <class T>
struct Unwrapped {
  using Value = T;
  static constexpr bool kOptional = false;
};
template <class T>
struct Unwrapped<std::optional<T>> {
  using Value = T;
  static constexpr bool kOptional = true;
};

template <auto First, auto... Rest, class Owner>
auto& reach(Owner& owner) {
  if constexpr (sizeof...(Rest) == 0) {
    return owner.*First;
  } else {
    return reach<Rest...>(owner.*First);
  }
}

}  // namespace detail

// The member that the path of member pointers ends at.
template <auto First, auto... Rest>
Member member() {
  using Owner = typename detail::PointerTraits<decltype(First)>::Owner;
  using Stored = std::remove_reference_t<decltype(detail::reach<First, Rest...>(std::declval<Owner&>()))>;
  using Unwrapped = detail::Unwrapped<Stored>;
  return {.type = &type_of<typename Unwrapped::Value>,
          .get = [](const void* owner) -> const void* {
            const auto& value = detail::reach<First, Rest...>(*static_cast<const Owner*>(owner));
            if constexpr (Unwrapped::kOptional) {
              return value ? &*value : nullptr;
            } else {
              return &value;
            }
          },
          .make = [](void* owner) -> void* {
            auto& value = detail::reach<First, Rest...>(*static_cast<Owner*>(owner));
            if constexpr (Unwrapped::kOptional) {
              if (!value) value.emplace();
              return &*value;
            } else {
              return &value;
            }
          },
          .optional = Unwrapped::kOptional};
}

// Fields that the text nests one level deeper than the struct does: the owner stands for itself.
template <const Type& (*NestedType)()>
Member nested() {
  return {.type = NestedType,
          .get = [](const void* owner) { return owner; },
          .make = [](void* owner) { return owner; },
          .optional = false};
}

inline constexpr auto kNoMinimum = std::numeric_limits<std::int64_t>::min();
inline constexpr auto kNoMaximum = std::numeric_limits<std::int64_t>::max();

struct Field {
  std::string_view name;  // as YAML and JSON spell it
  Member member;
  std::string_view doc;         // one sentence, without a full stop
  bool required = false;        // an empty text or list is refused too
  bool server_owned = false;    // refused in manifests
  bool always = false;          // encoded even where it is empty
  Format format = Format::Any;  // of a text; of each text of a list
  std::int64_t min = kNoMinimum;
  std::int64_t max = kNoMaximum;
  std::int64_t multiple_of = 1;
  std::size_t max_length = 0;     // of a text or of each text of a list, in bytes; 0: as the format has it
  std::size_t max_items = 0;      // of a list; 0: any number
  std::string_view list_key;      // list of structs: no two elements have the same value here
  std::string_view default_text;  // docs: what absence means where the member's initialiser does not say it
  UpdateClass update = UpdateClass::Live;
  void (*when_absent)(void* value) = nullptr;  // decode of new objects: fills in what absence means
};

}  // namespace banger::api::schema

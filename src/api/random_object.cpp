// SPDX-License-Identifier: Apache-2.0
#include "api/random_object.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "api/rows.hpp"

namespace banger::api::schema {
namespace {

constexpr std::int64_t kLastSecondOf9999 = 253'402'300'799;

}  // namespace

std::uint64_t RandomObjects::below(std::uint64_t bound) {
  std::array<std::uint8_t, 8> bytes{};
  random_.fill(bytes);
  std::uint64_t value = 0;
  for (const auto byte : bytes) value = (value << 8U) | byte;
  return bound == 0 ? value : value % bound;
}

std::string RandomObjects::awkward_text() {
  static constexpr std::array<std::string_view, 36> kPieces{
      "a", "Z", "0", " ", "\n", "\t", "\"", "'", "\\", ":", ": ", " #", "#", "- ", "-",   "?",    "[",   "]",
      "{", "}", ",", "&", "*",  "!",  "|",  ">", "%",  "@", "`",  "é",  "€", "😀", "yes", "null", "1e3", "0644"};
  std::string text;
  for (auto count = below(7); count > 0; --count) text += kPieces.at(below(kPieces.size()));
  return text;
}

std::string RandomObjects::text(const Field& field) {
  if (values_ == Values::Anything) return awkward_text();
  const auto serial = ++serial_;
  switch (field.format) {
    case Format::Any:
      return awkward_text();
    case Format::DnsLabel:
    case Format::DnsSubdomain:
    case Format::DiskName:
    case Format::LinkName:
    case Format::UserName:
      return fmt::format("n{}", serial);
    case Format::AbsolutePath:
      return fmt::format("/p/{} q#'\"é", serial);
    case Format::Ipv4:
      return fmt::format("10.{}.{}.{}", serial >> 16U & 255U, serial >> 8U & 255U, serial & 255U);
    case Format::NetworkCidr:
      return fmt::format("10.{}.0.0/{}", below(256), 16 + below(14));
    case Format::Sha256Digest:
      return "sha256:" + random_hex(random_, 64);
    case Format::PublicKey:
      return "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA== you: \"here\" # " + std::to_string(serial);
    case Format::KernelArgument:
      return fmt::format("a{}=\"x\",'y'#!", serial);
    default:
      return fmt::format("line {}: # {}", serial, "'é");
  }
}

std::int64_t RandomObjects::number(const Field& field, const Type& type) {
  auto low = type.lowest;
  auto high = type.highest;
  if (type.shape == Shape::Enum) {
    low = 0;
    high = static_cast<std::int64_t>(type.spellings().size()) - 1;
  } else if (type.shape == Shape::Time) {
    low = 0;
    high = kLastSecondOf9999 * 1000;
  } else if (type.shape == Shape::Quantity || field.format == Format::FileMode) {
    low = 0;  // negative modes have no octal form
  }
  if (values_ == Values::Valid || field.format == Format::FileMode) {
    low = std::max(low, field.min);
    high = std::min(high, field.max);
  }
  // Small numbers are as likely as large ones.
  const auto span = static_cast<std::uint64_t>(high) - static_cast<std::uint64_t>(low);
  const auto width = below(64);
  const auto offset = below(0) & ((1ULL << width) - 1);
  const auto drawn = low + static_cast<std::int64_t>(span == ~0ULL ? offset : offset % (span + 1));
  return values_ == Values::Valid ? std::max(low, drawn - drawn % field.multiple_of) : drawn;
}

void RandomObjects::fill(const Field& field, const Type& type, void* value) {
  switch (type.shape) {
    case Shape::Text:
      *static_cast<std::string*>(value) = text(field);
      return;
    case Shape::Struct:
      return fill_fields(type.fields(), value);
    case Shape::List:
      for (auto count = below(4); count > 0; --count) fill(field, type.element(), type.append(value));
      return;
    case Shape::TextMap:
      for (auto count = below(4); count > 0; --count) {
        auto key = values_ == Values::Valid ? fmt::format("k{}.example.com/a-{}", below(9), below(9)) : awkward_text();
        (*static_cast<std::map<std::string, std::string>*>(value))[key] =
            values_ == Values::Valid ? fmt::format("{}", below(99)) : awkward_text();
      }
      return;
    default:
      return type.write(value, number(field, type));
  }
}

void RandomObjects::fill_fields(std::span<const Field> fields, void* owner) {
  for (const auto& field : fields) {
    if (values_ == Values::Valid && field.server_owned) continue;
    const bool left_out = !field.required && below(3) == 0;
    if (left_out) continue;
    const auto& type = field.member.type();
    auto* value = field.member.make(owner);
    fill(field, type, value);
  }
}

Object RandomObjects::object(Kind kind) {
  Object object{.meta = {}, .body = new_body(kind)};
  fill_fields(fields_of<ObjectMeta>(), &object.meta);
  fill_fields(body_fields(kind), body_address(object.body));
  if (values_ == Values::Valid) {
    object.meta.name = fmt::format("o{}", ++serial_);
    object.meta.ns = info(kind).namespaced ? "default" : "";
  }
  return object;
}

}  // namespace banger::api::schema

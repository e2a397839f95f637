// SPDX-License-Identifier: Apache-2.0
#include "actuators/built_image.hpp"

#include <boost/json.hpp>

namespace banger::actuators {
namespace {

std::string text_of(const boost::json::object& object, std::string_view key) {
  const auto* value = object.if_contains(key);
  return value != nullptr && value->is_string() ? std::string(value->get_string()) : std::string();
}

}  // namespace

std::string encode_built_image(const BuiltImage& image) {
  return boost::json::serialize(boost::json::object{{"path", image.path},
                                                    {"digest", image.digest},
                                                    {"format", image.format},
                                                    {"size", static_cast<std::int64_t>(image.size.value)}});
}

Result<BuiltImage> decode_built_image(std::string_view text) {
  boost::system::error_code error;
  const auto json = boost::json::parse(text, error);
  if (error || !json.is_object()) return fail(internal("reading the result of an image build: it is not a JSON object"));
  const auto& object = json.get_object();
  BuiltImage image{
      .path = text_of(object, "path"), .digest = text_of(object, "digest"), .format = text_of(object, "format"), .size = {}};
  const auto* size = object.if_contains("size");
  if (size != nullptr && size->is_int64() && size->get_int64() > 0) {
    image.size = {static_cast<std::uint64_t>(size->get_int64())};
  }
  if (image.path.empty() || image.digest.empty() || image.size.value == 0)
    return fail(internal("reading the result of an image build: path, digest or size is missing"));
  return image;
}

}  // namespace banger::actuators

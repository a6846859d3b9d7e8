#pragma once

#include <initializer_list>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "core/text_internal.h"
#include "tierod/core/error.h"

namespace tierod::internal {

using Json = nlohmann::json;

/// Parse `text`; the message of a failure starts with `where`.
inline Json parse_json(const std::string& text, std::string_view where) {
  try {
    return Json::parse(text);
  } catch (const Json::exception& error) {
    throw InvalidArgument(cat(where, " expected JSON: ", error.what()));
  }
}

/// Throw unless `value` is an object with no key outside of `known`.
inline void check_keys(const Json& value, std::initializer_list<std::string_view> known,
                       std::string_view where) {
  if (!value.is_object()) {
    throw InvalidArgument(cat(where, " expected a JSON object, got ", value.type_name()));
  }
  for (const auto& [key, unused] : value.items()) {
    bool found = false;
    for (const std::string_view name : known) found = found || name == key;
    if (!found) {
      throw InvalidArgument(cat(where, " does not know the key '", key, "'; known are ",
                                list_text(known, 32)));
    }
  }
}

/// Read `value[key]` as T, or throw an InvalidArgument that names the key.
template <typename T>
T get_json(const Json& value, const char* key, std::string_view where) {
  const auto found = value.find(key);
  if (found == value.end()) throw InvalidArgument(cat(where, " misses the key '", key, "'"));
  try {
    return found->get<T>();
  } catch (const Json::exception& error) {
    throw InvalidArgument(cat(where, " cannot read '", key, "': ", error.what()));
  }
}

}  // namespace tierod::internal

#pragma once

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

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
      throw InvalidArgument(
          cat(where, " does not know the key '", key, "'; known are ", list_text(known, 32)));
    }
  }
}

/// Tell whether every number that an integer target would take is one: the library itself would
/// truncate 1.5 and wrap 2^64 - 1.
inline bool holds_integers(const Json& value) {
  if (value.is_array()) return std::all_of(value.begin(), value.end(), holds_integers);
  if (value.is_number_unsigned()) {
    return value.get<std::uint64_t>() <= std::numeric_limits<std::int64_t>::max();
  }
  return !value.is_number() || value.is_number_integer();
}

/// Read `value[key]` as T, or throw an InvalidArgument that names the key.
template <typename T>
T get_json(const Json& value, const char* key, std::string_view where) {
  const auto found = value.find(key);
  if (found == value.end()) throw InvalidArgument(cat(where, " misses the key '", key, "'"));
  if constexpr (std::is_same_v<T, std::int64_t> || std::is_same_v<T, std::vector<std::int64_t>>) {
    if (!holds_integers(*found)) {
      throw InvalidArgument(
          cat(where, " expected whole numbers of 64 bits in '", key, "', got ", found->dump()));
    }
  }
  if constexpr (std::is_same_v<T, std::uint64_t>) {
    if (!found->is_number_unsigned()) {
      throw InvalidArgument(
          cat(where, " expected a whole number >= 0 in '", key, "', got ", found->dump()));
    }
  }
  try {
    return found->get<T>();
  } catch (const Json::exception& error) {
    throw InvalidArgument(cat(where, " cannot read '", key, "': ", error.what()));
  }
}

}  // namespace tierod::internal

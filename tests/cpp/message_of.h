#pragma once

#include <string>

namespace tierod {

/// Return the message of what `call` throws as E; the empty text if it throws nothing.
template <typename E, typename Call>
std::string message_of(const Call& call) {
  try {
    call();
  } catch (const E& error) {
    return error.what();
  }
  return {};
}

}  // namespace tierod

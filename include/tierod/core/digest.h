#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "tierod/export.h"

namespace tierod {

/// Return the SHA-256 digest (FIPS 180-4) of `size` bytes as 64 lower-case hexadecimal digits.
TIEROD_API std::string sha256_hex(const void* data, std::size_t size);

/// Encode bytes as base64 with padding (RFC 4648, section 4).
TIEROD_API std::string base64_encode(const void* data, std::size_t size);

/// Decode base64 with padding.
/// @throws InvalidArgument on any character or length that the encoding does not have.
TIEROD_API std::string base64_decode(std::string_view text);

}  // namespace tierod

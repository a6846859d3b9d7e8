#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tierod/export.h"

namespace tierod {

/// Stand for a label that is not known.
inline constexpr std::uint8_t kMissingLabel = 255;

/// Hold one version of a concept's labels, a value for each sample, ascending by sample.
struct TIEROD_API Labels {
  std::int64_t version = 0;
  std::string note{};
  std::vector<std::int64_t> samples{};
  std::vector<std::uint8_t> values{};  ///< 255 is missing

  /// Return the label of a sample, 255 where it has none.
  std::uint8_t at(std::int64_t sample) const;
};

/// Add a version of the labels of `concept_name` to a store, also while a writer appends to it, and
/// return the version's number, from 1.
/// @throws InvalidArgument if a sample stands twice, is negative, or the lists differ in length.
TIEROD_API std::int64_t set_labels(const std::string& store, std::string_view concept_name,
                                   std::vector<std::int64_t> samples,
                                   std::vector<std::uint8_t> values, std::string_view note = {});

/// Read labels; the newest version unless another is named.
/// @throws InvalidArgument if the concept or version is unknown; IoError if the file is damaged.
TIEROD_API Labels get_labels(const std::string& store, std::string_view concept_name,
                             std::optional<std::int64_t> version = std::nullopt);

/// Return the concepts that have labels, in alphabetical order.
TIEROD_API std::vector<std::string> label_concepts(const std::string& store);

}  // namespace tierod

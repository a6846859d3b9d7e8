#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tierod/core/event.h"
#include "tierod/core/span.h"
#include "tierod/export.h"

namespace tierod {

/// Choose tokens of an activation.
///
/// `index`, `range` and `last` count along the token axis **of the call at hand**: in a cached
/// decode step that axis has length one. `positions` and `spans` are absolute positions in the
/// whole sequence; what lies outside of the call's window is passed over, and a selection that
/// never meets any call is an error at session close.
struct TIEROD_API Tokens {
  enum class Kind : std::uint8_t { all, index, range, positions, spans };

  Kind kind = Kind::all;
  std::vector<std::int64_t> values{};      ///< index, positions
  std::optional<std::int64_t> begin, end;  ///< range, half-open; an absent end is open
  std::vector<std::string> names{};        ///< spans

  static Tokens all() { return {}; }
  /// Negative indices count from the end: -1 is the last token of the call.
  static Tokens index(std::vector<std::int64_t> indices);
  static Tokens last() { return index({-1}); }
  static Tokens range(std::optional<std::int64_t> begin, std::optional<std::int64_t> end);
  static Tokens positions(std::vector<std::int64_t> positions);
  static Tokens spans(std::vector<std::string> names);

  bool operator==(const Tokens&) const = default;
};

/// Choose which events, and which part of the tensor of each, an operation touches. What is left
/// out is not restricted. It applies before anything is copied.
struct TIEROD_API Selection {
  std::optional<std::vector<std::int64_t>>
      rows{};  ///< indices of the row axis, negative from the end
  Tokens tokens{};
  std::optional<std::vector<std::int64_t>> heads{};  ///< indices of the head axis
  std::optional<std::vector<Phase>> phases{};
  std::optional<std::vector<std::int64_t>> steps{};
  std::optional<std::vector<std::string>> branches{};
  std::optional<std::vector<std::int64_t>> calls{};

  /// Tell whether an event with this address is selected.
  bool selects_event(Phase phase, std::int64_t step, const std::string& branch,
                     std::int64_t call) const;
  /// Tell whether every event is selected.
  bool all_events() const { return !phases && !steps && !branches && !calls; }
  /// Tell whether the whole tensor is selected.
  bool whole_tensor() const { return !rows && tokens.kind == Tokens::Kind::all && !heads; }

  /// Throw InvalidArgument when a list is empty or names an entry twice; `where` starts the
  /// message.
  void check(const std::string& where) const;

  /// Write as JSON, leaving out what is not restricted; `from_json` reads it back.
  std::string to_json() const;
  /// @throws InvalidArgument on malformed text and on unknown keys.
  static Selection from_json(const std::string& json);

  bool operator==(const Selection&) const = default;
};

/// Resolve `index` (negative from the end) on an axis of `size` entries.
/// @throws OutOfRange whose message starts with `where` and names `axis`.
TIEROD_API std::int64_t resolve_index(std::int64_t index, std::int64_t size,
                                      const std::string& where, const char* axis);

}  // namespace tierod

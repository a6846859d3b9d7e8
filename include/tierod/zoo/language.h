#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tierod/export.h"
#include "tierod/vla/cot.h"
#include "tierod/zoo/concepts.h"
#include "tierod/zoo/scene.h"

namespace tierod::zoo {

/// Say of one concept whether it is stated, and where.
struct Statement {
  bool said = false;
  Side side = Side::ahead;
  bool near = false;

  bool operator==(const Statement&) const = default;
};
using Statements = std::array<Statement, kConcepts>;

/// What a chain of thought concludes, the strongest first.
enum class Decision : std::uint8_t { brake, slow, steer_left, keep };

/// Return "brake", "slow", "steer_left", "keep".
TIEROD_API const char* decision_name(Decision decision) noexcept;

// The language has one token a word; "red light" is one. A chain of thought reads
//     pedestrian left near and red light right far so brake <act>
//     clear so keep <act>

inline constexpr std::int64_t kPad = 0;
inline constexpr std::int64_t kCot = 1;
inline constexpr std::int64_t kAct = 2;
/// Longest chain of thought: every concept with its two words and a joint, "so", decision, <act>.
inline constexpr std::int64_t kMaxCot = 4 * static_cast<std::int64_t>(kConcepts) - 1 + 3;
inline constexpr std::int64_t kFramings = 4;
/// Tokens of a framing.
inline constexpr std::int64_t kFramingTokens = 3;

/// Return the text of every token, in the order of their numbers.
TIEROD_API const std::vector<std::string>& language_tokens();
/// Return the names of the prompt framings, which mean the same.
TIEROD_API const std::vector<std::string>& framing_names();
/// Return the tokens of framing `index` in [0, kFramings).
/// @throws OutOfRange otherwise.
TIEROD_API std::array<std::int64_t, 3> framing_tokens(std::int64_t index);
/// Return the token that tells a navigation command.
TIEROD_API std::int64_t navigation_token(Navigation navigation) noexcept;
/// Return the token of a concept's word.
TIEROD_API std::int64_t concept_token(std::size_t concept_index) noexcept;

/// Return what follows from the statements: the strongest decision of what is said, keep if
/// nothing.
TIEROD_API Decision decision_of(const Statements& statements) noexcept;

/// Write statements as tokens, <act> last; concepts in the order of `order`, a permutation of them.
TIEROD_API std::vector<std::int64_t> write_cot(const Statements& statements,
                                               std::span<const std::uint8_t, kConcepts> order);
/// Return the order in which (seed, scene, sample) names concepts.
TIEROD_API std::array<std::uint8_t, kConcepts> statement_order(std::uint64_t seed,
                                                               std::int64_t scene,
                                                               std::uint32_t sample);
/// Read the statements in tokens, up to "so", the first padding or <act>. What a concept lacks is
/// ahead and far; a concept named twice counts as first named.
TIEROD_API Statements read_cot(std::span<const std::int64_t> tokens);
/// Return the decision after "so", where there is one.
TIEROD_API std::optional<Decision> read_decision(std::span<const std::int64_t> tokens);

/// Turn text into tokens, words in lower case between blanks.
/// @throws InvalidArgument that names an unknown word and the nearest ones.
TIEROD_API std::vector<std::int64_t> encode_cot(std::string_view text);
/// Turn tokens into text; <act>, padding and what follows them are left out.
/// @throws OutOfRange on a number that is no token.
TIEROD_API std::string decode_cot(std::span<const std::int64_t> tokens);

/// Return the words for parsers of the language.
TIEROD_API vla::CotVocabulary cot_vocabulary();

}  // namespace tierod::zoo

#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "tierod/export.h"
#include "tierod/vla/block_model.h"

namespace tierod::vla {

/// Say what of some tokens is asked for.
enum class Projection : std::uint8_t { all, query, key_value };

/// Hold queries, keys and values of some tokens; what was not asked for is undefined.
struct TIEROD_API Projected {
  at::Tensor query;  ///< [tokens, heads, head width]
  at::Tensor key;    ///< [tokens, key heads, head width]
  at::Tensor value;  ///< [tokens, key heads, head width]
};

/// A `BlockModel` whose blocks come apart where tokens meet: all but `attend` treats each token
/// alone. A sweep then takes tokens of many rows and positions in one call, and projects only the
/// tokens that are not the base run's.
class TIEROD_API SplitBlockModel : public BlockModel {
 public:
  /// Project `hidden` [tokens, width] at `positions` int64 [tokens], in any order.
  virtual Projected project(std::int64_t index, const at::Tensor& hidden,
                            const at::Tensor& positions, Projection what) = 0;
  /// Let queries [rows, heads, queries, head width], of the last positions, attend to the keys
  /// [rows, key heads, positions, head width] up to their own. By default the usual attention,
  /// causal and scaled by the root of the head width; heads may share keys.
  virtual at::Tensor attend(std::int64_t index, const at::Tensor& query, const at::Tensor& key,
                            const at::Tensor& value);
  /// Return what leaves the block: of tokens that enter it as `hidden` [tokens, width], and of what
  /// they attended to, [tokens, heads x head width].
  virtual at::Tensor combine(std::int64_t index, const at::Tensor& hidden,
                             const at::Tensor& mixed) = 0;
  /// Run a block by its parts.
  BlockOutput block(std::int64_t index, const BlockInput& input) override;
};

}  // namespace tierod::vla

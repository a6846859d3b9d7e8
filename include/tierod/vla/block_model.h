#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "tierod/export.h"
#include "tierod/vla/batch.h"

namespace tierod::vla {

/// Give a block the residual stream of some positions, and what lies before them.
struct TIEROD_API BlockInput {
  /// [rows, tokens, width]: the residual stream entering the block at positions begin, begin + 1,
  /// ... of every row.
  at::Tensor hidden;
  /// Position of the first token.
  std::int64_t begin = 0;
  /// Keys and values of the positions before `begin`, as an earlier call returned them,
  /// [rows or 1, heads, begin, head width]; one row serves all. Undefined where begin = 0.
  at::Tensor past_key{};
  at::Tensor past_value{};
  /// Return only the last so many positions; -1: all. Keys and values are needed for all positions,
  /// queries and what follows only for these.
  std::int64_t outputs = -1;
};

/// Hold what a block returns.
struct TIEROD_API BlockOutput {
  at::Tensor hidden;  ///< [rows, outputs, width]: the residual stream leaving the block
  at::Tensor key;     ///< [rows, heads, tokens, head width], for later calls as `past_key`
  at::Tensor value;   ///< [rows, heads, tokens, head width]
};

/// Run a causal transformer block by block, from any block and from any position on: what a sweep
/// over layers and positions needs to recompute nothing twice. One call serves a whole batch of
/// rows; Python may subclass it. Blocks fire no hook points.
class TIEROD_API BlockModel {
 public:
  virtual ~BlockModel() = default;
  BlockModel() = default;
  BlockModel(const BlockModel&) = delete;
  BlockModel& operator=(const BlockModel&) = delete;

  /// Return the number of blocks.
  virtual std::int64_t blocks() const = 0;
  /// Return the number of positions in the rows of `batch`.
  virtual std::int64_t positions(const Batch& batch) = 0;
  /// Return the residual stream [rows, positions, width] that enters block 0.
  virtual at::Tensor embed(const Batch& batch) = 0;
  /// Run block `index`.
  virtual BlockOutput block(std::int64_t index, const BlockInput& input) = 0;
  /// Turn the residual stream [rows, tokens, width] after the last block into the model's outputs
  /// [rows, tokens, outputs] at the same positions.
  virtual at::Tensor finish(const at::Tensor& hidden) = 0;
  /// Return the outputs `columns` alone, in that order: [rows, tokens, columns]. Worth writing
  /// where there are many, as of a vocabulary; otherwise `finish` is called and the rest dropped.
  virtual at::Tensor finish_columns(const at::Tensor& hidden,
                                    const std::vector<std::int64_t>& columns);
};

}  // namespace tierod::vla

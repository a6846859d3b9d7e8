#pragma once

#include "tierod/vla/block_model.h"
#include "tiny_transformer.h"

namespace tierod::example {

/// Offer a TinyTransformer block by block, as sweeps want it. A batch has "tokens" [rows, tokens].
class TinyBlocks final : public vla::BlockModel {
 public:
  /// @param model  must outlive the blocks
  explicit TinyBlocks(const TinyTransformer& model) : model_(model) {}

  std::int64_t blocks() const override { return model_.config().layers; }
  std::int64_t positions(const vla::Batch& batch) override;
  at::Tensor embed(const vla::Batch& batch) override;
  vla::BlockOutput block(std::int64_t index, const vla::BlockInput& input) override;
  at::Tensor finish(const at::Tensor& hidden) override { return model_.unembed(hidden); }

 private:
  const TinyTransformer& model_;
};

}  // namespace tierod::example

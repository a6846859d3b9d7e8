#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/full_like.h>

#include <limits>

#include "core/text_internal.h"
#include "tierod/core/error.h"
#include "tierod/hook/scope.h"
#include "zoo/driving_model_internal.h"

namespace tierod::zoo {

using internal::cat;
using internal::Network;

namespace {

/// Serve the language model block by block. Blocks fire no hook points.
class LanguageBlocks : public vla::BlockModel {
 public:
  LanguageBlocks(std::shared_ptr<Network> network, vla::BatchSpec spec)
      : network_(std::move(network)), spec_(std::move(spec)) {}

  std::int64_t blocks() const override { return network_->config().layers; }

  std::int64_t positions(const vla::Batch& batch) override {
    spec_.check(batch);
    return internal::kPrefix + words(batch);
  }

  at::Tensor embed(const vla::Batch& batch) override {
    spec_.check(batch);
    const at::NoGradGuard off;
    const Suspend silent;
    const at::Tensor& navigation = batch.at("navigation");
    at::Tensor prefix = network_->prefix(network_->image_tokens(batch.at("image")), batch.at("ego"),
                                         navigation, at::full_like(navigation, 0));
    if (words(batch) == 0) return prefix;
    const at::Tensor& tokens = batch.at("cot_tokens");
    // padding stands behind <act>, where nobody looks
    return at::cat({prefix, network_->embed(tokens.clamp_min(kPad))}, 1);
  }

  vla::BlockOutput block(std::int64_t index, const vla::BlockInput& input) override {
    if (index < 0 || index >= blocks()) {
      throw OutOfRange(
          cat("[zoo.language_model.block] expected a block in [0, ", blocks(), "), got ", index));
    }
    const std::int64_t width = network_->config().width;
    const at::Tensor& hidden = input.hidden;
    if (!hidden.defined() || hidden.dim() != 3 || hidden.size(2) != width || hidden.size(1) < 1) {
      throw InvalidArgument(cat("[zoo.language_model.block] expected hidden [rows, tokens, ", width,
                                "], got ", hidden.defined() ? cat(hidden.sizes()) : "none"));
    }
    const std::int64_t tokens = hidden.size(1);
    const std::int64_t end = input.begin + tokens;
    const std::int64_t outputs = input.outputs < 0 ? tokens : input.outputs;
    if (input.begin < 0 || end > internal::kPositions || outputs < 1 || outputs > tokens) {
      throw InvalidArgument(cat("[zoo.language_model.block] expected positions in [0, ",
                                internal::kPositions, ") and outputs in [1, ", tokens,
                                "], got positions from ", input.begin, " to ", end, " and ",
                                outputs, " outputs"));
    }
    check_past(input.past_key, input, "past_key");
    check_past(input.past_value, input, "past_value");
    const Suspend silent;
    const internal::Block& block = *network_->vlm()[static_cast<std::size_t>(index)];
    const internal::Projected now = block.project(hidden, network_->turn(input.begin, tokens));
    at::Tensor key = now.key;
    at::Tensor value = now.value;
    if (input.begin > 0) {
      const auto rows = [&](const at::Tensor& past) {
        return past.expand({hidden.size(0), past.size(1), past.size(2), past.size(3)});
      };
      key = at::cat({rows(input.past_key), key}, 2);
      value = at::cat({rows(input.past_value), value}, 2);
    }
    const at::Tensor query = now.query.narrow(2, tokens - outputs, outputs);
    at::Tensor mask;
    const bool square = input.begin == 0 && outputs == tokens;
    if (!square && outputs > 1) {
      mask = at::full({outputs, end}, -std::numeric_limits<double>::infinity(), hidden.options())
                 .triu(end - outputs + 1);
    }
    const at::Tensor mixed = internal::attend(query, key, value, mask, square && tokens > 1);
    return {.hidden = block.finish(hidden.narrow(1, tokens - outputs, outputs), mixed),
            .key = now.key,
            .value = now.value};
  }

  at::Tensor finish(const at::Tensor& hidden) override {
    const Suspend silent;
    return network_->logits(hidden);
  }

 private:
  static std::int64_t words(const vla::Batch& batch) {
    const auto found = batch.tensors.find("cot_tokens");
    if (found == batch.tensors.end()) return 0;
    const at::Tensor& tokens = found->second;
    if (tokens.dim() != 2 || tokens.size(0) != batch.rows() || tokens.scalar_type() != at::kLong ||
        tokens.size(1) > kMaxCot) {
      throw InvalidArgument(cat("[zoo.language_model] expected cot_tokens int64 [", batch.rows(),
                                ", at most ", kMaxCot, "], got ", tokens.sizes()));
    }
    return tokens.size(1);
  }

  void check_past(const at::Tensor& past, const vla::BlockInput& input, const char* name) const {
    if (input.begin == 0) return;
    const internal::NetworkConfig& config = network_->config();
    const bool fits = past.defined() && past.dim() == 4 &&
                      (past.size(0) == 1 || past.size(0) == input.hidden.size(0)) &&
                      past.size(1) == config.kv_heads && past.size(2) == input.begin &&
                      past.size(3) == config.head_width();
    if (fits) return;
    throw InvalidArgument(cat("[zoo.language_model.block] expected ", name, " [",
                              input.hidden.size(0), " or 1, ", config.kv_heads, ", ", input.begin,
                              ", ", config.head_width(), "], got ",
                              past.defined() ? cat(past.sizes()) : "none",
                              "; it is what blocks returned for the positions before"));
  }

  std::shared_ptr<Network> network_;
  vla::BatchSpec spec_;
};

}  // namespace

std::shared_ptr<vla::BlockModel> DrivingModel::language_model() {
  return std::make_shared<LanguageBlocks>(state_->network, batch_spec());
}

}  // namespace tierod::zoo

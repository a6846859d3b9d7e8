#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tierod/core/event.h"
#include "tierod/core/site.h"
#include "tierod/export.h"
#include "tierod/hook/sink.h"
#include "tierod/store/writer.h"

namespace tierod {

/// Say which samples the rows of the next forward or rollout are.
struct TIEROD_API BatchInfo {
  /// A number for each row of the batch. `scenes` and `groups` may be empty.
  std::vector<std::int64_t> samples{};
  std::vector<std::int64_t> scenes{}, groups{};
  /// Token ids [rows, length] by absolute position, prompt and answer; optional. They hold in the
  /// phases none, prefill and decode.
  at::Tensor token_ids{};
  /// Position ids [rows, length] by absolute position; default: the absolute position itself.
  at::Tensor position_ids{};
};

/// Send the events that match to a stream of this name.
struct TIEROD_API SinkRule {
  SitePattern pattern;
  std::optional<Phase> phase{};
  std::string stream;
};

/// Write what a session captures into a store while the model runs.
///
///     auto sink = std::make_shared<tierod::StoreSink>(writer);
///     session.capture("**.resid_post", {.sink = sink});
///     sink->begin_batch({.samples = ids});
///     session.run([&] { model.forward(tokens); });
///
/// A stream is chosen by the first rule that matches, else by the phase ("prefill", "decode", ...,
/// and "main" outside of any). Sites that were not declared are added as the first batch meets
/// them, in the dtype that they come in (f64 as f32).
class TIEROD_API StoreSink : public CaptureSink {
 public:
  explicit StoreSink(std::shared_ptr<ActivationWriter> writer, std::vector<SinkRule> rules = {});
  ~StoreSink() override;

  /// Say what comes next.
  /// @throws StateError if a site of the batch before lacks rows.
  void begin_batch(BatchInfo info);
  /// @throws StateError before begin_batch(); InvalidArgument if the rows are not those that the
  ///         other sites of the stream have: put it into a stream of its own.
  void take(const SinkItem& item) override;
  /// Check that every site has every row.
  /// @throws StateError naming the site that lacks some.
  void finish();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tierod

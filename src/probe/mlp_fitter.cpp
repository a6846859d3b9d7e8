#include "tierod/probe/mlp_fitter.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/addmv.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/mv.h>
#include <ATen/ops/outer.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/softplus.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <memory>
#include <numeric>
#include <utility>

#include "core/tensor_internal.h"
#include "core/text_internal.h"
#include "probe/scale_internal.h"
#include "stats/check_internal.h"
#include "stats/shuffle_internal.h"
#include "stats/tensor_internal.h"
#include "tierod/core/error.h"
#include "tierod/core/random.h"
#include "tierod/stats/clusters.h"

namespace tierod::probe {

using tierod::internal::cat;
using tierod::internal::index_of;
using tierod::internal::length;

namespace {

constexpr auto* kFit = "probe.MlpFitter.fit";

// Uniform in +-sqrt(6 / (fan in + fan out)) (Glorot & Bengio 2010).
at::Tensor initial(std::int64_t rows, std::int64_t columns, const CounterRandom& random) {
  at::Tensor out = at::empty({rows, columns}, at::kFloat);
  const double reach = std::sqrt(6.0 / static_cast<double>(rows + columns));
  auto* to = out.mutable_data_ptr<float>();
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t j = 0; j < columns; ++j) {
      const double u =
          random.uniform(0, static_cast<std::uint32_t>(i), static_cast<std::uint32_t>(j));
      *to++ = static_cast<float>((2 * u - 1) * reach);
    }
  }
  return out;
}

/// One parameter with the moments of Adam (Kingma & Ba 2015).
struct Parameter {
  explicit Parameter(at::Tensor start)
      : value(std::move(start)), first(at::zeros_like(value)), second(at::zeros_like(value)) {}
  void step(const at::Tensor& gradient, double rate, double decay, std::int64_t count) {
    constexpr double kFirst = 0.9, kSecond = 0.999, kEpsilon = 1e-8;
    first.mul_(kFirst).add_(gradient, 1 - kFirst);
    second.mul_(kSecond).addcmul_(gradient, gradient, 1 - kSecond);
    const double bias1 = 1 - std::pow(kFirst, count), bias2 = 1 - std::pow(kSecond, count);
    value.mul_(1 - rate * decay);
    value.addcdiv_(first, second.div(bias2).sqrt_().add_(kEpsilon), -rate / bias1);
  }
  at::Tensor value, first, second;
};

at::Tensor logits(const at::Tensor& x, const at::Tensor& w1, const at::Tensor& b1,
                  const at::Tensor& w2, const at::Tensor& b2) {
  return at::mv(at::relu(at::addmm(b1, x, w1.t())), w2).add_(b2);
}

// Weighted mean of -log of the probability given to what happened.
double log_loss(const at::Tensor& z, const at::Tensor& y, const at::Tensor& weight) {
  const at::Tensor loss = at::softplus(z).sub(z.mul(y));
  return loss.mul(weight).sum().item<double>() / weight.sum().item<double>();
}

/// Rows that train and rows that tell when to stop; the latter may be none.
struct Parts {
  std::vector<std::int64_t> train, stop;
};

// Whole groups are held out, at random, as long as both parts keep both classes.
Parts hold_out(const FitTask& task, double share) {
  const stats::Clusters clusters(task.groups, 1, kFit);
  std::vector<std::size_t> order(clusters.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  internal::shuffle(std::span(order), CounterRandom(task.seed, "probe.mlp.held_out"), 0, 0);
  std::vector<std::array<std::size_t, 2>> count(clusters.size());
  std::array<std::size_t, 2> left{}, out{};
  for (std::size_t i = 0; i < task.labels.size(); ++i) {
    ++count[clusters.of_row()[i]][task.labels[i]];
    ++left[task.labels[i]];
  }
  const std::array<double, 2> want{share * static_cast<double>(left[0]),
                                   share * static_cast<double>(left[1])};
  std::vector<bool> held(clusters.size());
  for (const std::size_t g : order) {
    // a group goes where it is wanted: while a class it brings is short there, and not used up here
    const bool wanted = (count[g][0] > 0 && static_cast<double>(out[0]) < want[0]) ||
                        (count[g][1] > 0 && static_cast<double>(out[1]) < want[1]);
    const bool spare = left[0] > count[g][0] && left[1] > count[g][1];
    if (!wanted || !spare) continue;
    held[g] = true;
    for (const int c : {0, 1}) {
      left[c] -= count[g][c];
      out[c] += count[g][c];
    }
  }
  const bool usable = out[0] > 0 && out[1] > 0;
  Parts parts;
  for (std::size_t i = 0; i < task.labels.size(); ++i) {
    (usable && held[clusters.of_row()[i]] ? parts.stop : parts.train).push_back(length(i));
  }
  return parts;
}

}  // namespace

MlpModel::MlpModel(std::map<std::string, at::Tensor> state) {
  const auto take = [&](const char* name, std::int64_t dim) {
    const auto found = state.find(name);
    if (found == state.end() || !found->second.defined() || found->second.dim() != dim) {
      throw InvalidArgument(cat("[probe.MlpModel] expected ", name, " of ", dim,
                                " dimensions in the state, got ",
                                found == state.end()       ? std::string("none")
                                : !found->second.defined() ? std::string("an undefined tensor")
                                                           : cat("shape ", found->second.sizes()),
                                "; take what state() gives"));
    }
    return found->second.to(at::kCPU, at::kFloat).contiguous();
  };
  mean_ = take("mean", 1);
  scale_ = take("scale", 1);
  w1_ = take("w1", 2);
  b1_ = take("b1", 1);
  w2_ = take("w2", 1);
  b2_ = take("b2", 0);
  if (w1_.size(1) != mean_.size(0) || scale_.size(0) != mean_.size(0) ||
      b1_.size(0) != w1_.size(0) || w2_.size(0) != w1_.size(0)) {
    throw InvalidArgument(
        cat("[probe.MlpModel] expected mean and scale [d], w1 [h, d], b1 and w2 [h], "
            "got ",
            mean_.sizes(), ", ", scale_.sizes(), ", ", w1_.sizes(), ", ", b1_.sizes(), " and ",
            w2_.sizes(), "; take what state() gives"));
  }
}

std::map<std::string, at::Tensor> MlpModel::state() const {
  return {{"mean", mean_.clone()}, {"scale", scale_.clone()}, {"w1", w1_.clone()},
          {"b1", b1_.clone()},     {"w2", w2_.clone()},       {"b2", b2_.clone()}};
}

at::Tensor MlpModel::scores(const at::Tensor& rows) const {
  const c10::InferenceMode normal(false);
  const at::NoGradGuard no_grad;
  if (!rows.defined() || rows.dim() != 2 || rows.size(1) != mean_.size(0) ||
      !at::isFloatingType(rows.scalar_type())) {
    throw InvalidArgument(
        cat("[probe.MlpModel.scores] expected floating rows [m, ", mean_.size(0), "], got ",
            rows.defined() ? cat("shape ", rows.sizes(), " of ", rows.scalar_type())
                           : std::string("an undefined tensor")));
  }
  // f64: a row's score must not depend on the rows beside it, nor a large mean eat f32's digits
  const auto wide = [](const at::Tensor& t) { return t.to(at::kDouble); };
  const at::Tensor x = wide(rows.detach().to(at::kCPU)).sub(mean_).mul(scale_);
  return logits(x, wide(w1_), wide(b1_), wide(w2_), wide(b2_));
}

MlpFitter::MlpFitter(MlpOptions options) : options_(std::move(options)) {
  const bool decays = std::all_of(options_.weight_decays.begin(), options_.weight_decays.end(),
                                  [](double d) { return d >= 0 && std::isfinite(d); });
  if (options_.hidden < 1 || options_.epochs < 1 || options_.batch < 1 || options_.patience < 1 ||
      !(options_.learning_rate > 0) || !(options_.held_out > 0 && options_.held_out < 1) ||
      options_.weight_decays.empty() || !decays) {
    throw InvalidArgument(cat(
        "[probe.MlpFitter] expected hidden, epochs, batch, patience >= 1, a learning rate > 0, "
        "held_out inside (0, 1) and weight decays >= 0, got hidden ",
        options_.hidden, ", epochs ", options_.epochs, ", batch ", options_.batch, ", patience ",
        options_.patience, ", learning rate ", options_.learning_rate, ", held_out ",
        options_.held_out, " and weight decays ", internal::list_text(options_.weight_decays),
        "; leave what you do not know at its default"));
  }
}

Scorer MlpFitter::fit(const FitTask& task, std::size_t setting) const {
  const auto model = std::make_shared<const MlpModel>(fit_model(task, setting));
  return [model](const at::Tensor& rows) { return model->scores(rows); };
}

MlpModel MlpFitter::fit_model(const FitTask& task, std::size_t setting) const {
  const c10::InferenceMode normal(false);
  const at::NoGradGuard no_grad;
  if (setting >= settings()) {
    throw OutOfRange(cat("[", kFit, "] expected a setting below ", settings(), ", got ", setting));
  }
  const at::Tensor rows = internal::checked_rows(task.rows, kFit, "rows");
  internal::check_same_length(task.labels.size(), static_cast<std::size_t>(rows.size(0)), kFit,
                              "labels", "rows");
  internal::check_same_length(task.groups.size(), task.labels.size(), kFit, "groups", "labels");
  const auto ones = static_cast<double>(internal::check_binary(task.labels, kFit));
  const auto n = static_cast<double>(task.labels.size());

  MlpModel model;
  // about the mean in f64: rounded to f32 it would bring a constant column to life
  const at::Tensor mean = rows.to(at::kDouble).mean(0);
  const at::Tensor variance = rows.to(at::kDouble).sub(mean).square().mean(0);
  model.mean_ = mean.to(at::kFloat);
  model.scale_ = internal::inverse_sd(variance, mean.square()).to(at::kFloat);
  const at::Tensor x = rows.sub(model.mean_).mul(model.scale_).to(at::kFloat);
  at::Tensor y = at::empty({length(task.labels.size())}, at::kFloat);
  std::copy(task.labels.begin(), task.labels.end(), y.mutable_data_ptr<float>());
  const at::Tensor weight = y.mul(n / (2 * ones)).add(y.neg().add(1).mul(n / (2 * (n - ones))));

  const Parts parts = hold_out(task, options_.held_out);
  const at::Tensor stop = index_of(parts.stop);
  const at::Tensor stop_x = x.index_select(0, stop), stop_y = y.index_select(0, stop),
                   stop_weight = weight.index_select(0, stop);
  const std::int64_t d = x.size(1), h = options_.hidden;
  Parameter w1(initial(h, d, CounterRandom(task.seed, "probe.mlp.w1"))),
      b1(at::zeros({h}, at::kFloat)),
      w2(initial(1, h, CounterRandom(task.seed, "probe.mlp.w2")).reshape({h})),
      b2(at::zeros({}, at::kFloat));
  const auto keep = [&](std::size_t epoch) {
    model.w1_ = w1.value.clone();
    model.b1_ = b1.value.clone();
    model.w2_ = w2.value.clone();
    model.b2_ = b2.value.clone();
    model.epochs_ = epoch;
  };
  const CounterRandom order_random(task.seed, "probe.mlp.order");
  const double rate = options_.learning_rate, decay = options_.weight_decays[setting];
  double best = std::numeric_limits<double>::infinity();
  std::int64_t count = 0;
  for (std::size_t epoch = 1; epoch <= options_.epochs; ++epoch) {
    std::vector<std::int64_t> order = parts.train;
    internal::shuffle(std::span(order), order_random, epoch, 0);
    const at::Tensor index = index_of(order);
    for (std::int64_t begin = 0; begin < index.numel(); begin += length(options_.batch)) {
      const at::Tensor batch =
          index.narrow(0, begin, std::min(length(options_.batch), index.numel() - begin));
      const at::Tensor bx = x.index_select(0, batch), by = y.index_select(0, batch);
      const at::Tensor before = at::addmm(b1.value, bx, w1.value.t());
      const at::Tensor active = at::relu(before);
      const at::Tensor z = at::mv(active, w2.value).add_(b2.value);
      const at::Tensor dz = at::sigmoid(z)
                                .sub_(by)
                                .mul_(weight.index_select(0, batch))
                                .div_(static_cast<double>(batch.numel()));
      const at::Tensor dbefore = at::outer(dz, w2.value).mul_(before.gt(0));
      ++count;
      w2.step(at::mv(active.t(), dz), rate, decay, count);
      b2.step(dz.sum(), rate, 0, count);
      w1.step(at::mm(dbefore.t(), bx), rate, decay, count);
      b1.step(dbefore.sum(0), rate, 0, count);
    }
    if (parts.stop.empty()) continue;
    const double loss =
        log_loss(logits(stop_x, w1.value, b1.value, w2.value, b2.value), stop_y, stop_weight);
    if (!std::isfinite(loss)) {
      throw NumericalError(cat("[", kFit, "] the loss became ", loss, " in pass ", epoch,
                               "; lower the learning rate"));
    }
    if (loss < best) {
      best = loss;
      keep(epoch);
    } else if (epoch >= model.epochs_ + options_.patience) {
      break;
    }
  }
  if (parts.stop.empty()) keep(options_.epochs);
  // equal class weights put the odds at even; the training rows' own odds are what is asked for
  model.b2_ = model.b2_.add(std::log(ones / (n - ones)));
  return model;
}

}  // namespace tierod::probe

#include "tierod/zoo/trainer.h"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/_foreach_lerp.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/binary_cross_entropy_with_logits.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/full.h>
#include <ATen/ops/mse_loss.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <cmath>
#include <ctime>
#include <numbers>

#include "core/json_internal.h"
#include "store/tensor_file_internal.h"
#include "zoo/lesson_internal.h"
#include "zoo/network_internal.h"

namespace tierod::zoo {

using internal::cat;
using internal::Json;

namespace {

constexpr const char* kCheckpointFormat = "tierod-zoo-checkpoint/1";
constexpr double kAuxiliaryWeight = .3;
constexpr double kWeightDecay = .02;
constexpr double kBeta1 = .9;
constexpr double kBeta2 = .98;
constexpr double kClip = 1;
constexpr double kAverage = .998;
constexpr double kLastRate = .02;  // share of the learning rate at the end

/// Set torch's threads for the lifetime of the object.
class Threads {
 public:
  explicit Threads(std::int64_t threads) : before_(at::get_num_threads()) {
    at::set_num_threads(static_cast<int>(threads));
  }
  ~Threads() { at::set_num_threads(before_); }
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;

 private:
  int before_;
};

double cpu_seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

Json log_json(const std::vector<TrainLog>& log) {
  Json out = Json::array();
  for (const TrainLog& row : log) {
    out.push_back({{"step", row.step},
                   {"cross_entropy", row.cross_entropy},
                   {"flow", row.flow},
                   {"auxiliary", row.auxiliary},
                   {"cpu_s", row.cpu_s}});
  }
  return out;
}

std::vector<TrainLog> log_from(const Json& json, std::string_view where) {
  std::vector<TrainLog> out;
  for (const Json& row : json) {
    out.push_back({.step = internal::get_json<std::int64_t>(row, "step", where),
                   .cross_entropy = internal::get_json<double>(row, "cross_entropy", where),
                   .flow = internal::get_json<double>(row, "flow", where),
                   .auxiliary = internal::get_json<double>(row, "auxiliary", where),
                   .cpu_s = internal::get_json<double>(row, "cpu_s", where)});
  }
  return out;
}

}  // namespace

void TrainOptions::check() const {
  const auto need = [](bool good, const char* field, const char* expected, const auto& seen) {
    if (good) return;
    throw InvalidArgument(
        cat("[zoo.TrainOptions] field '", field, "': expected ", expected, ", got ", seen));
  };
  need(steps >= 1, "steps", "a number >= 1", steps);
  need(batch_size >= 2, "batch_size", "a number >= 2", batch_size);
  need(learning_rate > 0 && learning_rate < 1, "learning_rate", "a rate in (0, 1)", learning_rate);
  need(flipped_rows >= 0 && flipped_rows <= .9, "flipped_rows", "a share in [0, .9]", flipped_rows);
  need(warm_up_steps >= 0, "warm_up_steps", "a number >= 0", warm_up_steps);
  need(threads >= 1, "threads", "a number >= 1", threads);
  need(log_every >= 1, "log_every", "a number >= 1", log_every);
  try {
    static_cast<void>(at::Device(device));
  } catch (const c10::Error&) {
    need(false, "device", "a device of torch such as 'cpu' or 'cuda'", device);
  }
}

std::string TrainOptions::to_json() const {
  return Json{{"steps", steps},
              {"batch_size", batch_size},
              {"learning_rate", learning_rate},
              {"warm_up_steps", warm_up_steps},
              {"flipped_rows", flipped_rows},
              {"seed", seed},
              {"threads", threads},
              {"device", device},
              {"log_every", log_every}}
      .dump();
}

TrainOptions TrainOptions::from_json(const std::string& text) {
  constexpr std::string_view where = "[zoo.TrainOptions.from_json]";
  const Json json = internal::parse_json(text, where);
  internal::check_keys(json,
                       {"steps", "batch_size", "learning_rate", "warm_up_steps", "flipped_rows",
                        "seed", "threads", "device", "log_every"},
                       where);
  TrainOptions out;
  const auto read = [&](const char* key, auto& into) {
    if (json.contains(key)) {
      into = internal::get_json<std::remove_reference_t<decltype(into)>>(json, key, where);
    }
  };
  read("steps", out.steps);
  read("batch_size", out.batch_size);
  read("learning_rate", out.learning_rate);
  read("warm_up_steps", out.warm_up_steps);
  read("flipped_rows", out.flipped_rows);
  read("seed", out.seed);
  read("threads", out.threads);
  read("device", out.device);
  read("log_every", out.log_every);
  out.check();
  return out;
}

/// Parameters in their order, what the optimiser remembers of them, and where training is.
struct Trainer::State {
  State(Spec spec_, TrainOptions options_, const internal::NetworkConfig& config)
      : spec(std::move(spec_)),
        options(std::move(options_)),
        scenes(training_scenes(spec, options)),
        network(std::make_shared<internal::Network>(config, options.seed)) {
    network->to(at::Device(options.device));
    for (const auto& item : network->named_parameters()) {
      names.push_back(item.key());
      item.value().set_requires_grad(true);
      parameters.push_back(item.value());
    }
    reset();
  }

  static SceneConfig training_scenes(const Spec& spec, const TrainOptions& options) {
    spec.check();
    options.check();
    SceneConfig out = spec.scenes;
    // scenes of training are others than those of any draw with a small seed
    out.seed = 0x7261696e00000000ULL + options.seed;
    // what differs by stratum is learned where both are seen often
    if (std::any_of(spec.roles.begin(), spec.roles.end(),
                    [](const RoleSpec& role) { return role.role == Role::rare_shift; })) {
      out.weather = {.25, .2, .15, .2, .2};
    }
    return out;
  }

  void reset() {
    const at::NoGradGuard off;
    average.clear();
    first.clear();
    second.clear();
    for (const at::Tensor& p : parameters) {
      average.push_back(p.detach().clone());
      first.push_back(at::zeros_like(p.detach()));
      second.push_back(at::zeros_like(p.detach()));
    }
  }

  double rate() const {
    const double progress = static_cast<double>(step) / static_cast<double>(options.steps);
    const double warm = options.warm_up_steps == 0
                            ? 1
                            : std::min(1., static_cast<double>(step + 1) /
                                               static_cast<double>(options.warm_up_steps));
    return options.learning_rate * warm *
           (kLastRate + (1 - kLastRate) * .5 * (1 + std::cos(std::numbers::pi * progress)));
  }

  at::Tensor losses(const internal::Lesson& lesson) const;
  void update();
  void make_step();

  Spec spec;
  TrainOptions options;
  SceneGenerator scenes;
  std::shared_ptr<internal::Network> network;
  std::vector<std::string> names;
  std::vector<at::Tensor> parameters, average, first, second;
  std::int64_t step = 0;
  std::vector<TrainLog> log;
  TrainLog sum;
  std::int64_t summed = 0;
  double cpu_s = 0;
};

/// Return cross-entropy, flow and auxiliary loss.
at::Tensor Trainer::State::losses(const internal::Lesson& lesson) const {
  const at::Device device(options.device);
  const auto here = [&](const at::Tensor& x) { return x.to(device); };
  const at::Tensor cot = here(lesson.cot);
  const at::Tensor image_tokens = network->image_tokens(here(lesson.image));
  const at::Tensor prefix = network->prefix(image_tokens, here(lesson.ego), here(lesson.navigation),
                                            here(lesson.framing));
  internal::Memory memory(static_cast<std::size_t>(network->config().layers));
  const at::Tensor hidden = network->language(at::cat({prefix, network->embed(cot)}, 1), memory);
  // the state at a position foretells the next word
  const at::Tensor logits =
      network->logits(hidden.narrow(1, internal::kPrefix - 1, cot.size(1))).flatten(0, 1);
  const at::Tensor words = at::cross_entropy_loss(logits, here(lesson.cot_target).flatten());

  const std::int64_t columns = internal::kPrefix + cot.size(1);
  const at::Tensor visible = internal::visible_columns(spec.mask, here(lesson.act), columns);
  const std::vector<at::Tensor> masks(memory.size(),
                                      internal::expert_mask(visible, hidden.scalar_type()));
  const at::Tensor positions =
      here(lesson.action_begin)
          .unsqueeze(1)
          .add(at::arange(internal::kWaypointTokens, here(lesson.act).options()));
  const at::Tensor target = here(lesson.actions);
  const at::Tensor time = here(lesson.time);
  const at::Tensor noise = here(lesson.noise);
  const at::Tensor noisy = noise.add(target.sub(noise).mul(time.unsqueeze(1).unsqueeze(1)));
  const at::Tensor guess = network->expert(noisy, time, memory, masks, network->turn_at(positions));
  const at::Tensor flow = at::mse_loss(guess, target);

  const at::Tensor read = network->auxiliary(image_tokens);
  const at::Tensor wanted = here(lesson.auxiliary);
  const std::int64_t bits = internal::kAuxiliary - 1;
  const at::Tensor auxiliary =
      at::binary_cross_entropy_with_logits(read.narrow(1, 0, bits), wanted.narrow(1, 0, bits),
                                           here(lesson.auxiliary_counts).narrow(1, 0, bits))
          .add(at::mse_loss(read.select(1, bits), wanted.select(1, bits)));
  return at::stack({words, flow, auxiliary});
}

void Trainer::State::update() {
  const at::NoGradGuard off;
  std::vector<at::Tensor> gradients;
  gradients.reserve(parameters.size());
  for (const at::Tensor& p : parameters) gradients.push_back(p.grad());
  const at::Tensor norm = at::stack(at::_foreach_norm(gradients)).norm();
  at::_foreach_mul_(gradients,
                    at::full({}, kClip, norm.options()).div(norm.add(1e-6)).clamp_max(1));
  // gains, biases and the like do not decay
  for (const bool decays : {true, false}) {
    std::vector<at::Tensor> p, g, m, v, steps, none;
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      if ((parameters[i].dim() > 1) != decays) continue;
      p.push_back(parameters[i]);
      g.push_back(gradients[i]);
      m.push_back(first[i]);
      v.push_back(second[i]);
      steps.push_back(at::full({}, static_cast<double>(step + 1), norm.options()));
    }
    at::_fused_adamw_(p, g, m, v, none, steps, rate(), kBeta1, kBeta2, decays ? kWeightDecay : 0.,
                      1e-8, false, false);
  }
  const auto done = static_cast<double>(step);
  const double keep = std::min(kAverage, (1 + done) / (10 + done));
  std::vector<at::Tensor> plain;
  plain.reserve(parameters.size());
  for (const at::Tensor& p : parameters) plain.push_back(p.detach());
  at::_foreach_lerp_(average, plain, 1 - keep);
}

void Trainer::State::make_step() {
  const double begin = cpu_seconds();
  const at::AutoGradMode grad(true);
  const at::Tensor each = losses(internal::draw_lesson(spec, scenes, options.seed, step,
                                                       options.batch_size, options.flipped_rows));
  for (at::Tensor& p : parameters) p.mutable_grad().reset();
  each.select(0, 0).add(each.select(0, 1)).add(each.select(0, 2), kAuxiliaryWeight).backward();
  const at::Tensor seen = each.detach().to(at::kCPU, at::kDouble);
  if (!seen.isfinite().all().item<bool>()) {
    throw NumericalError(cat("[zoo.Trainer.run] expected finite losses, got ",
                             seen[0].item<double>(), ", ", seen[1].item<double>(), ", ",
                             seen[2].item<double>(), " in step ", step + 1,
                             "; lower the learning rate"));
  }
  update();
  ++step;
  cpu_s += cpu_seconds() - begin;
  sum.cross_entropy += seen[0].item<double>();
  sum.flow += seen[1].item<double>();
  sum.auxiliary += seen[2].item<double>();
  ++summed;
  if (step % options.log_every == 0 || step == options.steps) {
    const auto n = static_cast<double>(summed);
    log.push_back({step, sum.cross_entropy / n, sum.flow / n, sum.auxiliary / n, cpu_s});
    sum = {};
    summed = 0;
  }
}

Trainer::Trainer(Spec spec, TrainOptions options)
    : state_(std::make_unique<State>(std::move(spec), std::move(options),
                                     internal::NetworkConfig())) {}

Trainer::Trainer(Spec spec, TrainOptions options, const DrivingModel& trunk)
    : state_(
          std::make_unique<State>(std::move(spec), std::move(options), trunk.network()->config())) {
  const at::NoGradGuard off;
  const auto from = trunk.network()->named_parameters();
  for (std::size_t i = 0; i < state_->names.size(); ++i) {
    state_->parameters[i].copy_(from[state_->names[i]]);
  }
  state_->reset();
}

Trainer::Trainer(std::unique_ptr<State> state) : state_(std::move(state)) {}
Trainer::~Trainer() = default;
Trainer::Trainer(Trainer&&) noexcept = default;
Trainer& Trainer::operator=(Trainer&&) noexcept = default;

const Spec& Trainer::spec() const noexcept { return state_->spec; }
const TrainOptions& Trainer::options() const noexcept { return state_->options; }
std::int64_t Trainer::step() const noexcept { return state_->step; }
std::vector<TrainLog> Trainer::log() const { return state_->log; }

bool Trainer::run(std::int64_t steps, const Progress& progress) {
  const Threads threads(state_->options.threads);
  const std::int64_t left = state_->options.steps - state_->step;
  const std::int64_t last = state_->step + (steps < 0 ? left : std::min(steps, left));
  while (state_->step < last) {
    state_->make_step();
    const std::string what = state_->log.empty() ? state_->spec.name
                                                 : cat(state_->spec.name, ": cross-entropy ",
                                                       state_->log.back().cross_entropy, ", flow ",
                                                       state_->log.back().flow);
    if (progress && !progress(state_->step, state_->options.steps, what)) return false;
  }
  return true;
}

std::shared_ptr<DrivingModel> Trainer::model() const {
  const at::NoGradGuard off;
  auto network = std::make_shared<internal::Network>(state_->network->config(), 0);
  const auto into = network->named_parameters();
  for (std::size_t i = 0; i < state_->names.size(); ++i) {
    into[state_->names[i]].detach().copy_(state_->average[i]);
  }
  return std::make_shared<DrivingModel>(state_->spec, network, log_json(state_->log).dump());
}

void Trainer::save(const std::string& path) const {
  internal::TensorFile file;
  file.texts = {{"format", kCheckpointFormat},
                {"spec", state_->spec.to_json()},
                {"network", state_->network->config().to_json()},
                {"options", state_->options.to_json()},
                {"progress", Json{{"step", state_->step},
                                  {"log", log_json(state_->log)},
                                  {"sum", log_json({state_->sum})[0]},
                                  {"summed", state_->summed},
                                  {"cpu_s", state_->cpu_s}}
                                 .dump()}};
  const auto put = [&](const char* kind, const std::vector<at::Tensor>& tensors) {
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      file.tensors[cat(kind, "/", state_->names[i])] = tensors[i].detach().to(at::kCPU);
    }
  };
  put("weights", state_->parameters);
  put("average", state_->average);
  put("first", state_->first);
  put("second", state_->second);
  internal::write_tensor_file("zoo.Trainer.save", path, file);
}

Trainer Trainer::resume(const std::string& path) {
  constexpr const char* kName = "zoo.Trainer.resume";
  constexpr std::string_view where = "[zoo.Trainer.resume]";
  const internal::TensorFile file = internal::read_tensor_file(kName, path);
  if (const auto found = file.texts.find("format");
      found == file.texts.end() || found->second != kCheckpointFormat) {
    throw InvalidArgument(cat(where, " expected a checkpoint of format '", kCheckpointFormat,
                              "' in '", path, "', got '",
                              found == file.texts.end() ? "none" : found->second,
                              "'; a finished model is no checkpoint"));
  }
  auto state = std::make_unique<State>(
      Spec::from_json(file.texts.at("spec")), TrainOptions::from_json(file.texts.at("options")),
      internal::NetworkConfig::from_json(file.texts.at("network"), where));
  const Json progress = internal::parse_json(file.texts.at("progress"), where);
  state->step = internal::get_json<std::int64_t>(progress, "step", where);
  state->log = log_from(progress.at("log"), where);
  state->sum = log_from(Json::array({progress.at("sum")}), where).front();
  state->summed = internal::get_json<std::int64_t>(progress, "summed", where);
  state->cpu_s = internal::get_json<double>(progress, "cpu_s", where);
  const at::NoGradGuard off;
  const auto take = [&](const char* kind, std::vector<at::Tensor>& tensors) {
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      tensors[i].detach().copy_(file.at(cat(kind, "/", state->names[i]), kName, path));
    }
  };
  take("weights", state->parameters);
  take("average", state->average);
  take("first", state->first);
  take("second", state->second);
  return Trainer(std::move(state));
}

}  // namespace tierod::zoo

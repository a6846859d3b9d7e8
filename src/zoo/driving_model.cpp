#include "tierod/zoo/driving_model.h"

#include <ATen/core/grad_mode.h>
#include <dlfcn.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "core/json_internal.h"
#include "store/tensor_file_internal.h"
#include "tierod/core/error.h"
#include "tierod/zoo/language.h"
#include "tierod/zoo/law.h"
#include "tierod/zoo/render.h"
#include "zoo/driving_model_internal.h"

namespace tierod::internal {

DrivingSites::DrivingSites(std::int64_t layers) {
  for (std::int64_t i = 0; i < layers; ++i) {
    cache_key.emplace_back(cat("vlm.cache.", i, ".k"), "rhtd");
    cache_value.emplace_back(cat("vlm.cache.", i, ".v"), "rhtd");
  }
}

}  // namespace tierod::internal

namespace tierod::zoo {

using internal::cat;
using internal::Network;

namespace {

internal::TensorFile weights_of(const Network& network) {
  internal::TensorFile file;
  for (const auto& item : network.named_parameters()) {
    file.tensors[cat("weights/", item.key())] = item.value().detach().to(at::kCPU);
  }
  return file;
}

/// Return the folder that holds this library.
std::filesystem::path library_folder() {
  Dl_info info{};
  static const char here = 0;
  if (dladdr(&here, &info) == 0 || info.dli_fname == nullptr) return {};
  std::error_code error;
  const auto path = std::filesystem::canonical(info.dli_fname, error);
  return error ? std::filesystem::path(info.dli_fname).parent_path() : path.parent_path();
}

constexpr const char* kSuffix = ".h5";

}  // namespace

DrivingModel::DrivingModel(Spec spec, std::shared_ptr<Network> network, std::string log)
    : state_(std::make_shared<State>(State{.spec = std::move(spec),
                                           .network = std::move(network),
                                           .log = std::move(log),
                                           .sites = internal::DrivingSites(0),
                                           .weights_sha256 = {}})) {
  state_->spec.check();
  state_->sites = internal::DrivingSites(state_->network->config().layers);
  state_->weights_sha256 = weights_of(*state_->network).sha256();
}

DrivingModel::~DrivingModel() = default;

std::shared_ptr<DrivingModel> DrivingModel::fresh(Spec spec, std::uint64_t seed) {
  return std::make_shared<DrivingModel>(
      std::move(spec), std::make_shared<Network>(internal::NetworkConfig(), seed), "[]");
}

void DrivingModel::save(const std::string& path) const {
  internal::TensorFile file = weights_of(*state_->network);
  file.texts = {{"format", kModelFormat},
                {"spec", state_->spec.to_json()},
                {"network", state_->network->config().to_json()},
                {"log", state_->log},
                {"weights_sha256", state_->weights_sha256}};
  internal::write_tensor_file("zoo.DrivingModel.save", path, file);
}

std::shared_ptr<DrivingModel> DrivingModel::load(const std::string& path) {
  constexpr const char* kName = "zoo.DrivingModel.load";
  constexpr std::string_view where = "[zoo.DrivingModel.load]";
  const internal::TensorFile file = internal::read_tensor_file(kName, path);
  const std::string& format = file.text("format", kName, path);
  if (format != kModelFormat) {
    throw IoError(cat(where, " expected a model of format '", kModelFormat, "' in '", path,
                      "', got '", format, "'; train it again with this version"));
  }
  auto network = std::make_shared<Network>(
      internal::NetworkConfig::from_json(file.text("network", kName, path), where), 0);
  const at::NoGradGuard off;
  for (const auto& item : network->named_parameters()) {
    const at::Tensor& stored = file.at(cat("weights/", item.key()), kName, path);
    if (stored.sizes() != item.value().sizes()) {
      throw IoError(cat(where, " expected '", item.key(), "' ", item.value().sizes(), " in '", path,
                        "', got ", stored.sizes(), "; it is of another version"));
    }
    item.value().copy_(stored);
  }
  return std::make_shared<DrivingModel>(Spec::from_json(file.text("spec", kName, path)), network,
                                        file.text("log", kName, path));
}

std::string DrivingModel::folder() {
  // NOLINTNEXTLINE(concurrency-mt-unsafe): nobody sets the environment while models are loaded
  if (const char* set = std::getenv("TIEROD_ZOO"); set != nullptr && *set != 0) return set;
  const std::filesystem::path here = library_folder();
  // in a wheel or a build tree; in an install prefix, whose library may lie in a folder of its kind
  const std::vector<std::filesystem::path> places = {
      here / "zoo" / "models", here / ".." / "share" / "tierod" / "zoo",
      here / ".." / ".." / "share" / "tierod" / "zoo"};
  for (const auto& place : places) {
    std::error_code error;
    if (std::filesystem::is_directory(place, error)) return place.lexically_normal().string();
  }
  return places.front().string();
}

std::vector<std::string> DrivingModel::names() {
  std::vector<std::string> out;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder(), error)) {
    if (entry.path().extension() == kSuffix) out.push_back(entry.path().stem().string());
  }
  std::sort(out.begin(), out.end());
  return out;
}

std::shared_ptr<DrivingModel> DrivingModel::named(const std::string& name) {
  const std::vector<std::string> known = names();
  if (std::find(known.begin(), known.end(), name) == known.end()) {
    throw InvalidArgument(cat("[zoo.DrivingModel.named] expected one of ",
                              internal::list_text(known), " (in '", folder(), "'), got '", name,
                              "'; nearest ", internal::list_text(nearest_names(name, known)),
                              "; TIEROD_ZOO names another folder of models"));
  }
  return load((std::filesystem::path(folder()) / (name + kSuffix)).string());
}

const Spec& DrivingModel::spec() const noexcept { return state_->spec; }
const std::string& DrivingModel::training_log() const noexcept { return state_->log; }
const std::shared_ptr<Network>& DrivingModel::network() const noexcept { return state_->network; }
std::int64_t DrivingModel::denoise_steps() const noexcept {
  return state_->network->config().denoise_steps;
}

std::int64_t DrivingModel::parameter_count() const {
  std::int64_t count = 0;
  for (const at::Tensor& p : state_->network->parameters()) count += p.numel();
  return count;
}

vla::BatchSpec DrivingModel::batch_spec() const {
  return {{{"image", at::kByte, {3, kImageHeight, kImageWidth}, "front camera, RGB"},
           {"ego",
            at::kFloat,
            {internal::kEgoTokens, 2},
            "speed in m/s and acceleration in m/s^2 at -.75, -.5, -.25 and 0 s"},
           {"navigation", at::kLong, {}, "0 follow, 1 keep left, 2 keep right"}}};
}

vla::ModelDescription DrivingModel::describe() const {
  const internal::NetworkConfig& config = state_->network->config();
  vla::ModelDescription out;
  out.name = state_->spec.name;
  out.coupling = vla::Coupling::kv_cache;
  out.waypoints = internal::kWaypointTokens;
  out.dt_s = kStepSeconds;
  out.options = {"num_samples",   "cot_tokens", "noise",      "temperature",
                 "framing",       "knockouts",  "cot_length", "pin_action_positions",
                 "differentiable"};
  out.weights_sha256 = state_->weights_sha256;

  std::vector<SiteSpec> sites;
  const auto add = [&](const Site& site, std::int64_t width, std::vector<FireCount> fires) {
    sites.push_back({.site = site, .fires = std::move(fires)});
    out.widths[site.name()] = width;
  };
  const auto once = [](Phase phase) { return std::vector<FireCount>{{phase, 1, 1}}; };
  const std::vector<FireCount> language = {{Phase::prefill, 1, 1}, {Phase::decode, 1, kMaxCot}};
  const std::vector<FireCount> denoise = {
      {Phase::denoise, config.denoise_steps, config.denoise_steps}};
  const auto tower = [&](const char* name, std::int64_t layers,
                         const std::vector<FireCount>& fires) {
    for (std::int64_t i = 0; i < layers; ++i) {
      for (const char* port : {"resid_pre", "attn_out", "resid_mid", "mlp_out", "resid_post"}) {
        add(Site(cat(name, ".layers.", i, ".", port), "rtw"), config.width, fires);
      }
      for (const char* port : {"q", "k", "v"}) {
        add(Site(cat(name, ".layers.", i, ".", port), "rthd"), config.head_width(), fires);
      }
      // as wide as there are keys
      sites.push_back({.site = Site(cat(name, ".layers.", i, ".pattern"), "rhts"), .fires = fires});
    }
  };
  tower("vision", config.vision_layers, once(Phase::vision));
  add(Site("vlm.image_embeds", "rtw"), config.width, once(Phase::prefill));
  tower("vlm", config.layers, language);
  add(Site("vlm.norm", "rtw"), config.width, language);
  add(Site("vlm.logits", "rtw"), static_cast<std::int64_t>(language_tokens().size()), language);
  for (std::size_t i = 0; i < state_->sites.cache_key.size(); ++i) {
    for (const Site& site : {state_->sites.cache_key[i], state_->sites.cache_value[i]}) {
      add(site, config.head_width(), once(Phase::head));
      out.head_inputs.push_back(site.name());
    }
  }
  tower("expert", config.layers, denoise);
  add(state_->sites.velocity, 2, denoise);
  add(state_->sites.controls, 2, once(Phase::head));
  out.sites = SiteTable(std::move(sites));
  // what the last layer makes of its keys and values is read by the next word alone
  const std::string last = cat("vlm.layers.", config.layers - 1, ".");
  for (const char* port : {"q", "pattern", "attn_out", "resid_mid", "mlp_out", "resid_post"}) {
    out.null_sites.push_back(last + port);
  }
  out.null_sites.insert(out.null_sites.end(), {"vlm.norm", "vlm.logits"});
  out.input_cuts = {{.name = "image", .sites = {"vlm.image_embeds"}, .fields = {"image"}}};
  return out;
}

}  // namespace tierod::zoo

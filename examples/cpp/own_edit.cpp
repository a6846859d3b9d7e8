// Write an intervention of your own and let it take part in paired runs and in maps, on a driving
// model of the zoo.
//
// An edit derives from patch::Edit: it sets up the session of each batch, with whatever the hook
// layer can do. This one dims what the control head reads of some tokens, to see how control fades.
#include <ATen/TensorOperators.h>
#include <tierod/hook/intervention.h>
#include <tierod/patch/site_sweep.h>
#include <tierod/zoo/driving_model.h>
#include <tierod/zoo/scenes.h>

#include <cstdio>
#include <numeric>
#include <vector>

namespace patch = tierod::patch;
namespace vla = tierod::vla;

class Dim final : public patch::Edit {
 public:
  Dim(std::string site, tierod::Selection selection, double by)
      : site_(std::move(site)), selection_(std::move(selection)), by_(by) {}

  std::string name() const override { return "dim"; }
  void put_on(tierod::Session& session, const patch::EditRows& /*rows*/) const override {
    session.intervene(
        site_,
        [by = by_](const at::Tensor& part, const tierod::Event& /*event*/) {
          return std::optional<at::Tensor>(part * by);
        },
        // words differ in length from row to row: their tokens come one after the other
        {.selection = selection_, .ragged = true});
  }

 private:
  std::string site_;
  tierod::Selection selection_;
  double by_;
};

int main() {
  const auto model = tierod::zoo::DrivingModel::named("mixed");
  tierod::zoo::SceneConfig config = model->spec().scenes;
  config.scenes = 24;
  config.seed = 3;
  const tierod::zoo::Scenes scenes(config);
  std::vector<std::int64_t> ids(24);
  std::iota(ids.begin(), ids.end(), 0);
  patch::PairedRun run(*model, scenes, ids);
  const auto acceleration = vla::ControlFunctional::from_name("mean_acceleration");

  // in a paired run: half of what is read at the image's tokens, words held
  const Dim half("vlm.cache.*.v", {.tokens = tierod::Tokens::spans({"image 0"})}, 0.5);
  const auto moved = run.direct(half, acceleration).abs().mean().item<double>();
  std::printf("half of the image's values: mean acceleration moves by %.2f m/s^2\n", moved);

  // in a map: layers x spans
  patch::SiteSweepRequest request;
  request.sites = {"vlm.cache.0.v", "vlm.cache.1.v", "vlm.cache.2.v"};
  request.parts.clear();
  for (const char* span : {"prompt", "image 0", "ego", "cot"}) {
    request.parts.push_back({.name = span, .selection = {.tokens = tierod::Tokens::spans({span})}});
  }
  request.edit = [](const std::string& site, const patch::SitePart& part) {
    return std::make_shared<Dim>(site, part.selection, 0.5);
  };
  const patch::SiteSweepResult map = patch::site_sweep(run, request, acceleration);
  const at::Tensor effect = (map.values - map.base.view({-1, 1, 1, 1})).abs().mean(0)[0];
  for (std::size_t site = 0; site < map.sites.size(); ++site) {
    std::printf("%s ", map.sites[site].c_str());
    for (std::size_t part = 0; part < map.parts.size(); ++part) {
      const auto cell = effect[static_cast<std::int64_t>(site)][static_cast<std::int64_t>(part)];
      std::printf(" %s %.2f", map.parts[part].c_str(), cell.item<double>());
    }
    std::printf("\n");
  }
  return moved > 0 && map.complete ? 0 : 1;
}

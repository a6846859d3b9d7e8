// Worker of the zoo bench in C++; the protocol is that of harness/worker.py.
//
// usage: tierod_zoo_bench[_bare] <folder of models> <threads>
//
// Rollouts of 256 scenes. The network is compiled into this program itself: once with its hook
// points and, as the program _bare, once without.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "bench_worker.h"
#include "tierod/zoo/driving_model.h"
#include "tierod/zoo/scenes.h"

namespace {

namespace zoo = tierod::zoo;
using bench::Contender;

constexpr std::int64_t kRows = 256;

/// Shapes are names of models, the label is `rollout`.
class Bench {
 public:
  explicit Bench(std::string folder) : folder_(std::move(folder)) {}

  Contender& get(const std::string& shape, const std::string& label) {
    if (label != "rollout") throw std::runtime_error("unknown contender " + label);
    const auto found = contenders_.find(shape);
    if (found != contenders_.end()) return found->second;
    const auto model = zoo::DrivingModel::load(folder_ + "/" + shape + ".h5");
    zoo::SceneConfig config = model->spec().scenes;
    config.scenes = kRows;
    std::vector<std::int64_t> ids(kRows);
    std::iota(ids.begin(), ids.end(), 0);
    const auto batch = std::make_shared<tierod::vla::Batch>(zoo::Scenes(config).batch(ids));
    const auto rollout = [model, batch] {
      return model->rollout(*batch, {.temperature = 0}).actions;
    };
    return contenders_[shape] = {.run = [rollout] { rollout(); }, .value = rollout};
  }

  static void check(Contender& contender, const std::string& file) {
    bench::write_value(contender, file);
  }

 private:
  std::string folder_;
  std::map<std::string, Contender> contenders_;
};

}  // namespace

int main(int argc, char** argv) { return bench::serve<Bench>(argc, argv); }

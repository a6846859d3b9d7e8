// A user's model with two hook points: captured, edited, and refused where the site is unknown.
#include <ATen/core/Tensor.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros_like.h>
#include <tierod/core/error.h>
#include <tierod/hook/hook_point.h>
#include <tierod/hook/session.h>
#include <tierod/zoo/driving_model.h>

#include <cstdlib>
#include <iostream>

namespace {

at::Tensor model(const at::Tensor& input) {
  static const tierod::Site first("layers.0.resid_post");
  static const tierod::Site second("layers.1.resid_post");
  at::Tensor x = tierod::hook_point(input.mul(2), first);
  return tierod::hook_point(x.add(1), second);
}

void check(bool ok, const char* what) {
  if (!ok) {
    std::cerr << "consumer: " << what << "\n";
    std::exit(1);
  }
}

}  // namespace

int main() {
  const at::Tensor input = at::ones({2, 3, 4});
  const at::Tensor clean = model(input);

  tierod::Session session;
  session.capture("**.resid_post");
  session.intervene("layers.0.resid_post", tierod::Intervention::zero());
  at::Tensor edited;
  session.run([&] { edited = model(input); });

  check(at::allclose(clean, input.mul(3)), "an idle hook point changed the model");
  check(at::allclose(edited, input), "the intervention did not act");
  const tierod::ActivationCache cache = session.cache();
  check(cache.size() == 2, "expected two captures");
  check(at::allclose(cache.at("layers.0.resid_post"), at::zeros_like(input)),
        "the capture does not show the value that the model went on with");

  // an exception type must be catchable across the library's border
  tierod::Session wrong;
  wrong.capture("layers.7.resid_post");
  try {
    wrong.run([&] { model(input); });
    check(false, "an unmatched pattern was accepted");
  } catch (const tierod::SiteError& error) {
    std::cout << error.what() << "\n";
  }
  // the models of the zoo are found beside the library, wherever it was installed
  check(tierod::zoo::DrivingModel::named("mixed")->spec().name == "mixed", "no model of the zoo");
  std::cout << "consumer: ok\n";
}

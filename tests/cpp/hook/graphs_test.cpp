// Models that run from a recorded or compiled graph: a site is either seen there or it is an error.
#include <ATen/ops/mul.h>
#include <ATen/ops/ones.h>
#include <c10/core/TensorImpl.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/csrc/jit/ir/irparser.h>
#include <torch/csrc/jit/runtime/graph_executor.h>

#include <memory>

#include "fixture.h"

namespace tierod::testing {
namespace {

/// Run the IR of a function of one tensor.
class Program {
 public:
  explicit Program(const std::string& body) {
    auto graph = std::make_shared<torch::jit::Graph>();
    torch::jit::parseIR(body, graph.get());
    executor_ = std::make_unique<torch::jit::GraphExecutor>(graph, "program");
  }
  at::Tensor operator()(const at::Tensor& x) {
    torch::jit::Stack stack{x};
    executor_->run(stack);
    return stack.at(0).toTensor();
  }

 private:
  std::unique_ptr<torch::jit::GraphExecutor> executor_;
};

constexpr const char* kHooked = R"IR(
graph(%x : Tensor):
  %site : str = prim::Constant[value="layers.0.resid_post"]()
  %phase : str = prim::Constant[value=""]()
  %step : int = prim::Constant[value=-1]()
  %two : int = prim::Constant[value=2]()
  %y : Tensor = aten::mul(%x, %two)
  %h : Tensor = tierod::hook(%y, %site, %phase, %step)
  %z : Tensor = aten::mul(%h, %two)
  return (%z)
)IR";
constexpr const char* kBare = R"IR(
graph(%x : Tensor):
  %four : int = prim::Constant[value=4]()
  %z : Tensor = aten::mul(%x, %four)
  return (%z)
)IR";

class GraphsTest : public ::testing::TestWithParam<at::ScalarType> {
 protected:
  at::Tensor x_ = at::ones({2, 3}, at::TensorOptions().dtype(GetParam()));
};

TEST_P(GraphsTest, TheOpInAGraphIsSeenAndEdited) {
  Program program(kHooked);
  EXPECT_TRUE(same_bits(program(x_), x_.mul(4)));
  Session session;
  session.capture("layers.0.resid_post", {.when = When::before});
  session.intervene("layers.0.resid_post", Intervention::zero(), {.selection = {.rows = {{1}}}});
  at::Tensor z;
  session.run([&] { z = program(x_); });
  EXPECT_TRUE(same_bits(session.cache().at("layers.0.resid_post"), x_.mul(2)));
  EXPECT_TRUE(same_bits(z.select(0, 0), x_.select(0, 0).mul(4)));
  EXPECT_EQ(z.select(0, 1).abs().sum().item<double>(), 0);
  EXPECT_TRUE(same_bits(program(x_), x_.mul(4)));
}

TEST_P(GraphsTest, AGraphWithoutItsHookPointsIsRefusedAtClose) {
  Program program(kBare);
  Session session(SiteTable({{.site = Site("layers.0.resid_post")}}));
  session.intervene("layers.0.resid_post", Intervention::zero());
  const std::string message = message_of<SiteError>([&] { session.run([&] { program(x_); }); });
  EXPECT_HAS(message, "'layers.0.resid_post' never fired");
  EXPECT_HAS(message, "eager");
}

INSTANTIATE_DTYPES(GraphsTest);

/// A device that says whether it records a graph, as a GPU does.
struct RecordingGuard final : c10::impl::DeviceGuardImplInterface {
  static constexpr c10::DeviceType static_type = c10::DeviceType::PrivateUse1;
  static inline bool recording = false;

  c10::DeviceType type() const override { return static_type; }
  c10::Device exchangeDevice(c10::Device device) const override { return device; }
  c10::Device getDevice() const override { return {static_type, 0}; }
  void setDevice(c10::Device /*device*/) const override {}
  void uncheckedSetDevice(c10::Device /*device*/) const noexcept override {}
  c10::Stream getStream(c10::Device device) const override {
    return c10::Stream(c10::Stream::DEFAULT, device);
  }
  c10::Stream exchangeStream(c10::Stream stream) const override { return stream; }
  c10::DeviceIndex deviceCount() const noexcept override { return 1; }
  bool isStreamCapturing(const c10::Stream& /*stream*/) const override { return recording; }
};
C10_REGISTER_GUARD_IMPL(PrivateUse1, RecordingGuard)

TEST(DeviceGraphs, RecordingOneUnderASessionIsRefused) {
  const at::Tensor x(c10::make_intrusive<c10::TensorImpl>(
      c10::DispatchKeySet(c10::DispatchKey::PrivateUse1), caffe2::TypeMeta::Make<float>(),
      c10::Device(RecordingGuard::static_type, 0)));
  const Site site("layers.0.resid_post");
  RecordingGuard::recording = true;
  EXPECT_TRUE(hook_point(x, site).is_same(x));  // without a session there is nothing to lose
  Session session;
  session.capture("layers.0.resid_post", {.copy = false});
  const std::string message =
      message_of<StateError>([&] { session.run([&] { hook_point(x, site); }); });
  EXPECT_HAS(message, "layers.0.resid_post");
  EXPECT_HAS(message, "graph");
  RecordingGuard::recording = false;
  session.run([&] { EXPECT_TRUE(hook_point(x, site).is_same(x)); });
  EXPECT_EQ(session.cache().size(), 1U);
}

}  // namespace
}  // namespace tierod::testing

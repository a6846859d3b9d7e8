#include "tierod/hook/buffer_pool.h"

#include <c10/core/InferenceMode.h>

#include "hook/fixture.h"

namespace tierod::testing {
namespace {

constexpr std::int64_t kLarge = 256 * 1024;  // floats: 1 MiB

class BufferPoolTest : public ::testing::Test {
 protected:
  void SetUp() override {
    set_buffer_pool_limit(0);
    set_buffer_pool_limit(std::int64_t{64} << 20);
  }
  void TearDown() override { set_buffer_pool_limit(std::int64_t{512} << 20); }
};

TEST_F(BufferPoolTest, CopiesKeepEveryBitAndShareNothing) {
  const at::Tensor x = normal({256, 1024}, 1);
  for (const at::Tensor& source :
       {x, x.t(), x.narrow(1, 3, 500), x.narrow(0, 0, 1), x.to(at::kBFloat16), x.narrow(0, 0, 0)}) {
    const at::Tensor copy = pooled_copy(source);
    EXPECT_TRUE(same_bits(copy, source));
    EXPECT_TRUE(copy.is_contiguous());
    EXPECT_FALSE(copy.is_alias_of(source));
  }
}

TEST_F(BufferPoolTest, BuffersAreUsedAgain) {
  const at::Tensor x = normal({kLarge}, 1);
  EXPECT_EQ(buffer_pool_idle_bytes(), 0);
  at::Tensor copy = pooled_copy(x);
  const void* memory = copy.const_data_ptr();
  at::Tensor view = copy.narrow(0, 5, 7);
  copy.reset();
  EXPECT_EQ(buffer_pool_idle_bytes(), 0);  // the view still uses it
  view.reset();
  EXPECT_EQ(buffer_pool_idle_bytes(), kLarge * 4);
  copy = pooled_copy(x);
  EXPECT_EQ(copy.const_data_ptr(), memory);
  EXPECT_EQ(buffer_pool_idle_bytes(), 0);
  EXPECT_TRUE(same_bits(copy, x));
}

TEST_F(BufferPoolTest, TheLimitHolds) {
  const at::Tensor x = normal({kLarge}, 1);
  std::vector<at::Tensor> copies;
  for (int i = 0; i < 4; ++i) copies.push_back(pooled_copy(x));
  set_buffer_pool_limit(2 * kLarge * 4);
  copies.clear();
  EXPECT_EQ(buffer_pool_idle_bytes(), 2 * kLarge * 4);
  set_buffer_pool_limit(kLarge * 4);
  EXPECT_EQ(buffer_pool_idle_bytes(), kLarge * 4);
  set_buffer_pool_limit(0);
  EXPECT_EQ(buffer_pool_idle_bytes(), 0);
  EXPECT_THROW(set_buffer_pool_limit(-1), InvalidArgument);
}

TEST_F(BufferPoolTest, CopiesAreNormalTensorsUnderInferenceMode) {
  const c10::InferenceMode inference;
  const at::Tensor x = normal({kLarge}, 1);
  ASSERT_TRUE(x.is_inference());
  EXPECT_FALSE(pooled_copy(x).is_inference());
  EXPECT_FALSE(pooled_copy(x.narrow(0, 0, 3)).is_inference());
}

TEST_F(BufferPoolTest, SessionsGiveTheirBuffersBack) {
  const Site site("pool.session", "rw");
  const at::Tensor x = normal({256, 1024}, 1);
  {
    Session session;
    session.capture("pool.session");
    session.run([&] { hook_point(x, site); });
    EXPECT_EQ(buffer_pool_idle_bytes(), 0);
  }
  EXPECT_EQ(buffer_pool_idle_bytes(), kLarge * 4);
}

}  // namespace
}  // namespace tierod::testing

// Every intervention against a plain loop over the selected elements.

#include <ATen/ops/dot.h>
#include <ATen/ops/tensor.h>

#include "hook/fixture.h"

namespace tierod::testing {
namespace {

constexpr const char* kSite = "layers.1.resid_mid";
const std::vector<std::int64_t> kEditRows = {2, 0};
const std::vector<std::int64_t> kEditTokens = {1, 4};

class InterventionTest : public HookTest {
 protected:
  /// What the element [row, token, j] should be, given the raw tensor; row_index counts in
  /// kEditRows.
  using Oracle = std::function<double(const at::Tensor& raw, std::int64_t row_index,
                                      std::int64_t row, std::int64_t token, std::int64_t j)>;

  void check(const Intervention& edit, const Oracle& oracle) {
    Selection selection;
    selection.rows = kEditRows;
    selection.tokens = Tokens::index(kEditTokens);
    Session session(model_.site_table());
    session.intervene(kSite, edit, {.selection = selection});
    session.capture(kSite, {.when = When::before});
    session.capture(kSite);
    session.run([&] { model_.forward(tokens_); });
    const at::Tensor raw = session.cache().at(kSite, {.when = When::before});
    const at::Tensor got = session.cache().at(kSite, {.when = When::after});
    EXPECT_EQ(got.scalar_type(), dtype());
    for (std::int64_t i = 0; i < 2; ++i) {
      const std::int64_t row = kEditRows[static_cast<std::size_t>(i)];
      for (const std::int64_t token : kEditTokens) {
        for (std::int64_t j = 0; j < kWidth; ++j) {
          const double want = oracle(raw, i, row, token, j);
          const double eps = dtype() == at::kFloat ? 2e-6 : 1.0 / 256;
          EXPECT_NEAR(value_at(got, {row, token, j}), want, eps * (1 + std::abs(want)));
        }
      }
    }
    EXPECT_TRUE(same_bits(got.select(0, 1), raw.select(0, 1)));
    EXPECT_TRUE(same_bits(got.select(1, 2), raw.select(1, 2)));
  }
  static double dot(const at::Tensor& raw, std::int64_t row, std::int64_t token,
                    const at::Tensor& direction, const at::Tensor& mean = {}) {
    double sum = 0;
    for (std::int64_t j = 0; j < kWidth; ++j) {
      const double centre = mean.defined() ? value_at(mean, {j}) : 0.0;
      sum += value_at(direction, {j}) * (value_at(raw, {row, token, j}) - centre);
    }
    return sum;
  }
  at::Tensor read_ = normal({kWidth}, 21, at::kDouble);
  at::Tensor write_ = [&] {
    const at::Tensor w = normal({kWidth}, 22, at::kDouble);
    return w.div(at::dot(w, read_));
  }();
  at::Tensor mean_ = normal({kWidth}, 23, at::kDouble);
};

TEST_P(InterventionTest, Zero) {
  check(Intervention::zero(), [](auto&&...) { return 0.0; });
}

TEST_P(InterventionTest, MeanAblate) {
  check(Intervention::mean_ablate(mean_),
        [&](auto&&, auto, auto, auto, std::int64_t j) { return value_at(mean_, {j}); });
}

TEST_P(InterventionTest, Ablate) {
  check(Intervention::ablate(read_, write_, mean_),
        [&](const at::Tensor& raw, auto, std::int64_t r, std::int64_t t, std::int64_t j) {
          return value_at(raw, {r, t, j}) - value_at(write_, {j}) * dot(raw, r, t, read_, mean_);
        });
}

TEST_P(InterventionTest, SwapToOneTargetAndToOneARow) {
  check(Intervention::swap(read_, write_, at::tensor(1.5, at::TensorOptions().dtype(at::kDouble))),
        [&](const at::Tensor& raw, auto, std::int64_t r, std::int64_t t, std::int64_t j) {
          return value_at(raw, {r, t, j}) + value_at(write_, {j}) * (1.5 - dot(raw, r, t, read_));
        });
  const at::Tensor targets = at::tensor({2.0, -1.0}, at::TensorOptions().dtype(at::kDouble));
  check(Intervention::swap(read_, write_, targets),
        [&](const at::Tensor& raw, std::int64_t i, std::int64_t r, std::int64_t t, std::int64_t j) {
          return value_at(raw, {r, t, j}) +
                 value_at(write_, {j}) * (value_at(targets, {i}) - dot(raw, r, t, read_));
        });
}

TEST_P(InterventionTest, AddOfADose) {
  check(Intervention::add(write_, -2.5),
        [&](const at::Tensor& raw, auto, std::int64_t r, std::int64_t t, std::int64_t j) {
          return value_at(raw, {r, t, j}) - 2.5 * value_at(write_, {j});
        });
}

TEST_P(InterventionTest, EraseOfSeveralDirections) {
  const at::Tensor reads = normal({kWidth, 3}, 31, at::kDouble).mul(0.2);
  const at::Tensor writes = normal({kWidth, 3}, 32, at::kDouble).mul(0.2);
  check(Intervention::erase(reads, writes, mean_),
        [&](const at::Tensor& raw, auto, std::int64_t r, std::int64_t t, std::int64_t j) {
          double value = value_at(raw, {r, t, j});
          for (std::int64_t k = 0; k < 3; ++k) {
            value -= value_at(writes, {j, k}) * dot(raw, r, t, reads.select(1, k), mean_);
          }
          return value;
        });
}

TEST_P(InterventionTest, AffineWithEveryOperand) {
  const at::Tensor reads = normal({kWidth, 2}, 41, at::kDouble).mul(0.2);
  const at::Tensor writes = normal({kWidth, 2}, 42, at::kDouble).mul(0.2);
  const at::Tensor targets = normal({2, 2}, 43, at::kDouble);
  check(Intervention::affine(
            {.read = reads, .write = writes, .target = targets, .mean = mean_, .scale = 0.5}),
        [&](const at::Tensor& raw, std::int64_t i, std::int64_t r, std::int64_t t, std::int64_t j) {
          double value = value_at(raw, {r, t, j});
          for (std::int64_t k = 0; k < 2; ++k) {
            value += value_at(writes, {j, k}) *
                     (value_at(targets, {i, k}) - 0.5 * dot(raw, r, t, reads.select(1, k), mean_));
          }
          return value;
        });
}

TEST_P(InterventionTest, AnEditThatOverflowsIsAnError) {
  const double dose = 1e39;
  for (const Intervention& edit :
       {Intervention::add(write_, dose), Intervention::replace_broadcast(write_.mul(dose))}) {
    Session session(model_.site_table());
    session.intervene(kSite, edit);
    session.open();
    EXPECT_THROW(model_.forward(tokens_), NumericalError);
    EXPECT_THROW(session.close(), NumericalError);
  }
}

TEST_P(InterventionTest, GatherRowsTakesFromTheWholeBatch) {
  const std::vector<std::int64_t> permutation = {3, 2, 1, 0};
  check(Intervention::gather_rows(permutation),
        [&](const at::Tensor& raw, auto, std::int64_t r, std::int64_t t, std::int64_t j) {
          return value_at(raw, {permutation[static_cast<std::size_t>(r)], t, j});
        });
}

TEST_P(InterventionTest, ReplaceByThePartOrByTheWhole) {
  const at::Tensor whole = normal({kRows, kTokens, kWidth}, 51, dtype());
  check(Intervention::replace(whole), [&](auto&&, auto, std::int64_t r, std::int64_t t,
                                          std::int64_t j) { return value_at(whole, {r, t, j}); });
  const at::Tensor part = normal({2, 2, kWidth}, 52, dtype());
  check(Intervention::replace(part),
        [&](auto&&, std::int64_t i, auto, std::int64_t t, std::int64_t j) {
          return value_at(part, {i, t == kEditTokens[0] ? 0 : 1, j});
        });
}

TEST_P(InterventionTest, ReplaceByEvent) {
  const ActivationCache donors = capture_all(make_tokens(9));
  const at::Tensor donor = donors.at(kSite);
  check(Intervention::replace(donors), [&](auto&&, auto, std::int64_t r, std::int64_t t,
                                           std::int64_t j) { return value_at(donor, {r, t, j}); });
}

INSTANTIATE_DTYPES(InterventionTest);

}  // namespace
}  // namespace tierod::testing

// Contract 4 and 5: wrong shapes, dtypes and token lengths are refused, and the message names the
// site.

#include <ATen/ops/zeros.h>

#include <limits>

#include "hook/fixture.h"

namespace tierod::testing {
namespace {

class RefusalsTest : public HookTest {
 protected:
  template <typename E>
  void expect_refused(const Intervention& edit, const char* part, Selection selection = {}) {
    const char* site = "layers.1.resid_mid";
    Session session(model_.site_table());
    session.intervene(site, edit, {.selection = std::move(selection)});
    const auto text = message_of<E>([&] { session.run([&] { model_.forward(tokens_); }); });
    EXPECT_HAS(text, site);
    EXPECT_HAS(text, part);
    EXPECT_TRUE(same_bits(model_.forward(tokens_), clean_));
  }
  at::Tensor zeros(std::vector<std::int64_t> shape) {
    return at::zeros(shape, at::TensorOptions().dtype(dtype()));
  }
};

TEST_P(RefusalsTest, Shapes) {
  expect_refused<InvalidArgument>(Intervention::replace(zeros({kRows, kTokens, kWidth + 1})),
                                  "[4, 6, 16]");
  expect_refused<InvalidArgument>(Intervention::replace(zeros({kWidth})), "[16]");
  Selection rows;
  rows.rows = {{0, 1}};
  expect_refused<InvalidArgument>(Intervention::replace(zeros({3, kTokens, kWidth})), "[2, 6, 16]",
                                  rows);
  expect_refused<InvalidArgument>(Intervention::mean_ablate(zeros({kWidth - 1})), "15");
  expect_refused<InvalidArgument>(Intervention::add(normal({kWidth + 2}, 0), 1.0), "18");
  expect_refused<InvalidArgument>(Intervention::gather_rows({1, 0}), "permutation");
  expect_refused<OutOfRange>(Intervention::gather_rows({1, 0, 2, 4}), "row 4");
}

TEST_P(RefusalsTest, Dtypes) {
  const at::ScalarType other = dtype() == at::kFloat ? at::kBFloat16 : at::kFloat;
  expect_refused<InvalidArgument>(Intervention::replace(zeros({kRows, kTokens, kWidth}).to(other)),
                                  "dtype");
}

TEST_P(RefusalsTest, IndicesOutsideOfTheTensor) {
  std::vector<Selection> selections(4);
  selections[0].rows = {{kRows}};
  selections[1].rows = {{-kRows - 1}};
  selections[2].tokens = Tokens::index({kTokens});
  selections[3].tokens = Tokens::range(2, kTokens + 1);
  for (const Selection& selection : selections) {
    expect_refused<OutOfRange>(Intervention::zero(), "", selection);
  }
  Selection heads;
  heads.heads = {{0}};
  expect_refused<InvalidArgument>(Intervention::zero(), "heads", heads);
  Selection twice;
  twice.rows = {{0, -kRows}};
  expect_refused<InvalidArgument>(Intervention::zero(), "twice", twice);
}

TEST_P(RefusalsTest, TokenLengthsOfDonorAndRun) {
  const ActivationCache longer = capture_all(make_tokens(1, kRows, kTokens + 1));
  expect_refused<InvalidArgument>(Intervention::replace(longer), "token lengths");
  expect_refused<InvalidArgument>(Intervention::replace(longer.at("layers.1.resid_mid")),
                                  "token lengths");
  // Even where the selected part has the same shape: position 2 means something else there.
  Selection selection;
  selection.tokens = Tokens::index({2});
  expect_refused<InvalidArgument>(Intervention::replace(longer), "token lengths", selection);
  Session donor;
  donor.capture("layers.1.resid_mid", {.selection = selection});
  donor.run([&] { model_.forward(make_tokens(1, kRows, kTokens + 1)); });
  expect_refused<InvalidArgument>(Intervention::replace(donor.cache()), "token lengths", selection);
}

TEST_P(RefusalsTest, DonorsWithoutTheEvent) {
  Session donor;
  donor.capture("layers.0.resid_mid");
  donor.run([&] { model_.forward(tokens_); });
  expect_refused<SiteError>(Intervention::replace(donor.cache()), "layers.0.resid_mid");
  Session twice;
  twice.capture("layers.1.resid_mid");
  twice.run([&] {
    const PhaseScope phase(Phase::prefill);
    model_.forward(tokens_);
  });
  expect_refused<SiteError>(Intervention::replace(twice.cache()), "0 entries");
  EXPECT_THROW(Intervention::replace(ActivationCache()), InvalidArgument);
  Session reduced;
  reduced.capture("layers.1.resid_mid", {.reduce = Reduce::mean});
  reduced.run([&] { model_.forward(tokens_); });
  expect_refused<InvalidArgument>(Intervention::replace(reduced.cache()), "mean");
}

TEST_P(RefusalsTest, NonFiniteSources) {
  for (const double bad :
       {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    at::Tensor x = normal({kRows, kTokens, kWidth}, 0, dtype());
    x.select(0, 1).select(0, 2).select(0, 3).fill_(bad);
    EXPECT_THROW(Intervention::replace(x), NumericalError);
    EXPECT_NO_THROW(Intervention::replace(x, true));
    at::Tensor v = normal({kWidth}, 0);
    v.select(0, 0).fill_(bad);
    EXPECT_THROW(Intervention::mean_ablate(v), NumericalError);
    EXPECT_THROW(Intervention::add(v, 1.0), NumericalError);
    EXPECT_THROW(Intervention::add(normal({kWidth}, 0), bad), NumericalError);
    ActivationCache donors = capture_all(tokens_);
    donors = donors.filtered(
        [](const Activation& a) { return a.event.site.name() == "layers.1.resid_mid"; });
    donors.at("layers.1.resid_mid").select(0, 0).fill_(bad);
    expect_refused<NumericalError>(Intervention::replace(donors), "NaN or infinite");
  }
}

TEST_P(RefusalsTest, NonFiniteActivationsInMoments) {
  const Site site("refuse.moments", "rw");
  at::Tensor x = normal({3, 4}, 0, dtype());
  x.select(0, 1).fill_(std::numeric_limits<double>::quiet_NaN());
  Session session;
  session.capture("refuse.moments", {.reduce = Reduce::moments});
  EXPECT_HAS(message_of<NumericalError>([&] { session.run([&] { hook_point(x, site); }); }),
             "refuse.moments");
}

TEST_P(RefusalsTest, LayoutsThatDoNotFit) {
  const Site site("refuse.layout", "rtw");
  Session session;
  session.intervene("refuse.layout", Intervention::zero());
  EXPECT_HAS(message_of<InvalidArgument>(
                 [&] { session.run([&] { hook_point(normal({2, 3}, 0, dtype()), site); }); }),
             "refuse.layout");
}

TEST_P(RefusalsTest, DirectionsThatAreNoPair) {
  const at::Tensor r = normal({kWidth}, 1);
  const at::Tensor w = normal({kWidth}, 2);
  const at::Tensor mean = normal({kWidth}, 3);
  EXPECT_HAS(message_of<InvalidArgument>([&] { Intervention::ablate(r, w.mul(100), mean); }),
             "r'w = 1");
  EXPECT_THROW(Intervention::swap(r, r.mul(2), normal({}, 0)), InvalidArgument);
  EXPECT_THROW(Intervention::ablate(r, w.narrow(0, 0, 3), mean), InvalidArgument);
  EXPECT_THROW(Intervention::erase(normal({kWidth, 2}, 1), normal({kWidth, 3}, 1), mean),
               InvalidArgument);
  EXPECT_THROW(
      Intervention::erase(normal({kWidth, 2}, 1), normal({kWidth, 2}, 1), normal({kWidth + 1}, 0)),
      InvalidArgument);
  EXPECT_THROW(Intervention::replace(at::Tensor()), InvalidArgument);
  EXPECT_THROW(Intervention::gather_rows({}), InvalidArgument);
  EXPECT_THROW(Intervention::gather_rows({0, -1}), InvalidArgument);
}

INSTANTIATE_DTYPES(RefusalsTest);

}  // namespace
}  // namespace tierod::testing

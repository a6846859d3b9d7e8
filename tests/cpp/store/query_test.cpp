#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <numeric>
#include <set>

#include "store/fixture.h"
#include "store/permutation_internal.h"
#include "tierod/store/labels.h"

namespace tierod::testing {
namespace {

std::vector<std::int64_t> list(const at::Tensor& x) {
  return {x.const_data_ptr<std::int64_t>(), x.const_data_ptr<std::int64_t>() + x.numel()};
}

class QueryTest : public StoreTest {
 protected:
  static constexpr std::int64_t kRows = 1'000;

  void SetUp() override {
    StoreTest::SetUp();
    const auto writer = ActivationWriter::open(store_, one_site(8), {.shard_bytes = 2'000});
    all_ = normal({kRows, 8}, 1, at::kHalf);
    for (std::int64_t begin = 0; begin < kRows; begin += 100) {
      Rows rows{.count = 100};
      for (std::int64_t i = begin; i < begin + 100; ++i) {
        rows[RowColumn::sample].push_back(i / 10);
        rows[RowColumn::group].push_back(i / 10 % 7);
        rows[RowColumn::phase].push_back(i % 2 == 0 ? 2 : 3);
        rows[RowColumn::step].push_back(i % 2 == 0 ? -1 : i % 5);
        rows[RowColumn::branch].push_back(i % 3 == 0 ? writer->branch("guided") : 0);
      }
      writer->append("prefill", rows, {all_.narrow(0, begin, 100)});
    }
    writer->close();
  }

  // The naive loop over what was written.
  template <typename Keep>
  static std::vector<std::int64_t> where(Keep&& keep) {
    std::vector<std::int64_t> rows;
    for (std::int64_t i = 0; i < kRows; ++i) {
      if (keep(i)) rows.push_back(i);
    }
    return rows;
  }

  at::Tensor all_;
};

TEST_F(QueryTest, RowsAreChosenByEveryColumn) {
  const ActivationReader reader = ActivationReader::open(store_);
  const auto select = [&](const RowQuery& query) { return list(reader.select("prefill", query)); };
  EXPECT_EQ(select({}), where([](std::int64_t) { return true; }));
  EXPECT_EQ(select({.phases = {{Phase::decode}}}), where([](auto i) { return i % 2 == 1; }));
  EXPECT_EQ(select({.phases = {{Phase::decode}}, .steps = {{1, 3}}}),
            where([](auto i) { return i % 2 == 1 && (i % 5 == 1 || i % 5 == 3); }));
  EXPECT_EQ(select({.groups = {{2, 5}}}),
            where([](auto i) { return i / 10 % 7 == 2 || i / 10 % 7 == 5; }));
  EXPECT_EQ(select({.branches = {{"guided"}}}), where([](auto i) { return i % 3 == 0; }));
  EXPECT_EQ(select({.samples = {{3, 99}}}),
            where([](auto i) { return i / 10 == 3 || i / 10 == 99; }));
  at::Tensor mask = at::zeros({kRows}, at::TensorOptions().dtype(at::kBool));
  mask.narrow(0, 5, 3).fill_(1);
  EXPECT_EQ(select({.mask = mask}), (std::vector<std::int64_t>{5, 6, 7}));
  EXPECT_HAS(message_of<InvalidArgument>([&] { select({.branches = {{"unguided"}}}); }), "guided");
  EXPECT_THROW(select({.mask = mask.narrow(0, 0, 5)}), InvalidArgument);
}

TEST_F(QueryTest, RowsAreChosenByTheLabelsOfTheirSamples) {
  std::vector<std::int64_t> samples;
  std::vector<std::uint8_t> values;
  for (std::int64_t s = 99; s >= 10; --s) {  // the first ten samples have no label
    samples.push_back(s);
    values.push_back(s % 4 == 0 ? kMissingLabel : static_cast<std::uint8_t>(s % 2));
  }
  EXPECT_EQ(set_labels(store_, "pedestrian", samples, values, "by hand"), 1);
  const ActivationReader reader = ActivationReader::open(store_);
  const auto known = [](std::int64_t i) { return i / 10 >= 10 && i / 10 % 4 != 0; };
  EXPECT_EQ(list(reader.select("prefill", {.concept_name = "pedestrian"})), where(known));
  EXPECT_EQ(list(reader.select("prefill", {.concept_name = "pedestrian", .label = 1})),
            where([&](auto i) { return known(i) && i / 10 % 2 == 1; }));
  EXPECT_THROW(reader.select("prefill", {.label = 1}), InvalidArgument);
  EXPECT_HAS(message_of<InvalidArgument>([&] { reader.row_labels("prefill", "cyclist"); }),
             "pedestrian");
}

TEST_F(QueryTest, LabelsAreVersioned) {
  EXPECT_EQ(set_labels(store_, "c", {5, 3}, {1, 0}, "first"), 1);
  EXPECT_EQ(set_labels(store_, "c", {3}, {1}, "second"), 2);
  EXPECT_EQ(get_labels(store_, "c").at(3), 1);
  EXPECT_EQ(get_labels(store_, "c").at(5), kMissingLabel);
  const Labels first = get_labels(store_, "c", 1);
  EXPECT_EQ(first.note, "first");
  EXPECT_EQ(first.samples, (std::vector<std::int64_t>{3, 5}));
  EXPECT_EQ(first.values, (std::vector<std::uint8_t>{0, 1}));
  EXPECT_EQ(label_concepts(store_), (std::vector<std::string>{"c"}));
  EXPECT_HAS(message_of<InvalidArgument>([&] { get_labels(store_, "c", 3); }), "versions 1 to 2");
  EXPECT_THROW(set_labels(store_, "c", {1, 1}, {0, 0}), InvalidArgument);
  EXPECT_THROW(set_labels(store_, "c", {-1}, {0}), InvalidArgument);
  EXPECT_THROW(set_labels(store_, "c", {1}, {}), InvalidArgument);
  EXPECT_THROW(set_labels(store_, "../c", {1}, {0}), InvalidArgument);
  EXPECT_THROW(set_labels((folder_ / "none").string(), "c", {1}, {0}), IoError);
  // a flipped bit in a label file is found before HDF5 opens it
  std::string bytes = read_text(file("labels/c.h5"));
  bytes[700] = static_cast<char>(bytes[700] ^ 1);
  write_text(file("labels/c.h5"), bytes);
  EXPECT_HAS(message_of<IoError>([&] { get_labels(store_, "c"); }), "damaged");
  EXPECT_FALSE(verify_store(store_).ok());
}

TEST_F(QueryTest, BatchesVisitEveryRowOnceInAnOrderOfTheSeedAlone) {
  const ActivationReader reader = ActivationReader::open(store_);
  const auto walk = [&](const BatchOptions& options, const at::Tensor& rows = {}) {
    Batches batches = reader.batches("prefill", {"layers.0.resid_post"}, options, rows);
    std::vector<std::int64_t> seen;
    std::int64_t count = 0;
    Batch batch;
    while (batches.next(batch)) {
      ++count;
      EXPECT_TRUE(same_bits(batch.sites.at(0), all_.index_select(0, batch.rows)));
      for (const std::int64_t row : list(batch.rows)) seen.push_back(row);
    }
    EXPECT_EQ(count, batches.count());
    return seen;
  };
  std::vector<std::int64_t> in_order(kRows);
  std::iota(in_order.begin(), in_order.end(), 0);
  EXPECT_EQ(walk({.batch_rows = 64}), in_order);
  for (const std::int64_t block : {0, 32}) {
    const BatchOptions options{
        .batch_rows = 64, .seed = 7, .block_rows = block, .window_blocks = 4};
    const auto once = walk(options);
    EXPECT_NE(once, in_order);
    EXPECT_EQ(walk(options), once);
    // another batch size, the same order
    BatchOptions other = options;
    other.batch_rows = 7;
    EXPECT_EQ(walk(other), once);
    other.seed = 8;
    EXPECT_NE(walk(other), once);
    other = options;
    other.epoch = 1;
    EXPECT_NE(walk(other), once);
    auto sorted = once;
    std::sort(sorted.begin(), sorted.end());
    EXPECT_EQ(sorted, in_order);
  }
  const at::Tensor some = reader.select("prefill", {.phases = {{Phase::decode}}});
  auto chosen = walk({.batch_rows = 33, .seed = 1, .block_rows = 16}, some);
  std::sort(chosen.begin(), chosen.end());
  EXPECT_EQ(chosen, list(some));
  EXPECT_EQ(walk({.batch_rows = 64, .seed = 1, .drop_last = true}).size(), 960U);
  EXPECT_THROW(walk({.batch_rows = 0}), InvalidArgument);
}

TEST(Permutation, IsABijectionAndMixes) {
  for (const std::uint64_t n : {1ULL, 2ULL, 3ULL, 64ULL, 65ULL, 1'000ULL, 4'097ULL}) {
    const internal::Permutation order(n, 3, 0);
    std::set<std::uint64_t> seen;
    for (std::uint64_t i = 0; i < n; ++i) {
      const std::uint64_t value = order(i);
      EXPECT_LT(value, n);
      seen.insert(value);
    }
    EXPECT_EQ(seen.size(), n);
  }
  // Over many seeds every row comes first about equally often: chi-square with 15 degrees of
  // freedom stays below 45 with probability .9999.
  std::array<int, 16> first{};
  constexpr int kSeeds = 3'200;
  for (int seed = 0; seed < kSeeds; ++seed) {
    ++first[internal::Permutation(16, static_cast<std::uint64_t>(seed), 0)(0)];
  }
  double chi = 0;
  for (const int count : first)
    chi += (count - kSeeds / 16.0) * (count - kSeeds / 16.0) * 16 / kSeeds;
  EXPECT_LT(chi, 45);
}

}  // namespace
}  // namespace tierod::testing

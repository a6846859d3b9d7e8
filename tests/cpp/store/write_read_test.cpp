#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <sys/stat.h>

#include <limits>
#include <thread>

#include "store/fixture.h"
#include "store/manifest_internal.h"

namespace tierod::testing {
namespace {

class WriteReadTest : public StoreTest {};

TEST_F(WriteReadTest, EveryRowComesBackBitForBitWhateverTheBatchesAndShards) {
  const std::vector<StreamSpec> streams = {
      {"prefill", {{"a", 24, at::kHalf}, {"b", 7, at::kFloat}, {"c", 33, at::kBFloat16}}},
      {"denoise", {{"d", 5, at::kBFloat16}}}};
  // Small shards, so that rows lie in many of them and the last chunk of each is partial.
  const auto writer = ActivationWriter::open(store_, streams, {.shard_bytes = 40'000});
  const auto prefill = fill(*writer, "prefill", 3'001, 97);
  const auto denoise = fill(*writer, "denoise", 513, 512, 9);
  writer->close();
  EXPECT_EQ(writer->stats().rows, 3'001 + 513);
  EXPECT_EQ(writer->stats().rows_committed, 3'001 + 513);

  const ActivationReader reader = ActivationReader::open(store_);
  EXPECT_GT(reader.shard_count(), 5);
  EXPECT_EQ(reader.streams(), streams);
  EXPECT_EQ(reader.row_count("prefill"), 3'001);
  EXPECT_EQ(reader.row_count("denoise"), 513);
  const char* names[] = {"a", "b", "c"};
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_TRUE(same_bits(reader.read("prefill", names[i]), prefill[i])) << names[i];
    EXPECT_TRUE(same_bits(reader.read("prefill", names[i], 95, 2'222),
                          prefill[i].narrow(0, 95, 2'222 - 95)));
  }
  EXPECT_TRUE(same_bits(reader.read("denoise", "d"), denoise[0]));
  EXPECT_EQ(reader.read("prefill", "a", 5, 5).size(0), 0);
  EXPECT_TRUE(verify_store(store_).ok());
}

TEST_F(WriteReadTest, GatherTakesAnyRowsInAnyOrder) {
  const auto writer = ActivationWriter::open(store_, one_site(24), {.shard_bytes = 30'000});
  const at::Tensor all = fill(*writer, "prefill", 2'000, 64)[0];
  writer->close();
  const ActivationReader reader = ActivationReader::open(store_);
  std::vector<std::int64_t> rows;
  const CounterRandom random(3, "rows");
  for (std::uint32_t i = 0; i < 5'000; ++i) rows.push_back(random.below(2'000, 0, 0, i));
  const at::Tensor index = at::tensor(rows, at::TensorOptions().dtype(at::kLong));
  EXPECT_TRUE(same_bits(reader.gather("prefill", "layers.0.resid_post", index),
                        all.index_select(0, index)));
  for (const std::int64_t bad : {-1, 2'000}) {
    EXPECT_HAS(message_of<OutOfRange>([&] {
                 reader.gather("prefill", "layers.0.resid_post",
                               at::full({1}, bad, at::TensorOptions().dtype(at::kLong)));
               }),
               "2000 rows");
  }
}

TEST_F(WriteReadTest, RowTablesKeepEveryColumn) {
  const auto writer = ActivationWriter::open(store_, one_site(4));
  Rows rows{.count = 3};
  rows[RowColumn::sample] = {std::int64_t{1} << 40, -1, 7};
  rows[RowColumn::token_id] = {151'000, 0, -1};
  rows[RowColumn::phase] = {2, 3, 4};
  rows.set_all(RowColumn::step, 11);
  rows.set_all(RowColumn::branch, writer->branch("guided"));
  writer->append("prefill", rows, {at::zeros({3, 4})});
  writer->close();
  const ActivationReader reader = ActivationReader::open(store_);
  const auto values = [&](RowColumn column) {
    const at::Tensor x = reader.column("prefill", column);
    return std::vector<std::int64_t>(x.const_data_ptr<std::int64_t>(),
                                     x.const_data_ptr<std::int64_t>() + x.numel());
  };
  EXPECT_EQ(values(RowColumn::sample), rows[RowColumn::sample]);
  EXPECT_EQ(values(RowColumn::token_id), rows[RowColumn::token_id]);
  EXPECT_EQ(values(RowColumn::phase), rows[RowColumn::phase]);
  EXPECT_EQ(values(RowColumn::step), (std::vector<std::int64_t>{11, 11, 11}));
  EXPECT_EQ(values(RowColumn::branch), (std::vector<std::int64_t>{1, 1, 1}));
  EXPECT_EQ(values(RowColumn::scene), (std::vector<std::int64_t>{-1, -1, -1}));
  EXPECT_EQ(reader.branches(), (std::vector<std::string>{"", "guided"}));
}

TEST_F(WriteReadTest, WhatDoesNotFitIsRefusedAndLeavesTheStoreAsItWas) {
  const auto writer = ActivationWriter::open(store_, one_site(4));
  const Rows rows = numbered_rows(0, 3);
  EXPECT_HAS(message_of<InvalidArgument>([&] { writer->append("prefill", rows, {}); }), "1 sites");
  EXPECT_HAS(
      message_of<InvalidArgument>([&] { writer->append("prefill", rows, {at::zeros({3, 5})}); }),
      "[3, 4]");
  EXPECT_HAS(message_of<SiteError>([&] { writer->append("decode", rows, {at::zeros({3, 4})}); }),
             "prefill");
  Rows wide = numbered_rows(0, 3);
  wide[RowColumn::token_index] = {0, 1, std::int64_t{1} << 31};
  EXPECT_HAS(
      message_of<InvalidArgument>([&] { writer->append("prefill", wide, {at::zeros({3, 4})}); }),
      "token_index");
  Rows uneven = numbered_rows(0, 3);
  uneven[RowColumn::scene] = {1};
  EXPECT_THROW(writer->append("prefill", uneven, {at::zeros({3, 4})}), InvalidArgument);
  writer->append("prefill", rows, {at::zeros({3, 4})});
  writer->close();
  EXPECT_THROW(writer->append("prefill", rows, {at::zeros({3, 4})}), StateError);
  EXPECT_EQ(ActivationReader::open(store_).row_count("prefill"), 3);
}

TEST_F(WriteReadTest, ASiteThatLacksRowsIsNamedAndTheCompleteRowsAreKept) {
  const std::vector<StreamSpec> streams = {{"s", {{"a", 600, at::kFloat}, {"b", 3, at::kHalf}}}};
  const auto writer = ActivationWriter::open(store_, streams);
  const at::Tensor a = normal({900, 600}, 1);
  const at::Tensor b = normal({700, 3}, 2, at::kHalf);
  writer->append_rows("s", numbered_rows(0, 900));
  writer->append_site("s", "a", a);  // fills chunks that have to be cut again
  writer->append_site("s", "b", b);
  EXPECT_THROW(writer->append_site("s", "b", at::zeros({201, 3})), StateError);
  EXPECT_HAS(message_of<StateError>([&] { writer->flush(); }), "'b' has 700 rows");
  EXPECT_HAS(message_of<StateError>([&] { writer->close(); }), "'b' has 700 rows");
  const ActivationReader reader = ActivationReader::open(store_);
  EXPECT_EQ(reader.row_count("s"), 700);
  EXPECT_TRUE(same_bits(reader.read("s", "a"), a.narrow(0, 0, 700)));
  EXPECT_TRUE(same_bits(reader.read("s", "b"), b));
  const VerifyReport report = verify_store(store_);
  EXPECT_TRUE(report.ok()) << (report.errors.empty() ? "" : report.errors[0].what);
}

TEST_F(WriteReadTest, NonFiniteRowsAreCountedOrRefused) {
  for (const at::ScalarType dtype : {at::kFloat, at::kHalf, at::kBFloat16}) {
    const std::string path = store_ + std::to_string(static_cast<int>(dtype));
    at::Tensor x = normal({2'000, 24}, 5, dtype);
    for (const std::int64_t row : {0, 700, 1'999})
      x.select(0, row)
          .select(0, row % 24)
          .fill_(row == 700 ? -std::numeric_limits<double>::infinity()
                            : std::numeric_limits<double>::quiet_NaN());
    const auto keep = ActivationWriter::open(path, one_site(24, dtype));
    keep->append("prefill", numbered_rows(0, 2'000), {x});
    keep->close();
    EXPECT_EQ(keep->stats().nonfinite_rows, 3);
    EXPECT_EQ(stat_store(path).nonfinite_rows, 3);
    EXPECT_EQ(verify_store(path).nonfinite_rows, 3);
    EXPECT_TRUE(verify_store(path).ok());

    const auto refuse =
        ActivationWriter::open(path + "r", one_site(24, dtype), {.nonfinite = NonFinite::refuse});
    const std::string message = message_of<NumericalError>(
        [&] { refuse->append("prefill", numbered_rows(0, 1'999), {x.narrow(0, 1, 1'999)}); });
    EXPECT_HAS(message, "layers.0.resid_post");
    EXPECT_HAS(message, "row 699 ");
    refuse->append("prefill", numbered_rows(0, 600), {x.narrow(0, 1, 600)});
    refuse->close();
    EXPECT_EQ(ActivationReader::open(path + "r").row_count("prefill"), 600);
  }
  // f16 overflows where the model's own f32 did not
  const auto refuse =
      ActivationWriter::open(store_, one_site(2, at::kHalf), {.nonfinite = NonFinite::refuse});
  EXPECT_HAS(message_of<NumericalError>(
                 [&] { refuse->append("prefill", numbered_rows(0, 1), {at::full({1, 2}, 1e6)}); }),
             "float16");
}

TEST_F(WriteReadTest, AppendGoesOnWithAStore) {
  const auto first = ActivationWriter::open(store_, one_site(), {.provenance = {{"model", "m"}}});
  const at::Tensor a = fill(*first, "prefill", 100, 50)[0];
  first->close();
  EXPECT_HAS(message_of<StateError>([&] { ActivationWriter::open(store_, one_site()); }),
             "append = true");
  EXPECT_HAS(message_of<InvalidArgument>(
                 [&] { ActivationWriter::open(store_, one_site(25), {.append = true}); }),
             "streams differ");
  EXPECT_THROW(ActivationWriter::open(store_, one_site(),
                                      {.append = true, .provenance = {{"model", "other"}}}),
               InvalidArgument);
  const auto second = ActivationWriter::open(store_, {}, {.append = true});
  const at::Tensor b = fill(*second, "prefill", 70, 30, 8)[0];
  second->close();
  const ActivationReader reader = ActivationReader::open(store_);
  EXPECT_TRUE(same_bits(reader.read("prefill", "layers.0.resid_post"), at::cat({a, b})));
  EXPECT_EQ(reader.provenance().at("model"), "m");
}

TEST_F(WriteReadTest, TheSecondWriterIsRefusedWhileTheFirstLives) {
  const auto writer = ActivationWriter::open(store_, one_site());
  const std::string message =
      message_of<StateError>([&] { ActivationWriter::open(store_, one_site(), {.append = true}); });
  EXPECT_HAS(message, "has a writer already (process " + std::to_string(::getpid()));
  EXPECT_THROW(recover_store(store_), StateError);
  EXPECT_TRUE(stat_store(store_).being_written);
  fill(*writer, "prefill", 10, 10);
  writer->close();
  EXPECT_FALSE(stat_store(store_).being_written);
  ActivationWriter::open(store_, one_site(), {.append = true})->close();
}

TEST_F(WriteReadTest, ReadersSeeCommittedShardsWhileAWriterAppends) {
  const auto writer = ActivationWriter::open(store_, one_site());
  ActivationReader reader = ActivationReader::open(store_);
  EXPECT_EQ(reader.row_count("prefill"), 0);
  const at::Tensor all = normal({300, 24}, 1, at::kHalf);
  for (std::int64_t i = 0; i < 3; ++i) {
    writer->append("prefill", numbered_rows(i * 100, 100), {all.narrow(0, i * 100, 100)});
    EXPECT_EQ(reader.refresh(), 0);  // what is not committed is not seen
    writer->flush();
    EXPECT_EQ(reader.refresh(), 1);
    EXPECT_TRUE(
        same_bits(reader.read("prefill", "layers.0.resid_post"), all.narrow(0, 0, (i + 1) * 100)));
  }
  writer->close();
}

TEST_F(WriteReadTest, ManyThreadsReadOneReader) {
  const auto writer = ActivationWriter::open(store_, one_site(), {.shard_bytes = 20'000});
  const at::Tensor all = fill(*writer, "prefill", 4'000, 100)[0];
  writer->close();
  const ActivationReader reader = ActivationReader::open(store_);
  std::vector<std::thread> threads;
  std::atomic<int> good = 0;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (std::int64_t i = 0; i < 20; ++i) {
        const std::int64_t begin = (t * 911 + i * 173) % 3'000;
        if (same_bits(reader.read("prefill", "layers.0.resid_post", begin, begin + 900),
                      all.narrow(0, begin, 900))) {
          ++good;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(good, 80);
}

TEST_F(WriteReadTest, TheRingKeepsItsLimitAndTheModelWaits) {
  // Four buffers are the least for one site; far more rows than they hold go through.
  const std::int64_t limit = 4 * (768 << 10);
  const auto writer =
      ActivationWriter::open(store_, one_site(1'024, at::kFloat), {.memory_bytes = limit});
  const at::Tensor all = fill(*writer, "prefill", 6'000, 250)[0];
  writer->close();
  const WriterStats stats = writer->stats();
  EXPECT_LE(stats.ring_bytes, limit);
  EXPECT_LE(stats.ring_peak_bytes, stats.ring_bytes);
  EXPECT_GT(stats.ring_peak_bytes, 0);
  EXPECT_TRUE(
      same_bits(ActivationReader::open(store_).read("prefill", "layers.0.resid_post"), all));
  EXPECT_HAS(message_of<InvalidArgument>([&] {
               ActivationWriter::open(store_ + "2", one_site(), {.memory_bytes = limit - 1});
             }),
             "raise memory_bytes to " + std::to_string(limit));
}

TEST_F(WriteReadTest, SitesMayComeUntilAShardIsClosed) {
  const auto writer = ActivationWriter::open(store_, {});
  writer->add_site("main", {"a", 700, at::kHalf});
  // More than a chunk of the first site before the second is known.
  const at::Tensor a = normal({2'000, 700}, 1, at::kHalf);
  const at::Tensor b = normal({2'000, 5}, 2);
  writer->append_rows("main", numbered_rows(0, 2'000));
  writer->append_site("main", "a", a.narrow(0, 0, 1'000));
  EXPECT_THROW(writer->add_site("main", {"a", 5, at::kFloat}), InvalidArgument);
  writer->add_site("main", {"b", 5, at::kFloat});
  writer->append_site("main", "a", a.narrow(0, 1'000, 1'000));
  EXPECT_EQ(writer->stats().rows, 0);
  writer->append_site("main", "b", b);
  EXPECT_EQ(writer->stats().rows, 2'000);
  writer->flush();
  EXPECT_HAS(message_of<StateError>([&] { writer->add_site("main", {"c", 5, at::kFloat}); }),
             "too late");
  writer->add_site("other", {"b", 5, at::kFloat});
  writer->append_rows("other", numbered_rows(0, 2'000));
  writer->append_site("other", "b", b);
  writer->close();
  const ActivationReader reader = ActivationReader::open(store_);
  EXPECT_TRUE(same_bits(reader.read("main", "a"), a));
  EXPECT_TRUE(same_bits(reader.read("main", "b"), b));
  EXPECT_TRUE(same_bits(reader.read("other", "b"), b));
  EXPECT_TRUE(verify_store(store_).ok());
}

TEST_F(WriteReadTest, ThePlanIsTheSumOfItsPartsAndRefusesWhatDoesNotFit) {
  const std::vector<StreamSpec> streams = {{"s", {{"a", 100, at::kHalf}, {"b", 10, at::kFloat}}}};
  const StorePlan plan = plan_store(store_, streams, {{"s", 1'000'000}});
  EXPECT_EQ(plan.entries[1].bytes, 200'000'000);
  EXPECT_EQ(plan.entries[2].bytes, 40'000'000);
  EXPECT_EQ(plan.entries[0].bytes, 1'000'000 * row_table_bytes());
  EXPECT_GE(plan.total_bytes, 240'000'000 + plan.entries[0].bytes);
  EXPECT_HAS(plan.text(), "190.73 MiB");
  EXPECT_NO_THROW(plan.check());
  EXPECT_THROW(plan_store(store_, streams, {}), InvalidArgument);
  for (const int bits : {55, 60, 62}) {  // whose bytes no int64 holds
    EXPECT_HAS(message_of<InvalidArgument>(
                   [&] { plan_store(store_, streams, {{"s", std::int64_t{1} << bits}}); }),
               "more than any disk holds");
  }
  EXPECT_THROW(plan_store(store_, streams, {{"s", 1}, {"t", 1}}), InvalidArgument);
  const std::string message = message_of<IoError>([&] {
    ActivationWriter::open(store_, streams, {.expected_rows = {{"s", std::int64_t{1} << 45}}});
  });
  EXPECT_HAS(message, "s/a");
  EXPECT_HAS(message, "capture fewer sites");
  EXPECT_FALSE(fs::exists(store_));  // refused before anything was made
  EXPECT_THROW(plan_store(store_, streams, {{"s", 1}}, 1 << 20).check(), InvalidArgument);
}

// Blocks are reserved ahead while a shard is written; what was not used is given back, and the lock
// file, which is mapped, has no hole that a full disk could not fill.
TEST_F(WriteReadTest, FilesTakeTheBlocksThatTheyNeed) {
  const auto writer = ActivationWriter::open(store_, one_site(576));
  fill(*writer, "prefill", 1'000, 100);
  struct stat info{};
  ASSERT_EQ(::stat(file("lock").c_str(), &info), 0);
  EXPECT_GE(info.st_blocks * 512, info.st_size);
  writer->close();
  ASSERT_EQ(::stat(file("000000.h5").c_str(), &info), 0);
  EXPECT_GT(info.st_size, 1'000 * 576 * 2);
  EXPECT_LE(info.st_blocks * 512, info.st_size + (64 << 10));
}

// The plan must not promise less than the store takes.
TEST_F(WriteReadTest, ThePlanCoversWhatIsWritten) {
  const auto writer = ActivationWriter::open(store_, one_site(576), {.shard_bytes = 4 << 20});
  fill(*writer, "prefill", 20'000, 512);
  writer->close();
  const std::int64_t planned =
      plan_store(store_, one_site(576), {{"prefill", 20'000}}, 256 << 20, 4 << 20).total_bytes;
  const std::int64_t written = stat_store(store_).bytes;
  EXPECT_NEAR(static_cast<double>(planned) / static_cast<double>(written), 1.0, 0.15);
}

}  // namespace
}  // namespace tierod::testing

#include <ATen/ops/cat.h>

#include <cmath>

#include "store/fixture.h"
#include "tierod/store/labels.h"

namespace tierod::testing {
namespace {

class MergeTest : public StoreTest {
 protected:
  at::Tensor make(const std::string& name, std::int64_t rows, std::uint64_t seed,
                  const std::string& model = "m", std::int64_t width = 24) {
    const auto writer = ActivationWriter::open(
        path(name), one_site(width), {.shard_bytes = 20'000, .provenance = {{"model", model}}});
    const at::Tensor all = fill(*writer, "prefill", rows, 100, seed)[0];
    writer->close();
    return all;
  }
  std::string path(const std::string& name) const { return (folder_ / name).string(); }
};

TEST_F(MergeTest, LinksShardsAndJoinsLabels) {
  const at::Tensor a = make("a", 1'000, 1);
  const at::Tensor b = make("b", 700, 2);
  set_labels(path("a"), "c", {1, 2, 3}, {0, 1, kMissingLabel});
  set_labels(path("b"), "c", {2, 3, 4}, {1, 0, 1});
  const MergeReport report = merge_stores({path("a"), path("b")}, store_);
  EXPECT_EQ(report.rows.at("prefill"), 1'700);
  EXPECT_EQ(report.linked, report.shards);
  EXPECT_GT(fs::hard_link_count(file("000000.h5")), 1U);  // no copy
  EXPECT_TRUE(same_bits(ActivationReader::open(store_).read("prefill", "layers.0.resid_post"),
                        at::cat({a, b})));
  EXPECT_EQ(get_labels(store_, "c").values, (std::vector<std::uint8_t>{0, 1, 0, 1}));
  EXPECT_TRUE(verify_store(store_).ok());
  // the sources may go
  fs::remove_all(path("a"));
  fs::remove_all(path("b"));
  EXPECT_TRUE(verify_store(store_).ok());
  // the merged store is a store: it can be recovered and appended to
  fs::remove(file("manifest.json"));
  EXPECT_EQ(recover_store(store_).rows_kept.at("prefill"), 1'700);
  const auto writer = ActivationWriter::open(store_, {}, {.append = true});
  fill(*writer, "prefill", 10, 10);
  writer->close();
  EXPECT_EQ(ActivationReader::open(store_).row_count("prefill"), 1'710);
  EXPECT_TRUE(verify_store(store_).ok());
}

TEST_F(MergeTest, ByReferenceShardsStayWhereTheyAre) {
  const at::Tensor a = make("a", 300, 1);
  const MergeReport report = merge_stores({path("a")}, store_, true);
  EXPECT_EQ(report.referenced, report.shards);
  EXPECT_FALSE(fs::exists(file("000000.h5")));
  EXPECT_TRUE(same_bits(ActivationReader::open(store_).read("prefill", "layers.0.resid_post"), a));
  EXPECT_TRUE(verify_store(store_).ok());
  EXPECT_EQ(recover_store(store_).rows_kept.at("prefill"), 300);
  fs::remove(path("a") + "/000000.h5");
  EXPECT_FALSE(verify_store(store_).ok());
}

TEST_F(MergeTest, WhatDisagreesIsRefused) {
  make("a", 100, 1);
  make("b", 100, 2, "another");
  make("c", 100, 3, "m", 25);
  make("d", 100, 4);
  EXPECT_HAS(message_of<InvalidArgument>([&] { merge_stores({path("a"), path("b")}, store_); }),
             "provenance");
  EXPECT_HAS(message_of<InvalidArgument>([&] { merge_stores({path("a"), path("c")}, store_); }),
             "different streams");
  set_labels(path("a"), "x", {1}, {0});
  set_labels(path("d"), "x", {1}, {1});
  EXPECT_HAS(message_of<InvalidArgument>([&] { merge_stores({path("a"), path("d")}, store_); }),
             "sample 1");
  EXPECT_THROW(merge_stores({}, store_), InvalidArgument);
  EXPECT_THROW(merge_stores({path("a")}, path("d")), StateError);
  EXPECT_THROW(merge_stores({path("nothing")}, store_), IoError);
  EXPECT_FALSE(fs::exists(store_));
}

TEST_F(MergeTest, ExportWritesNpyFiles) {
  make("a", 300, 1);
  const ActivationReader reader = ActivationReader::open(path("a"));
  const auto files = export_numpy(reader, store_);
  EXPECT_EQ(files.size(), kRowColumns + 1);
  EXPECT_EQ(fs::file_size(file("prefill/layers.0.resid_post.npy")) % 64, (300 * 24 * 2) % 64);
  EXPECT_HAS(message_of<SiteError>(
                 [&] { export_numpy(reader, store_, {.sites = {{"layers.0.resid_pst"}}}); }),
             "layers.0.resid_post");
}

}  // namespace
}  // namespace tierod::testing

#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>

#include <random>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "store/fixture.h"
#include "store/manifest_internal.h"
#include "store/seal_internal.h"
#include "tierod/store/labels.h"

namespace tierod::testing {
namespace {

constexpr const char* kSite = "layers.0.resid_post";

class DamageTest : public StoreTest {
 protected:
  void SetUp() override {
    StoreTest::SetUp();
    const auto writer = ActivationWriter::open(store_, one_site(), {.shard_bytes = 20'000});
    all_ = fill(*writer, "prefill", 1'500, 100)[0];
    writer->close();
    shards_ = ActivationReader::open(store_).shard_count();
    ASSERT_GE(shards_, 3);
  }

  std::string message_of_read() const {
    return message_of<IoError>([&] {
      const ActivationReader reader = ActivationReader::open(store_);
      reader.read("prefill", kSite);
    });
  }

  // Recovery puts the second shard aside and keeps the rest.
  void expect_recovers_without_the_second() {
    const RecoverReport report = recover_store(store_);
    EXPECT_EQ(report.shards_kept, shards_ - 1);
    EXPECT_TRUE(fs::exists(file("quarantine/000001.h5")));
    EXPECT_TRUE(verify_store(store_).ok());
    EXPECT_LT(ActivationReader::open(store_).row_count("prefill"), 1'500);
  }

  at::Tensor all_;
  std::int64_t shards_ = 0;
};

TEST_F(DamageTest, ATruncatedShardIsNamed) {
  fs::resize_file(file("000001.h5"), fs::file_size(file("000001.h5")) - 100);
  EXPECT_HAS(message_of_read(), "000001.h5");
  const VerifyReport report = verify_store(store_);
  ASSERT_EQ(report.errors.size(), 1U);
  EXPECT_EQ(report.errors[0].file, "000001.h5");
  expect_recovers_without_the_second();
}

TEST_F(DamageTest, AnEmptyShardIsNamed) {
  fs::resize_file(file("000001.h5"), 0);
  EXPECT_HAS(message_of_read(), "000001.h5");
  expect_recovers_without_the_second();
}

TEST_F(DamageTest, AMissingShardIsNamedAndTheOthersStayReadable) {
  fs::remove(file("000001.h5"));
  EXPECT_HAS(message_of_read(), "'" + file("000001.h5") + "' is missing");
  const ActivationReader reader = ActivationReader::open(store_);
  EXPECT_TRUE(same_bits(reader.read("prefill", kSite, 0, 100), all_.narrow(0, 0, 100)));
  EXPECT_TRUE(same_bits(reader.read("prefill", kSite, 1'400), all_.narrow(0, 1'400, 100)));
  const VerifyReport report = verify_store(store_);
  ASSERT_EQ(report.errors.size(), 1U);
  EXPECT_HAS(report.errors[0].what, "missing");
  const RecoverReport recovered = recover_store(store_);
  EXPECT_EQ(recovered.shards_kept, shards_ - 1);
  EXPECT_TRUE(verify_store(store_).ok());
}

TEST_F(DamageTest, AnIndexOfOtherShardsIsNamed) {
  WriterOptions options{.shard_bytes = 20'000, .append = true};
  ActivationWriter::open(store_, one_site(), options)->close();
  ASSERT_TRUE(verify_store(store_).ok());  // nothing was appended
  options.index = false;
  const auto writer = ActivationWriter::open(store_, one_site(), options);
  fill(*writer, "prefill", 100, 100);
  writer->close();
  const VerifyReport report = verify_store(store_);
  ASSERT_EQ(report.errors.size(), 1U);
  EXPECT_EQ(report.errors[0].file, "index.h5");
  EXPECT_HAS(report.errors[0].what, "build_index()");
  build_index(store_);
  EXPECT_TRUE(verify_store(store_).ok());
  write_text(file("index.h5"), "no HDF5");
  ASSERT_EQ(verify_store(store_).errors.size(), 1U);
  EXPECT_EQ(verify_store(store_).errors[0].file, "index.h5");
}

// Wherever a bit flips, it is found: by reading, where rows or what HDF5 needs are concerned, and
// by verify in any case.
TEST_F(DamageTest, EveryFlippedBitIsFound) {
  const std::string intact = read_text(file("000001.h5"));
  std::mt19937 random(1);  // which bits: any will do
  for (int i = 0; i < 60; ++i) {
    std::string bytes = intact;
    const std::size_t at = i < 8 ? static_cast<std::size_t>(i) : random() % bytes.size();
    bytes[at] = static_cast<char>(bytes[at] ^ (1 << (random() % 8)));
    write_text(file("000001.h5"), bytes);
    EXPECT_FALSE(verify_store(store_).ok()) << "byte " << at;
    EXPECT_THROW(
        {
          const ActivationReader reader = ActivationReader::open(store_);
          reader.read("prefill", kSite);
          for (std::size_t c = 0; c < kRowColumns; ++c) {
            reader.column("prefill", static_cast<RowColumn>(c));
          }
        },
        IoError)
        << "byte " << at;
  }
  write_text(file("000001.h5"), intact);
  EXPECT_TRUE(verify_store(store_).ok());
}

TEST_F(DamageTest, WithoutVerificationRowsAreReadAsTheyAre) {
  std::string bytes = read_text(file("000000.h5"));
  const internal::Seal seal =
      internal::read_seal("test", internal::Mapping("test", file("000000.h5")), "shard");
  for (const internal::Extent& extent : seal.extents) {
    if (extent.stream == 0 && extent.column == 0)
      bytes[static_cast<std::size_t>(extent.offset)] ^= 1;
  }
  write_text(file("000000.h5"), bytes);
  EXPECT_THROW(ActivationReader::open(store_).read("prefill", kSite, 0, 1), IoError);
  EXPECT_NO_THROW(ActivationReader::open(store_, {.verify = false}).read("prefill", kSite, 0, 1));
}

TEST_F(DamageTest, AForeignShardIsRefused) {
  const std::string other = (folder_ / "other").string();
  const auto writer = ActivationWriter::open(other, one_site(), {.shard_bytes = 20'000});
  fill(*writer, "prefill", 1'500, 100, 77);
  writer->close();
  fs::copy_file(other + "/000001.h5", file("000001.h5"), fs::copy_options::overwrite_existing);
  EXPECT_HAS(message_of_read(), "000001.h5");
  expect_recovers_without_the_second();
  // any other file of that name
  write_text(file("000001.h5"), std::string(5'000, 'x'));
  EXPECT_FALSE(verify_store(store_).ok());
  recover_store(store_);
  EXPECT_TRUE(verify_store(store_).ok());
}

TEST_F(DamageTest, AShardOfANewerVersionIsRefusedAndSaidToBeNewer) {
  std::string bytes = read_text(file("000001.h5"));
  bytes[bytes.size() - 49] = '2';  // the last letter of the footer's magic
  write_text(file("000001.h5"), bytes);
  EXPECT_HAS(message_of_read(), "newer tierod");
}

TEST_F(DamageTest, AManifestOfANewerVersionIsRefusedAndNotRecoveredAway) {
  const std::string before = read_text(file("manifest.json"));
  std::string text = before;
  text.replace(text.find("tierod-store/1"), 14, "tierod-store/2");
  write_text(file("manifest.json"), text);
  EXPECT_HAS(message_of<IoError>([&] { ActivationReader::open(store_); }), "newer tierod");
  EXPECT_HAS(message_of<IoError>([&] { recover_store(store_); }), "newer tierod");
  EXPECT_EQ(read_text(file("manifest.json")), text);
}

TEST_F(DamageTest, AnEditedOrMissingManifestIsRebuiltFromTheShards) {
  const std::string before = read_text(file("manifest.json"));
  std::string text = before;
  text.replace(text.find("000001.h5"), 9, "000002.h5");
  write_text(file("manifest.json"), text);
  EXPECT_HAS(message_of<IoError>([&] { ActivationReader::open(store_); }), "edited or damaged");
  EXPECT_FALSE(verify_store(store_).ok());
  EXPECT_TRUE(recover_store(store_).manifest_rebuilt);
  EXPECT_EQ(read_text(file("manifest.json")), before);

  fs::remove(file("manifest.json"));
  EXPECT_HAS(message_of<IoError>([&] { ActivationReader::open(store_); }), "no manifest");
  EXPECT_HAS(message_of<IoError>([&] { ActivationWriter::open(store_, one_site()); }), "recover");
  EXPECT_TRUE(recover_store(store_).manifest_rebuilt);
  EXPECT_EQ(read_text(file("manifest.json")), before);
  EXPECT_TRUE(same_bits(ActivationReader::open(store_).read("prefill", kSite), all_));
}

TEST_F(DamageTest, VerifyNamesWhatIsNotTheStores) {
  write_text(file("notes.txt"), "mine");
  write_text(file("000099.h5.tmp"), "half");
  const VerifyReport report = verify_store(store_);
  ASSERT_EQ(report.notes.size(), 1U);
  EXPECT_EQ(report.notes[0].file, "notes.txt");
  ASSERT_EQ(report.errors.size(), 1U);
  EXPECT_EQ(report.errors[0].file, "000099.h5.tmp");
  const RecoverReport recovered = recover_store(store_);
  ASSERT_EQ(recovered.actions.size(), 1U);
  EXPECT_HAS(recovered.actions[0].what, "removed");
  EXPECT_TRUE(fs::exists(file("notes.txt")));
}

TEST_F(DamageTest, AnUnknownFinishedShardIsAdopted) {
  const std::string manifest = read_text(file("manifest.json"));
  const auto writer = ActivationWriter::open(store_, {}, {.append = true});
  const at::Tensor more = fill(*writer, "prefill", 50, 50, 5)[0];
  writer->close();
  write_text(file("manifest.json"), manifest);  // as if the crash came before its replacement
  EXPECT_EQ(ActivationReader::open(store_).row_count("prefill"), 1'500);
  EXPECT_FALSE(verify_store(store_).ok());
  const RecoverReport report = recover_store(store_);
  EXPECT_EQ(report.rows_kept.at("prefill"), 1'550);
  EXPECT_TRUE(same_bits(ActivationReader::open(store_).read("prefill", kSite, 1'500), more));
}

TEST_F(DamageTest, ProgressMayStopVerifyAndRecover) {
  const VerifyReport report = verify_store(
      store_, [](std::int64_t done, std::int64_t, std::string_view) { return done < 1; });
  EXPECT_FALSE(report.complete);
  EXPECT_FALSE(report.ok());
  EXPECT_EQ(report.shards, 1);
  const std::string before = read_text(file("manifest.json"));
  EXPECT_THROW(
      recover_store(store_, [](std::int64_t, std::int64_t, std::string_view) { return false; }),
      StateError);
  EXPECT_EQ(read_text(file("manifest.json")), before);
}

// The library takes the fastest form that the processor has; this file was compiled with the plain
// one.
TEST(Checksum, IsXxh3WhateverTheProcessor) {
  EXPECT_EQ(internal::hash64("", 0), 0x2d06800538d394c2U);
  std::string bytes;
  for (const std::size_t size : {1, 8, 16, 17, 128, 129, 240, 241, 1'024, 1'025, 100'003}) {
    while (bytes.size() < size) bytes += static_cast<char>(bytes.size() * 31 % 251);
    EXPECT_EQ(internal::hash64(bytes.data(), size), XXH3_64bits(bytes.data(), size)) << size;
  }
}

TEST(Checksum, IsTheSameInParts) {
  std::string bytes;
  while (bytes.size() < 100'003) bytes += static_cast<char>(bytes.size() * 31 % 251);
  std::mt19937 random(4);
  internal::Hasher hasher;
  EXPECT_EQ(hasher.digest(), XXH3_64bits("", 0));
  for (int i = 0; i < 200; ++i) {
    const std::size_t size = i < 2 ? bytes.size() : random() % bytes.size();
    hasher.reset();
    for (std::size_t at = 0; at < size;) {
      const std::size_t part =
          std::min<std::size_t>(size - at, 1 + random() % (i % 2 ? 300 : 9'000));
      hasher.update(bytes.data() + at, part);
      at += part;
    }
    EXPECT_EQ(hasher.digest(), XXH3_64bits(bytes.data(), size)) << size;
  }
}

// --- hostile bytes ------------------------------------------------------------------------------

// Give a changed manifest the checksum that it needs to get past the first check.
std::string with_checksum(std::string text) {
  const std::string rest = text.substr(26);
  return text.substr(0, 10) + internal::hex64(internal::hash64(rest.data(), rest.size())) + rest;
}

TEST_F(DamageTest, NoManifestMakesTheReaderCrashOrGrow) {
  const std::string intact = read_text(file("manifest.json"));
  EXPECT_EQ(with_checksum(intact), intact);
  std::mt19937 random(2);
  const char* scraps[] = {"-1",   "1e308", "99999999999999999999", "null", "[]",      "{}",
                          "\"\"", "[[[[",  "4611686018427387904",  "0",    "\\u0000", "\"rows\":"};
  int refused = 0;
  constexpr int kRounds = 3'000;
  for (int i = 0; i < kRounds; ++i) {
    std::string text = intact;
    const int edits = 1 + static_cast<int>(random() % 3);
    for (int e = 0; e < edits; ++e) {
      const std::size_t at = 26 + random() % (text.size() - 26);
      switch (random() % 4) {
        case 0:
          text[at] = static_cast<char>(random() % 256);
          break;
        case 1:
          text.erase(at, random() % 40);
          break;
        case 2:
          text.insert(at, scraps[random() % std::size(scraps)]);
          break;
        default: {  // replace a number
          const std::size_t digit = text.find_first_of("0123456789", at);
          if (digit != std::string::npos) {
            text.replace(digit, 1, scraps[random() % std::size(scraps)]);
          }
        }
      }
    }
    write_text(file("manifest.json"), with_checksum(text));
    try {
      const ActivationReader reader = ActivationReader::open(store_);
      const StreamSpec stream = reader.streams().at(0);
      reader.column(stream.name, RowColumn::sample);
      reader.gather(stream.name, stream.sites.at(0).site,
                    at::empty({0}, at::TensorOptions().dtype(at::kLong)));
    } catch (const Error&) {
      ++refused;
    } catch (const std::out_of_range&) {  // no stream or site left: .at() above
    } catch (const c10::Error&) {         // more rows than memory: torch says so
      ++refused;
    }
  }
  EXPECT_GT(refused, kRounds / 2);
}

// The same for the seal of a shard, which says where rows and row tables lie, its checksums made
// right again.
TEST_F(DamageTest, NoSealMakesTheReaderCrashOrGrow) {
  const std::string path = file("000000.h5");
  const std::string intact = read_text(path);
  const internal::Manifest manifest = internal::load_manifest("test", store_);
  std::uint64_t table_offset = 0;
  std::memcpy(&table_offset, intact.data() + intact.size() - 48, 8);
  std::mt19937 random(3);
  int refused = 0;
  constexpr int kRounds = 2'000;
  for (int i = 0; i < kRounds; ++i) {
    std::string bytes = intact;
    const std::size_t footer = bytes.size() - 56;
    for (int e = 0; e < 1 + i % 3; ++e) {
      const std::size_t at = table_offset + random() % (bytes.size() - table_offset);
      bytes[at] = static_cast<char>(random() % 3 == 0 ? 0xFF : random() % 256);
    }
    const std::uint64_t table =
        internal::hash64(bytes.data() + table_offset, footer - table_offset);
    std::memcpy(bytes.data() + footer + 24, &table, 8);
    const std::uint64_t hash = internal::hash64(bytes.data() + footer, 48);
    std::memcpy(bytes.data() + footer + 48, &hash, 8);
    write_text(path, bytes);
    internal::Manifest trusting = manifest;
    trusting.shards[0].digest = hash;
    internal::save_manifest("test", store_, trusting);
    try {
      const ActivationReader reader = ActivationReader::open(store_);
      const std::int64_t rows = trusting.shards[0].rows[0];
      EXPECT_TRUE(same_bits(reader.read("prefill", kSite, 0, rows), all_.narrow(0, 0, rows)));
      const at::Tensor samples = reader.column("prefill", RowColumn::sample).narrow(0, 0, rows);
      EXPECT_TRUE(samples.equal(at::arange(rows)));
    } catch (const Error&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, kRounds / 2);
}

}  // namespace
}  // namespace tierod::testing

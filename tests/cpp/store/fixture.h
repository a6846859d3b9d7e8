#pragma once

#include <ATen/core/Tensor.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "hook/fixture.h"
#include "tierod/store/maintain.h"
#include "tierod/store/reader.h"
#include "tierod/store/writer.h"

namespace tierod::testing {

namespace fs = std::filesystem;

/// Give each test an empty folder, removed afterwards.
class StoreTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
    // In memory where that is to be had: what is tested does not depend on the disk, fsync's time
    // does.
    const fs::path base = fs::exists("/dev/shm") ? fs::path("/dev/shm") : fs::temp_directory_path();
    folder_ = base / ("tierod_" + std::to_string(::getpid()) + "_" + info->test_suite_name() + "_" +
                      info->name());
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    store_ = (folder_ / "store").string();
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string file(const std::string& name) const { return store_ + "/" + name; }

  fs::path folder_;
  std::string store_;
};

inline std::vector<StreamSpec> one_site(std::int64_t width = 24, at::ScalarType dtype = at::kHalf) {
  return {{"prefill", {{"layers.0.resid_post", width, dtype}}}};
}

/// Rows whose sample is their number.
inline Rows numbered_rows(std::int64_t begin, std::int64_t count) {
  Rows rows{.count = count};
  for (std::int64_t i = 0; i < count; ++i) rows[RowColumn::sample].push_back(begin + i);
  rows.set_all(RowColumn::phase, static_cast<std::int64_t>(Phase::prefill));
  return rows;
}

/// Write `count` rows in batches of `batch`; return what was written, by site.
inline std::vector<at::Tensor> fill(ActivationWriter& writer, const std::string& stream,
                                    std::int64_t count, std::int64_t batch,
                                    std::uint64_t seed = 1) {
  std::vector<at::Tensor> all;
  for (const StreamSpec& spec : writer.streams()) {
    if (spec.name != stream) continue;
    for (const SiteColumn& site : spec.sites) {
      all.push_back(normal({count, site.width}, seed + all.size(), site.dtype));
    }
  }
  for (std::int64_t begin = 0; begin < count; begin += batch) {
    const std::int64_t part = std::min(batch, count - begin);
    std::vector<at::Tensor> values;
    for (const at::Tensor& site : all) values.push_back(site.narrow(0, begin, part));
    writer.append(stream, numbered_rows(begin, part), values);
  }
  return all;
}

inline std::string read_text(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

inline void write_text(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << text;
}

}  // namespace tierod::testing

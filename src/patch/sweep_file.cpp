#include <chrono>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/text_internal.h"
#include "patch/sweep_internal.h"
#include "store/bytes_internal.h"
#include "tierod/core/digest.h"
#include "tierod/core/error.h"

namespace tierod::internal {

namespace {

constexpr std::int64_t kLargestFile = std::int64_t{1} << 30;
constexpr double kEverySeconds = 5;

double now_s() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

SweepFile::SweepFile(std::string path, const std::string& question, at::Tensor values)
    : path_(std::move(path)),
      digest_(sha256_hex(question.data(), question.size())),
      values_(std::move(values)),
      saved_at_s_(now_s()) {}

std::int64_t SweepFile::load() {
  if (path_.empty() || !std::filesystem::exists(path_)) return 0;
  const nlohmann::json root =
      nlohmann::json::parse(read_file(kSweep, path_, kLargestFile), nullptr, false);
  const auto refuse = [&](const char* why) {
    return InvalidArgument(cat("[", kSweep, "] file '", path_, "' ", why,
                               "; give another name, or remove the file to start anew"));
  };
  if (root.is_discarded() || !root.is_object() || root.value("format", "") != "tierod.sweep" ||
      root.value("version", 0) != 1 || !root.contains("values") || !root["values"].is_array()) {
    throw refuse("holds no sweep of this version");
  }
  if (root.value("question", "") != digest_) {
    throw refuse("holds the sweep of another model, input, source, metric or grid");
  }
  if (static_cast<std::int64_t>(root["values"].size()) != values_.numel()) {
    throw refuse("holds another number of cells");
  }
  std::int64_t found = 0;
  auto* value = values_.mutable_data_ptr<double>();
  for (const nlohmann::json& entry : root["values"]) {
    if (!entry.is_null() && !entry.is_number()) throw refuse("holds a cell that is no number");
    if (entry.is_number()) {
      *value = entry.get<double>();
      ++found;
    }
    ++value;
  }
  return found;
}

void SweepFile::save() {
  if (path_.empty()) return;
  nlohmann::json cells = nlohmann::json::array();
  const auto* value = values_.const_data_ptr<double>();
  for (std::int64_t i = 0; i < values_.numel(); ++i) {
    cells.push_back(std::isnan(value[i]) ? nlohmann::json() : nlohmann::json(value[i]));
  }
  const nlohmann::json root = {{"format", "tierod.sweep"},
                               {"version", 1},
                               {"question", digest_},
                               {"shape", values_.sizes().vec()},
                               {"values", std::move(cells)}};
  replace_file(kSweep, path_, root.dump());
  saved_at_s_ = now_s();
}

void SweepFile::save_sometimes() {
  if (!path_.empty() && now_s() - saved_at_s_ > kEverySeconds) save();
}

}  // namespace tierod::internal

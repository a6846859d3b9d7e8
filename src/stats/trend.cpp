#include "tierod/stats/trend.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <map>
#include <vector>

#include "stats/check_internal.h"
#include "stats/sample_internal.h"
#include "tierod/stats/distributions.h"

namespace tierod::stats {

using tierod::internal::ascending_order;
using tierod::internal::cat;
using tierod::internal::check_finite;
using tierod::internal::real;

namespace {

constexpr auto* kWhere = "stats.page_trend";
constexpr std::size_t kExactColumns = 12;
constexpr double kAutomaticCost = 2e7;  // multiply-adds of all convolutions: well under a second

// Twice the midranks 1..k of a row, which are integers with ties too.
std::vector<std::size_t> doubled_ranks(std::span<const double> row) {
  const std::vector<std::size_t> order = ascending_order(row);
  std::vector<std::size_t> out(row.size());
  for (std::size_t begin = 0; begin < order.size();) {
    std::size_t end = begin + 1;
    while (end < order.size() && row[order[end]] == row[order[begin]]) ++end;
    for (std::size_t at = begin; at < end; ++at) out[order[at]] = begin + 1 + end;
    begin = end;
  }
  return out;
}

// P(sum_j j r_pi(j) = offset + i) over the permutations pi of one row's doubled ranks. Columns are
// filled from the first on; the state is the set of ranks used, whose size is the column.
struct Distribution {
  std::size_t offset = 0;
  std::vector<double> probability;
};

Distribution row_distribution(const std::vector<std::size_t>& ranks) {
  const std::size_t k = ranks.size();
  std::size_t top = 0;
  for (std::size_t j = 0; j < k; ++j) top += (j + 1) * ranks[j];  // ascending: the largest sum
  std::vector<std::vector<double>> ways(std::size_t{1} << k);
  ways[0] = {1.0};
  for (std::size_t used = 0; used + 1 < ways.size(); ++used) {
    if (ways[used].empty()) continue;
    const auto column = static_cast<std::size_t>(std::popcount(used)) + 1;
    for (std::size_t i = 0; i < k; ++i) {
      if ((used >> i & 1U) != 0) continue;
      const std::size_t shift = column * ranks[i];
      std::vector<double>& next = ways[used | (std::size_t{1} << i)];
      next.resize(std::max(next.size(), ways[used].size() + shift), 0.0);
      for (std::size_t s = 0; s < ways[used].size(); ++s) {
        next[s + shift] += ways[used][s] / real(k - column + 1);
      }
    }
    ways[used] = {};
  }
  std::vector<double>& all = ways.back();
  all.resize(top + 1);
  const auto first = static_cast<std::size_t>(
      std::find_if(all.begin(), all.end(), [](double p) { return p > 0; }) - all.begin());
  return {first, std::vector<double>(all.begin() + static_cast<std::ptrdiff_t>(first), all.end())};
}

// P(sum over rows >= observed), rows independent.
double upper_tail(const std::vector<std::vector<std::size_t>>& rows, std::size_t observed) {
  std::map<std::vector<std::size_t>, Distribution> cache;  // by tie pattern
  Distribution sum{0, {1.0}};
  for (std::vector<std::size_t> ranks : rows) {
    std::sort(ranks.begin(), ranks.end());
    auto found = cache.find(ranks);
    if (found == cache.end()) found = cache.emplace(ranks, row_distribution(ranks)).first;
    const Distribution& row = found->second;
    std::vector<double> next(sum.probability.size() + row.probability.size() - 1, 0.0);
    for (std::size_t a = 0; a < sum.probability.size(); ++a) {
      for (std::size_t b = 0; b < row.probability.size(); ++b) {
        next[a + b] += sum.probability[a] * row.probability[b];
      }
    }
    sum = {sum.offset + row.offset, std::move(next)};
  }
  double tail = 0;
  for (std::size_t i = sum.probability.size(); i > 0; --i) {
    if (sum.offset + i - 1 < observed) break;
    tail += sum.probability[i - 1];
  }
  return std::min(tail, 1.0);
}

bool cheap(std::size_t rows, std::size_t columns) {
  const double k = real(columns);
  const double range = k * (k * k - 1) / 3;  // of twice sum_j j rank_j within a row
  const double states = std::ldexp(1.0, static_cast<int>(columns)) * k * range;
  return columns <= kExactColumns &&
         states + range * range * real(rows * rows) / 2 < kAutomaticCost;
}

}  // namespace

Trend page_trend(std::span<const double> values, std::size_t columns, TrendMethod method) {
  if (columns < 3 || values.empty() || values.size() % columns != 0) {
    throw InvalidArgument(cat("[", kWhere, "] expected rows of at least 3 columns, got ",
                              values.size(), " values and ", columns, " columns"));
  }
  check_finite(values, kWhere, "values");
  if (method == TrendMethod::exact && columns > kExactColumns) {
    throw InvalidArgument(cat("[", kWhere, "] expected at most ", kExactColumns,
                              " columns for the exact method, got ", columns,
                              "; use the normal approximation"));
  }
  const std::size_t count = values.size() / columns;
  const double k = real(columns);
  const double spread = k * (k * k - 1) / 12;  // sum of squares of the column numbers
  std::vector<std::vector<std::size_t>> rows;
  std::size_t doubled = 0;  // 2 L
  double mean = 0, variance = 0;
  for (std::size_t i = 0; i < count; ++i) {
    rows.push_back(doubled_ranks(values.subspan(i * columns, columns)));
    double squares = 0;
    for (std::size_t j = 0; j < columns; ++j) {
      doubled += (j + 1) * rows.back()[j];
      const double centred = real(rows.back()[j]) / 2 - (k + 1) / 2;
      squares += centred * centred;
    }
    mean += k * (k + 1) * (k + 1) / 4;
    variance += spread * squares / (k - 1);
  }
  if (!(variance > 0)) {
    throw InvalidArgument(cat("[", kWhere, "] every row is constant; there is nothing to order"));
  }
  Trend out{.statistic = real(doubled) / 2};
  out.exact =
      method == TrendMethod::exact || (method == TrendMethod::automatic && cheap(count, columns));
  out.p = out.exact ? upper_tail(rows, doubled)
                    : normal_cdf(-(out.statistic - mean) / std::sqrt(variance));
  return out;
}

}  // namespace tierod::stats

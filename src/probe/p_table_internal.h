#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "tierod/stats/max_t.h"

namespace tierod::internal {

/// Point to what a cell says of its p, whatever else it holds.
struct PCell {
  double* p = nullptr;
  double* p_max_t = nullptr;
  std::string* method = nullptr;
  std::string* note = nullptr;
};

/// Point to the p of all cells [sites x variables], site by site.
template <typename Row>
std::vector<PCell> p_cells(std::vector<Row>& rows) {
  std::vector<PCell> out;
  out.reserve(rows.size());
  for (Row& row : rows) out.push_back({&row.p, &row.p_max_t, &row.p_method, &row.note});
  return out;
}

/// Hold the p of cells [sites x variables] as they are filled in.
class PTable {
 public:
  PTable(std::vector<PCell> cells, std::size_t variables, std::vector<std::string>& notes)
      : cells_(std::move(cells)),
        notes_(notes),
        variables_(variables),
        sites_(cells_.size() / variables) {}

  std::size_t sites() const noexcept { return sites_; }
  /// Add a note to all cells of a variable.
  void add(std::size_t variable, const std::string& note) const;
  /// Add a note on everything.
  void add(const std::string& note) const;
  void set(std::size_t site, std::size_t variable, double p, double p_max_t,
           const char* method) const;
  /// Fill the cells of a variable from statistics [sites][B + 1], of which the first are observed.
  void fill(std::size_t variable, std::span<const std::vector<double>> statistics, double alpha,
            const char* method) const;

 private:
  std::vector<PCell> cells_;
  std::vector<std::string>& notes_;
  std::size_t variables_, sites_;
};

}  // namespace tierod::internal

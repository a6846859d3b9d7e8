#include "core/text_internal.h"
#include "probe/p_table_internal.h"

namespace tierod::internal {

void PTable::add(std::size_t variable, const std::string& note) const {
  for (std::size_t s = 0; s < sites_; ++s) add_note(*cells_[s * variables_ + variable].note, note);
}

void PTable::add(const std::string& note) const { add_note(notes_, note); }

void PTable::set(std::size_t site, std::size_t variable, double p, double p_max_t,
                 const char* method) const {
  const PCell& cell = cells_[site * variables_ + variable];
  *cell.p = p;
  *cell.p_max_t = p_max_t;
  *cell.method = method;
}

void PTable::fill(std::size_t variable, std::span<const std::vector<double>> statistics,
                  double alpha, const char* method) const {
  const std::size_t rounds = statistics.front().size() - 1;
  std::vector<double> observed, permuted(rounds * sites_);
  observed.reserve(sites_);
  for (std::size_t s = 0; s < sites_; ++s) {
    observed.push_back(statistics[s][0]);
    for (std::size_t b = 0; b < rounds; ++b) permuted[b * sites_ + s] = statistics[s][b + 1];
  }
  const stats::MaxT adjusted = stats::max_t(observed, permuted, alpha);
  for (std::size_t s = 0; s < sites_; ++s) {
    set(s, variable, adjusted.p[s], adjusted.single_step[s], method);
  }
  add(adjusted.note);
}

}  // namespace tierod::internal

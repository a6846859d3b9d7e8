#include <algorithm>
#include <cmath>
#include <map>

#include "core/text_internal.h"
#include "probe/concept_plan_internal.h"
#include "tierod/core/error.h"

namespace tierod::internal {

namespace {

// What would otherwise fail after hours of fits.
void check_options(const probe::EvaluationOptions& options) {
  const auto expect = [](bool good, const char* what, auto got, const char* remedy) {
    if (!good) {
      throw InvalidArgument(cat("[", kEvaluate, "] expected ", what, ", got ", got, "; ", remedy));
    }
  };
  expect(options.folds >= 2, "folds >= 2", options.folds, "5 are usual: scores must be held out");
  expect(options.margin > 0 && options.margin < 0.5, "a margin inside (0, .5)", options.margin,
         "an AUROC .05 above its baseline is the usual one");
  expect(options.alpha > 0 && options.alpha < 0.5, "alpha inside (0, .5)", options.alpha,
         ".05 is usual; it is the level, not the confidence");
  expect(options.confidence > 0 && options.confidence < 1, "confidence inside (0, 1)",
         options.confidence, ".95 is usual");
  expect(options.threads >= 1, "threads >= 1", options.threads, "leave it at its default");
  const auto least = static_cast<std::size_t>(std::ceil(2 / (1 - options.confidence) - 1e-9));
  if (options.interval != stats::RankingMethod::influence &&
      options.interval != stats::RankingMethod::jackknife && options.replicates < least) {
    throw InvalidArgument(cat("[", kEvaluate, "] expected replicates >= ", least, ", got ",
                              options.replicates,
                              "; fewer do not reach into the tails of this confidence; the "
                              "influence and jackknife intervals need none"));
  }
}

void check_random_init(const probe::ProbeDataset& dataset, const probe::ProbeDataset& random_init) {
  constexpr auto* remedy = "; run the untrained network on the same rows in the same order";
  if (random_init.rows() != dataset.rows()) {
    throw InvalidArgument(cat("[", kEvaluate, "] expected random_init to have the same ",
                              dataset.rows(), " rows, got ", random_init.rows(), remedy));
  }
  for (std::size_t i = 0; i < dataset.rows(); ++i) {
    if (random_init.groups()[i] != dataset.groups()[i]) {
      throw InvalidArgument(cat("[", kEvaluate,
                                "] expected random_init to have the same groups, got ",
                                random_init.groups()[i], " where the dataset has ",
                                dataset.groups()[i], " in row ", i, remedy));
    }
  }
  const std::vector<std::string> targets = dataset.targets();
  for (const std::string& name : random_init.targets()) {
    if (std::find(targets.begin(), targets.end(), name) == targets.end()) continue;
    const auto own = dataset.target(name), other = random_init.target(name);
    for (std::size_t i = 0; i < own.size(); ++i) {
      if (own[i] == other[i] || (std::isnan(own[i]) && std::isnan(other[i]))) continue;
      throw InvalidArgument(cat("[", kEvaluate, "] expected random_init to have the same ", name,
                                ", got ", other[i], " where the dataset has ", own[i], " in row ",
                                i, remedy));
    }
  }
  const std::vector<std::string> known = dataset.concepts();
  for (const std::string& name : random_init.concepts()) {
    if (std::find(known.begin(), known.end(), name) == known.end()) continue;
    const auto own = dataset.labels(name), other = random_init.labels(name);
    for (std::size_t i = 0; i < own.size(); ++i) {
      if (own[i] == other[i]) continue;
      throw InvalidArgument(
          cat("[", kEvaluate, "] expected random_init to have the same labels of ", name, ", got ",
              int{other[i]}, " where the dataset has ", int{own[i]}, " in row ", i, remedy));
    }
  }
}

}  // namespace

void check_evaluation(const probe::ProbeDataset& dataset, const probe::EvaluationOptions& options,
                      const probe::ProbeDataset* random_init) {
  if (dataset.sites().empty() || dataset.concepts().empty()) {
    throw InvalidArgument(
        cat("[", kEvaluate, "] expected sites and concepts, got ", dataset.sites().size(), " and ",
            dataset.concepts().size(), "; add_site() and add_concept() add them",
            dataset.targets().empty() ? "" : ", and evaluate_targets() takes real targets"));
  }
  check_options(options);
  if (random_init != nullptr) check_random_init(dataset, *random_init);
}

void check_target_evaluation(const probe::ProbeDataset& dataset,
                             const probe::EvaluationOptions& options,
                             const probe::ProbeDataset* random_init) {
  if (dataset.sites().empty() || dataset.targets().empty()) {
    throw InvalidArgument(cat("[probe.evaluate_targets] expected sites and targets, got ",
                              dataset.sites().size(), " and ", dataset.targets().size(),
                              "; add_site() and add_target() add them, and evaluate() takes "
                              "concepts"));
  }
  check_options(options);
  if (random_init != nullptr) check_random_init(dataset, *random_init);
}

std::vector<std::string> missing_parts(const probe::EvaluationOptions& options,
                                       const std::vector<std::int64_t>& types,
                                       const std::string& instead) {
  std::vector<std::string> notes;
  if (types.empty()) {
    notes.push_back(cat("no control task: there is no nuisance and no type to key it on; ", instead,
                        " and the nuisance-only probe"));
  } else if (options.control_draws == 0) {
    notes.emplace_back("no control task: control_draws = 0");
  }
  if (!options.memorisation) {
    notes.emplace_back("no group-keyed control: memorisation = false");
  }
  if (options.permutations == 0) {
    notes.emplace_back(
        "no p: permutations = 0, and no cell is called encoded, which needs p_max_t <= alpha");
  }
  return notes;
}

// Permuted labels and centred rows are those of strata, and what is permuted and resampled is the
// unit: one that lies in two strata would silently be taken for one of them.
void check_strata(const probe::ProbeDataset& dataset, const std::string& level,
                  std::span<const std::int64_t> units) {
  const std::span<const std::int64_t> strata = dataset.strata();
  std::map<std::int64_t, std::size_t> first;
  for (std::size_t i = 0; i < strata.size(); ++i) {
    const std::size_t other = first.emplace(units[i], i).first->second;
    if (strata[i] == strata[other]) continue;
    throw InvalidArgument(cat(
        "[", kEvaluate, "] expected each unit of the level ", level, " in one stratum, got unit ",
        units[i], " in strata ", strata[other], " (row ", other, ", group ",
        dataset.groups()[other], ") and ", strata[i], " (row ", i, ", group ", dataset.groups()[i],
        "); join strata, or evaluate at a lower level (more least_units); twins make one unit"));
  }
}

}  // namespace tierod::internal

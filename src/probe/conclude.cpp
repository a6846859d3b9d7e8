#include <algorithm>
#include <cmath>
#include <cstdio>

#include "core/text_internal.h"
#include "tierod/core/error.h"
#include "tierod/probe/evaluation.h"

namespace tierod::probe {

using internal::cat;

namespace {

std::string text(const std::vector<std::string>& names) { return internal::list_text(names); }
template <typename T>
std::string text(const T& value) {
  return cat(value);
}

std::string number(double value, const char* format = "%.3f") {
  char text[32];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

// An evaluation that was stopped says nothing of the sites it did not reach.
void check_whole(const Evaluation& e) {
  if (e.complete && e.summary.size() == e.concepts.size()) return;
  throw InvalidArgument(cat("[probe.conclude] expected whole evaluations, got one of ", e.probe,
                            " that was stopped after ", e.sites.size(), " sites, with ",
                            e.summary.size(), " of ", e.concepts.size(),
                            " concepts summed up; let it run to its end"));
}

// Absence is said of the sites, the margin and the level that both probes were held to.
void check_same(const Evaluation& linear, const Evaluation& nonlinear) {
  const auto same = [&](const char* what, const auto& a, const auto& b) {
    if (a == b) return;
    throw InvalidArgument(cat("[probe.conclude] expected evaluations of the same ", what, ", got ",
                              text(a), " of ", linear.probe, " and ", text(b), " of ",
                              nonlinear.probe, "; evaluate both probes alike"));
  };
  same("concepts", linear.concepts, nonlinear.concepts);
  same("sites", linear.sites, nonlinear.sites);
  same("level", linear.level, nonlinear.level);
  same("units", linear.units, nonlinear.units);
  same("margin", linear.options.margin, nonlinear.options.margin);
  same("alpha", linear.options.alpha, nonlinear.options.alpha);
}

bool shown(const ConceptSummary& s, double alpha) { return s.encoded_sites > 0 && s.q <= alpha; }

}  // namespace

const char* encoding_name(Encoding encoding) noexcept {
  switch (encoding) {
    case Encoding::encoded:
      return "encoded";
    case Encoding::not_encoded:
      return "not_encoded";
    case Encoding::nonlinear:
      return "nonlinear";
    case Encoding::open:
      return "open";
  }
  return "?";
}

std::vector<Conclusion> conclude(const Evaluation& linear, const Evaluation* nonlinear) {
  check_whole(linear);
  if (nonlinear != nullptr) {
    check_whole(*nonlinear);
    check_same(linear, *nonlinear);
  }
  std::vector<Conclusion> out;
  for (std::size_t c = 0; c < linear.summary.size(); ++c) {
    const ConceptSummary& own = linear.summary[c];
    const ConceptSummary* other = nonlinear != nullptr ? &nonlinear->summary[c] : nullptr;
    Conclusion done{.concept_name = own.concept_name};
    const double alpha = linear.options.alpha;
    if (own.best_site.empty()) {
      done.sentence = cat(own.concept_name, ": ", linear.rows[c].note);
    } else if (shown(own, alpha)) {
      done.encoding = Encoding::encoded;
      done.sentence = cat(own.concept_name, " is encoded: ", linear.probe, " stands above the ",
                          "baselines at ", own.encoded_sites, " of ", linear.sites.size(),
                          " sites, best ", own.best_site, " with AUROC ", number(own.best_auroc),
                          ", q ", number(own.q, "%.2g"), "; that says nothing about its use");
    } else if (other != nullptr && shown(*other, alpha)) {
      done.encoding = Encoding::nonlinear;
      done.sentence = cat(own.concept_name, " is non-linear: ", nonlinear->probe,
                          " stands above the baselines, best at ", other->best_site, " with AUROC ",
                          number(other->best_auroc), ", ", linear.probe, " (AUROC ",
                          number(own.best_auroc), ") at no site");
    } else if (other != nullptr && own.not_encoded && other->not_encoded) {
      done.encoding = Encoding::not_encoded;
      done.sentence =
          cat(own.concept_name, " is not encoded at these sites: at most ",
              number(std::max(own.upper, other->upper)), " above the better baseline (margin ",
              number(linear.options.margin), ", level ", number(alpha, "%.2g"), ") for ",
              linear.probe, " and ", nonlinear->probe);
    } else {
      done.sentence = cat(own.concept_name, " is open: best AUROC ", number(own.best_auroc), " at ",
                          own.best_site, ", q ", number(own.q, "%.2g"), ", up to ",
                          number(own.upper), " above the better baseline");
      if (other == nullptr && own.not_encoded) {
        done.sentence += "; 'not encoded' also needs a non-linear probe";
      } else {
        done.sentence +=
            cat("; more than ", linear.units, " units of the level ", linear.level, " are needed");
      }
    }
    out.push_back(std::move(done));
  }
  return out;
}

}  // namespace tierod::probe

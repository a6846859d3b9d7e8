#include "tierod/stats/distributions.h"

#include <boost/math/distributions/normal.hpp>
#include <boost/math/distributions/students_t.hpp>
#include <cmath>

#include "core/text_internal.h"
#include "tierod/core/error.h"

namespace tierod::stats {

using tierod::internal::cat;

namespace {

namespace policies = boost::math::policies;
// double throughout: promotion to long double costs ten times as much and shows in no result here
using Policy = policies::policy<policies::promote_double<false>>;
using StudentT = boost::math::students_t_distribution<double, Policy>;
using Normal = boost::math::normal_distribution<double, Policy>;

void check_t(double t, double df, const char* function) {
  if (std::isnan(t)) {
    throw InvalidArgument(cat("[stats.", function, "] expected a number, got NaN"));
  }
  if (!(df > 0)) {
    throw InvalidArgument(
        cat("[stats.", function, "] expected df > 0, got ", df, "; two clusters give df = 1"));
  }
}

void check_probability(double p, const char* function) {
  if (!(p > 0 && p < 1)) {
    throw InvalidArgument(
        cat("[stats.", function, "] expected a probability inside (0, 1), got ", p));
  }
}

}  // namespace

double student_t_cdf(double t, double df) {
  check_t(t, df, "student_t_cdf");
  if (std::isinf(t)) return t > 0 ? 1 : 0;
  return std::isinf(df) ? normal_cdf(t) : cdf(StudentT(df), t);
}

double student_t_sf(double t, double df) {
  check_t(t, df, "student_t_sf");
  return student_t_cdf(-t, df);
}

double student_t_quantile(double p, double df) {
  check_probability(p, "student_t_quantile");
  check_t(0, df, "student_t_quantile");
  return std::isinf(df) ? normal_quantile(p) : quantile(StudentT(df), p);
}

double normal_cdf(double z) {
  if (std::isnan(z)) throw InvalidArgument("[stats.normal_cdf] expected a number, got NaN");
  if (std::isinf(z)) return z > 0 ? 1 : 0;
  return cdf(Normal(), z);
}

double normal_quantile(double p) {
  check_probability(p, "normal_quantile");
  return quantile(Normal(), p);
}

}  // namespace tierod::stats

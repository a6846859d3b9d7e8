#include "tierod/stats/power.h"

#include <algorithm>
#include <boost/math/distributions/chi_squared.hpp>
#include <boost/math/distributions/non_central_t.hpp>
#include <boost/math/quadrature/gauss.hpp>
#include <cmath>

#include "stats/check_internal.h"
#include "tierod/stats/distributions.h"

namespace tierod::stats {

using tierod::internal::cat;
using tierod::internal::check_at_least;
using tierod::internal::check_fraction;
using tierod::internal::real;

namespace {

void check_positive(double value, const char* where, const char* name) {
  if (!(value > 0) || !std::isfinite(value)) {
    throw InvalidArgument(cat("[", where, "] expected ", name, " > 0, got ", value));
  }
}

void check_design(double effect, double sd, std::size_t groups, double alpha, const char* where) {
  if (!std::isfinite(effect)) {
    throw InvalidArgument(cat("[", where, "] expected a finite effect, got ", effect));
  }
  check_positive(sd, where, "sd");
  check_at_least(groups, 2, where, "groups", "one group has no spread");
  check_fraction(alpha, where, "alpha");
}

// P(T <= t) of the noncentral t.
double noncentral_t_cdf(double t, double df, double delta) {
  // Past this point the distribution is the normal one to all digits, and Boost's series slow.
  if (df > 1e6 || std::abs(delta) > 50) {
    const double se = std::sqrt(1 + t * t / (2 * df));
    return normal_cdf((t * (1 - 1 / (4 * df)) - delta) / se);
  }
  return boost::math::cdf(boost::math::non_central_t(df, delta), t);
}

// The least count in [2, most] with power(count) >= wanted; power grows with the count.
template <typename Power>
GroupPlan least_groups(const Power& power, double wanted, std::size_t most, const char* where) {
  std::size_t above = 2;
  while (power(above) < wanted) {
    if (above >= most) {
      throw InvalidArgument(cat("[", where, "] more than ", most,
                                " groups would be needed; the effect is too small for its spread"));
    }
    above = std::min(2 * above, most);
  }
  std::size_t below = above == 2 ? 1 : above / 2;
  while (above - below > 1) {
    const std::size_t middle = below + (above - below) / 2;
    (power(middle) < wanted ? below : above) = middle;
  }
  return {.groups = above, .power = power(above)};
}

}  // namespace

double cluster_mean_sd(double sd, double icc, std::size_t rows) {
  constexpr auto* where = "stats.cluster_mean_sd";
  check_positive(sd, where, "sd");
  if (!(icc >= 0 && icc <= 1)) {
    throw InvalidArgument(cat("[", where, "] expected icc inside [0, 1], got ", icc,
                              "; take 0 for an estimate below 0"));
  }
  check_at_least(rows, 1, where, "rows a cluster", "an empty cluster has no mean");
  return sd * std::sqrt(icc + (1 - icc) / real(rows));
}

double t_test_power(double effect, double sd, std::size_t groups, double alpha) {
  check_design(effect, sd, groups, alpha, "stats.t_test_power");
  const double df = real(groups - 1);
  const double delta = std::sqrt(real(groups)) * std::abs(effect) / sd;
  const double critical = student_t_quantile(1 - alpha / 2, df);
  const double above = 1 - noncentral_t_cdf(critical, df, delta);
  const double below = noncentral_t_cdf(-critical, df, delta);
  return std::clamp(above + below, 0.0, 1.0);
}

double equivalence_power(double margin, double effect, double sd, std::size_t groups,
                         double alpha) {
  constexpr auto* where = "stats.equivalence_power";
  check_design(effect, sd, groups, alpha, where);
  check_positive(margin, where, "margin");
  if (!(alpha < 0.5)) {
    throw InvalidArgument(cat("[", where, "] expected alpha < 0.5, got ", alpha));
  }
  const double df = real(groups - 1);
  const double error = sd / std::sqrt(real(groups));
  const double critical = student_t_quantile(1 - alpha, df);
  const boost::math::chi_squared chi2(df);
  // v = s / sigma. Given v, the estimate must lie within margin - critical v error of 0.
  const auto density = [&](double v) { return 2 * df * v * boost::math::pdf(chi2, df * v * v); };
  const auto integrand = [&](double v) {
    const double room = margin - critical * v * error;
    const double inside =
        normal_cdf((room - effect) / error) - normal_cdf((-room - effect) / error);
    return density(v) * inside;
  };
  const double width = 10 / std::sqrt(2 * df);
  const double low = std::max(0.0, 1 - width);
  const double high = std::min(margin / (critical * error), 1 + width + 2 / df);
  if (!(high > low)) return 0;
  constexpr int kPieces = 16;
  double total = 0;
  for (int piece = 0; piece < kPieces; ++piece) {
    const double a = low + (high - low) * piece / kPieces;
    const double b = low + (high - low) * (piece + 1) / kPieces;
    total += boost::math::quadrature::gauss<double, 20>::integrate(integrand, a, b);
  }
  return std::clamp(total, 0.0, 1.0);
}

GroupPlan groups_for_effect(double effect, double sd, double power, double alpha,
                            std::size_t most) {
  constexpr auto* where = "stats.groups_for_effect";
  check_design(effect, sd, 2, alpha, where);
  check_positive(std::abs(effect), where, "|effect|");
  check_fraction(power, where, "power");
  return least_groups([&](std::size_t groups) { return t_test_power(effect, sd, groups, alpha); },
                      power, most, where);
}

GroupPlan groups_for_equivalence(double margin, double effect, double sd, double power,
                                 double alpha, std::size_t most) {
  constexpr auto* where = "stats.groups_for_equivalence";
  check_design(effect, sd, 2, alpha, where);
  check_positive(margin, where, "margin");
  check_fraction(power, where, "power");
  if (!(std::abs(effect) < margin)) {
    throw InvalidArgument(cat("[", where, "] expected |effect| < margin, got ", effect, " and ",
                              margin, "; an effect outside of the margin is not equivalent"));
  }
  return least_groups(
      [&](std::size_t groups) { return equivalence_power(margin, effect, sd, groups, alpha); },
      power, most, where);
}

}  // namespace tierod::stats

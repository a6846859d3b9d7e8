#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "probe/evaluation_table_internal.h"

namespace tierod::probe {
namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

EvaluationRow row(const char* site, double auroc, double p, double upper, bool encoded) {
  EvaluationRow out;
  out.site = site;
  out.auroc.estimate = auroc;
  out.p_max_t = p;
  out.upper = upper;
  out.encoded = encoded;
  return out;
}

TEST(EvaluationTable, TakesTheBestOfTheSitesThatSaySomething) {
  // two concepts at three sites; the first has no score at the first and the last
  const std::vector<EvaluationRow> rows = {
      row("a", kNone, kNone, 0.02, false), row("a", 0.6, 0.3, 0.2, false),
      row("b", 0.8, 0.01, 0.4, true),      row("b", 0.9, 0.02, 0.5, true),
      row("c", kNone, 0.5, 0.1, false),    row("c", 0.7, 0.04, kNone, true),
  };
  const internal::Column first = internal::column_of(rows, 2, 0, &EvaluationRow::auroc);
  EXPECT_EQ(first.best_site, "b");
  EXPECT_EQ(first.best, 0.8);
  EXPECT_EQ(first.p_max_t, 0.01);
  EXPECT_EQ(first.upper, 0.4);
  EXPECT_EQ(first.encoded_sites, 1U);
  const internal::Column second = internal::column_of(rows, 2, 1, &EvaluationRow::auroc);
  EXPECT_EQ(second.best_site, "b");
  EXPECT_EQ(second.p_max_t, 0.02);
  EXPECT_TRUE(std::isnan(second.upper)) << "a site without a bound leaves the largest unknown";
  EXPECT_EQ(second.encoded_sites, 2U);
}

TEST(EvaluationTable, OfNothingSaysNothing) {
  const std::vector<EvaluationRow> rows = {row("a", kNone, kNone, kNone, false)};
  const internal::Column column = internal::column_of(rows, 1, 0, &EvaluationRow::auroc);
  EXPECT_EQ(column.best_site, "");
  EXPECT_TRUE(std::isnan(column.best));
  EXPECT_TRUE(std::isnan(column.p_max_t));
  EXPECT_TRUE(std::isnan(column.upper));
}

TEST(EvaluationTable, LeavesMissingPOutOfTheQValues) {
  // by hand, Benjamini & Hochberg of (.01, .04, .03): .03, .04, .04
  const std::vector<double> q = internal::q_of(std::vector<double>{0.01, kNone, 0.04, 0.03});
  ASSERT_EQ(q.size(), 4U);
  EXPECT_DOUBLE_EQ(q[0], 0.03);
  EXPECT_TRUE(std::isnan(q[1]));
  EXPECT_DOUBLE_EQ(q[2], 0.04);
  EXPECT_DOUBLE_EQ(q[3], 0.04);
}

}  // namespace
}  // namespace tierod::probe

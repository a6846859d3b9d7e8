#pragma once

#include <cstdint>
#include <string>

#include "core/json_internal.h"
#include "tierod/audit/verdict.h"
#include "tierod/stats/interval.h"

namespace tierod::internal {

/// Return what was measured of an effect, for the record. `n_rows` counts scenes.
Json axis_json(const std::string& estimand, const stats::Interval& interval, std::int64_t n_rows);

/// Return a rate with its interval, for the record.
Json rate_json(const stats::Interval& interval, std::int64_t n_rows);

/// Read the gates of one concept from a record that `conclude_record` is filling in.
audit::GateResults gates_of(const Json& found, const Json& record);

/// Fill in what follows from the evidence, hashes included.
void derive(Json& record);

/// Return the hash of what does not depend on when and where a record was made.
std::string hash_of_record(const Json& record);
std::string hash_of(const Json& json);

}  // namespace tierod::internal

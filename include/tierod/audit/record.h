#pragma once

#include <string>
#include <vector>

#include "tierod/export.h"

// The evidence record `tierod-evidence/1` (docs/evidence.schema.json): one JSON object with sorted
// keys. Stages write what they measured: estimates with standard errors, degrees of freedom and
// counts. Everything else, from p to verdict, follows from that and from the protocol, by the
// functions below and by nothing else, so that whoever holds a record can follow it again.
namespace tierod::audit {

inline constexpr const char* kRecordSchema = "tierod-evidence/1";

/// Fill in all that follows from what was measured: intervals, p, q, statuses, gates, verdicts,
/// flags and hashes.
/// @throws InvalidArgument that names the key which is missing, or of another kind.
TIEROD_API std::string conclude_record(const std::string& evidence);

/// Hold one place where a record does not say what follows from it.
struct TIEROD_API RecordDifference {
  std::string where;       ///< JSON pointer
  std::string recorded;    ///< as JSON, "nothing" where it is missing
  std::string recomputed;  ///< likewise
};

/// Recompute every interval, p, q, status, verdict and hash from the record alone, and return where
/// it says something else; numbers count as equal up to 1e-9 of their size. Nothing: it is as it
/// was written.
/// @throws InvalidArgument if it is no record of this schema.
TIEROD_API std::vector<RecordDifference> verify_record(const std::string& record);

}  // namespace tierod::audit

#pragma once

#include <cstdint>
#include <string>

#include "tierod/audit/protocol.h"
#include "tierod/core/progress.h"
#include "tierod/export.h"
#include "tierod/vla/model.h"
#include "tierod/vla/scene_source.h"

namespace tierod::audit {

/// Set up how an audit is run; nothing here changes a result.
struct TIEROD_API AuditOptions {
  /// Folder of the frozen protocol, the finished stages and the record.
  std::string out;
  /// Go on with the audit that is in `out`.
  bool resume = false;
  /// Called with (stages done, stages, what is done now); false stops, and finished stages stay.
  Progress progress{};
};

enum class Outcome : std::uint8_t {
  finished,          ///< whatever the verdicts
  self_test_failed,  ///< no verdict means anything; the record says which test and why
};

struct TIEROD_API AuditResult {
  Outcome outcome = Outcome::finished;
  std::string record;  ///< as it is in `out`/record.json
};

/// Audit a model: freeze the protocol, test the model itself, fit on A, choose on B, open C once,
/// and decide by rule (docs/audit.md).
///
/// Writes `protocol.json` before A is read, `selection.json` after B, one file a finished stage
/// under `stages`, and `record.json` at the end. Interrupted, killed or out of disk it keeps
/// finished stages, and goes on with `resume` to a record that is the same outside of `run`.
///
/// @throws InvalidArgument on a protocol that is not complete, too few scenes (how many are
///         needed), a folder that holds another audit, or a file that was changed since it was
///         frozen; StateError if `progress` stops it; IoError if a file cannot be written.
TIEROD_API AuditResult run_audit(vla::Model& model, const vla::SceneSource& source,
                                 const Protocol& protocol, const AuditOptions& options);

/// Say what an audit would do, as JSON: stages with model passes (scenes driven), scenes of A, B
/// and C, what each concept needs, and what is missing.
/// @throws InvalidArgument on a protocol that is not complete.
TIEROD_API std::string plan_audit(vla::Model& model, const vla::SceneSource& source,
                                  const Protocol& protocol);

}  // namespace tierod::audit

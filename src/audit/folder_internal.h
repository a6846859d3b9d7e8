#pragma once

#include <functional>
#include <string>

#include "core/json_internal.h"

namespace tierod::internal {

/// Hold the files of one audit: the frozen protocol, finished stages, the record.
class AuditFolder {
 public:
  /// Open a folder for the protocol, or go on with the one there.
  /// @throws InvalidArgument if it holds another audit, or one that was changed since.
  AuditFolder(std::string path, const std::string& protocol_json, bool resume);

  /// Return the part of a stage: that of its file where it is finished, else what `make` returns,
  /// once it is written.
  /// @throws InvalidArgument if the file was changed after it was written; IoError if it cannot be
  ///         written.
  Json stage(const std::string& name, const std::function<Json()>& make);
  /// Freeze a part in a file of its own: written once, and the same from then on.
  void freeze(const std::string& name, const Json& body);
  void write(const std::string& name, const Json& content) const;

 private:
  Json read_frozen(const std::string& file) const;
  std::string path_;
  std::string protocol_sha256_;
};

}  // namespace tierod::internal

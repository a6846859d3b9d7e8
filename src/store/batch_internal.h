#pragma once

#include "tierod/store/sink.h"

namespace tierod::internal {

/// Throw InvalidArgument unless the lists of a batch fit together.
void check_batch(const BatchInfo& info, const char* where);
/// Throw unless the batch names a sample for each row of the item.
void check_item(const SinkItem& item, const BatchInfo& info, const char* where);
std::int64_t item_rows(const SinkItem& item);

}  // namespace tierod::internal

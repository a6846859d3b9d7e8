#include "tierod/vla/batch.h"

#include <ATen/ops/tensor.h>
#include <c10/core/ScalarType.h>

#include "core/text_internal.h"
#include "tierod/core/error.h"

namespace tierod::vla {

using internal::cat;
using internal::list_text;

namespace {

std::vector<std::string> names_of(const Batch& batch) {
  std::vector<std::string> names;
  names.reserve(batch.tensors.size());
  for (const auto& [name, unused] : batch.tensors) names.push_back(name);
  return names;
}

bool fits(at::IntArrayRef seen, const std::vector<std::int64_t>& wanted) {
  if (seen.size() != wanted.size() + 1) return false;
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    if (wanted[i] >= 0 && seen[i + 1] != wanted[i]) return false;
  }
  return true;
}

}  // namespace

const at::Tensor& Batch::at(const std::string& name) const {
  const auto found = tensors.find(name);
  if (found == tensors.end()) {
    throw InvalidArgument(cat("[vla.Batch.at] expected a tensor called '", name, "', got ",
                              list_text(names_of(*this)), "; see the model's batch_spec()"));
  }
  return found->second;
}

Batch Batch::select(const std::vector<std::int64_t>& index) const {
  Batch out;
  for (const std::int64_t row : index) {
    if (row < 0 || row >= rows()) {
      throw OutOfRange(cat("[vla.Batch.select] expected rows in [0, ", rows(), "), got ", row));
    }
    out.ids.push_back(ids[static_cast<std::size_t>(row)]);
  }
  const at::Tensor rows_wanted = at::tensor(index, at::kLong);
  for (const auto& [name, tensor] : tensors) {
    out.tensors.emplace(name, tensor.index_select(0, rows_wanted.to(tensor.device())));
  }
  return out;
}

void BatchSpec::check(const Batch& batch) const {
  if (batch.ids.empty()) {
    throw InvalidArgument("[vla.BatchSpec.check] expected at least one scene, got zero rows");
  }
  for (const BatchField& field : fields) {
    const auto found = batch.tensors.find(field.name);
    if (found == batch.tensors.end() || !found->second.defined()) {
      throw InvalidArgument(cat("[vla.BatchSpec.check] expected the tensor '", field.name, "' (",
                                field.description, "), got ", list_text(names_of(batch)),
                                "; batches come from SceneSource.batch(ids)"));
    }
    const at::Tensor& tensor = found->second;
    if (tensor.scalar_type() != field.dtype || !fits(tensor.sizes(), field.shape)) {
      throw InvalidArgument(cat("[vla.BatchSpec.check] expected '", field.name, "' as ",
                                c10::toString(field.dtype), " [rows, ", list_text(field.shape),
                                "] (-1 is free), got ", c10::toString(tensor.scalar_type()), " ",
                                tensor.sizes(), "; ", field.description));
    }
    if (tensor.size(0) != batch.rows()) {
      throw InvalidArgument(cat("[vla.BatchSpec.check] expected a row of '", field.name,
                                "' for each of ", batch.rows(), " ids, got ", tensor.size(0)));
    }
  }
}

}  // namespace tierod::vla

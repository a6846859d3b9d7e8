#include "tierod/store/reader.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <unordered_set>

#include "core/text_internal.h"
#include "store/reader_internal.h"
#include "tierod/core/error.h"
#include "tierod/store/labels.h"

namespace tierod {

using internal::cat;

namespace {

constexpr const char* kRead = "store.ActivationReader.read";
constexpr const char* kGather = "store.ActivationReader.gather";
constexpr const char* kSelect = "store.ActivationReader.select";

at::Tensor new_rows(const internal::SiteRef& ref, std::int64_t rows) {
  return at::empty({rows, ref.site.width}, at::TensorOptions().dtype(ref.site.dtype));
}

std::byte* bytes_of(const at::Tensor& x) { return static_cast<std::byte*>(x.mutable_data_ptr()); }

at::Tensor read_column(const internal::Snapshot& snapshot, std::string_view stream,
                       RowColumn column, const char* where) {
  const std::size_t s = snapshot.manifest.stream_number(stream, where);
  at::Tensor values = at::empty({snapshot.rows(s)}, at::TensorOptions().dtype(at::kLong));
  internal::copy_column(snapshot, s, static_cast<std::size_t>(column), 0, snapshot.rows(s),
                        values.mutable_data_ptr<std::int64_t>(), where);
  return values;
}

at::Tensor labels_of_rows(const internal::Snapshot& snapshot, std::string_view stream,
                          std::string_view concept_name) {
  const Labels labels = get_labels(snapshot.store, concept_name);
  const at::Tensor samples =
      read_column(snapshot, stream, RowColumn::sample, "store.ActivationReader.row_labels");
  at::Tensor values = at::empty({samples.size(0)}, at::TensorOptions().dtype(at::kByte));
  const auto* sample = samples.const_data_ptr<std::int64_t>();
  auto* value = values.mutable_data_ptr<std::uint8_t>();
  for (std::int64_t i = 0; i < samples.size(0); ++i) value[i] = labels.at(sample[i]);
  return values;
}

}  // namespace

ActivationReader::ActivationReader(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
ActivationReader::~ActivationReader() = default;
ActivationReader::ActivationReader(ActivationReader&&) noexcept = default;

ActivationReader ActivationReader::open(const std::string& path, ReaderOptions options) {
  constexpr const char* kWhere = "store.ActivationReader.open";
  internal::require_store(kWhere);
  auto impl = std::make_shared<Impl>();
  impl->path = path;
  impl->options = options;
  impl->current = internal::Snapshot::make(path, internal::load_manifest(kWhere, path),
                                           options.verify, nullptr);
  return ActivationReader(std::move(impl));
}

std::int64_t ActivationReader::refresh() {
  constexpr const char* kWhere = "store.ActivationReader.refresh";
  const std::scoped_lock one_by_one(impl_->refreshing);
  internal::Manifest manifest = internal::load_manifest(kWhere, impl_->path);
  const auto before = impl_->snapshot();
  const auto now = internal::Snapshot::make(impl_->path, std::move(manifest), impl_->options.verify,
                                            before.get());
  {
    const std::scoped_lock lock(impl_->mutex);
    impl_->current = now;
  }
  return static_cast<std::int64_t>(now->manifest.shards.size()) -
         static_cast<std::int64_t>(before->manifest.shards.size());
}

std::vector<StreamSpec> ActivationReader::streams() const {
  return impl_->snapshot()->manifest.streams;
}

std::int64_t ActivationReader::row_count(std::string_view stream) const {
  const auto snapshot = impl_->snapshot();
  return snapshot->rows(
      snapshot->manifest.stream_number(stream, "store.ActivationReader.row_count"));
}

std::int64_t ActivationReader::shard_count() const {
  return static_cast<std::int64_t>(impl_->snapshot()->manifest.shards.size());
}

std::map<std::string, std::string> ActivationReader::provenance() const {
  return impl_->snapshot()->manifest.provenance;
}
std::string ActivationReader::configuration() const {
  return impl_->snapshot()->manifest.configuration;
}
std::vector<std::string> ActivationReader::branches() const {
  return impl_->snapshot()->manifest.branches;
}
const std::string& ActivationReader::path() const { return impl_->path; }

at::Tensor ActivationReader::column(std::string_view stream, RowColumn column) const {
  return read_column(*impl_->snapshot(), stream, column, "store.ActivationReader.column");
}

at::Tensor ActivationReader::row_labels(std::string_view stream,
                                        std::string_view concept_name) const {
  return labels_of_rows(*impl_->snapshot(), stream, concept_name);
}

at::Tensor ActivationReader::select(std::string_view stream, const RowQuery& query) const {
  // One snapshot throughout: another thread may refresh() meanwhile.
  const auto snapshot = impl_->snapshot();
  const std::int64_t rows = snapshot->rows(snapshot->manifest.stream_number(stream, kSelect));
  std::vector<std::uint8_t> keep(static_cast<std::size_t>(rows), 1);
  const auto restrict_to = [&](RowColumn which, const std::vector<std::int64_t>& allowed) {
    const std::unordered_set<std::int64_t> set(allowed.begin(), allowed.end());
    const at::Tensor values = read_column(*snapshot, stream, which, kSelect);
    const auto* value = values.const_data_ptr<std::int64_t>();
    for (std::size_t i = 0; i < keep.size(); ++i) {
      if (keep[i] != 0 && !set.contains(value[i])) keep[i] = 0;
    }
  };
  if (query.mask.defined()) {
    if (query.mask.dim() != 1 || query.mask.size(0) != rows ||
        query.mask.scalar_type() != at::kBool) {
      throw InvalidArgument(cat("[", kSelect, "] expected a bool mask [", rows, "], got shape ",
                                query.mask.sizes(), " of ", query.mask.scalar_type()));
    }
    const at::Tensor mask = query.mask.to(at::kCPU).contiguous();
    const bool* value = mask.const_data_ptr<bool>();
    for (std::size_t i = 0; i < keep.size(); ++i) keep[i] = value[i] ? 1 : 0;
  }
  if (query.phases) {
    std::vector<std::int64_t> phases;
    for (const Phase phase : *query.phases) phases.push_back(static_cast<std::int64_t>(phase));
    restrict_to(RowColumn::phase, phases);
  }
  if (query.branches) {
    std::vector<std::int64_t> numbers;
    const std::vector<std::string>& names = snapshot->manifest.branches;
    for (const std::string& name : *query.branches) {
      const auto found = std::find(names.begin(), names.end(), name);
      if (found == names.end()) {
        throw InvalidArgument(cat("[", kSelect, "] the store has no branch '", name, "'; it has ",
                                  internal::list_text(names)));
      }
      numbers.push_back(found - names.begin());
    }
    restrict_to(RowColumn::branch, numbers);
  }
  if (query.steps) restrict_to(RowColumn::step, *query.steps);
  if (query.samples) restrict_to(RowColumn::sample, *query.samples);
  if (query.scenes) restrict_to(RowColumn::scene, *query.scenes);
  if (query.groups) restrict_to(RowColumn::group, *query.groups);
  if (query.token_ids) restrict_to(RowColumn::token_id, *query.token_ids);
  if (query.label && query.concept_name.empty()) {
    throw InvalidArgument(cat("[", kSelect, "] a label is asked for, but of no concept"));
  }
  if (!query.concept_name.empty()) {
    const at::Tensor labels = labels_of_rows(*snapshot, stream, query.concept_name);
    const auto* label = labels.const_data_ptr<std::uint8_t>();
    for (std::size_t i = 0; i < keep.size(); ++i) {
      const bool fits = label[i] != kMissingLabel && (!query.label || label[i] == *query.label);
      if (!fits) keep[i] = 0;
    }
  }
  const auto count = static_cast<std::int64_t>(std::count(keep.begin(), keep.end(), 1));
  at::Tensor numbers = at::empty({count}, at::TensorOptions().dtype(at::kLong));
  auto* out = numbers.mutable_data_ptr<std::int64_t>();
  for (std::size_t i = 0; i < keep.size(); ++i) {
    if (keep[i] != 0) *out++ = static_cast<std::int64_t>(i);
  }
  return numbers;
}

at::Tensor ActivationReader::read(std::string_view stream, std::string_view site,
                                  std::int64_t begin, std::optional<std::int64_t> end) const {
  const auto snapshot = impl_->snapshot();
  const internal::SiteRef ref = internal::find_site(*snapshot, stream, site, kRead);
  const std::int64_t rows = snapshot->rows(ref.stream);
  const std::int64_t last = end.value_or(rows);
  if (begin < 0 || last > rows || begin > last) {
    throw OutOfRange(cat("[", kRead, "] the rows [", begin, ", ", last, ") do not lie within the ",
                         rows, " rows of '", stream, "'"));
  }
  at::Tensor values = new_rows(ref, last - begin);
  if (last > begin) internal::copy_rows(*snapshot, ref, begin, last, bytes_of(values), kRead);
  return values;
}

at::Tensor ActivationReader::gather(std::string_view stream, std::string_view site,
                                    const at::Tensor& rows) const {
  const auto snapshot = impl_->snapshot();
  const internal::SiteRef ref = internal::find_site(*snapshot, stream, site, kGather);
  if (!rows.defined() || rows.dim() != 1 || rows.scalar_type() != at::kLong) {
    throw InvalidArgument(cat("[", kGather, "] expected row numbers, int64 [n], got ",
                              rows.defined()
                                  ? cat("shape ", rows.sizes(), " of ", rows.scalar_type())
                                  : std::string("an undefined tensor")));
  }
  const at::Tensor numbers = rows.to(at::kCPU).contiguous();
  at::Tensor values = new_rows(ref, numbers.size(0));
  internal::gather_rows(*snapshot, ref, numbers.const_data_ptr<std::int64_t>(), numbers.size(0),
                        bytes_of(values), kGather);
  return values;
}

}  // namespace tierod

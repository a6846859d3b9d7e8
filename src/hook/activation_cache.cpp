#include "tierod/hook/activation_cache.h"

#include <ATen/ops/cat.h>

#include <algorithm>
#include <array>
#include <deque>
#include <limits>

#include "core/text_internal.h"
#include "hook/activation_cache_internal.h"
#include "hook/region_internal.h"
#include "tierod/core/error.h"

namespace tierod {

using internal::cat;
using internal::list_text;

namespace internal {

namespace {
struct BranchTable {
  std::mutex mutex;
  std::deque<std::string> names{""};
  static BranchTable& instance() {
    static auto* table = new BranchTable;
    return *table;
  }
};
}  // namespace

std::uint16_t branch_id(std::string_view branch) {
  if (branch.empty()) return 0;
  BranchTable& table = BranchTable::instance();
  const std::scoped_lock lock(table.mutex);
  for (std::size_t i = 0; i < table.names.size(); ++i) {
    if (table.names[i] == branch) return static_cast<std::uint16_t>(i);
  }
  if (table.names.size() > std::numeric_limits<std::uint16_t>::max()) {
    throw OutOfRange(
        "[hook.BranchScope] more than 65536 different branch names; a branch names a kind of pass "
        "such as 'guided', not an item of data");
  }
  table.names.emplace_back(branch);
  return static_cast<std::uint16_t>(table.names.size() - 1);
}

std::string branch_text(std::uint16_t id) {
  if (id == 0) return {};
  BranchTable& table = BranchTable::instance();
  const std::scoped_lock lock(table.mutex);
  return table.names.at(id);
}

}  // namespace internal

namespace {

constexpr std::array<const char*, 5> kReduceNames = {"none", "mean", "last_token", "moments",
                                                     "covariance"};

std::string filter_text(const EventFilter& filter) {
  std::string text;
  if (filter.phase) text += cat(" phase ", phase_name(*filter.phase));
  if (filter.step) text += cat(" step ", *filter.step);
  if (filter.branch) text += cat(" branch '", *filter.branch, "'");
  if (filter.call) text += cat(" call ", *filter.call);
  if (filter.when) text += *filter.when == When::after ? " when after" : " when before";
  if (filter.gradient) text += *filter.gradient ? " gradient" : " activation";
  return text.empty() ? std::string() : cat(" with", text);
}

bool passes(const Activation& entry, const EventFilter& filter) {
  return (!filter.phase || *filter.phase == entry.event.phase) &&
         (!filter.step || *filter.step == entry.event.step) &&
         (!filter.branch || *filter.branch == entry.event.branch) &&
         (!filter.call || *filter.call == entry.event.call) &&
         (!filter.when || *filter.when == entry.when);
}

std::vector<std::string> event_texts(const std::vector<Activation>& entries) {
  std::vector<std::string> texts;
  texts.reserve(entries.size());
  for (const Activation& entry : entries) {
    texts.push_back(cat(entry.event.text(), entry.when == When::before ? " before" : "",
                        entry.gradient ? " gradient" : ""));
  }
  return texts;
}

}  // namespace

const char* reduce_name(Reduce reduce) noexcept {
  const auto index = static_cast<std::size_t>(reduce);
  return index < kReduceNames.size() ? kReduceNames[index] : "invalid";
}

Reduce reduce_from_name(std::string_view name) {
  for (std::size_t i = 0; i < kReduceNames.size(); ++i) {
    if (name == kReduceNames[i]) return static_cast<Reduce>(i);
  }
  throw InvalidArgument(cat("[hook.reduce_from_name] expected one of ", list_text(kReduceNames),
                            ", got '", name, "'"));
}

void ActivationCache::Data::append(Record&& record,
                                   const std::shared_ptr<const CaptureInfo>& info) {
  const std::scoped_lock lock(mutex);
  if (record.info >= infos.size()) infos.resize(record.info + std::size_t{1});
  if (!infos[record.info]) infos[record.info] = info;
  push(std::move(record));
}

void ActivationCache::Data::add(Record&& record, std::shared_ptr<const CaptureInfo> info) {
  const std::scoped_lock lock(mutex);
  record.info = kAdded + static_cast<std::uint32_t>(added.size());
  added.push_back(std::move(info));
  push(std::move(record));
}

void ActivationCache::Data::push(Record&& record) {
  if (records.size() == records.capacity()) {
    records.reserve(std::max<std::size_t>(64, 4 * records.capacity()));
  }
  records.push_back(std::move(record));
}

void ActivationCache::Data::index() {
  for (; indexed < records.size(); ++indexed) {
    const std::string& name = records[indexed].site.name();
    auto [found, fresh] = by_name.try_emplace(name);
    if (fresh) names.push_back(name);
    found->second.push_back(indexed);
  }
}

Activation ActivationCache::Data::entry(const Record& record) const {
  const CaptureInfo& info =
      record.info < kAdded ? *infos[record.info] : *added[record.info - kAdded];
  Activation activation{Event{record.site, record.phase, record.step,
                              internal::branch_text(record.branch), record.call},
                        record.tensor,
                        {},
                        record.site_shape ? *record.site_shape : record.tensor.sizes().vec(),
                        info.selection,
                        info.reduce,
                        info.when,
                        info.gradient};
  activation.layout = record.site.layout().empty()
                          ? default_layout(record.site.name(), activation.site_shape.size())
                          : record.site.layout();
  return activation;
}

ActivationCache::ActivationCache() : data_(std::make_shared<Data>()) {}

std::size_t ActivationCache::size() const {
  const std::scoped_lock lock(data_->mutex);
  return data_->records.size();
}

std::vector<std::string> ActivationCache::sites() const {
  const std::scoped_lock lock(data_->mutex);
  data_->index();
  return data_->names;
}

std::vector<Activation> ActivationCache::entries() const {
  const std::scoped_lock lock(data_->mutex);
  std::vector<Activation> entries;
  entries.reserve(data_->records.size());
  for (const Data::Record& record : data_->records) entries.push_back(data_->entry(record));
  return entries;
}

bool ActivationCache::contains(std::string_view name) const {
  const std::scoped_lock lock(data_->mutex);
  data_->index();
  return data_->by_name.contains(std::string(name));
}

std::vector<Activation> ActivationCache::find(std::string_view name,
                                              const EventFilter& filter) const {
  const std::scoped_lock lock(data_->mutex);
  data_->index();
  auto found = data_->by_name.find(std::string(name));
  if (found == data_->by_name.end()) {
    // 'layers.3.resid_post' may stand for 'vlm.layers.3.resid_post' where there is one tower.
    const std::string suffix = cat('.', name);
    std::vector<std::string> fits;
    if (name.starts_with("layers.")) {
      for (const std::string& candidate : data_->names) {
        if (candidate.ends_with(suffix)) fits.push_back(candidate);
      }
    }
    if (fits.size() > 1) {
      throw SiteError(cat("[hook.ActivationCache.find] '", name,
                          "' fits several towers: ", list_text(fits), "; write the tower too"));
    }
    if (fits.empty()) {
      const auto near = nearest_names(name, data_->names);
      throw SiteError(cat("[hook.ActivationCache.find] no site '", name, "' was captured; ",
                          data_->names.empty() ? std::string("the cache is empty")
                          : near.empty()       ? cat("captured are ", list_text(data_->names, 6))
                                               : cat("nearest names: ", list_text(near))));
    }
    found = data_->by_name.find(fits.front());
  }
  std::vector<Activation> activations;
  std::vector<Activation> gradients;
  for (const std::size_t index : found->second) {
    Activation entry = data_->entry(data_->records[index]);
    if (!passes(entry, filter)) continue;
    (entry.gradient ? gradients : activations).push_back(std::move(entry));
  }
  if (filter.gradient) return *filter.gradient ? gradients : activations;
  return activations.empty() ? gradients : activations;
}

Activation ActivationCache::get(std::string_view name, const EventFilter& filter) const {
  std::vector<Activation> entries = find(name, filter);
  if (entries.size() == 1) return std::move(entries.front());
  if (entries.empty()) {
    throw SiteError(cat("[hook.ActivationCache.get] '", name, "' was captured, but not",
                        filter_text(filter), "; there are ",
                        list_text(event_texts(find(name)), 6)));
  }
  throw SiteError(cat("[hook.ActivationCache.get] '", name, "' has ", entries.size(), " entries",
                      filter_text(filter), ": ", list_text(event_texts(entries), 6),
                      "; choose one by phase, step, branch, call or when, or join them with "
                      "concat_tokens()"));
}

at::Tensor ActivationCache::at(std::string_view name, const EventFilter& filter) const {
  return get(name, filter).tensor;
}

at::Tensor ActivationCache::concat_tokens(std::string_view name, const EventFilter& filter) const {
  const std::vector<Activation> entries = find(name, filter);
  if (entries.empty()) {
    throw SiteError(cat("[hook.ActivationCache.concat_tokens] '", name, "' was captured, but not",
                        filter_text(filter)));
  }
  const std::size_t axis = entries.front().layout.find('t');
  std::vector<at::Tensor> parts;
  for (const Activation& entry : entries) {
    if (entry.reduce != Reduce::none || axis == std::string::npos ||
        entry.tensor.dim() != static_cast<std::int64_t>(entry.layout.size())) {
      throw InvalidArgument(cat("[hook.ActivationCache.concat_tokens] '", entry.event.text(),
                                "' has shape ", entry.tensor.sizes(), " with layout '",
                                entry.layout, "' and reduction ", reduce_name(entry.reduce),
                                "; only unreduced captures with a token axis can be joined"));
    }
    for (std::int64_t d = 0; d < entry.tensor.dim(); ++d) {
      if (d != static_cast<std::int64_t>(axis) &&
          entry.tensor.size(d) != entries.front().tensor.size(d)) {
        throw InvalidArgument(cat("[hook.ActivationCache.concat_tokens] '", entry.event.text(),
                                  "' has shape ", entry.tensor.sizes(), ", which differs from ",
                                  entries.front().tensor.sizes(),
                                  " in more than tokens; narrow the filter to one run"));
      }
    }
    parts.push_back(entry.tensor);
  }
  return at::cat(parts, static_cast<std::int64_t>(axis));
}

void ActivationCache::add(Activation activation) {
  auto info = std::make_shared<CaptureInfo>(
      CaptureInfo{activation.selection, activation.reduce, activation.when, activation.gradient});
  const Event& event = activation.event;
  data_->add({event.site, event.phase, internal::branch_id(event.branch),
              static_cast<std::int32_t>(event.step), static_cast<std::int32_t>(event.call), 0,
              std::move(activation.tensor),
              std::make_unique<const std::vector<std::int64_t>>(activation.site_shape)},
             std::move(info));
}

ActivationCache ActivationCache::filtered(
    const std::function<bool(const Activation&)>& keep) const {
  ActivationCache result;
  for (Activation& entry : entries()) {
    if (keep(entry)) result.add(std::move(entry));
  }
  return result;
}

ActivationCache ActivationCache::to(std::optional<c10::Device> device,
                                    std::optional<at::ScalarType> dtype) const {
  ActivationCache result;
  for (Activation& entry : entries()) {
    at::TensorOptions options = entry.tensor.options();
    if (device) options = options.device(device);
    if (dtype) options = options.dtype(dtype);
    entry.tensor = entry.tensor.to(options);
    result.add(std::move(entry));
  }
  return result;
}

void ActivationCache::clear() {
  const std::scoped_lock lock(data_->mutex);
  data_->records.clear();
  data_->infos.clear();
  data_->added.clear();
  data_->by_name.clear();
  data_->names.clear();
  data_->indexed = 0;
}

}  // namespace tierod

#include "tierod/store/sink.h"

#include <algorithm>
#include <set>
#include <tuple>

#include "core/text_internal.h"
#include "store/batch_internal.h"
#include "tierod/core/error.h"

namespace tierod {

using internal::cat;

namespace internal {

void check_batch(const BatchInfo& info, const char* where) {
  const auto fits = [&](const std::vector<std::int64_t>& list) {
    return list.empty() || list.size() == info.samples.size();
  };
  if (info.samples.empty() || !fits(info.scenes) || !fits(info.groups)) {
    throw InvalidArgument(cat("[", where,
                              "] expected a sample for each row of the batch, and a "
                              "scene and group for each or none, got ",
                              info.samples.size(), ", ", info.scenes.size(), " and ",
                              info.groups.size()));
  }
  for (const auto& [tensor, name] :
       {std::pair(&info.token_ids, "token_ids"), std::pair(&info.position_ids, "position_ids")}) {
    if (!tensor->defined()) continue;
    if (tensor->dim() == 2 && tensor->size(0) == static_cast<std::int64_t>(info.samples.size()) &&
        !at::isFloatingType(tensor->scalar_type())) {
      continue;
    }
    throw InvalidArgument(cat("[", where, "] expected integer ", name, " [", info.samples.size(),
                              ", length], got shape ", tensor->sizes(), " of ",
                              tensor->scalar_type()));
  }
}

void check_item(const SinkItem& item, const BatchInfo& info, const char* where) {
  if (info.samples.empty()) {
    throw StateError(cat("[", where, "] '", item.event.site.name(),
                         "' fired before begin_batch() said which samples these rows are"));
  }
  for (const std::int64_t row : item.batch_rows) {
    if (row < static_cast<std::int64_t>(info.samples.size())) continue;
    throw InvalidArgument(cat("[", where, "] '", item.event.site.name(), "' has row ", row,
                              ", begin_batch() named ", info.samples.size(),
                              " samples; name one for each row of the batch"));
  }
}

std::int64_t item_rows(const SinkItem& item) {
  return static_cast<std::int64_t>(item.paired ? item.batch_rows.size()
                                               : item.batch_rows.size() * item.tokens.size());
}

}  // namespace internal

namespace {

constexpr const char* kTake = "store.StoreSink.take";

at::Tensor long_on_cpu(const at::Tensor& x) {
  return x.defined() ? x.to(at::kCPU, at::kLong).contiguous() : x;
}

}  // namespace

struct StoreSink::Impl {
  std::shared_ptr<ActivationWriter> writer;
  std::vector<SinkRule> rules;
  BatchInfo info;
  std::uint64_t batch = 0;

  /// Events that share one part of a stream's row table.
  struct Stream {
    std::string name;
    std::set<std::string> sites;  // that the stream has
    bool closed = false;          // no site may come any more
    bool begun = false;
    std::tuple<std::uint64_t, Phase, std::int64_t, std::string, std::int64_t> address;
    std::vector<std::int64_t> batch_rows, tokens;
    bool paired = false;
    std::set<std::string> seen;  // of the sites, in the present part
  };
  std::vector<Stream> streams;

  std::string stream_of(const Event& event) const {
    for (const SinkRule& rule : rules) {
      if (rule.pattern.matches(event.site.name()) && (!rule.phase || *rule.phase == event.phase)) {
        return rule.stream;
      }
    }
    return event.phase == Phase::none ? "main" : phase_name(event.phase);
  }

  Stream& stream(const std::string& name) {
    for (Stream& stream : streams) {
      if (stream.name == name) return stream;
    }
    Stream fresh{.name = name};
    for (const StreamSpec& spec : writer->streams()) {
      if (spec.name != name) continue;
      for (const SiteColumn& site : spec.sites) fresh.sites.insert(site.site);
      fresh.closed = !spec.sites.empty();
    }
    streams.push_back(std::move(fresh));
    return streams.back();
  }

  static void need_complete(const Stream& stream, const char* function) {
    if (!stream.begun || stream.seen.size() == stream.sites.size()) return;
    std::vector<std::string> missing;
    std::set_difference(stream.sites.begin(), stream.sites.end(), stream.seen.begin(),
                        stream.seen.end(), std::back_inserter(missing));
    throw StateError(cat("[store.StoreSink.", function, "] the sites ",
                         internal::list_text(missing, 4), " of the stream '", stream.name,
                         "' did not fire where its other sites did; give them a stream of their "
                         "own by a rule, or capture the same phases at all"));
  }

  Rows rows_of(const SinkItem& item) {
    const std::int64_t count = internal::item_rows(item);
    Rows rows{.count = count};
    const Event& event = item.event;
    rows.set_all(RowColumn::phase, static_cast<std::int64_t>(event.phase));
    rows.set_all(RowColumn::step, event.step);
    rows.set_all(RowColumn::call, event.call);
    rows.set_all(RowColumn::branch, writer->branch(event.branch));
    for (const RowColumn column :
         {RowColumn::sample, RowColumn::scene, RowColumn::group, RowColumn::row,
          RowColumn::token_index, RowColumn::token_id, RowColumn::position_id}) {
      rows[column].reserve(static_cast<std::size_t>(count));
    }
    const bool text =
        event.phase == Phase::none || event.phase == Phase::prefill || event.phase == Phase::decode;
    const at::Tensor ids = text ? long_on_cpu(info.token_ids) : at::Tensor();
    const at::Tensor positions = text ? long_on_cpu(info.position_ids) : at::Tensor();
    const auto look_up = [](const at::Tensor& table, std::int64_t row, std::int64_t position,
                            std::int64_t otherwise) {
      if (!table.defined() || position < 0 || position >= table.size(1)) return otherwise;
      return table.const_data_ptr<std::int64_t>()[row * table.size(1) + position];
    };
    const auto add = [&](std::int64_t row, std::int64_t token) {
      const auto r = static_cast<std::size_t>(row);
      const std::int64_t position =
          token >= 0 && item.position_offset ? *item.position_offset + token : -1;
      rows[RowColumn::sample].push_back(info.samples[r]);
      rows[RowColumn::scene].push_back(info.scenes.empty() ? -1 : info.scenes[r]);
      rows[RowColumn::group].push_back(info.groups.empty() ? -1 : info.groups[r]);
      rows[RowColumn::row].push_back(row);
      rows[RowColumn::token_index].push_back(token);
      rows[RowColumn::token_id].push_back(look_up(ids, row, position, -1));
      rows[RowColumn::position_id].push_back(look_up(positions, row, position, position));
    };
    if (item.paired) {
      for (std::size_t i = 0; i < item.batch_rows.size(); ++i) {
        add(item.batch_rows[i], item.tokens[i]);
      }
    } else {
      for (const std::int64_t row : item.batch_rows) {
        for (const std::int64_t token : item.tokens) add(row, token);
      }
    }
    return rows;
  }

  void begin_part(Stream& stream, const SinkItem& item, decltype(Stream::address) address) {
    need_complete(stream, "take");
    if (stream.begun) stream.closed = true;
    stream.address = std::move(address);
    stream.batch_rows = item.batch_rows;
    stream.tokens = item.tokens;
    stream.paired = item.paired;
    stream.seen.clear();
    stream.begun = true;
  }
};

StoreSink::StoreSink(std::shared_ptr<ActivationWriter> writer, std::vector<SinkRule> rules)
    : impl_(std::make_unique<Impl>()) {
  if (!writer) throw InvalidArgument("[store.StoreSink] expected a writer, got none");
  impl_->writer = std::move(writer);
  impl_->rules = std::move(rules);
}

StoreSink::~StoreSink() = default;

void StoreSink::begin_batch(BatchInfo info) {
  internal::check_batch(info, "store.StoreSink.begin_batch");
  finish();
  impl_->info = std::move(info);
  ++impl_->batch;
}

void StoreSink::take(const SinkItem& item) {
  internal::check_item(item, impl_->info, kTake);
  const Event& event = item.event;
  const std::string& site = event.site.name();
  Impl::Stream& stream = impl_->stream(impl_->stream_of(event));
  const auto address = std::tuple(impl_->batch, event.phase, event.step, event.branch, event.call);
  const bool fresh_part = !stream.begun || stream.address != address;
  if (fresh_part) {
    impl_->begin_part(stream, item, address);
  } else if (stream.batch_rows != item.batch_rows || stream.tokens != item.tokens ||
             stream.paired != item.paired) {
    throw InvalidArgument(cat("[", kTake, "] '", site,
                              "' has other rows or tokens than the other "
                              "sites of the stream '",
                              stream.name, "'; give it a stream of its own by a rule"));
  }
  if (!stream.sites.contains(site)) {
    if (stream.closed) {
      throw StateError(cat("[", kTake, "] '", site,
                           "' did not fire in the first batch of the "
                           "stream '",
                           stream.name,
                           "'; declare it when the store is opened, or "
                           "give it a stream of its own by a rule"));
    }
    const at::ScalarType dtype = item.rows.scalar_type();
    impl_->writer->add_site(stream.name,
                            {site, item.rows.size(1), dtype == at::kDouble ? at::kFloat : dtype});
    stream.sites.insert(site);
  }
  if (!stream.seen.insert(site).second) {
    throw StateError(cat("[", kTake, "] '", event.text(),
                         "' came twice in one batch; capture it "
                         "once, and call begin_batch() before every forward"));
  }
  if (fresh_part) impl_->writer->append_rows(stream.name, impl_->rows_of(item));
  impl_->writer->append_site(stream.name, site, item.rows);
}

void StoreSink::finish() {
  for (const Impl::Stream& stream : impl_->streams) Impl::need_complete(stream, "finish");
}

}  // namespace tierod

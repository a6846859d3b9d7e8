#include "tierod/store/writer.h"

#include <c10/util/Exception.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <limits>
#include <unordered_set>

#include "core/text_internal.h"
#include "store/writer_internal.h"
#include "tierod/core/error.h"

namespace tierod {

using internal::cat;
using internal::kSpareBuffers;
using internal::SiteState;
using internal::StreamState;

namespace {

constexpr const char* kOpen = "store.ActivationWriter.open";
constexpr const char* kAppend = "store.ActivationWriter.append";

void check_rows(const Rows& rows) {
  if (rows.count < 0) {
    throw InvalidArgument(
        cat("[", kAppend, "] expected 0 rows or more, got ", rows.count, "; count the rows given"));
  }
  for (std::size_t c = 0; c < kRowColumns; ++c) {
    const auto& values = rows.values[c];
    const char* name = row_column_name(static_cast<RowColumn>(c));
    if (!values.empty() && static_cast<std::int64_t>(values.size()) != rows.count) {
      throw InvalidArgument(cat("[", kAppend, "] the column '", name, "' has ", values.size(),
                                " values, expected one for each of ", rows.count, " rows"));
    }
    const std::int64_t bits = 8 * internal::row_column_bytes(c);
    const std::int64_t most =
        bits == 64 ? std::numeric_limits<std::int64_t>::max() : (std::int64_t{1} << (bits - 1)) - 1;
    const auto fits = [&](std::int64_t v) { return v >= -1 && v <= most; };
    const auto bad = std::find_if_not(values.begin(), values.end(), fits);
    if (bad != values.end() || (values.empty() && !fits(rows.fill[c]))) {
      throw InvalidArgument(cat("[", kAppend, "] the column '", name, "' holds ",
                                bad != values.end() ? *bad : rows.fill[c],
                                ", expected -1 (unknown) to ", most));
    }
  }
}

void check_values(const at::Tensor& values, const SiteColumn& site, std::int64_t rows) {
  if (values.defined() && values.dim() == 2 && values.size(1) == site.width &&
      (rows < 0 || values.size(0) == rows) && at::isFloatingType(values.scalar_type())) {
    return;
  }
  throw InvalidArgument(
      cat("[", kAppend, "] '", site.site, "': expected floating rows [",
          rows < 0 ? std::string("n") : std::to_string(rows), ", ", site.width, "], got ",
          values.defined() ? cat("shape ", values.sizes(), " of ", values.scalar_type())
                           : std::string("an undefined tensor"),
          "; flatten tokens into rows first"));
}

// Name a shard in the folder that the manifest does not know; empty if there is none.
std::string unknown_shard(const std::string& path, const internal::Manifest& manifest) {
  std::unordered_set<std::string> known;
  for (const internal::ShardEntry& shard : manifest.shards) known.insert(shard.file);
  for (const auto& item : std::filesystem::directory_iterator(path)) {
    const std::string name = item.path().filename().string();
    const bool shard = internal::shard_number(name) >= 0 || internal::is_unfinished_shard(name);
    if (shard && !known.contains(name)) return name;
  }
  return {};
}

}  // namespace

ActivationWriter::ActivationWriter(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

ActivationWriter::~ActivationWriter() {
  if (::getpid() != impl_->process) {
    // The threads, the open shard and the lock's counts are the parent's.
    static_cast<void>(impl_.release());  // NOLINT(bugprone-unused-return-value): leaked on purpose
    return;
  }
  if (!impl_->open) return;
  try {
    close();
  } catch (const std::exception& error) {
    TORCH_WARN("[store.ActivationWriter] a writer was destroyed without close(): ", error.what());
  }
}

std::shared_ptr<ActivationWriter> ActivationWriter::open(const std::string& path,
                                                         std::vector<StreamSpec> streams,
                                                         WriterOptions options) {
  internal::require_store(kOpen);
  internal::check_streams(streams, kOpen);
  if (options.memory_bytes < 1 || options.shard_bytes < 1 ||
      options.shard_bytes > internal::kMaxShardBytes / 4) {
    throw InvalidArgument(cat("[", kOpen, "] expected memory_bytes >= 1 and shard_bytes from 1 to ",
                              internal::kMaxShardBytes / 4, ", got ", options.memory_bytes, " and ",
                              options.shard_bytes));
  }
  internal::parse_json(options.configuration, cat("[", kOpen, "] configuration:"));
  if (!options.expected_rows.empty()) {
    plan_store(path, streams, options.expected_rows, options.memory_bytes, options.shard_bytes)
        .check();
  }
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) internal::throw_errno(kOpen, "create the folder", path, error.value());

  auto impl = std::make_unique<Impl>();
  impl->path = path;
  impl->process = ::getpid();
  impl->lock = std::make_unique<internal::WriterLock>(kOpen, path);
  const std::string manifest_path = internal::store_path(path, internal::kManifest);
  const bool exists = std::filesystem::exists(manifest_path);
  internal::Manifest manifest;
  if (exists && options.append) manifest = internal::load_manifest(kOpen, path);
  // A shard that the manifest does not know would be written over, or come out of order later.
  const std::string unknown =
      exists && !options.append ? std::string() : unknown_shard(path, manifest);
  if (!impl->lock->left_behind().empty() || !unknown.empty()) {
    throw IoError(cat("[", kOpen, "] '", path, "' was left by a writer that did not finish",
                      unknown.empty() ? "" : cat(" ('", unknown, "' is not in the manifest)"),
                      "; run `tierod store recover`, which says how many rows were lost"));
  }
  if (exists) {
    if (!options.append) {
      throw StateError(cat("[", kOpen, "] there is a store in '", path,
                           "' already; choose another folder, or go on with it by append = true"));
    }
    if (streams.empty()) streams = manifest.streams;
    if (!manifest.streams.empty() && manifest.streams != streams) {
      throw InvalidArgument(cat("[", kOpen, "] the streams differ from those of the store in '",
                                path, "': it has ", internal::streams_to_json(manifest.streams),
                                ", got ", internal::streams_to_json(streams),
                                "; leave them out to go on with its own"));
    }
    if (manifest.provenance != options.provenance && !options.provenance.empty()) {
      throw InvalidArgument(cat("[", kOpen, "] expected the provenance of the store in '", path,
                                "', ", internal::Json(manifest.provenance), ", got ",
                                internal::Json(options.provenance),
                                "; rows of another model belong into a store of their own"));
    }
    manifest.streams = streams;
  } else {
    manifest = {.store_id = internal::random_id(),
                .provenance = options.provenance,
                .configuration = options.configuration,
                .streams = streams};
    internal::save_manifest(kOpen, path, manifest);
  }

  std::int64_t buffer = internal::kChunkBytes;
  for (const StreamSpec& stream : streams) {
    for (const SiteColumn& site : stream.sites) buffer = std::max(buffer, site.row_bytes());
  }
  buffer = (buffer + 4095) / 4096 * 4096;
  const auto buffers = static_cast<std::size_t>(options.memory_bytes / buffer);
  std::size_t columns = streams.size();
  for (const StreamSpec& stream : streams) columns += stream.sites.size();
  const auto needed = static_cast<std::int64_t>(std::max<std::size_t>(columns, 2)) + kSpareBuffers;
  if (static_cast<std::int64_t>(buffers) < needed) {
    throw InvalidArgument(cat("[", kOpen, "] the ring needs ", needed, " buffers of ", buffer,
                              " bytes, a memory limit of ", options.memory_bytes, " bytes holds ",
                              buffers, "; raise memory_bytes to ", needed * buffer,
                              ", or capture fewer sites"));
  }
  impl->options = std::move(options);
  impl->branches = manifest.branches;
  impl->ring = std::make_unique<internal::Ring>(buffers, static_cast<std::size_t>(buffer));
  for (std::size_t s = 0; s < streams.size(); ++s) {
    StreamState state{.name = streams[s].name, .before = manifest.rows_of(s)};
    for (const SiteColumn& site : streams[s].sites) {
      state.sites.push_back({{}, site, internal::rows_per_chunk(site)});
    }
    impl->lock->name(s, state.name, state.before);
    impl->rows_at_open += state.before;
    impl->streams.push_back(std::move(state));
  }
  impl->pipeline =
      std::make_unique<internal::Pipeline>(path, std::move(manifest), *impl->ring, *impl->lock);
  return std::shared_ptr<ActivationWriter>(new ActivationWriter(std::move(impl)));
}

void ActivationWriter::append(std::string_view stream, const Rows& rows,
                              const std::vector<at::Tensor>& sites) {
  impl_->need_own_process("append");
  const std::scoped_lock lock(impl_->mutex);
  impl_->need_open("append");
  impl_->pipeline->check();
  StreamState& state = impl_->stream(stream, "append");
  check_rows(rows);
  if (sites.size() != state.sites.size()) {
    throw InvalidArgument(cat("[", kAppend, "] the stream '", stream, "' has ", state.sites.size(),
                              " sites, got ", sites.size(),
                              " tensors; give one a site, or append_site() one at a time"));
  }
  if (!state.aligned()) {
    throw StateError(cat("[", kAppend, "] ", impl_->misaligned(),
                         "; finish with append_site() what was begun with it"));
  }
  std::int64_t row_bytes = 1;
  for (std::size_t c = 0; c < sites.size(); ++c) {
    check_values(sites[c], state.sites[c].site, rows.count);
    impl_->check_finite(state.sites[c].site, sites[c]);
    row_bytes += state.sites[c].site.row_bytes();
  }
  // In pieces, so that one huge call still makes shards of the size asked for.
  const std::int64_t piece = std::max<std::int64_t>(1, impl_->options.shard_bytes / row_bytes);
  for (std::int64_t begin = 0; begin < rows.count; begin += piece) {
    const std::int64_t count = std::min(piece, rows.count - begin);
    impl_->put_rows(state, rows, begin, count);
    for (std::size_t c = 0; c < sites.size(); ++c) {
      impl_->put_site(state, state.sites[c], sites[c], begin, count);
    }
    impl_->count_rows(state);
    impl_->seal_if_large();
  }
}

void ActivationWriter::append_rows(std::string_view stream, const Rows& rows) {
  impl_->need_own_process("append_rows");
  const std::scoped_lock lock(impl_->mutex);
  impl_->need_open("append_rows");
  impl_->pipeline->check();
  StreamState& state = impl_->stream(stream, "append_rows");
  check_rows(rows);
  // Here, not after a site: of the rows before, every site that may still come has come.
  impl_->seal_if_large();
  impl_->put_rows(state, rows, 0, rows.count);
  impl_->count_rows(state);
}

void ActivationWriter::append_site(std::string_view stream, std::string_view site,
                                   const at::Tensor& values) {
  impl_->need_own_process("append_site");
  const std::scoped_lock lock(impl_->mutex);
  impl_->need_open("append_site");
  impl_->pipeline->check();
  StreamState& state = impl_->stream(stream, "append_site");
  const auto found = std::find_if(state.sites.begin(), state.sites.end(),
                                  [&](const SiteState& s) { return s.site.site == site; });
  if (found == state.sites.end()) {
    throw SiteError(cat("[store.ActivationWriter.append_site] the stream '", stream,
                        "' has no site '", site, "'; add_site() it before its first row"));
  }
  check_values(values, found->site, -1);
  if (found->rows + values.size(0) > state.table.rows) {
    throw StateError(cat("[store.ActivationWriter.append_site] '", site, "' would have ",
                         found->rows + values.size(0), " rows where the row table has ",
                         state.table.rows, "; call append_rows() first"));
  }
  impl_->check_finite(found->site, values);
  impl_->put_site(state, *found, values, 0, values.size(0));
  impl_->count_rows(state);
}

void ActivationWriter::add_site(std::string_view stream, const SiteColumn& site) {
  impl_->need_own_process("add_site");
  const std::scoped_lock lock(impl_->mutex);
  impl_->need_open("add_site");
  internal::check_stream_name(stream, "store.ActivationWriter.add_site");
  internal::check_site_column(site, "store.ActivationWriter.add_site");
  const auto named = [&](const StreamState& s) { return s.name == stream; };
  auto found = std::find_if(impl_->streams.begin(), impl_->streams.end(), named);
  const bool fresh = found == impl_->streams.end();
  impl_->need_buffers(1, fresh ? 1 : 0, site.row_bytes());
  if (fresh) {
    if (impl_->streams.size() == internal::WriterLock::kSlots) {
      throw InvalidArgument(
          cat("[store.ActivationWriter.add_site] a store has at most 256 streams, '", stream,
              "' would be one more; add the site to another stream"));
    }
    impl_->streams.push_back({.name = std::string(stream)});
    found = impl_->streams.end() - 1;
    impl_->lock->name(impl_->number(*found), found->name, 0);
  }
  for (const SiteState& other : found->sites) {
    if (other.site.site != site.site) continue;
    throw InvalidArgument(cat("[store.ActivationWriter.add_site] the stream '", stream,
                              "' has the site '", site.site, "' already"));
  }
  if (found->before > 0) {
    throw StateError(cat("[store.ActivationWriter.add_site] '", site.site,
                         "' comes too late: a shard with rows of '", stream,
                         "' was closed; give the site a stream of its own"));
  }
  found->sites.push_back({{}, site, internal::rows_per_chunk(site)});
  impl_->pipeline->update(impl_->specs(), impl_->branches);
}

std::int64_t ActivationWriter::branch(std::string_view name) {
  impl_->need_own_process("branch");
  const std::scoped_lock lock(impl_->mutex);
  auto& branches = impl_->branches;
  const auto found = std::find(branches.begin(), branches.end(), name);
  if (found != branches.end()) return found - branches.begin();
  impl_->need_open("branch");
  if (branches.size() > 32767 || name.find(',') != std::string_view::npos) {
    throw InvalidArgument(cat("[store.ActivationWriter.branch] cannot keep the name '", name,
                              "': expected one without a comma, and at most 32767 of them"));
  }
  branches.emplace_back(name);
  impl_->pipeline->update(impl_->specs(), branches);
  return static_cast<std::int64_t>(branches.size()) - 1;
}

void ActivationWriter::flush() {
  impl_->need_own_process("flush");
  const std::scoped_lock lock(impl_->mutex);
  impl_->need_open("flush");
  impl_->pipeline->check();
  if (const std::string behind = impl_->misaligned(); !behind.empty()) {
    throw StateError(cat("[store.ActivationWriter.flush] ", behind,
                         "; complete the rows that were begun first"));
  }
  impl_->seal();
  impl_->pipeline->wait();
}

void ActivationWriter::close() {
  impl_->need_own_process("close");
  const std::scoped_lock lock(impl_->mutex);
  if (!impl_->open.exchange(false)) return;
  const std::string behind = impl_->misaligned();
  try {
    impl_->pipeline->check();
    impl_->seal();
    impl_->pipeline->wait();
  } catch (...) {
    impl_->pipeline->stop();
    impl_->lock->finish();
    impl_->lock.reset();
    throw;
  }
  impl_->pipeline->stop();
  impl_->lock->finish();
  impl_->lock.reset();
  if (impl_->options.index) internal::build_index_of(impl_->path, impl_->pipeline->manifest());
  if (!behind.empty()) {
    throw StateError(cat("[store.ActivationWriter.close] ", behind,
                         "; the complete rows were committed, the others are lost: was a forward "
                         "interrupted, or a site skipped?"));
  }
}

bool ActivationWriter::is_open() const noexcept { return impl_->open; }

std::vector<StreamSpec> ActivationWriter::streams() const {
  const std::scoped_lock lock(impl_->mutex);
  return impl_->specs();
}

WriterStats ActivationWriter::stats() const {
  const std::scoped_lock lock(impl_->mutex);
  const auto totals = impl_->pipeline->totals();
  const auto bytes = static_cast<std::int64_t>(impl_->ring->buffer_bytes());
  std::int64_t rows = -impl_->rows_at_open;
  for (const StreamState& stream : impl_->streams) rows += stream.before + stream.complete();
  return {.rows = rows,
          .rows_committed = totals.rows_committed,
          .shards = totals.shards,
          .bytes = totals.bytes,
          .nonfinite_rows = totals.nonfinite,
          .ring_bytes = static_cast<std::int64_t>(impl_->ring->buffers()) * bytes,
          .ring_peak_bytes = static_cast<std::int64_t>(impl_->ring->peak()) * bytes,
          .waits = impl_->ring->waits()};
}

const std::string& ActivationWriter::path() const noexcept { return impl_->path; }

}  // namespace tierod

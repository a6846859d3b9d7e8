#include <pybind11/stl.h>

#include "bindings_internal.h"
#include "store_internal.h"
#include "tierod/store/moments_sink.h"
#include "tierod/store/plan.h"
#include "tierod/store/reader.h"
#include "tierod/store/sink.h"
#include "tierod/store/writer.h"

namespace tierod::bindings {

namespace {

/// A row table as Python gives it: for each column a tensor or one number.
Rows rows_of(std::int64_t count, const std::map<std::string, at::Tensor>& columns,
             const std::map<std::string, std::int64_t>& fills) {
  Rows rows{.count = count};
  for (const auto& [name, values] : columns) {
    rows[row_column_from_name(name)] = numbers_of(values, name.c_str());
  }
  for (const auto& [name, value] : fills) rows.set_all(row_column_from_name(name), value);
  return rows;
}

void bind_schema(py::module_& m) {
  m.def("has_store", &has_store, "Tell whether this build has the activation store.");
  m.def("row_table_bytes", &row_table_bytes, "Return the bytes of one row of a row table.");
  py::class_<SiteColumn>(m, "SiteColumn", "One site of a stream: [rows, width].")
      .def(py::init<std::string, std::int64_t, at::ScalarType>(), py::arg("site"), py::arg("width"),
           py::arg("dtype"))
      .def_readonly("site", &SiteColumn::site)
      .def_readonly("width", &SiteColumn::width)
      .def_readonly("dtype", &SiteColumn::dtype)
      .def_property_readonly("row_bytes", &SiteColumn::row_bytes)
      .def(
          "__eq__", [](const SiteColumn& a, const SiteColumn& b) { return a == b; },
          py::is_operator())
      .def("__repr__", [](const SiteColumn& s) {
        return "SiteColumn('" + s.site + "', " + std::to_string(s.width) + ")";
      });
  py::class_<StreamSpec>(m, "StreamSpec", "The sites that share one row table.")
      .def(py::init<std::string, std::vector<SiteColumn>>(), py::arg("name"), py::arg("sites"))
      .def_readonly("name", &StreamSpec::name)
      .def_readonly("sites", &StreamSpec::sites)
      .def(
          "__eq__", [](const StreamSpec& a, const StreamSpec& b) { return a == b; },
          py::is_operator())
      .def("__repr__", [](const StreamSpec& s) {
        return "StreamSpec('" + s.name + "', " + std::to_string(s.sites.size()) + " sites)";
      });
  py::class_<PlanEntry>(m, "PlanEntry", "What one site will cost; no site: the row table.")
      .def_readonly("stream", &PlanEntry::stream)
      .def_readonly("site", &PlanEntry::site)
      .def_readonly("rows", &PlanEntry::rows)
      .def_readonly("bytes", &PlanEntry::bytes);
  py::class_<StorePlan>(m, "StorePlan", "What a capture will cost.")
      .def_readonly("entries", &StorePlan::entries)
      .def_readonly("total_bytes", &StorePlan::total_bytes)
      .def_readonly("shards", &StorePlan::shards)
      .def_readonly("needed_memory_bytes", &StorePlan::needed_memory_bytes)
      .def_readonly("memory_limit_bytes", &StorePlan::memory_limit_bytes)
      .def_readonly("free_bytes", &StorePlan::free_bytes)
      .def_property_readonly("fits", &StorePlan::fits)
      .def("check", &StorePlan::check, "Raise, with advice, if it does not fit.")
      .def("__str__", &StorePlan::text);
  m.def("plan_store", &plan_store, py::arg("path"), py::arg("streams"), py::arg("rows"),
        py::arg("memory_bytes") = std::int64_t{256} << 20,
        py::arg("shard_bytes") = std::int64_t{256} << 20,
        "Plan a capture of so many rows in each stream.");
}

void bind_writer(py::module_& m) {
  py::class_<WriterStats>(m, "WriterStats", "What a writer did.")
      .def_readonly("rows", &WriterStats::rows)
      .def_readonly("rows_committed", &WriterStats::rows_committed)
      .def_readonly("shards", &WriterStats::shards)
      .def_readonly("bytes", &WriterStats::bytes)
      .def_readonly("nonfinite_rows", &WriterStats::nonfinite_rows)
      .def_readonly("ring_bytes", &WriterStats::ring_bytes)
      .def_readonly("ring_peak_bytes", &WriterStats::ring_peak_bytes)
      .def_readonly("waits", &WriterStats::waits);
  py::class_<ActivationWriter, std::shared_ptr<ActivationWriter>>(m, "ActivationWriter",
                                                                  "Appends activations to a store.")
      .def_static(
          "_open",
          [](const std::string& path, std::vector<StreamSpec> streams, std::int64_t memory_bytes,
             std::int64_t shard_bytes, bool refuse_nonfinite, bool append,
             std::map<std::string, std::string> provenance, std::string configuration,
             std::map<std::string, std::int64_t> expected_rows, bool index) {
            return ActivationWriter::open(
                path, std::move(streams),
                {.memory_bytes = memory_bytes,
                 .shard_bytes = shard_bytes,
                 .nonfinite = refuse_nonfinite ? NonFinite::refuse : NonFinite::keep,
                 .append = append,
                 .provenance = std::move(provenance),
                 .configuration = std::move(configuration),
                 .expected_rows = std::move(expected_rows),
                 .index = index});
          },
          Released())
      .def(
          "_append",
          [](ActivationWriter& w, std::string_view stream, std::int64_t count,
             const std::map<std::string, at::Tensor>& columns,
             const std::map<std::string, std::int64_t>& fills,
             const std::vector<at::Tensor>& sites) {
            w.append(stream, rows_of(count, columns, fills), sites);
          },
          Released())
      .def(
          "_append_rows",
          [](ActivationWriter& w, std::string_view stream, std::int64_t count,
             const std::map<std::string, at::Tensor>& columns,
             const std::map<std::string, std::int64_t>& fills) {
            w.append_rows(stream, rows_of(count, columns, fills));
          },
          Released())
      .def("_append_site", &ActivationWriter::append_site, Released())
      .def("_add_site", &ActivationWriter::add_site, Released())
      .def("branch", &ActivationWriter::branch, py::arg("name"), Released(),
           "Return the number of a branch's name, for the column 'branch'.")
      .def("flush", &ActivationWriter::flush, Released(),
           "Close the open shard and wait until everything is committed.")
      .def("close", &ActivationWriter::close, Released(),
           "Commit everything, build the index and let go of the lock.")
      .def_property_readonly("is_open", &ActivationWriter::is_open)
      .def_property_readonly("streams", &ActivationWriter::streams)
      .def_property_readonly("path", &ActivationWriter::path)
      .def("stats", &ActivationWriter::stats, Released(), "Return what was written so far.");
}

void bind_sinks(py::module_& m) {
  const auto batch = [](const at::Tensor& samples, const std::optional<at::Tensor>& scenes,
                        const std::optional<at::Tensor>& groups,
                        const std::optional<at::Tensor>& token_ids,
                        const std::optional<at::Tensor>& position_ids) {
    return BatchInfo{.samples = numbers_of(samples, "samples"),
                     .scenes = scenes ? numbers_of(*scenes, "scenes") : Numbers(),
                     .groups = groups ? numbers_of(*groups, "groups") : Numbers(),
                     .token_ids = token_ids.value_or(at::Tensor()),
                     .position_ids = position_ids.value_or(at::Tensor())};
  };
  py::class_<StoreSink, CaptureSink, std::shared_ptr<StoreSink>>(
      m, "StoreSink", "Writes what a session captures into a store.")
      .def(py::init(
               [](std::shared_ptr<ActivationWriter> writer,
                  const std::vector<
                      std::tuple<std::string, std::optional<std::string>, std::string>>& rules) {
                 std::vector<SinkRule> list;
                 for (const auto& [pattern, phase, stream] : rules) {
                   list.push_back({SitePattern(pattern), {}, stream});
                   if (phase) list.back().phase = phase_from_name(*phase);
                 }
                 return std::make_shared<StoreSink>(std::move(writer), std::move(list));
               }),
           py::arg("writer"),
           py::arg("rules") =
               std::vector<std::tuple<std::string, std::optional<std::string>, std::string>>())
      .def("_begin_batch",
           [batch](StoreSink& sink, const at::Tensor& samples,
                   const std::optional<at::Tensor>& scenes, const std::optional<at::Tensor>& groups,
                   const std::optional<at::Tensor>& token_ids,
                   const std::optional<at::Tensor>& position_ids) {
             sink.begin_batch(batch(samples, scenes, groups, token_ids, position_ids));
           })
      .def("finish", &StoreSink::finish, "Check that every site has every row.");

  py::class_<FoldMoments>(m, "FoldMoments", "Moments of sites by fold, with labels.")
      .def("sites", &FoldMoments::sites)
      .def("moments", &FoldMoments::moments, py::arg("site"), py::arg("fold"))
      .def("cross", &FoldMoments::cross, py::arg("site"), py::arg("fold"))
      .def("moments_without", &FoldMoments::moments_without, py::arg("site"), py::arg("fold"),
           "Return what all folds but one saw; -1: all folds.")
      .def("cross_without", &FoldMoments::cross_without, py::arg("site"), py::arg("fold"),
           "Return what all folds but one saw; -1: all folds.")
      .def("merge", &FoldMoments::merge, py::arg("other"));
  const auto options = [](std::int64_t folds, bool covariance, std::uint64_t seed) {
    return FoldMomentsOptions{.folds = folds, .covariance = covariance, .seed = seed};
  };
  py::class_<MomentsSink, CaptureSink, std::shared_ptr<MomentsSink>>(
      m, "MomentsSink", "Accumulates moments by fold of what a session captures.")
      .def(py::init([options](std::int64_t folds, bool covariance, std::uint64_t seed) {
             return std::make_shared<MomentsSink>(options(folds, covariance, seed));
           }),
           py::arg("folds") = 5, py::arg("covariance") = true, py::arg("seed") = 0)
      .def("_begin_batch",
           [batch](MomentsSink& sink, const at::Tensor& samples,
                   const std::optional<at::Tensor>& scenes, const std::optional<at::Tensor>& groups,
                   const std::optional<at::Tensor>& labels) {
             sink.begin_batch(batch(samples, scenes, groups, {}, {}),
                              labels.value_or(at::Tensor()));
           })
      .def("result", [](const MomentsSink& sink) { return sink.result(); });
  m.def("fold_of_group", &fold_of_group, py::arg("group"), py::arg("folds"), py::arg("seed"),
        "Return the fold of a group: the same in every process and order.");
  m.def(
      "_accumulate_moments",
      [options](const ActivationReader& reader, std::string_view stream,
                const std::vector<std::string>& sites, const std::vector<std::string>& concepts,
                std::int64_t folds, bool covariance, std::uint64_t seed) {
        return accumulate_moments(reader, stream, sites, concepts,
                                  options(folds, covariance, seed));
      },
      Released());
}

RowQuery query_of(const std::optional<std::vector<std::string>>& phases,
                  std::optional<Numbers> steps, std::optional<std::vector<std::string>> branches,
                  std::optional<Numbers> samples, std::optional<Numbers> scenes,
                  std::optional<Numbers> groups, std::optional<Numbers> token_ids,
                  const std::optional<at::Tensor>& mask, const std::string& concept_name,
                  std::optional<std::int64_t> label) {
  RowQuery query{.steps = std::move(steps),
                 .samples = std::move(samples),
                 .scenes = std::move(scenes),
                 .groups = std::move(groups),
                 .token_ids = std::move(token_ids),
                 .branches = std::move(branches),
                 .mask = mask.value_or(at::Tensor()),
                 .concept_name = concept_name,
                 .label = label};
  if (phases) {
    query.phases.emplace();
    for (const std::string& phase : *phases) query.phases->push_back(phase_from_name(phase));
  }
  return query;
}

void bind_reader(py::module_& m) {
  py::class_<Batches>(m, "Batches", "Walks through rows of a stream in batches.")
      .def("__len__", &Batches::count)
      .def("next",
           [](Batches& batches) -> std::optional<std::pair<at::Tensor, std::vector<at::Tensor>>> {
             const py::gil_scoped_release released;
             Batch batch;
             if (!batches.next(batch)) return std::nullopt;
             return std::pair(std::move(batch.rows), std::move(batch.sites));
           });
  py::class_<ActivationReader>(m, "ActivationReader", "Reads a store.")
      .def_static(
          "_open",
          [](const std::string& path, bool verify) {
            return ActivationReader::open(path, {.verify = verify});
          },
          Released())
      .def("refresh", &ActivationReader::refresh, Released(),
           "Look for shards that were committed since; return how many there are.")
      .def_property_readonly("streams", &ActivationReader::streams)
      .def("row_count", &ActivationReader::row_count, py::arg("stream"))
      .def_property_readonly("shard_count", &ActivationReader::shard_count)
      .def_property_readonly("provenance", &ActivationReader::provenance)
      .def_property_readonly("_configuration", &ActivationReader::configuration)
      .def_property_readonly("branches", &ActivationReader::branches)
      .def_property_readonly("path", &ActivationReader::path)
      .def(
          "_column",
          [](const ActivationReader& r, std::string_view stream, std::string_view column) {
            return r.column(stream, row_column_from_name(column));
          },
          Released())
      .def("_row_labels", &ActivationReader::row_labels, Released())
      .def("_read", &ActivationReader::read, Released())
      .def("_gather", &ActivationReader::gather, Released())
      .def(
          "_select",
          [](const ActivationReader& r, std::string_view stream,
             const std::optional<std::vector<std::string>>& phases, std::optional<Numbers> steps,
             std::optional<std::vector<std::string>> branches, std::optional<Numbers> samples,
             std::optional<Numbers> scenes, std::optional<Numbers> groups,
             std::optional<Numbers> token_ids, const std::optional<at::Tensor>& mask,
             const std::string& concept_name, std::optional<std::int64_t> label) {
            return r.select(
                stream, query_of(phases, std::move(steps), std::move(branches), std::move(samples),
                                 std::move(scenes), std::move(groups), std::move(token_ids), mask,
                                 concept_name, label));
          },
          Released())
      .def(
          "_batches",
          [](const ActivationReader& r, std::string_view stream,
             const std::vector<std::string>& sites, std::int64_t batch_rows,
             std::optional<std::uint64_t> seed, std::uint64_t epoch, std::int64_t block_rows,
             std::int64_t window_blocks, bool drop_last, const std::optional<at::Tensor>& rows) {
            return r.batches(stream, sites,
                             {.batch_rows = batch_rows,
                              .seed = seed,
                              .epoch = epoch,
                              .block_rows = block_rows,
                              .window_blocks = window_blocks,
                              .drop_last = drop_last},
                             rows.value_or(at::Tensor()));
          },
          Released());
}

}  // namespace

void bind_store(py::module_& m) {
  bind_schema(m);
  bind_writer(m);
  bind_reader(m);
  bind_sinks(m);
}

}  // namespace tierod::bindings

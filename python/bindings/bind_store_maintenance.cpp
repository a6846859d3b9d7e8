#include <pybind11/stl.h>

#include "bindings_internal.h"
#include "store_internal.h"
#include "tierod/store/labels.h"
#include "tierod/store/maintain.h"

namespace tierod::bindings {

Numbers numbers_of(const at::Tensor& x, const char* what) {
  if (x.dim() != 1 || at::isFloatingType(x.scalar_type())) {
    throw InvalidArgument(std::string("[store] expected integer ") + what + " of one dimension");
  }
  const at::Tensor y = x.to(at::kCPU, at::kLong).contiguous();
  const auto* value = y.const_data_ptr<std::int64_t>();
  return {value, value + y.numel()};
}

namespace {

std::vector<std::pair<std::string, std::string>> pairs_of(
    const std::vector<StoreFinding>& findings) {
  std::vector<std::pair<std::string, std::string>> pairs;
  pairs.reserve(findings.size());
  for (const StoreFinding& finding : findings) pairs.emplace_back(finding.file, finding.what);
  return pairs;
}

}  // namespace

void bind_store_maintenance(py::module_& m) {
  py::class_<Labels>(m, "Labels", "One version of a concept's labels; 255 is missing.")
      .def_readonly("version", &Labels::version)
      .def_readonly("note", &Labels::note)
      .def_readonly("samples", &Labels::samples)
      .def_property_readonly(
          "values",
          [](const Labels& labels) { return Numbers(labels.values.begin(), labels.values.end()); })
      .def("at", &Labels::at, py::arg("sample"), "Return the label of a sample.");
  m.def(
      "_set_labels",
      [](const std::string& store, std::string_view concept_name, const at::Tensor& samples,
         const at::Tensor& values, std::string_view note) {
        std::vector<std::uint8_t> bytes;
        for (const std::int64_t value : numbers_of(values, "labels")) {
          if (value < 0 || value > 255) {
            throw InvalidArgument(
                "[store.set_labels] expected labels from 0 to 254, or 255 for "
                "missing, got " +
                std::to_string(value));
          }
          bytes.push_back(static_cast<std::uint8_t>(value));
        }
        return set_labels(store, concept_name, numbers_of(samples, "samples"), std::move(bytes),
                          note);
      },
      Released());
  m.def("get_labels", &get_labels, py::arg("store"), py::arg("concept_name"),
        py::arg("version") = py::none(), Released(),
        "Read the labels of a concept; the newest version unless one is named.");
  m.def("label_concepts", &label_concepts, py::arg("store"),
        "Return the concepts that have labels.");

  py::class_<StoreStat>(m, "StoreStat", "What a store's manifest says.")
      .def_readonly("format", &StoreStat::format)
      .def_readonly("streams", &StoreStat::streams)
      .def_readonly("rows", &StoreStat::rows)
      .def_readonly("shards", &StoreStat::shards)
      .def_readonly("bytes", &StoreStat::bytes)
      .def_readonly("nonfinite_rows", &StoreStat::nonfinite_rows)
      .def_readonly("concepts", &StoreStat::concepts)
      .def_readonly("provenance", &StoreStat::provenance)
      .def_readonly("being_written", &StoreStat::being_written);
  m.def("stat_store", &stat_store, py::arg("path"), Released(), "Sum up a store.");

  py::class_<VerifyReport>(m, "VerifyReport", "What verifying a store saw.")
      .def_readonly("complete", &VerifyReport::complete)
      .def_readonly("shards", &VerifyReport::shards)
      .def_readonly("rows", &VerifyReport::rows)
      .def_readonly("bytes", &VerifyReport::bytes)
      .def_readonly("nonfinite_rows", &VerifyReport::nonfinite_rows)
      .def_property_readonly("errors", [](const VerifyReport& r) { return pairs_of(r.errors); })
      .def_property_readonly("notes", [](const VerifyReport& r) { return pairs_of(r.notes); })
      .def_property_readonly("ok", &VerifyReport::ok);
  m.def(
      "verify_store",
      [](const std::string& path, const py::object& progress) {
        const Progress wrapped = progress_of(progress);
        const py::gil_scoped_release released;
        return verify_store(path, wrapped);
      },
      py::arg("path"), py::arg("progress") = py::none(),
      "Read everything and compare: checksums, counts, finite values.");

  py::class_<RecoverReport>(m, "RecoverReport", "What recovering a store did.")
      .def_readonly("shards_kept", &RecoverReport::shards_kept)
      .def_readonly("rows_kept", &RecoverReport::rows_kept)
      .def_readonly("rows_lost", &RecoverReport::rows_lost)
      .def_readonly("manifest_rebuilt", &RecoverReport::manifest_rebuilt)
      .def_property_readonly("actions", [](const RecoverReport& r) { return pairs_of(r.actions); });
  m.def(
      "recover_store",
      [](const std::string& path, const py::object& progress) {
        const Progress wrapped = progress_of(progress);
        const py::gil_scoped_release released;
        return recover_store(path, wrapped);
      },
      py::arg("path"), py::arg("progress") = py::none(),
      "Bring a store into a consistent state after a crash.");

  py::class_<MergeReport>(m, "MergeReport", "What merging stores did.")
      .def_readonly("shards", &MergeReport::shards)
      .def_readonly("rows", &MergeReport::rows)
      .def_readonly("linked", &MergeReport::linked)
      .def_readonly("referenced", &MergeReport::referenced);
  m.def(
      "merge_stores",
      [](const std::vector<std::string>& sources, const std::string& target, bool reference,
         const py::object& progress) {
        const Progress wrapped = progress_of(progress);
        const py::gil_scoped_release released;
        return merge_stores(sources, target, reference, wrapped);
      },
      py::arg("sources"), py::arg("target"), py::arg("reference") = false,
      py::arg("progress") = py::none(), "Make one store of several, without copying a shard.");
  m.def("build_index", &build_index, py::arg("path"), Released(),
        "Write index.h5, which shows all shards as one.");
  m.def("_export_numpy",
        [](const ActivationReader& reader, const std::string& target,
           std::optional<std::vector<std::string>> streams,
           std::optional<std::vector<std::string>> sites, const py::object& progress) {
          const Progress wrapped = progress_of(progress);
          const py::gil_scoped_release released;
          return export_numpy(reader, target,
                              {.streams = std::move(streams), .sites = std::move(sites)}, wrapped);
        });
}

}  // namespace tierod::bindings

#include <pybind11/stl.h>
#include <pybind11/trampoline_self_life_support.h>

#include <optional>

#include "arrays_internal.h"
#include "tierod/patch/concept_effect.h"
#include "tierod/patch/matched.h"
#include "tierod/patch/mediation.h"
#include "tierod/patch/paired_run.h"

namespace tierod::bindings {

namespace {

using patch::ConceptDirections;
using patch::ConceptEffect;
using patch::DirectionEdit;
using patch::DirectionPlace;
using patch::Edit;
using patch::EditRows;
using patch::Over;
using patch::PairedRun;
using patch::Words;

/// An edit that Python writes. It is lent the session of each batch.
class PyEdit : public Edit, public py::trampoline_self_life_support {
 public:
  using Edit::Edit;
  std::string name() const override { PYBIND11_OVERRIDE_PURE(std::string, Edit, name); }
  void put_on(Session& session, const EditRows& rows) const override {
    const py::gil_scoped_acquire gil;
    const py::function method = py::get_override(static_cast<const Edit*>(this), "_put_on");
    if (!method) {
      throw InvalidArgument("[patch.Edit] expected an edit to define put_on(session, rows)");
    }
    method(py::cast(&session, py::return_value_policy::reference), rows);
  }
};

void bind_edits(py::module_& m) {
  py::class_<EditRows>(m, "EditRows", "Of which scenes the rows of a batch are.")
      .def_readonly("scenes", &EditRows::scenes, "Id of the scene of each row.")
      .def_readonly("numbers", &EditRows::numbers,
                    "Its place among the scenes of the run, of each row.")
      .def_readonly("spans", &EditRows::spans, "Spans of each row; empty where there are none.");
  py::class_<Edit, PyEdit, py::smart_holder>(m, "_Edit").def(py::init<>()).def("name", &Edit::name);
  py::enum_<Over>(m, "Over", "What a direction is a direction of.")
      .value("each", Over::each)
      .value("pooled", Over::pooled)
      .value("concatenated", Over::concatenated);
  py::enum_<Words>(m, "Words", "What an edited run says.")
      .value("held", Words::held)
      .value("regenerated", Words::regenerated);
  py::class_<DirectionPlace>(m, "_DirectionPlace")
      .def(py::init([](std::string site, probe::Direction direction, const std::string& selection,
                       Over over, const std::optional<at::Tensor>& written) {
             return DirectionPlace{std::move(site), std::move(direction),
                                   Selection::from_json(selection), over,
                                   written.value_or(at::Tensor())};
           }),
           py::arg("site"), py::arg("direction"), py::arg("selection"), py::arg("over"),
           py::arg("written"))
      .def_readonly("site", &DirectionPlace::site)
      .def_readonly("direction", &DirectionPlace::direction)
      .def_readonly("over", &DirectionPlace::over);
  py::class_<DirectionEdit, Edit, py::smart_holder>(
      m, "DirectionEdit", "Moves activations along directions, all places in the same run.")
      .def_static(
          "_swap",
          [](std::vector<DirectionPlace> places, std::vector<std::uint8_t> to_high) {
            return std::make_unique<DirectionEdit>(
                DirectionEdit::swap(std::move(places), std::move(to_high)));
          },
          py::arg("places"), py::arg("to_high"))
      .def_static(
          "_ablate",
          [](std::vector<DirectionPlace> places) {
            return std::make_unique<DirectionEdit>(DirectionEdit::ablate(std::move(places)));
          },
          py::arg("places"))
      .def_static(
          "_add",
          [](std::vector<DirectionPlace> places, double dose) {
            return std::make_unique<DirectionEdit>(DirectionEdit::add(std::move(places), dose));
          },
          py::arg("places"), py::arg("dose"))
      .def_static(
          "_to",
          [](std::vector<DirectionPlace> places, const at::Tensor& targets) {
            return std::make_unique<DirectionEdit>(DirectionEdit::to(std::move(places), targets));
          },
          py::arg("places"), py::arg("targets"))
      .def_property_readonly("places", &DirectionEdit::places);
  using patch::InterventionEdit;
  py::class_<InterventionEdit, Edit, py::smart_holder>(
      m, "InterventionEdit", "Puts an intervention of the hook layer at some sites.")
      .def(py::init([](std::string name, std::vector<std::string> sites,
                       const Intervention& intervention, const std::string& selection) {
             return std::make_unique<InterventionEdit>(
                 std::move(name), std::move(sites), intervention, Selection::from_json(selection));
           }),
           py::arg("name"), py::arg("sites"), py::arg("intervention"), py::arg("selection"));
  using patch::ErasureEdit;
  using patch::ErasurePlace;
  py::class_<ErasurePlace>(m, "_ErasurePlace")
      .def(py::init(
               [](std::string site, probe::Eraser eraser, const std::string& selection, Over over) {
                 return ErasurePlace{std::move(site), std::move(eraser),
                                     Selection::from_json(selection), over};
               }),
           py::arg("site"), py::arg("eraser"), py::arg("selection"), py::arg("over"));
  py::class_<ErasureEdit, Edit, py::smart_holder>(m, "ErasureEdit",
                                                  "Erases a concept at all places in the same run.")
      .def(py::init<std::vector<ErasurePlace>>(), py::arg("places"));
  m.def(
      "matched_directions", &patch::matched_directions, py::arg("write"), py::arg("covariance"),
      py::arg("count"), py::arg("seed") = 0,
      "Return vectors [count, d], f64, that are to `write` [d] what chance is: random signs in the "
      "eigenbasis of the\ncovariance [d, d], so that each is as long and as far in the "
      "distribution (Mahalanobis). With a\nparticipation ratio below 20 there are too few "
      "independent signs.\n\nRaises InvalidArgument on other shapes or a covariance that is not "
      "symmetric, NumericalError on NaN.");
  m.def(
      "mahalanobis_directions", &patch::mahalanobis_directions, py::arg("write"),
      py::arg("covariance"), py::arg("count"), py::arg("seed") = 0,
      "Return vectors [count, d], f64, as far in the distribution (Mahalanobis) as `write` [d], in "
      "directions uniform\nonce the covariance [d, d] is whitened. Their length is another one.\n\n"
      "Raises InvalidArgument, NumericalError as matched_directions.");
  m.def("participation_ratio", &patch::participation_ratio, py::arg("covariance"),
        "Return (sum of eigenvalues)^2 / sum of their squares of a covariance [d, d].");
}

void bind_run(py::module_& m) {
  const auto without_gil = py::call_guard<py::gil_scoped_release>();
  py::class_<patch::Donor>(m, "_Donor")
      .def(py::init([](std::vector<std::int64_t> scenes, std::string twin_by,
                       std::vector<std::string> fields, std::optional<vla::Rollout> words) {
             return patch::Donor{.scenes = std::move(scenes),
                                 .twin_by = std::move(twin_by),
                                 .fields = std::move(fields),
                                 .words = std::move(words)};
           }),
           py::arg("scenes"), py::arg("twin_by"), py::arg("fields"), py::arg("words"));
  py::class_<patch::ResampledWords>(m, "ResampledWords",
                                    "Other words of the same length for the rows of a run.")
      .def_readonly("words", &patch::ResampledWords::words, "The base run, with these words.")
      .def_readonly("changed", &patch::ResampledWords::changed,
                    "bool [rows]: where others of the same length were found.");
  py::class_<patch::NoiseFloor>(m, "NoiseFloor", "What differs between runs without an edit.")
      .def_readonly("same_seed", &patch::NoiseFloor::same_seed,
                    "Largest change of the functional with the same seed: must be 0.")
      .def_readonly("deterministic", &patch::NoiseFloor::deterministic,
                    "Words and actions are equal to the last bit.")
      .def_readonly("other_seeds", &patch::NoiseFloor::other_seeds,
                    "Mean absolute change with each other seed.");
  py::class_<PairedRun, py::smart_holder>(m, "_PairedRun")
      .def(py::init([](vla::Model& model, const vla::SceneSource& source,
                       std::vector<std::int64_t> scenes, vla::RolloutOptions rollout,
                       std::int64_t batch_size, std::int64_t thought_memory,
                       const py::object& progress) {
             patch::PairedOptions options{.rollout = std::move(rollout),
                                          .batch_size = batch_size,
                                          .thought_memory = thought_memory,
                                          .progress = progress_of(progress)};
             const py::gil_scoped_release no_gil;
             return std::make_unique<PairedRun>(model, source, std::move(scenes),
                                                std::move(options));
           }),
           py::arg("model"), py::arg("source"), py::arg("scenes"), py::arg("rollout"),
           py::arg("batch_size"), py::arg("thought_memory"), py::arg("progress"),
           py::keep_alive<1, 2>(), py::keep_alive<1, 3>())
      .def_property_readonly("scenes", &PairedRun::scenes)
      .def_property_readonly("rows", &PairedRun::rows)
      .def("can", &PairedRun::can, py::arg("option"))
      .def(
          "base", [](PairedRun& run) { return vla::Rollout(run.base()); }, without_gil)
      .def("again", &PairedRun::again, py::arg("words"), without_gil)
      .def("reseeded", &PairedRun::reseeded, py::arg("seed"), without_gil)
      .def("edited", &PairedRun::edited, py::arg("edit"), py::arg("words"), py::arg("twin_by"),
           without_gil)
      .def("with_words", &PairedRun::with_words, py::arg("other"), without_gil)
      .def("twins", &PairedRun::twins, py::arg("by"), py::arg("words"), without_gil)
      .def(
          "transplanted",
          [](PairedRun& run, const patch::Donor& donor, const std::vector<std::string>& sites,
             const std::string& selection, Words words, const std::string& into_twins_by) {
            return run.transplanted(donor, sites, Selection::from_json(selection), words,
                                    into_twins_by);
          },
          py::arg("donor"), py::arg("sites"), py::arg("selection"), py::arg("words"),
          py::arg("into_twins_by"), without_gil)
      .def("resampled_words", &PairedRun::resampled_words, py::arg("seed"), py::arg("attempts"),
           without_gil)
      .def("noise_floor", &PairedRun::noise_floor, py::arg("functional"), py::arg("seeds"),
           without_gil)
      .def("head_inputs", &PairedRun::head_inputs)
      .def("positions", &PairedRun::positions, py::arg("places"), py::arg("words"), without_gil)
      .def(
          "rows_at",
          [](PairedRun& run, const std::vector<DirectionPlace>& places, bool whole, Words words,
             const Edit* edit) { return run.rows_at(places, whole, words, edit); },
          py::arg("places"), py::arg("whole"), py::arg("words"), py::arg("edit"), without_gil)
      .def("values", &PairedRun::values, py::arg("rollout"), py::arg("functional"),
           py::arg("twin_by"), without_gil)
      .def("knocked_out", &PairedRun::knocked_out, py::arg("knockouts"), py::arg("words"),
           without_gil)
      .def(
          "activations",
          [](PairedRun& run, const std::vector<std::string>& sites, const std::string& selection,
             const std::string& reduce, Words words, const std::string& twin_by) {
            const patch::RunActivations found = run.activations(
                sites,
                {.selection = Selection::from_json(selection), .reduce = reduce_from_name(reduce)},
                words, twin_by);
            std::map<std::string, at::Tensor> out;
            for (std::size_t i = 0; i < found.sites.size(); ++i) {
              out[found.sites[i]] = found.rows[i];
            }
            return out;
          },
          py::arg("sites"), py::arg("selection"), py::arg("reduce"), py::arg("words"),
          py::arg("twin_by"), without_gil)
      .def("effect", &PairedRun::effect, py::arg("rollout"), py::arg("functional"),
           py::arg("twin_by"), without_gil)
      .def(
          "derivative",
          [](PairedRun& run, const DirectionEdit& edit,
             const std::vector<std::vector<DirectionPlace>>& others,
             const vla::ControlFunctional& functional) {
            std::vector<DirectionEdit> edits;
            edits.reserve(others.size());
            for (const auto& places : others) edits.push_back(edit.along(places));
            return run.derivative(edit, edits, functional);
          },
          py::arg("edit"), py::arg("others"), py::arg("functional"), without_gil)
      .def("direct", &PairedRun::direct, py::arg("edit"), py::arg("functional"), without_gil)
      .def("total", &PairedRun::total, py::arg("edit"), py::arg("functional"), without_gil)
      .def("text", &PairedRun::text, py::arg("edit"), py::arg("functional"), without_gil);
}

void bind_effects(py::module_& m) {
  py::class_<ConceptDirections>(
      m, "ConceptDirections",
      "The directions of a concept at all places of an edit, and their delete-group refits.")
      .def(py::init([](std::vector<DirectionPlace> places,
                       std::vector<std::vector<DirectionPlace>> refits) {
             return ConceptDirections{std::move(places), std::move(refits)};
           }),
           py::arg("places") = std::vector<DirectionPlace>{},
           py::arg("refits") = std::vector<std::vector<DirectionPlace>>{})
      .def(
          "_add",
          [](ConceptDirections& self, const std::string& site, const probe::ResidualFits& fits,
             const std::string& selection,
             Over over) { self.add(site, fits, Selection::from_json(selection), over); },
          py::arg("site"), py::arg("fits"), py::arg("selection"), py::arg("over"))
      .def_readonly("places", &ConceptDirections::places)
      .def_readonly("refits", &ConceptDirections::refits)
      .def_readonly("notes", &ConceptDirections::notes,
                    "What the fits had to say, such as how many scenes they lack.");
  py::class_<ConceptEffect>(m, "ConceptEffect", "What a concept's presence adds to control.")
      .def_readonly("words", &ConceptEffect::words)
      .def_readonly("functional", &ConceptEffect::functional)
      .def_property_readonly(
          "theta", [](const ConceptEffect& e) { return e.theta.interval; },
          "The mean of removal and addition, theta +- t sqrt(V_A + V_C).")
      .def_property_readonly(
          "refit_variance", [](const ConceptEffect& e) { return e.theta.refit_variance; },
          "V_A, the direction's own estimation error.")
      .def_property_readonly(
          "test_variance", [](const ConceptEffect& e) { return e.theta.test_variance; },
          "V_C, the spread over the test scenes.")
      .def_readonly("removal", &ConceptEffect::removal)
      .def_readonly("addition", &ConceptEffect::addition)
      .def_readonly("refits", &ConceptEffect::refits)
      .def_readonly("reruns", &ConceptEffect::reruns)
      .def_readonly("derivative_error", &ConceptEffect::derivative_error)
      .def_readonly("scenes", &ConceptEffect::scenes, "f64 [scenes], on - off of each.")
      .def_readonly("note", &ConceptEffect::note)
      .def("__repr__", [](const ConceptEffect& e) {
        const stats::Interval& i = e.theta.interval;
        char text[160];
        std::snprintf(text, sizeof text, "ConceptEffect(%s, words %s: %.4g [%.4g, %.4g])",
                      e.functional.c_str(), e.words == Words::held ? "held" : "regenerated",
                      i.estimate, i.low, i.high);
        return std::string(text);
      });
  m.def(
      "_concept_effect",
      [](PairedRun& run, const Bytes& labels, const Integers& groups,
         const ConceptDirections& directions, const vla::ControlFunctional& functional, Words words,
         double confidence, bool derivative, std::size_t checked, double tolerance) {
        const std::vector<std::uint8_t> z(labels.data(), labels.data() + labels.size());
        const std::vector<std::int64_t> of(groups.data(), groups.data() + groups.size());
        const py::gil_scoped_release no_gil;
        return patch::concept_effect(run, z, of, directions, functional,
                                     {.words = words,
                                      .confidence = confidence,
                                      .derivative = derivative,
                                      .checked = checked,
                                      .tolerance = tolerance});
      },
      py::arg("run"), py::arg("labels"), py::arg("groups"), py::arg("directions"),
      py::arg("functional"), py::arg("words"), py::arg("confidence"), py::arg("derivative"),
      py::arg("checked"), py::arg("tolerance"));
}

void bind_mediation(py::module_& m) {
  using patch::Mediation;
  py::class_<Mediation>(m, "Mediation", "How much of an input effect an edit takes away.")
      .def_property_readonly(
          "share", [](const Mediation& found) { return found.share.interval; },
          "1 - sum D|edited / sum D, with its bootstrap interval.")
      .def_property_readonly("note", [](const Mediation& found) { return found.share.note; })
      .def_readonly("twin_effect", &Mediation::twin_effect)
      .def_readonly("edited_effect", &Mediation::edited_effect);
  m.def(
      "_mediated_share",
      [](PairedRun& run, const std::string& twin_by, const Bytes& labels, const Integers& groups,
         const Edit& ablation, const vla::ControlFunctional& functional, Words words,
         std::size_t replicates, double confidence, std::uint64_t seed) {
        const std::vector<std::uint8_t> z(labels.data(), labels.data() + labels.size());
        const std::vector<std::int64_t> of(groups.data(), groups.data() + groups.size());
        const py::gil_scoped_release no_gil;
        return patch::mediated_share(
            run, twin_by, z, of, ablation, functional, words,
            {.replicates = replicates, .confidence = confidence, .seed = seed});
      },
      py::arg("run"), py::arg("twin_by"), py::arg("labels"), py::arg("groups"), py::arg("ablation"),
      py::arg("functional"), py::arg("words"), py::arg("replicates"), py::arg("confidence"),
      py::arg("seed"));
}

}  // namespace

void bind_paired_run(py::module_& m) {
  bind_edits(m);
  bind_run(m);
  bind_effects(m);
  bind_mediation(m);
}

}  // namespace tierod::bindings

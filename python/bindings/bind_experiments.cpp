#include <cstdio>
#include <optional>

#include "arrays_internal.h"
#include "tierod/patch/controls.h"
#include "tierod/patch/erasure.h"
#include "tierod/patch/guard.h"
#include "tierod/patch/twin_patching.h"

namespace tierod::bindings {

namespace {

using patch::ConceptControls;
using patch::DirectionPlace;
using patch::EditSite;
using patch::Over;
using patch::PairedRun;
using patch::Words;
using Labels = std::vector<std::uint8_t>;
using Groups = std::vector<std::int64_t>;

Labels labels_of(const Bytes& array) { return {array.data(), array.data() + array.size()}; }
Groups groups_of(const Integers& array) { return {array.data(), array.data() + array.size()}; }

std::string printed(const stats::Interval& i) {
  char text[80];
  std::snprintf(text, sizeof text, "%.3g [%.3g, %.3g]", i.estimate, i.low, i.high);
  return text;
}

stats::BootstrapOptions bootstrap_of(std::size_t replicates, double confidence,
                                     std::uint64_t seed) {
  return {.replicates = replicates, .confidence = confidence, .seed = seed};
}

void bind_twin_patching(py::module_& m) {
  using patch::Completeness;
  using patch::Interchange;
  using patch::PathShare;
  using patch::PathShares;
  using patch::PositionEffects;
  using patch::Restoration;
  py::class_<Restoration>(m, "Restoration",
                          "How much of a twin effect some activations carry, as ratios of sums.")
      .def_property_readonly(
          "denoising", [](const Restoration& r) { return r.denoising.interval; },
          "sum(m(off <- on) - m_off) / sum(m_on - m_off).")
      .def_property_readonly(
          "noising", [](const Restoration& r) { return r.noising.interval; },
          "sum(m_on - m(on <- off)) / sum(m_on - m_off).")
      .def_readonly("twin_effect", &Restoration::twin_effect, "Mean m_on - m_off.")
      .def("__repr__", [](const Restoration& r) {
        return "Restoration(denoising " + printed(r.denoising.interval) + ", noising " +
               printed(r.noising.interval) + ")";
      });
  m.def(
      "_twin_restoration",
      [](PairedRun& run, const std::string& twin_by, const Bytes& labels, const Integers& groups,
         const std::vector<std::string>& sites, const std::string& selection,
         const vla::ControlFunctional& functional, std::size_t replicates, double confidence,
         std::uint64_t seed) {
        const Labels z = labels_of(labels);
        const Groups of = groups_of(groups);
        const py::gil_scoped_release no_gil;
        return patch::twin_restoration(run, twin_by, z, of, sites, Selection::from_json(selection),
                                       functional, bootstrap_of(replicates, confidence, seed));
      },
      py::arg("run"), py::arg("twin_by"), py::arg("labels"), py::arg("groups"), py::arg("sites"),
      py::arg("selection"), py::arg("functional"), py::arg("replicates"), py::arg("confidence"),
      py::arg("seed"));

  py::class_<PathShare>(m, "PathShare", "The share of a concept's whole effect on one path.")
      .def_readonly("name", &PathShare::name)
      .def_property_readonly("denoising", [](const PathShare& p) { return p.denoising.interval; })
      .def_property_readonly("noising", [](const PathShare& p) { return p.noising.interval; })
      .def("__repr__", [](const PathShare& p) {
        return "PathShare(" + p.name + ": " + printed(p.denoising.interval) + ")";
      });
  py::class_<PathShares>(m, "PathShares", "The paths of a concept's effect to control.")
      .def_readonly("blocks", &PathShares::blocks,
                    "States at the tokens of each block, words held.")
      .def_readonly("words", &PathShares::words, "What is said, and nothing else.")
      .def_readonly("total", &PathShares::total, "Mean m_on - m_off, words regenerated.")
      .def_readonly("direct", &PathShares::direct, "The same with the words held.")
      .def_readonly("text", &PathShares::text, "The same by the words alone.");
  m.def(
      "_path_shares",
      [](PairedRun& run, const std::string& twin_by, const Bytes& labels, const Integers& groups,
         const std::vector<std::pair<std::string, std::vector<std::string>>>& blocks,
         const vla::ControlFunctional& functional, std::vector<std::string> sites,
         std::size_t replicates, double confidence, std::uint64_t seed) {
        const Labels z = labels_of(labels);
        const Groups of = groups_of(groups);
        std::vector<patch::TokenBlock> named;
        named.reserve(blocks.size());
        for (const auto& [name, spans] : blocks) named.push_back({.name = name, .spans = spans});
        const py::gil_scoped_release no_gil;
        return patch::path_shares(run, twin_by, z, of, named, functional, std::move(sites),
                                  bootstrap_of(replicates, confidence, seed));
      },
      py::arg("run"), py::arg("twin_by"), py::arg("labels"), py::arg("groups"), py::arg("blocks"),
      py::arg("functional"), py::arg("sites"), py::arg("replicates"), py::arg("confidence"),
      py::arg("seed"));

  py::class_<Interchange>(m, "Interchange",
                          "How well an edit of the concept alone foretells the counterfactual.")
      .def_property_readonly("r2", [](const Interchange& i) { return i.r2.interval; })
      .def_property_readonly("r2_of_change",
                             [](const Interchange& i) { return i.r2_of_change.interval; })
      .def_readonly("interchanged", &Interchange::interchanged, "f64 [scenes], m_int.")
      .def_readonly("counterfactual", &Interchange::counterfactual, "f64 [scenes], m_cf.");
  m.def(
      "_interchange",
      [](PairedRun& run, const std::string& twin_by, const Bytes& labels, const Integers& groups,
         const Integers& sources, const std::vector<DirectionPlace>& places,
         const vla::ControlFunctional& functional, Words words, std::size_t replicates,
         double confidence, std::uint64_t seed) {
        const Labels z = labels_of(labels);
        const Groups of = groups_of(groups), from = groups_of(sources);
        const py::gil_scoped_release no_gil;
        return patch::interchange(run, twin_by, z, of, from, places, functional, words,
                                  bootstrap_of(replicates, confidence, seed));
      },
      py::arg("run"), py::arg("twin_by"), py::arg("labels"), py::arg("groups"), py::arg("sources"),
      py::arg("places"), py::arg("functional"), py::arg("words"), py::arg("replicates"),
      py::arg("confidence"), py::arg("seed"));

  py::class_<Completeness>(m, "Completeness",
                           "Whether a site holds all that its inputs do to control.")
      .def_readonly("functional", &Completeness::functional)
      .def_readonly("error", &Completeness::error, "Mean |m(patched) - m(donor)|.")
      .def_readonly("moved", &Completeness::moved, "Mean |m(donor) - m(base)|.")
      .def_readonly("ratio", &Completeness::ratio)
      .def_readonly("complete", &Completeness::complete)
      .def_readonly("note", &Completeness::note);
  m.def(
      "_completeness",
      [](PairedRun& run, std::vector<std::int64_t> donors, const std::vector<std::string>& sites,
         const std::string& selection, std::vector<std::string> fields,
         const std::vector<vla::ControlFunctional>& functionals, double bound) {
        return patch::completeness(run, std::move(donors), sites, Selection::from_json(selection),
                                   std::move(fields), functionals, bound);
      },
      py::arg("run"), py::arg("donors"), py::arg("sites"), py::arg("selection"), py::arg("fields"),
      py::arg("functionals"), py::arg("bound"), py::call_guard<py::gil_scoped_release>());

  py::class_<PositionEffects>(m, "PositionEffects",
                              "What the states at some tokens do, beside as many others.")
      .def_readonly("patched", &PositionEffects::patched, "f64 [rows].")
      .def_readonly("control", &PositionEffects::control, "f64 [draws, rows].")
      .def_readonly("difference", &PositionEffects::difference, "Mean |patched| - mean |control|.");
  m.def(
      "_position_effects",
      [](PairedRun& run, const patch::Donor& donor, const Integers& groups,
         const std::vector<std::string>& sites, const std::string& span,
         const std::vector<std::string>& control, const vla::ControlFunctional& functional,
         std::int64_t draws, std::uint64_t seed) {
        const Groups of = groups_of(groups);
        const py::gil_scoped_release no_gil;
        return patch::position_effects(run, donor, of, sites, span, control, functional, draws,
                                       seed);
      },
      py::arg("run"), py::arg("donor"), py::arg("groups"), py::arg("sites"), py::arg("span"),
      py::arg("control"), py::arg("functional"), py::arg("draws"), py::arg("seed"));
  m.def(
      "cot_cut", &patch::cot_cut, py::arg("to_the_end") = true,
      "Return the knockouts that hide the chain of thought from control: the words alone, or, with "
      "`to_the_end`,\neverything from its start onward, after which no text can matter (a known "
      "null).");
}

void bind_erasure(py::module_& m) {
  using patch::AblationCheck;
  using patch::JointErasure;
  py::class_<JointErasure>(m, "JointErasure",
                           "What is lost when a concept is erased at all places in the same run.")
      .def_readonly("words", &JointErasure::words)
      .def_readonly("functional", &JointErasure::functional)
      .def_property_readonly("theta", [](const JointErasure& e) { return e.theta.interval; })
      .def_property_readonly("refit_variance",
                             [](const JointErasure& e) { return e.theta.refit_variance; })
      .def_property_readonly("test_variance",
                             [](const JointErasure& e) { return e.theta.test_variance; })
      .def_readonly("ci90", &JointErasure::ci90)
      .def_readonly("refits", &JointErasure::refits)
      .def_readonly("scenes", &JointErasure::scenes, "f64 [scenes], m - m_erased.")
      .def("__repr__", [](const JointErasure& e) {
        return "JointErasure(" + e.functional + ": " + printed(e.theta.interval) + ")";
      });
  m.def(
      "_joint_erasure",
      [](PairedRun& run, const Bytes& labels, const Integers& groups,
         const patch::ConceptDirections& directions, const vla::ControlFunctional& functional,
         Words words, double confidence) {
        const Labels z = labels_of(labels);
        const Groups of = groups_of(groups);
        const py::gil_scoped_release no_gil;
        return patch::joint_erasure(run, z, of, directions, functional, words, confidence);
      },
      py::arg("run"), py::arg("labels"), py::arg("groups"), py::arg("directions"),
      py::arg("functional"), py::arg("words"), py::arg("confidence"));
  py::class_<AblationCheck>(m, "AblationCheck", "What can still be read at one place.")
      .def_readonly("site", &AblationCheck::site)
      .def_readonly("width", &AblationCheck::width,
                    "Numbers a scene that the fresh probe was given.")
      .def_readonly("check", &AblationCheck::check)
      .def_readonly("scenes", &AblationCheck::scenes,
                    "That are alike in what goes along, as many with as without.")
      .def_property_readonly("passed", [](const AblationCheck& c) { return c.check.passed; })
      .def("__repr__", [](const AblationCheck& c) {
        return "AblationCheck(" + c.site + ": AUROC " + printed(c.check.after) +
               (c.check.passed ? ", passed)" : ", not passed)");
      });
  m.def(
      "_verify_ablation",
      [](PairedRun& run, const Bytes& labels, const Integers& groups,
         const std::vector<DirectionPlace>& places, const std::optional<at::Tensor>& others,
         Words words, std::size_t folds, std::size_t positive_units, double most,
         double most_upper) {
        const Labels z = labels_of(labels);
        const Groups of = groups_of(groups);
        const py::gil_scoped_release no_gil;
        return patch::verify_ablation(run, z, of, places, others.value_or(at::Tensor()), words,
                                      {.folds = folds,
                                       .most = most,
                                       .most_upper = most_upper,
                                       .positive_units = positive_units});
      },
      py::arg("run"), py::arg("labels"), py::arg("groups"), py::arg("places"), py::arg("others"),
      py::arg("words"), py::arg("folds"), py::arg("positive_units"), py::arg("most"),
      py::arg("most_upper"));
}

void bind_guard(py::module_& m) {
  using patch::DoseResponse;
  using patch::GuardPlace;
  using patch::GuardReport;
  py::class_<GuardPlace>(m, "_GuardPlace")
      .def(py::init([](std::string site, patch::Manifold manifold, const std::string& selection,
                       Over over) {
             return GuardPlace{std::move(site), std::move(manifold),
                               Selection::from_json(selection), over};
           }),
           py::arg("site"), py::arg("manifold"), py::arg("selection"), py::arg("over"));
  py::class_<GuardReport>(m, "GuardReport", "How far an edited run leaves what the model meets.")
      .def_readonly("places", &GuardReport::places)
      .def_readonly("implausible_share", &GuardReport::implausible_share)
      .def_readonly("off", &GuardReport::off, "bool [scenes]: off at a place, or implausible.")
      .def_readonly("off_share", &GuardReport::off_share);
  m.def(
      "_guard_edit",
      [](PairedRun& run, const patch::Edit& edit, Words words,
         const std::vector<GuardPlace>& places, const patch::Plausible& limits) {
        return patch::guard_edit(run, edit, words, places, limits);
      },
      py::arg("run"), py::arg("edit"), py::arg("words"), py::arg("places"), py::arg("limits"),
      py::call_guard<py::gil_scoped_release>());
  py::class_<DoseResponse>(m, "DoseResponse", "How control answers to doses along a direction.")
      .def_readonly("doses", &DoseResponse::doses, "Ascending, in natural standard deviations.")
      .def_readonly("effects", &DoseResponse::effects, "f64 [scenes, doses].")
      .def_readonly("off_share", &DoseResponse::off_share, "Of the scenes at each dose.")
      .def_readonly("on_manifold", &DoseResponse::on_manifold, "Doses that count.")
      .def_readonly("rising", &DoseResponse::rising, "Page's test over the doses that count.")
      .def_readonly("falling", &DoseResponse::falling)
      .def_readonly("note", &DoseResponse::note);
  m.def(
      "_dose_response",
      [](PairedRun& run, const std::vector<DirectionPlace>& places,
         const vla::ControlFunctional& functional, std::vector<double> doses, Words words,
         std::vector<GuardPlace> guard, const patch::Plausible& limits, Groups groups,
         double most_off) {
        return patch::dose_response(run, places, functional,
                                    {.doses = std::move(doses),
                                     .words = words,
                                     .guard = std::move(guard),
                                     .limits = limits,
                                     .groups = std::move(groups),
                                     .most_off = most_off});
      },
      py::arg("run"), py::arg("places"), py::arg("functional"), py::arg("doses"), py::arg("words"),
      py::arg("guard"), py::arg("limits"), py::arg("groups"), py::arg("most_off"),
      py::call_guard<py::gil_scoped_release>());
}

void bind_controls(py::module_& m) {
  using patch::ControlsRequest;
  using patch::NullSiteControl;
  using patch::ShamControl;
  using patch::UnrelatedControl;
  py::class_<UnrelatedControl>(m, "UnrelatedControl", "The effect of another concept.")
      .def_readonly("name", &UnrelatedControl::name)
      .def_readonly("prevalence", &UnrelatedControl::prevalence)
      .def_readonly("auroc", &UnrelatedControl::auroc)
      .def_readonly("alike", &UnrelatedControl::alike, "In prevalence and AUROC.")
      .def_readonly("effect", &UnrelatedControl::effect);
  py::class_<NullSiteControl>(m, "NullSiteControl", "A control that must be exactly 0.")
      .def_readonly("available", &NullSiteControl::available)
      .def_readonly("sites", &NullSiteControl::sites)
      .def_readonly("largest", &NullSiteControl::largest, "Change of any action.")
      .def_readonly("passed", &NullSiteControl::passed);
  py::class_<patch::ReaderControl>(m, "ReaderControl",
                                   "What the procedure finds of a reader that is surely there.")
      .def_readonly("concept_name", &patch::ReaderControl::concept_name)
      .def_readonly("multiple", &patch::ReaderControl::multiple,
                    "Of the smallest effect of interest.")
      .def_readonly("worth", &patch::ReaderControl::worth)
      .def_readonly("effect", &patch::ReaderControl::effect)
      .def_readonly("detected", &patch::ReaderControl::detected)
      .def("__repr__", [](const patch::ReaderControl& r) {
        return "ReaderControl(" + r.concept_name + ", worth " + std::to_string(r.worth) + ": " +
               printed(r.effect) + ")";
      });
  py::class_<ShamControl>(m, "ShamControl",
                          "How the procedure does on labels that mean nothing, and on virtual "
                          "readers.")
      .def_readonly("direct", &ShamControl::direct)
      .def_readonly("total", &ShamControl::total)
      .def_readonly("refused", &ShamControl::refused)
      .def_readonly("false_used", &ShamControl::false_used,
                    "Share whose direct interval excludes 0 and whose effect is of interest.")
      .def_readonly("excludes_zero", &ShamControl::excludes_zero)
      .def_readonly("false_used_total", &ShamControl::false_used_total, "By direct or total.");
  py::class_<ConceptControls>(m, "ConceptControls", "All controls of one concept.")
      .def_readonly("direct", &ConceptControls::direct)
      .def_readonly("total", &ConceptControls::total)
      .def_readonly("permuted", &ConceptControls::permuted)
      .def_readonly("matched", &ConceptControls::matched)
      .def_readonly("participation_ratio", &ConceptControls::participation_ratio)
      .def_readonly("matched_length", &ConceptControls::matched_length,
                    "Mean length of the matched directions, in units of the direction's own.")
      .def_readonly("unrelated", &ConceptControls::unrelated)
      .def_readonly("plain", &ConceptControls::plain)
      .def_readonly("wrong_functional", &ConceptControls::wrong_functional)
      .def_readonly("null_site", &ConceptControls::null_site)
      .def_readonly("positive", &ConceptControls::positive)
      .def_readonly("positive_silent", &ConceptControls::positive_silent)
      .def_readonly("sham", &ConceptControls::sham)
      .def_readonly("readers", &ConceptControls::readers)
      .def_readonly("notes", &ConceptControls::notes);
  py::class_<EditSite>(m, "_EditSite")
      .def(py::init([](std::string site, const std::string& selection, Over over) {
             return EditSite{std::move(site), Selection::from_json(selection), over};
           }),
           py::arg("site"), py::arg("selection"), py::arg("over"));
  m.def(
      "_fit_directions",
      [](const probe::ProbeDataset& data, const std::string& concept_name,
         const std::vector<EditSite>& sites, std::optional<std::vector<std::string>> adjust_for,
         bool interactions, std::size_t folds, std::uint64_t seed) {
        probe::ResidualOptions options;
        options.adjust_for = std::move(adjust_for);
        options.interactions = interactions;
        options.folds = folds;
        options.seed = seed;
        return patch::fit_directions(data, concept_name, sites, options);
      },
      py::arg("data"), py::arg("concept_name"), py::arg("sites"), py::arg("adjust_for"),
      py::arg("interactions"), py::arg("folds"), py::arg("seed"),
      py::call_guard<py::gil_scoped_release>());
  m.def(
      "_concept_controls",
      [](PairedRun& run, const Bytes& labels, const Integers& groups,
         const probe::ProbeDataset& data, const std::string& concept_name,
         const std::vector<EditSite>& sites, std::optional<std::vector<std::string>> adjust_for,
         bool interactions, std::size_t folds, std::size_t total_folds,
         const vla::ControlFunctional& functional,
         const std::optional<vla::ControlFunctional>& wrong_functional,
         const std::optional<std::string>& positive_name,
         const patch::ConceptDirections& positive_directions, const Bytes& positive_labels,
         const vla::ControlFunctional& positive_functional, double sesoi, std::size_t permuted,
         std::size_t matched, std::size_t shams, std::vector<double> readers, bool total,
         std::uint64_t seed, const py::object& progress) {
        ControlsRequest request;
        request.data = &data;
        request.concept_name = concept_name;
        request.sites = sites;
        request.residual.adjust_for = std::move(adjust_for);
        request.residual.interactions = interactions;
        request.residual.folds = folds;
        request.residual.seed = seed;
        request.total_folds = total_folds;
        request.functional = functional;
        request.wrong_functional = wrong_functional;
        if (positive_name) {
          request.positive = patch::PositiveControl{.name = *positive_name,
                                                    .directions = positive_directions,
                                                    .labels = labels_of(positive_labels),
                                                    .functional = positive_functional};
        }
        request.sesoi = sesoi;
        request.permuted = permuted;
        request.matched = matched;
        request.shams = shams;
        request.readers = std::move(readers);
        request.total = total;
        request.seed = seed;
        request.progress = progress_of(progress);
        const Labels z = labels_of(labels);
        const Groups of = groups_of(groups);
        const py::gil_scoped_release no_gil;
        return patch::concept_controls(run, z, of, request);
      },
      py::arg("run"), py::arg("labels"), py::arg("groups"), py::arg("data"),
      py::arg("concept_name"), py::arg("sites"), py::arg("adjust_for"), py::arg("interactions"),
      py::arg("folds"), py::arg("total_folds"), py::arg("functional"), py::arg("wrong_functional"),
      py::arg("positive_name"), py::arg("positive_directions"), py::arg("positive_labels"),
      py::arg("positive_functional"), py::arg("sesoi"), py::arg("permuted"), py::arg("matched"),
      py::arg("shams"), py::arg("readers"), py::arg("total"), py::arg("seed"), py::arg("progress"));
  m.def(
      "_sham_labels",
      [](const Bytes& labels, const Bytes& others, const Integers& units, std::uint64_t seed,
         std::size_t nearest) {
        return patch::sham_labels(span_of(labels), span_of(others), span_of(units), seed, nearest);
      },
      py::arg("labels"), py::arg("others"), py::arg("units"), py::arg("seed"), py::arg("nearest"));
}

}  // namespace

void bind_experiments(py::module_& m) {
  bind_twin_patching(m);
  bind_erasure(m);
  bind_guard(m);
  bind_controls(m);
}

}  // namespace tierod::bindings

#include "tierod/patch/controls.h"

#include <ATen/TensorOperators.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "core/tensor_internal.h"
#include "core/text_internal.h"
#include "patch/paired_run_internal.h"
#include "patch/scene_values_internal.h"
#include "tierod/core/error.h"
#include "tierod/core/random.h"
#include "tierod/patch/donors.h"
#include "tierod/patch/matched.h"
#include "tierod/stats/influence.h"
#include "tierod/stats/ranking.h"

namespace tierod::patch {

using internal::cat;
using internal::numbers_of;
using internal::opposite;
using internal::SceneLabels;

namespace {

constexpr auto* kWhere = "patch.concept_controls";
constexpr double kFewDimensions = 20;
constexpr double kEncoded = 0.7;           // AUROC from which a position is worth reading
constexpr std::ptrdiff_t kFewScenes = 10;  // of a class, below which nothing is measured
constexpr auto* kSham = "sham concept";

at::Tensor covariance_of(const at::Tensor& rows) {
  const at::Tensor x = rows.to(at::kDouble);
  const at::Tensor centred = x - x.mean(0);
  return centred.t().matmul(centred) / static_cast<double>(x.size(0) - 1);
}

double prevalence_of(std::span<const std::uint8_t> labels) {
  std::size_t on = 0, known = 0;
  for (const std::uint8_t label : labels) {
    on += label == 1 ? 1 : 0;
    known += label <= 1 ? 1 : 0;
  }
  return static_cast<double>(on) / static_cast<double>(std::max<std::size_t>(known, 1));
}

// What many fits have to say alike is said once.
void note(std::vector<std::string>& notes, std::string text) {
  if (std::find(notes.begin(), notes.end(), text) == notes.end()) notes.push_back(std::move(text));
}

class Controlling {
 public:
  Controlling(PairedRun& run, std::span<const std::uint8_t> labels,
              std::span<const std::int64_t> groups, const ControlsRequest& request)
      : run_(run),
        scenes_(kWhere, run, labels, groups),
        labels_(labels),
        groups_(groups),
        request_(request) {
    if (request.data == nullptr || request.sites.empty()) {
      throw InvalidArgument(cat("[", kWhere, "] expected data to fit on and at least one site"));
    }
    if (!(request.sesoi > 0)) {
      throw InvalidArgument(
          cat("[", kWhere, "] expected a smallest effect of interest > 0, got ", request.sesoi));
    }
    data_labels_ = request.data->labels(request.concept_name);
    others_ = request.residual.adjust_for ? *request.residual.adjust_for
                                          : request.data->companions(request.concept_name);
    steps_ = 2 + request.permuted + request.matched + request.shams + (request.total ? 1 : 0);
  }

  ConceptControls run() {
    ConceptControls out;
    step("the concept");
    const ConceptDirections directions =
        fit_directions(*request_.data, request_.concept_name, request_.sites, residual());
    for (const std::string& text : directions.notes) note(out.notes, text);
    out.direct = concept_effect(run_, labels_, groups_, directions, request_.functional, {});
    add_readers(out, request_.concept_name, out.direct, directions, labels_);
    if (request_.total) {
      step("the total effect");
      probe::ResidualOptions fewer = residual();
      fewer.folds = request_.total_folds;
      out.total = concept_effect(
          run_, labels_, groups_,
          fit_directions(*request_.data, request_.concept_name, request_.sites, fewer),
          request_.functional, {.words = Words::regenerated, .text = request_.text});
    }
    step("fixed controls");
    plain(out);
    other_functional(out, directions);
    null_site(out);
    positive(out);
    unrelated(out);
    permuted(out);
    matched(out, directions);
    shams(out);
    return out;
  }

 private:
  probe::ResidualOptions residual() const {
    probe::ResidualOptions out = request_.residual;
    out.adjust_for = others_;
    return out;
  }

  void step(const std::string& what) {
    if (request_.progress && !request_.progress(static_cast<std::int64_t>(done_),
                                                static_cast<std::int64_t>(steps_), what)) {
      throw StateError(cat("[", kWhere, "] stopped after ", done_, " of ", steps_, " controls"));
    }
    ++done_;
  }

  stats::Influence balanced(const at::Tensor& values, std::span<const std::uint8_t> labels) const {
    return stats::balanced_influence(numbers_of(values), labels, groups_);
  }

  // Effect of a swap by these labels, on - off, f64 [scenes].
  at::Tensor swapped(const std::vector<DirectionPlace>& places,
                     std::span<const std::uint8_t> labels, Words words) {
    const SceneLabels scenes(kWhere, run_, labels, groups_);
    return scenes.on_minus_off(run_.effect(
        run_.edited(DirectionEdit::swap(places, opposite(labels)), words), request_.functional));
  }

  // The same of a step by the distance between the classes.
  at::Tensor stepped(const std::vector<DirectionPlace>& places,
                     std::span<const std::uint8_t> labels, Words words) {
    const SceneLabels scenes(kWhere, run_, labels, groups_);
    const DirectionEdit edit = DirectionEdit::shift(places, 1 - 2 * internal::doubles_of(labels));
    return scenes.on_minus_off(run_.effect(run_.edited(edit, words), request_.functional));
  }

  void plain(ConceptControls& out) {
    probe::ResidualOptions options = residual();
    options.adjust_for = std::vector<std::string>();
    const ConceptDirections directions =
        fit_directions(*request_.data, request_.concept_name, request_.sites, options);
    out.plain =
        concept_effect(run_, labels_, groups_, directions, request_.functional, {}).theta.interval;
  }

  void other_functional(ConceptControls& out, const ConceptDirections& directions) {
    if (!request_.wrong_functional) return;
    out.wrong_functional =
        concept_effect(run_, labels_, groups_, directions, *request_.wrong_functional, {})
            .theta.interval;
  }

  // Everything at the null sites from other scenes: control cannot change, words held.
  void null_site(ConceptControls& out) {
    NullSiteControl& control = out.null_site;
    control.sites = run_.impl().about.null_sites;
    control.available = !control.sites.empty();
    if (!control.available) {
      note(out.notes,
           "the model names no site after the head's last read: no exact null, shams stand in");
      return;
    }
    std::vector<std::int64_t> donors;
    for (const std::int64_t place : shuffled_donors(groups_, request_.seed)) {
      donors.push_back(run_.scenes()[static_cast<std::size_t>(place)]);
    }
    const vla::Rollout patched =
        run_.transplanted({.scenes = donors}, control.sites, {}, Words::held);
    control.largest = (patched.actions - run_.base().actions).abs().max().item<double>();
    control.passed = control.largest == 0;
  }

  void positive(ConceptControls& out) {
    if (!request_.positive) {
      note(out.notes,
           "no positive control was given: that an edit here can move control at "
           "all is shown by the virtual readers alone");
      return;
    }
    const PositiveControl& control = *request_.positive;
    out.positive =
        concept_effect(run_, control.labels, groups_, control.directions, control.functional, {});
    out.positive_silent = !out.positive->theta.interval.excludes(0);
  }

  double held_out_auroc(const std::string& name, std::span<const std::uint8_t> labels) const {
    probe::ResidualOptions options = residual();
    options.adjust_for = adjust_for(name);
    const probe::ResidualFits fits =
        probe::residual_direction(*request_.data, request_.sites.front().site, name, options);
    std::vector<double> scores;
    std::vector<std::uint8_t> known;
    const auto* position = fits.positions.const_data_ptr<double>();
    for (std::size_t i = 0; i < labels.size(); ++i) {
      if (labels[i] > 1 || std::isnan(position[i])) continue;
      scores.push_back(position[i]);
      known.push_back(labels[i]);
    }
    return stats::auroc(scores, known);
  }

  // What another concept is adjusted for: the same, with this concept in its own place.
  std::vector<std::string> adjust_for(const std::string& name) const {
    std::vector<std::string> out = others_;
    if (name == request_.concept_name) return out;
    out.erase(std::remove(out.begin(), out.end(), name), out.end());
    out.push_back(request_.concept_name);
    return out;
  }

  void unrelated(ConceptControls& out) {
    const double mine = prevalence_of(data_labels_);
    const double read = held_out_auroc(request_.concept_name, data_labels_);
    const std::vector<std::string> known = run_.impl().source.concepts();
    std::vector<std::string> names = request_.data->concepts();
    std::stable_sort(names.begin(), names.end(), [&](const auto& a, const auto& b) {
      const auto off = [&](const std::string& name) {
        return std::abs(prevalence_of(request_.data->labels(name)) - mine);
      };
      return off(a) < off(b);
    });
    for (const std::string& name : names) {
      if (out.unrelated.size() >= request_.unrelated) break;
      if (name == request_.concept_name) continue;
      if (std::find(known.begin(), known.end(), name) == known.end()) continue;
      const std::span<const std::uint8_t> fitted = request_.data->labels(name);
      UnrelatedControl control = {.name = name, .prevalence = prevalence_of(fitted)};
      const at::Tensor all = run_.impl().source.labels(name);
      std::vector<std::uint8_t> here;
      for (const std::int64_t id : run_.scenes()) here.push_back(all[id].item<std::uint8_t>());
      const auto on = std::count(here.begin(), here.end(), 1);
      const auto off = std::count(here.begin(), here.end(), 0);
      if (on < kFewScenes || off < kFewScenes || on + off != std::ssize(here)) continue;
      try {
        control.auroc = held_out_auroc(name, fitted);
        probe::ResidualOptions options = residual();
        options.adjust_for = adjust_for(name);
        const ConceptDirections directions =
            fit_directions(*request_.data, name, request_.sites, options);
        const ConceptEffect effect =
            concept_effect(run_, here, groups_, directions, request_.functional, {});
        control.effect = effect.theta.interval;
        if (control.auroc >= kEncoded) add_readers(out, name, effect, directions, here);
      } catch (const InvalidArgument& error) {
        note(out.notes, cat("concept ", name, " could not be fitted: ", error.what()));
        continue;
      } catch (const NumericalError& error) {
        note(out.notes, cat("concept ", name, " could not be fitted: ", error.what()));
        continue;
      }
      control.alike = control.prevalence >= 0.5 * mine && control.prevalence <= 2 * mine &&
                      std::abs(control.auroc - read) <= 0.1;
      out.unrelated.push_back(control);
    }
    if (std::none_of(out.unrelated.begin(), out.unrelated.end(),
                     [](const UnrelatedControl& control) { return control.alike; })) {
      note(out.notes,
           "no other concept has a like prevalence and is read as well: no unrelated control");
    }
  }

  void permuted(ConceptControls& out) {
    for (std::size_t i = 0; i < request_.permuted; ++i) {
      step(cat("permuted labels ", i));
      // any other unit's label: nothing of what goes along is kept
      const std::vector<std::uint8_t> drawn = sham_labels(
          data_labels_, {}, request_.data->groups(), request_.seed + 1000 + i, data_labels_.size());
      probe::ResidualOptions options = residual();
      options.folds = 0;
      const std::optional<ConceptDirections> directions = fitted(drawn, options, out.notes);
      if (!directions) continue;
      out.permuted.push_back(
          balanced(swapped(directions->places, labels_, Words::held), labels_).estimate);
    }
  }

  void matched(ConceptControls& out, const ConceptDirections& directions) {
    if (request_.matched == 0) return;
    std::vector<at::Tensor> covariances, pools;
    for (const EditSite& site : request_.sites) {
      covariances.push_back(covariance_of(request_.data->site(site.site)));
      const double ratio = participation_ratio(covariances.back());
      out.participation_ratio =
          covariances.size() == 1 ? ratio : std::min(out.participation_ratio, ratio);
    }
    const bool few = out.participation_ratio < kFewDimensions;
    if (few) {
      note(
          out.notes,
          cat("participation ratio ", out.participation_ratio, " is below ", kFewDimensions,
              ": directions of random signs would resemble the direction itself, so that controls ",
              "are matched in Mahalanobis distance alone"));
    }
    for (std::size_t s = 0; s < covariances.size(); ++s) {
      const at::Tensor write = directions.places[s].direction.write();
      const auto count = static_cast<std::int64_t>(request_.matched);
      // one pool a site, of one seed
      pools.push_back(few ? mahalanobis_directions(write, covariances[s], count, request_.seed + s)
                          : matched_directions(write, covariances[s], count, request_.seed + s));
      out.matched_length += (pools.back().norm(2, 1).mean() / write.norm()).item<double>() /
                            static_cast<double>(covariances.size());
    }
    for (std::size_t i = 0; i < request_.matched; ++i) {
      step(cat("matched direction ", i));
      std::vector<DirectionPlace> places = directions.places;
      for (std::size_t s = 0; s < places.size(); ++s) {
        places[s].written = pools[s][static_cast<std::int64_t>(i)];
      }
      out.matched.push_back(balanced(swapped(places, labels_, Words::held), labels_).estimate);
    }
  }

  // Fit labels that mean nothing, adjusted for what goes along with the concept and for itself.
  std::optional<ConceptDirections> fitted(const std::vector<std::uint8_t>& labels,
                                          probe::ResidualOptions options,
                                          std::vector<std::string>& notes) const {
    try {
      probe::ProbeDataset data = *request_.data;
      data.add_concept(kSham, labels);
      options.adjust_for = others_;
      options.adjust_for->push_back(request_.concept_name);
      return fit_directions(data, kSham, request_.sites, options);
    } catch (const InvalidArgument& error) {
      note(notes, cat("labels that mean nothing could not be fitted: ", error.what()));
    } catch (const NumericalError& error) {
      note(notes, cat("labels that mean nothing could not be fitted: ", error.what()));
    }
    return std::nullopt;
  }

  // Concepts that go along and are known of the run's scenes too; nuisances are adjusted for alone.
  std::vector<std::string> company() const {
    const std::vector<std::string> here = run_.impl().source.concepts();
    const std::vector<std::string> there = request_.data->concepts();
    std::vector<std::string> out;
    for (const std::string& name : others_) {
      if (std::find(here.begin(), here.end(), name) == here.end()) continue;
      if (std::find(there.begin(), there.end(), name) == there.end()) continue;
      out.push_back(name);
    }
    return out;
  }

  // Labels of what goes along with the concept, row-major, as cells; in the data and in the run.
  std::vector<std::uint8_t> cells_of_data() const {
    std::vector<std::vector<std::uint32_t>> columns;
    for (const std::string& name : company()) columns.push_back(request_.data->cells(name));
    std::vector<std::uint8_t> out;
    for (std::size_t i = 0; i < data_labels_.size(); ++i) {
      for (const auto& column : columns) out.push_back(static_cast<std::uint8_t>(column[i]));
    }
    return out;
  }
  std::vector<std::uint8_t> cells_of_run() const {
    std::vector<at::Tensor> columns;
    for (const std::string& name : company()) {
      columns.push_back(run_.impl().source.labels(name));
    }
    std::vector<std::uint8_t> out;
    for (const std::int64_t id : run_.scenes()) {
      for (const at::Tensor& column : columns) out.push_back(column[id].item<std::uint8_t>());
    }
    return out;
  }

  bool used(const stats::Interval& effect) const {
    return effect.excludes(0) && std::abs(effect.estimate) >= request_.sesoi;
  }

  void shams(ConceptControls& out) {
    ShamControl& sham = out.sham;
    if (request_.shams == 0) return;
    const std::vector<std::uint8_t> data_cells = cells_of_data(), run_cells = cells_of_run();
    std::int64_t count = 0, false_used = 0, excludes = 0, either = 0;
    for (std::size_t i = 0; i < request_.shams; ++i) {
      step(cat("sham concept ", i));
      const std::uint64_t seed = request_.seed + 2000 + i;
      const std::optional<ConceptDirections> directions =
          fitted(sham_labels(data_labels_, data_cells, request_.data->groups(), seed), residual(),
                 out.notes);
      const std::vector<std::uint8_t> here =
          sham_labels(labels_, run_cells, groups_, seed + 7777777);
      const bool one_class = std::set<std::uint8_t>(here.begin(), here.end()).size() < 2;
      if (!directions || one_class) {
        ++sham.refused;
        continue;
      }
      const ConceptEffect effect =
          concept_effect(run_, here, groups_, *directions, request_.functional,
                         {.fixed_step = true, .checked = 0});
      ++count;
      sham.direct.push_back(effect.theta.interval);
      const bool by_direct = used(effect.theta.interval);
      false_used += by_direct ? 1 : 0;
      excludes += effect.theta.interval.excludes(0) ? 1 : 0;
      bool by_total = false;
      if (out.total && request_.sham_total) {
        sham.total.push_back(total_of_sham(*directions, here, *out.total));
        by_total = used(sham.total.back());
      }
      either += by_direct || by_total ? 1 : 0;
    }
    if (count == 0) {
      note(out.notes, "no sham concept could be fitted: the procedure has no error rates here");
      return;
    }
    sham.false_used = stats::proportion_interval(false_used, count);
    sham.excludes_zero = stats::proportion_interval(excludes, count);
    sham.false_used_total = stats::proportion_interval(either, count);
  }

  stats::Interval total_of_sham(const ConceptDirections& directions,
                                std::span<const std::uint8_t> labels, const ConceptEffect& real) {
    const stats::Influence test =
        balanced(stepped(directions.places, labels, Words::regenerated), labels);
    const double variance = stats::influence_variance(test.contributions);
    const double ratio =
        real.theta.test_variance > 0 ? real.theta.refit_variance / real.theta.test_variance : 0;
    return stats::t_interval(test.estimate, std::sqrt(variance * (1 + ratio)),
                             real.theta.interval.df);
  }

  // Put virtual readers of a concept's position at the first site in place of what the model itself
  // does with it, whose scatter stays.
  void add_readers(ConceptControls& out, const std::string& name, const ConceptEffect& effect,
                   const ConceptDirections& directions, std::span<const std::uint8_t> labels) {
    const DirectionEdit edit = DirectionEdit::swap(directions.places, opposite(labels));
    std::vector<DirectionEdit> refits;
    refits.reserve(directions.refits.size());
    for (const auto& places : directions.refits) refits.push_back(edit.along(places));
    std::vector<at::Tensor> readers;
    for (const DirectionPlace& place : directions.places) {
      const bool first = readers.empty();
      readers.push_back(first ? place.direction.read() : place.direction.read() * 0);
    }
    const SceneLabels scenes(kWhere, run_, labels, groups_);
    const at::Tensor moved = run_.displacement(edit, refits, readers);  // [1 + K, rows]
    const at::Tensor by = scenes.on_minus_off(moved[0]);
    const double own = balanced(effect.scenes, labels).estimate;
    for (const double multiple : request_.readers) {
      ReaderControl reader = {
          .concept_name = name, .multiple = multiple, .worth = multiple * request_.sesoi};
      const at::Tensor values = (effect.scenes - own + by * reader.worth).contiguous();
      std::vector<double> thetas;
      for (std::size_t k = 0; k < refits.size(); ++k) {
        const at::Tensor refitted = scenes.on_minus_off(moved[static_cast<std::int64_t>(k) + 1]);
        thetas.push_back(effect.refits[k] - own +
                         reader.worth * balanced(refitted, labels).estimate);
      }
      reader.effect = stats::refit_interval(balanced(values, labels), thetas).interval;
      reader.detected = used(reader.effect);
      out.readers.push_back(std::move(reader));
    }
  }

  PairedRun& run_;
  SceneLabels scenes_;
  std::span<const std::uint8_t> labels_, data_labels_;
  std::span<const std::int64_t> groups_;
  const ControlsRequest& request_;
  std::vector<std::string> others_;
  std::size_t done_ = 0, steps_ = 0;
};

}  // namespace

ConceptDirections fit_directions(const probe::ProbeDataset& data, const std::string& concept_name,
                                 const std::vector<EditSite>& sites,
                                 const probe::ResidualOptions& options) {
  ConceptDirections out;
  for (const EditSite& site : sites) {
    out.add(site.site, probe::residual_direction(data, site.site, concept_name, options),
            site.selection, site.over);
  }
  return out;
}

ConceptControls concept_controls(PairedRun& run, std::span<const std::uint8_t> labels,
                                 std::span<const std::int64_t> groups,
                                 const ControlsRequest& request) {
  return Controlling(run, labels, groups, request).run();
}

}  // namespace tierod::patch

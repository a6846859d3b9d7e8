#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/zeros.h>

#include "core/tensor_internal.h"
#include "core/text_internal.h"
#include "patch/paired_run_internal.h"
#include "patch/part_vectors_internal.h"
#include "tierod/core/error.h"

namespace tierod::patch {

using internal::cat;
using internal::length;
using internal::PartVectors;

namespace {

using See = std::function<void(std::size_t place, const at::Tensor& part, const Event& event,
                               const EditRows& rows)>;

void check_once(std::int64_t before, const Event& event, const char* what) {
  if (before == 0) return;
  throw InvalidArgument(cat("[", kPairedRun, ".", what, "] expected one event of '",
                            event.site.name(),
                            "' a run, got more; choose a phase and step in the selection"));
}

// Let `see` look at what each place of a run is given, or has left where there is an edit.
std::vector<vla::Rollout> look(PairedRun::Impl& impl, const char* what,
                               const std::vector<DirectionPlace>& places, Words words,
                               const std::function<void(std::int64_t rows)>& next_batch,
                               const See& see, const Edit* edit = nullptr) {
  for (const DirectionPlace& place : places) {
    if (!place.selection.rows) continue;
    throw InvalidArgument(cat("[", kPairedRun, ".", what, "] expected all rows at '", place.site,
                              "', got a selection of some; the others have no position"));
  }
  impl.need_base();
  return impl.each(what, [&](std::int64_t b) {
    const EditRows rows = impl.edit_rows(b, words);
    next_batch(length(rows.numbers.size()));
    return impl.within(b, std::nullopt, words, [&](Session& session) {
      if (edit != nullptr) edit->put_on(session, rows);
      for (std::size_t i = 0; i < places.size(); ++i) {
        session.intervene(
            places[i].site,
            [&, i](const at::Tensor& part, const Event& event) -> std::optional<at::Tensor> {
              see(i, part, event, internal::with_part(rows));
              return std::nullopt;
            },
            {.selection = places[i].selection, .ragged = true});
      }
    });
  });
}

}  // namespace

at::Tensor PairedRun::positions(const std::vector<DirectionPlace>& places, Words words) {
  std::vector<at::Tensor> parts;
  const at::NoGradGuard no_grad;
  std::vector<std::int64_t> events;
  look(
      *impl_, "positions", places, words,
      [&](std::int64_t rows) {
        parts.push_back(at::zeros({length(places.size()), rows}, at::kDouble));
        events.assign(places.size(), 0);
      },
      [&](std::size_t i, const at::Tensor& part, const Event& event, const EditRows& rows) {
        check_once(events[i]++, event, "positions");
        const probe::Direction& direction = places[i].direction;
        const PartVectors vectors(part, event.site, rows, places[i].over, direction.width());
        const auto as = [&](const at::Tensor& x) { return x.to(vectors.all().options()); };
        const at::Tensor along =
            at::matmul(vectors.read() - as(direction.mean()), as(direction.read()));
        parts.back()[length(i)].copy_(vectors.mean_of_read(along));
      });
  return at::cat(parts, 1).view({length(places.size()), length(impl_->scenes.size()), -1}).mean(2);
}

std::vector<at::Tensor> PairedRun::rows_at(const std::vector<DirectionPlace>& places, bool whole,
                                           Words words, const Edit* edit, vla::Rollout* driven) {
  const at::NoGradGuard no_grad;
  std::vector<std::vector<at::Tensor>> parts(places.size());
  std::vector<vla::Rollout> runs = look(
      *impl_, "rows", places, words, [](std::int64_t) {},
      [&](std::size_t i, const at::Tensor& part, const Event& event, const EditRows& rows) {
        const DirectionPlace& place = places[i];
        const PartVectors vectors(part, event.site, rows, place.over, place.direction.width());
        parts[i].push_back((whole ? vectors.whole_rows() : vectors.row_means()).cpu());
      },
      edit);
  if (driven != nullptr) *driven = Impl::join(std::move(runs));
  std::vector<at::Tensor> out;
  for (std::size_t i = 0; i < places.size(); ++i) {
    if (length(parts[i].size()) != impl_->batches()) {
      throw InvalidArgument(cat("[", kPairedRun, ".rows_at] expected one event of '",
                                places[i].site, "' a run, got ", parts[i].size(), " in ",
                                impl_->batches(),
                                " runs; choose a phase and step in the selection"));
    }
    // batches whose rows have different numbers of tokens can only be compared by their mean
    const std::int64_t width = parts[i].front().size(1);
    for (const at::Tensor& part : parts[i]) {
      if (part.size(1) == width) continue;
      return rows_at(places, false, words, edit, driven);
    }
    const at::Tensor all = at::cat(parts[i]);
    out.push_back(all.view({length(impl_->scenes.size()), -1, width}).mean(1));
  }
  return out;
}

at::Tensor PairedRun::displacement(const DirectionEdit& edit,
                                   const std::vector<DirectionEdit>& others,
                                   const std::vector<at::Tensor>& readers, Words words) {
  const std::vector<DirectionPlace>& places = edit.places();
  if (readers.size() != places.size()) {
    throw InvalidArgument(cat("[", kPairedRun, ".displacement] expected a reader for each of ",
                              places.size(), " places, got ", readers.size()));
  }
  std::vector<at::Tensor> out;
  const at::NoGradGuard no_grad;
  std::vector<std::int64_t> events;
  look(
      *impl_, "displacement", places, words,
      [&](std::int64_t rows) {
        out.push_back(at::zeros({1 + length(others.size()), rows}, at::kDouble));
        events.assign(places.size(), 0);
      },
      [&](std::size_t i, const at::Tensor& part, const Event& event, const EditRows& rows) {
        const DirectionPlace& place = places[i];
        check_once(events[i]++, event, "displacement");
        const auto read = [&](const at::Tensor& x) {
          const PartVectors vectors(x, event.site, rows, place.over, place.direction.width());
          return vectors.mean_of_all(
              at::matmul(vectors.all().to(at::kDouble), readers[i].to(x.device(), at::kDouble)));
        };
        const at::Tensor before = read(part);
        for (std::int64_t k = 0; k <= length(others.size()); ++k) {
          const DirectionEdit& one = k == 0 ? edit : others[static_cast<std::size_t>(k - 1)];
          out.back()[k] += read(one.moved(i, part, rows, event.site)) - before;
        }
      });
  return at::cat(out, 1);
}

}  // namespace tierod::patch

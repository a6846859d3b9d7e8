#include <ATen/ops/empty.h>

#include <algorithm>
#include <bit>
#include <future>
#include <utility>

#include "core/text_internal.h"
#include "store/permutation_internal.h"
#include "store/reader_internal.h"
#include "tierod/core/error.h"
#include "tierod/core/random.h"

namespace tierod {

namespace internal {

Permutation::Permutation(std::uint64_t n, std::uint64_t seed, std::uint64_t epoch) : n_(n) {
  const int bits = n > 1 ? static_cast<int>(std::bit_width(n - 1)) : 1;
  half_bits_ = (bits + 1) / 2;
  mask_ = (std::uint64_t{1} << half_bits_) - 1;
  const CounterRandom random(seed, "store.shuffle");
  for (std::size_t i = 0; i < kRounds; ++i) {
    keys_[i] = random.bits(epoch, 0, static_cast<std::uint32_t>(i));
  }
}

std::uint64_t Permutation::operator()(std::uint64_t position) const noexcept {
  do {
    std::uint64_t left = position >> half_bits_;
    std::uint64_t right = position & mask_;
    for (const std::uint64_t key : keys_) {
      std::uint64_t mixed = right + key;  // the finaliser of MurmurHash3
      mixed = (mixed ^ (mixed >> 33)) * 0xff51afd7ed558ccdULL;
      mixed = (mixed ^ (mixed >> 33)) * 0xc4ceb9fe1a85ec53ULL;
      mixed ^= mixed >> 33;
      const std::uint64_t next = left ^ (mixed & mask_);
      left = right;
      right = next;
    }
    position = (left << half_bits_) | right;
  } while (position >= n_);
  return position;
}

}  // namespace internal

struct Batches::Impl {
  std::shared_ptr<const internal::Snapshot> snapshot;
  std::vector<internal::SiteRef> sites;
  BatchOptions options;
  at::Tensor chosen;  // row numbers; undefined: all rows
  std::int64_t total = 0;
  std::int64_t done = 0;
  internal::Permutation rows;    // where block_rows is 0
  internal::Permutation blocks;  // of the others
  std::int64_t window = 0;       // number of the window in `order`
  std::vector<std::int64_t> order;
  std::size_t used = 0;
  std::future<void> ahead;  // the reading of the next window

  static constexpr const char* kWhere = "store.ActivationReader.batches";

  std::int64_t row(std::int64_t position) const {
    return chosen.defined() ? chosen.const_data_ptr<std::int64_t>()[position] : position;
  }

  // Positions of the rows of one block.
  std::pair<std::int64_t, std::int64_t> block(std::int64_t number) const {
    const auto which = options.seed
                           ? static_cast<std::int64_t>(blocks(static_cast<std::uint64_t>(number)))
                           : number;
    const std::int64_t begin = which * options.block_rows;
    return {begin, std::min(total, begin + options.block_rows)};
  }

  // Runs of neighbouring rows of the blocks of one window.
  std::vector<std::pair<std::int64_t, std::int64_t>> runs(std::int64_t first_block) const {
    std::vector<std::pair<std::int64_t, std::int64_t>> result;
    const auto count = static_cast<std::int64_t>(blocks.size());
    const std::int64_t end = std::min(count, first_block + options.window_blocks);
    for (std::int64_t b = first_block; b < end; ++b) {
      const auto [begin, last] = block(b);
      if (!chosen.defined()) {
        result.emplace_back(begin, last);
        continue;
      }
      for (std::int64_t p = begin; p < last;) {
        std::int64_t q = p + 1;
        while (q < last && row(q) == row(q - 1) + 1) ++q;
        result.emplace_back(row(p), row(q - 1) + 1);
        p = q;
      }
    }
    return result;
  }

  // Read a window while the one before is used. The window after it is asked for first, so that the
  // disk has work while this one is mapped and checked.
  void read_ahead(std::int64_t first_block) {
    const auto ask = [](const internal::Snapshot& store, const auto& of, const auto& where) {
      for (const auto& [begin, end] : where) {
        for (const auto& ref : of) internal::will_need(store, ref, begin, end, kWhere);
      }
    };
    if (first_block == 0) ask(*snapshot, sites, runs(0));
    ahead = std::async(std::launch::async,
                       [ask, snapshot = snapshot, sites = sites, now = runs(first_block),
                        next = runs(first_block + options.window_blocks)] {
                         ask(*snapshot, sites, next);
                         for (const auto& [begin, end] : now) {
                           for (const auto& ref : sites)
                             internal::touch_rows(*snapshot, ref, begin, end, kWhere);
                         }
                       });
  }

  void next_window() {
    const std::int64_t first = window * options.window_blocks;
    const auto count = static_cast<std::int64_t>(blocks.size());
    const std::int64_t end = std::min(count, first + options.window_blocks);
    if (window == 0) read_ahead(0);
    ahead.get();
    if (end < count) read_ahead(end);
    order.clear();
    for (std::int64_t b = first; b < end; ++b) {
      const auto [begin, last] = block(b);
      for (std::int64_t p = begin; p < last; ++p) order.push_back(p);
    }
    if (options.seed) {
      const internal::Permutation within(
          order.size(), *options.seed ^ 0x77696e646f77ULL,
          (options.epoch << 32) ^ static_cast<std::uint64_t>(window));
      std::vector<std::int64_t> shuffled(order.size());
      for (std::size_t i = 0; i < order.size(); ++i) shuffled[i] = order[within(i)];
      order = std::move(shuffled);
    }
    used = 0;
    ++window;
  }

  std::int64_t next_row() {
    if (options.block_rows == 0) {
      const auto position = static_cast<std::uint64_t>(done++);
      return row(options.seed ? static_cast<std::int64_t>(rows(position))
                              : static_cast<std::int64_t>(position));
    }
    if (used == order.size()) next_window();
    ++done;
    return row(order[used++]);
  }
};

Batches::Batches(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Batches::~Batches() = default;
Batches::Batches(Batches&&) noexcept = default;

std::int64_t Batches::count() const noexcept {
  const std::int64_t size = impl_->options.batch_rows;
  return impl_->options.drop_last ? impl_->total / size : (impl_->total + size - 1) / size;
}

bool Batches::next(Batch& batch) {
  Impl& impl = *impl_;
  const std::int64_t size = std::min(impl.options.batch_rows, impl.total - impl.done);
  if (size <= 0 || (impl.options.drop_last && size < impl.options.batch_rows)) return false;
  at::Tensor rows = at::empty({size}, at::TensorOptions().dtype(at::kLong));
  auto* number = rows.mutable_data_ptr<std::int64_t>();
  for (std::int64_t i = 0; i < size; ++i) number[i] = impl.next_row();
  std::vector<at::Tensor> sites;
  for (const internal::SiteRef& ref : impl.sites) {
    at::Tensor values =
        at::empty({size, ref.site.width}, at::TensorOptions().dtype(ref.site.dtype));
    internal::gather_rows(*impl.snapshot, ref, number, size,
                          static_cast<std::byte*>(values.mutable_data_ptr()), Impl::kWhere);
    sites.push_back(std::move(values));
  }
  batch = {std::move(rows), std::move(sites)};
  return true;
}

Batches ActivationReader::batches(std::string_view stream, const std::vector<std::string>& sites,
                                  BatchOptions options, const at::Tensor& rows) const {
  constexpr const char* kWhere = Batches::Impl::kWhere;
  if (options.batch_rows < 1 || options.block_rows < 0 || options.window_blocks < 1) {
    throw InvalidArgument(internal::cat("[", kWhere,
                                        "] expected batch_rows >= 1, block_rows >= 0 and "
                                        "window_blocks >= 1, got ",
                                        options.batch_rows, ", ", options.block_rows, ", ",
                                        options.window_blocks));
  }
  auto impl = std::make_unique<Batches::Impl>();
  impl->snapshot = impl_->snapshot();
  const std::size_t s = impl->snapshot->manifest.stream_number(stream, kWhere);
  for (const std::string& site : sites) {
    impl->sites.push_back(internal::find_site(*impl->snapshot, stream, site, kWhere));
  }
  impl->options = options;
  impl->total = impl->snapshot->rows(s);
  if (rows.defined()) {
    if (rows.dim() != 1 || rows.scalar_type() != at::kLong) {
      throw InvalidArgument(internal::cat("[", kWhere,
                                          "] expected row numbers, int64 [n], got shape ",
                                          rows.sizes(), " of ", rows.scalar_type()));
    }
    impl->chosen = rows.to(at::kCPU).contiguous();
    const auto* number = impl->chosen.const_data_ptr<std::int64_t>();
    for (std::int64_t i = 0; i < rows.size(0); ++i) {
      if (number[i] >= 0 && number[i] < impl->total) continue;
      throw OutOfRange(internal::cat("[", kWhere, "] row ", number[i], " does not lie within the ",
                                     impl->total, " rows of '", stream, "'"));
    }
    impl->total = rows.size(0);
  }
  const std::uint64_t seed = options.seed.value_or(0);
  if (options.block_rows == 0) {
    impl->rows =
        internal::Permutation(static_cast<std::uint64_t>(impl->total), seed, options.epoch);
  } else {
    const std::int64_t count = (impl->total + options.block_rows - 1) / options.block_rows;
    impl->blocks = internal::Permutation(static_cast<std::uint64_t>(count), seed, options.epoch);
  }
  return Batches(std::move(impl));
}

}  // namespace tierod

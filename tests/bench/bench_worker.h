#pragma once

// What the C++ workers of the benches have in common: the protocol of harness/worker.py, and the
// weights of gpt2_shape.py.

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <malloc.h>
#include <time.h>

#include <cstdint>
#include <exception>
#include <fstream>
#include <functional>
#include <iostream>
#include <map>
#include <sstream>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace bench {

inline double clock_s(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

/// Keep the compiler from moving or merging what stands on either side.
inline void fence() { asm volatile("" ::: "memory"); }

struct Sizes {
  std::int64_t layers, width, heads, mlp, vocab, tokens, batch;
};

/// Read what gpt2_shape.py's write_data wrote.
struct Weights {
  Weights(const std::string& folder, const std::string& shape) {
    std::ifstream text(folder + "/" + shape + ".txt");
    std::ifstream data(folder + "/" + shape + ".f32", std::ios::binary);
    Sizes& s = sizes;
    text >> s.layers >> s.width >> s.heads >> s.mlp >> s.vocab >> s.tokens >> s.batch;
    std::string row;
    std::getline(text, row);
    while (std::getline(text, row)) {
      std::istringstream words(row);
      std::string name;
      words >> name;
      std::vector<std::int64_t> size;
      for (std::int64_t n = 0; words >> n;) size.push_back(n);
      at::Tensor value = at::empty(size, at::kFloat);
      data.read(static_cast<char*>(value.data_ptr()), static_cast<std::streamsize>(value.nbytes()));
      named[name] = value;
    }
    tokens = at::empty({s.batch, s.tokens}, at::kLong);
    std::ifstream(folder + "/" + shape + ".tokens", std::ios::binary)
        .read(static_cast<char*>(tokens.data_ptr()), static_cast<std::streamsize>(tokens.nbytes()));
    if (!text.eof() || !data) throw std::runtime_error("cannot read the data of " + shape);
  }
  const at::Tensor& at(const std::string& name) const { return named.at(name); }

  Sizes sizes{};
  at::Tensor tokens;  // [batch, tokens]
  std::map<std::string, at::Tensor> named;
};

inline std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += static_cast<unsigned char>(c) < ' ' ? ' ' : c;
  }
  return out + '"';
}

/// Something to time that computes a tensor.
struct Contender {
  std::function<void()> run;
  std::function<at::Tensor()> value;
  std::function<void()> before = [] {};
  std::function<void()> after = [] {};
  std::function<void(std::int64_t)> run_many{};
};

/// Write what a contender computes, for the driver to compare.
inline void write_value(Contender& contender, const std::string& file) {
  const at::Tensor values = contender.value().contiguous();
  std::ofstream(file, std::ios::binary)
      .write(static_cast<const char*>(values.const_data_ptr()),
             static_cast<std::streamsize>(values.nbytes()));
}

/// Run `count` times; return the CPU and wall seconds of one.
template <typename Contender>
std::pair<double, double> time_slice(Contender& contender, std::int64_t count) {
  contender.before();
  const double wall = clock_s(CLOCK_MONOTONIC);
  const double cpu = clock_s(CLOCK_PROCESS_CPUTIME_ID);
  if (contender.run_many) {
    contender.run_many(count);
  } else {
    for (std::int64_t i = 0; i < count; ++i) contender.run();
  }
  const double cpu_s = clock_s(CLOCK_PROCESS_CPUTIME_ID) - cpu;
  const double wall_s = clock_s(CLOCK_MONOTONIC) - wall;
  contender.after();
  return {cpu_s / static_cast<double>(count), wall_s / static_cast<double>(count)};
}

/// Alternate slices of the contenders that `text` lists as "shape/label:count,...".
template <typename Bench>
std::string run(Bench& bench, const std::string& text, std::int64_t rounds) {
  using Contender = std::remove_reference_t<decltype(bench.get("", ""))>;
  std::vector<std::pair<Contender*, std::int64_t>> calls;
  std::istringstream parts(text);
  for (std::string part; std::getline(parts, part, ',');) {
    const auto slash = part.find('/'), colon = part.rfind(':');
    calls.emplace_back(&bench.get(part.substr(0, slash), part.substr(slash + 1, colon - slash - 1)),
                       std::stoll(part.substr(colon + 1)));
  }
  std::vector<std::string> slices(calls.size());
  for (std::int64_t round = 0; round < rounds; ++round) {
    for (std::size_t j = 0; j < calls.size(); ++j) {
      const std::size_t i = round % 2 == 0 ? j : calls.size() - 1 - j;
      const auto [cpu, wall] = time_slice(*calls[i].first, calls[i].second);
      std::ostringstream out;
      out.precision(9);
      out << (round > 0 ? ", " : "") << "[" << cpu << ", " << wall << "]";
      slices[i] += out.str();
    }
  }
  std::string reply = R"({"ok": true, "slices": [)";
  for (std::size_t i = 0; i < slices.size(); ++i) reply += (i > 0 ? ", [" : "[") + slices[i] + "]";
  return reply + "]}";
}

/// `bench.get(shape, label)` gives what is timed, `bench.check(contender, file)` writes what it
/// computes.
template <typename Bench>
std::string answer(Bench& bench, const std::string& request) {
  std::istringstream words(request);
  std::string verb, first, second, third;
  words >> verb >> first >> second >> third;
  try {
    if (verb == "run") return run(bench, first, std::stoll(second));
    auto& contender = bench.get(first, second);
    if (verb == "check") {
      bench.check(contender, third);
      return R"({"ok": true})";
    }
    if (verb != "prepare") throw std::runtime_error("unknown request " + verb);
    time_slice(contender, 1);
    return R"({"ok": true, "threads": )" + std::to_string(at::get_num_threads()) + "}";
  } catch (const std::exception& error) {
    return "{\"error\": " + quoted(error.what()) + "}";
  }
}

/// Serve until the driver closes: `<program> <data folder> <threads>`.
template <typename Bench>
int serve(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: " << argv[0] << " <data folder> <threads>\n";
    return 2;
  }
  // A program that runs a model again and again keeps its pages; by default each tensor of a few
  // hundred KB is mapped and cleared anew.
  mallopt(M_MMAP_THRESHOLD, 1 << 28);
  mallopt(M_TRIM_THRESHOLD, 1 << 28);
  at::set_num_threads(std::stoi(argv[2]));
  Bench bench(argv[1]);
  for (std::string request; std::getline(std::cin, request) && request != "quit";) {
    std::cout << answer(bench, request) << std::endl;
  }
  return 0;
}

}  // namespace bench

#pragma once

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "bindings_internal.h"

namespace tierod::bindings {

// Lists and arrays of any real type come in as these; tensors are converted in Python.
using Doubles = py::array_t<double, py::array::c_style | py::array::forcecast>;
using Integers = py::array_t<std::int64_t, py::array::c_style | py::array::forcecast>;
using Bytes = py::array_t<std::uint8_t, py::array::c_style | py::array::forcecast>;

/// View all elements, row-major.
template <typename Array>
std::span<const typename Array::value_type> span_of(const Array& array) {
  return {array.data(), static_cast<std::size_t>(array.size())};
}

/// Copy numbers into a fresh array of `shape` (by default one axis).
inline py::array_t<double> array_of(std::span<const double> values,
                                    std::vector<py::ssize_t> shape = {}) {
  if (shape.empty()) shape = {static_cast<py::ssize_t>(values.size())};
  py::array_t<double> out(shape);
  std::copy(values.begin(), values.end(), out.mutable_data());
  return out;
}

}  // namespace tierod::bindings

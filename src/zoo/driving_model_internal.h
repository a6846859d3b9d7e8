#pragma once

#include <string>
#include <vector>

#include "tierod/core/site.h"
#include "tierod/zoo/driving_model.h"
#include "zoo/network_internal.h"

namespace tierod::internal {

/// Hold the sites that stand outside of the network's blocks.
struct DrivingSites {
  explicit DrivingSites(std::int64_t layers);
  std::vector<Site> cache_key, cache_value;
  Site velocity{"action.velocity", "rtw"};
  Site controls{"action.controls", "rtw"};
};

/// Let the graph of a run start at its inputs, for the lifetime of the object.
class GraphInputs {
 public:
  GraphInputs(Network& network, bool on) : network_(network), before_(network.graph_inputs()) {
    network_.set_graph_inputs(on);
  }
  ~GraphInputs() { network_.set_graph_inputs(before_); }
  GraphInputs(const GraphInputs&) = delete;
  GraphInputs& operator=(const GraphInputs&) = delete;

 private:
  Network& network_;
  bool before_;  // a callback may run the model again, without a graph
};

}  // namespace tierod::internal

namespace tierod::zoo {

struct DrivingModel::State {
  Spec spec;
  std::shared_ptr<internal::Network> network;
  std::string log;
  internal::DrivingSites sites;
  std::string weights_sha256;
};

}  // namespace tierod::zoo

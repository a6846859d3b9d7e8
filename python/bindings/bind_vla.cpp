#include <ATen/ops/arange.h>
#include <ATen/ops/zeros.h>
#include <pybind11/stl.h>
#include <pybind11/trampoline_self_life_support.h>

#include <string>

#include "bindings_internal.h"
#include "tierod/vla/block_model.h"
#include "tierod/vla/control.h"
#include "tierod/vla/functional.h"
#include "tierod/vla/kinematics.h"
#include "tierod/vla/staged_model.h"

namespace tierod::bindings {

namespace {

using Ids = std::vector<std::int64_t>;

class PyModel : public vla::Model, public py::trampoline_self_life_support {
 public:
  using vla::Model::Model;
  vla::ModelDescription describe() const override {
    PYBIND11_OVERRIDE_PURE(vla::ModelDescription, vla::Model, describe);
  }
  vla::BatchSpec batch_spec() const override {
    PYBIND11_OVERRIDE_PURE(vla::BatchSpec, vla::Model, batch_spec);
  }
  vla::Rollout rollout(const vla::Batch& batch, const vla::RolloutOptions& options) override {
    PYBIND11_OVERRIDE_PURE(vla::Rollout, vla::Model, rollout, batch, options);
  }
};

/// What a Python model has thought: an object of its own, with whatever it keeps.
class PyThought : public vla::Thought, public py::trampoline_self_life_support {
 public:
  using vla::Thought::Thought;
  std::int64_t bytes() const override { PYBIND11_OVERRIDE_PURE(std::int64_t, vla::Thought, bytes); }
};

class PyStagedModel : public vla::StagedModel, public py::trampoline_self_life_support {
 public:
  using vla::StagedModel::StagedModel;
  vla::ModelDescription describe() const override {
    PYBIND11_OVERRIDE_PURE(vla::ModelDescription, vla::StagedModel, describe);
  }
  vla::BatchSpec batch_spec() const override {
    PYBIND11_OVERRIDE_PURE(vla::BatchSpec, vla::StagedModel, batch_spec);
  }
  std::shared_ptr<const vla::Thought> think(const vla::Batch& batch,
                                            const vla::RolloutOptions& options) override {
    const py::gil_scoped_acquire gil;
    const py::function method =
        py::get_override(static_cast<const vla::StagedModel*>(this), "think");
    if (!method) {
      throw InvalidArgument("[vla.StagedModel] expected a model to define think(batch, options)");
    }
    const py::object found = method(batch, options);
    if (!py::isinstance<vla::Thought>(found)) {
      throw InvalidArgument(
          "[vla.StagedModel] expected think to return a vla.Thought, got another object");
    }
    return found.cast<std::shared_ptr<vla::Thought>>();
  }
  vla::Rollout rollout(const vla::Batch& batch, const vla::RolloutOptions& options) override {
    PYBIND11_OVERRIDE(vla::Rollout, vla::StagedModel, rollout, batch, options);
  }
  vla::Rollout act(const vla::Thought& thought,
                   const std::vector<vla::Knockout>& knockouts) override {
    PYBIND11_OVERRIDE_PURE(vla::Rollout, vla::StagedModel, act, &thought, knockouts);
  }
};

class PyBlockModel : public vla::BlockModel, public py::trampoline_self_life_support {
 public:
  using vla::BlockModel::BlockModel;
  std::int64_t blocks() const override {
    PYBIND11_OVERRIDE_PURE(std::int64_t, vla::BlockModel, blocks);
  }
  std::int64_t positions(const vla::Batch& batch) override {
    PYBIND11_OVERRIDE_PURE(std::int64_t, vla::BlockModel, positions, batch);
  }
  at::Tensor embed(const vla::Batch& batch) override {
    PYBIND11_OVERRIDE_PURE(at::Tensor, vla::BlockModel, embed, batch);
  }
  vla::BlockOutput block(std::int64_t index, const vla::BlockInput& input) override {
    PYBIND11_OVERRIDE_PURE(vla::BlockOutput, vla::BlockModel, block, index, input);
  }
  at::Tensor finish(const at::Tensor& hidden) override {
    PYBIND11_OVERRIDE_PURE(at::Tensor, vla::BlockModel, finish, hidden);
  }
  at::Tensor finish_columns(const at::Tensor& hidden, const Ids& columns) override {
    PYBIND11_OVERRIDE(at::Tensor, vla::BlockModel, finish_columns, hidden, columns);
  }
};

class PySceneSource : public vla::SceneSource, public py::trampoline_self_life_support {
 public:
  using vla::SceneSource::SceneSource;
  std::int64_t size() const override {
    PYBIND11_OVERRIDE_PURE(std::int64_t, vla::SceneSource, size);
  }
  vla::Batch batch(const Ids& ids) const override {
    PYBIND11_OVERRIDE_PURE(vla::Batch, vla::SceneSource, batch, ids);
  }
  std::vector<std::string> group_levels() const override {
    PYBIND11_OVERRIDE_PURE(std::vector<std::string>, vla::SceneSource, group_levels);
  }
  Ids group(const std::string& level, const Ids& ids) const override {
    PYBIND11_OVERRIDE_PURE(Ids, vla::SceneSource, group, level, ids);
  }
  std::vector<std::string> concepts() const override {
    PYBIND11_OVERRIDE_PURE(std::vector<std::string>, vla::SceneSource, concepts);
  }
  at::Tensor labels(const std::string& name) const override {
    PYBIND11_OVERRIDE_PURE(at::Tensor, vla::SceneSource, labels, name);
  }
  std::vector<vla::SceneNuisance> nuisances() const override {
    PYBIND11_OVERRIDE(std::vector<vla::SceneNuisance>, vla::SceneSource, nuisances);
  }
  std::optional<vla::Batch> twin(const Ids& ids, const std::string& name) const override {
    PYBIND11_OVERRIDE(std::optional<vla::Batch>, vla::SceneSource, twin, ids, name);
  }
  std::vector<std::string> framings() const override {
    PYBIND11_OVERRIDE(std::vector<std::string>, vla::SceneSource, framings);
  }
  at::Tensor image(std::int64_t id, const std::string& twin_by) const override {
    PYBIND11_OVERRIDE(at::Tensor, vla::SceneSource, image, id, twin_by);
  }
  std::vector<std::vector<vla::Agent>> agents(const Ids& ids,
                                              const std::string& twin_by) const override {
    PYBIND11_OVERRIDE(std::vector<std::vector<vla::Agent>>, vla::SceneSource, agents, ids, twin_by);
  }
  std::vector<vla::Lane> lane(const Ids& ids) const override {
    PYBIND11_OVERRIDE(std::vector<vla::Lane>, vla::SceneSource, lane, ids);
  }
  std::vector<vla::Stratification> strata() const override {
    PYBIND11_OVERRIDE(std::vector<vla::Stratification>, vla::SceneSource, strata);
  }
  std::vector<vla::ConceptClaim> claims() const override {
    PYBIND11_OVERRIDE(std::vector<vla::ConceptClaim>, vla::SceneSource, claims);
  }
  std::vector<vla::ControlClaim> control_claims() const override {
    PYBIND11_OVERRIDE(std::vector<vla::ControlClaim>, vla::SceneSource, control_claims);
  }
  vla::CotVocabulary vocabulary() const override {
    PYBIND11_OVERRIDE(vla::CotVocabulary, vla::SceneSource, vocabulary);
  }
};

void bind_batches(py::module_& m) {
  using vla::Batch;
  py::class_<Batch>(m, "Batch", "The inputs of several scenes, by name, and the scenes' ids.")
      .def(py::init([](std::map<std::string, at::Tensor> tensors, Ids ids) {
             return Batch{std::move(tensors), std::move(ids)};
           }),
           py::arg("tensors"), py::arg("ids"))
      // copies: an edit in place would be lost, so it must not be possible
      .def_property(
          "tensors",
          [](const Batch& b) {
            return py::module_::import("types").attr("MappingProxyType")(py::cast(b.tensors));
          },
          [](Batch& b, std::map<std::string, at::Tensor> tensors) {
            b.tensors = std::move(tensors);
          },
          "By name, read-only; assign a new dict.")
      .def_property(
          "ids", [](const Batch& b) { return py::tuple(py::cast(b.ids)); },
          [](Batch& b, Ids ids) { b.ids = std::move(ids); }, "Read-only; assign a new list.")
      .def_property_readonly("rows", &Batch::rows)
      .def("at", &Batch::at, py::arg("name"), "Return the tensor called name.")
      .def("__getitem__", &Batch::at, py::arg("name"))
      .def("select", &Batch::select, py::arg("index"), "Return the rows at index.")
      .def("__repr__", [](const Batch& b) {
        std::string text = "Batch(" + std::to_string(b.rows()) + " rows";
        for (const auto& [name, unused] : b.tensors) text += ", " + name;
        return text + ")";
      });
  using vla::BatchField;
  py::class_<BatchField>(m, "BatchField", "One tensor that a model reads.")
      .def(py::init([](std::string name, at::ScalarType dtype, Ids shape, std::string description) {
             return BatchField{std::move(name), dtype, std::move(shape), std::move(description)};
           }),
           py::arg("name"), py::arg("dtype"), py::arg("shape") = Ids{}, py::arg("description") = "")
      .def_readonly("name", &BatchField::name)
      .def_readonly("dtype", &BatchField::dtype)
      .def_readonly("shape", &BatchField::shape, "Sizes after the row axis; -1 is free.")
      .def_readonly("description", &BatchField::description);
  using vla::BatchSpec;
  py::class_<BatchSpec>(m, "BatchSpec", "The batches that a model takes.")
      .def(py::init([](std::vector<BatchField> fields) { return BatchSpec{std::move(fields)}; }),
           py::arg("fields"))
      .def_readonly("fields", &BatchSpec::fields)
      .def("check", &BatchSpec::check, py::arg("batch"), "Raise unless the batch fits.");
}

void bind_rollouts(py::module_& m) {
  using vla::Knockout;
  py::class_<Knockout>(m, "Knockout",
                       "Hide the keys and values of one span from another's queries.")
      .def(py::init([](std::string columns, std::string readers, Ids layers, Ids heads) {
             return Knockout{std::move(columns), std::move(readers), std::move(layers),
                             std::move(heads)};
           }),
           py::arg("columns"), py::arg("readers") = "action", py::arg("layers") = Ids{},
           py::arg("heads") = Ids{})
      .def_readonly("columns", &Knockout::columns)
      .def_readonly("readers", &Knockout::readers)
      .def_readonly("layers", &Knockout::layers)
      .def_readonly("heads", &Knockout::heads);

  using vla::RolloutOptions;
  py::class_<RolloutOptions>(m, "RolloutOptions", "How a rollout is to be done.")
      .def(py::init([](std::int64_t num_samples, std::optional<at::Tensor> cot_tokens,
                       std::optional<at::Tensor> noise, double temperature, std::uint64_t seed,
                       std::string framing, std::vector<Knockout> knockouts,
                       std::optional<std::int64_t> cot_length, bool pin_action_positions,
                       bool differentiable) {
             return RolloutOptions{num_samples,
                                   std::move(cot_tokens),
                                   std::move(noise),
                                   temperature,
                                   seed,
                                   std::move(framing),
                                   std::move(knockouts),
                                   cot_length,
                                   pin_action_positions,
                                   differentiable};
           }),
           py::kw_only(), py::arg("num_samples") = 1, py::arg("cot_tokens") = py::none(),
           py::arg("noise") = py::none(), py::arg("temperature") = 1.0, py::arg("seed") = 0,
           py::arg("framing") = "", py::arg("knockouts") = std::vector<Knockout>{},
           py::arg("cot_length") = py::none(), py::arg("pin_action_positions") = false,
           py::arg("differentiable") = false)
      .def_readwrite("num_samples", &RolloutOptions::num_samples)
      .def_readwrite("cot_tokens", &RolloutOptions::cot_tokens)
      .def_readwrite("noise", &RolloutOptions::noise)
      .def_readwrite("temperature", &RolloutOptions::temperature)
      .def_readwrite("seed", &RolloutOptions::seed)
      .def_readwrite("framing", &RolloutOptions::framing)
      .def_property(
          "knockouts", [](const RolloutOptions& o) { return py::tuple(py::cast(o.knockouts)); },
          [](RolloutOptions& o, std::vector<Knockout> knockouts) {
            o.knockouts = std::move(knockouts);
          },
          "Read-only; assign a new list.")
      .def_readwrite("cot_length", &RolloutOptions::cot_length)
      .def_readwrite("pin_action_positions", &RolloutOptions::pin_action_positions)
      .def_readwrite("differentiable", &RolloutOptions::differentiable)
      .def("check", &RolloutOptions::check, py::arg("scenes"),
           "Raise unless the options agree with each other and with so many scenes.");

  py::class_<Span>(m, "Span", "A named half-open range of absolute token positions.")
      .def(py::init([](std::string name, std::int64_t begin, std::int64_t end) {
             return Span{std::move(name), begin, end};
           }),
           py::arg("name"), py::arg("begin"), py::arg("end"))
      .def_readonly("name", &Span::name)
      .def_readonly("begin", &Span::begin)
      .def_readonly("end", &Span::end)
      .def(
          "__eq__", [](const Span& a, const Span& b) { return a == b; }, py::is_operator())
      .def("__repr__", [](const Span& s) {
        return "Span('" + s.name + "', " + std::to_string(s.begin) + ", " + std::to_string(s.end) +
               ")";
      });

  using vla::Rollout;
  py::class_<Rollout>(m, "Rollout", "What a model said and would do; row b * num_samples + j.")
      .def(py::init([](at::Tensor actions, at::Tensor initial_speed, double dt_s,
                       std::int64_t num_samples, std::optional<at::Tensor> trajectory,
                       std::optional<at::Tensor> cot_tokens, std::optional<at::Tensor> cot_lengths,
                       std::vector<std::string> cot_text, SpanTable spans) {
             const std::int64_t rows = actions.dim() > 0 ? actions.size(0) : 0;
             const auto integers = actions.options().dtype(at::kLong).requires_grad(false);
             Rollout out;
             out.num_samples = num_samples;
             out.dt_s = dt_s;
             if (num_samples < 1) {
               throw InvalidArgument("[vla.Rollout] expected num_samples >= 1, got " +
                                     std::to_string(num_samples));
             }
             out.sample_index = at::arange(rows, integers).remainder(num_samples);
             out.trajectory =
                 trajectory ? std::move(*trajectory) : vla::unicycle(actions, initial_speed, dt_s);
             out.cot_tokens = cot_tokens ? std::move(*cot_tokens) : at::zeros({rows, 0}, integers);
             out.cot_lengths =
                 cot_lengths ? std::move(*cot_lengths) : out.cot_tokens.ge(0).sum(-1).to(at::kLong);
             out.cot_text = std::move(cot_text);
             if (out.cot_text.empty()) out.cot_text.resize(static_cast<std::size_t>(rows));
             out.spans = std::move(spans);
             out.actions = std::move(actions);
             out.initial_speed = std::move(initial_speed);
             out.check();
             return out;
           }),
           py::kw_only(), py::arg("actions"), py::arg("initial_speed"), py::arg("dt_s"),
           py::arg("num_samples") = 1, py::arg("trajectory") = py::none(),
           py::arg("cot_tokens") = py::none(), py::arg("cot_lengths") = py::none(),
           py::arg("cot_text") = std::vector<std::string>{}, py::arg("spans") = SpanTable{},
           "The trajectory is the unicycle's where none is given.")
      .def_readonly("cot_tokens", &Rollout::cot_tokens)
      .def_readonly("cot_lengths", &Rollout::cot_lengths)
      .def_readonly("cot_text", &Rollout::cot_text)
      .def_readonly("sample_index", &Rollout::sample_index)
      .def_readonly("num_samples", &Rollout::num_samples)
      .def_readonly("dt_s", &Rollout::dt_s)
      .def_readonly("initial_speed", &Rollout::initial_speed)
      .def_readonly("actions", &Rollout::actions)
      .def_readonly("trajectory", &Rollout::trajectory)
      .def_readonly("spans", &Rollout::spans)
      .def_property_readonly("rows", &Rollout::rows)
      .def_property_readonly("waypoints", &Rollout::waypoints)
      .def_property_readonly("horizon_s", &Rollout::horizon_s)
      .def("check", &Rollout::check, "Raise unless shapes agree and numbers are finite.")
      .def("__repr__", [](const Rollout& r) {
        return "Rollout(" + std::to_string(r.rows()) + " rows, " + std::to_string(r.waypoints()) +
               " waypoints, " + std::to_string(r.num_samples) + " samples)";
      });
  m.def("concatenate_rollouts", &vla::concatenate_rollouts, py::arg("parts"),
        "Put rollouts of several batches behind each other.");
}

void bind_models(py::module_& m) {
  py::enum_<vla::Coupling>(m, "Coupling", "How a control head reads the language model.")
      .value("kv_cache", vla::Coupling::kv_cache)
      .value("features", vla::Coupling::features)
      .value("same_stream", vla::Coupling::same_stream)
      .value("none", vla::Coupling::none);
  using vla::InputCut;
  py::class_<InputCut>(
      m, "InputCut",
      "A complete cut through a model before it says anything: sites through which "
      "all goes that some inputs tell.")
      .def(py::init([](std::string name, std::vector<std::string> sites,
                       std::vector<std::string> spans, std::vector<std::string> fields) {
             return InputCut{std::move(name), std::move(sites), std::move(spans),
                             std::move(fields)};
           }),
           py::arg("name"), py::arg("sites"), py::arg("spans") = std::vector<std::string>{},
           py::arg("fields") = std::vector<std::string>{})
      .def_readonly("name", &InputCut::name)
      .def_readonly("sites", &InputCut::sites)
      .def_readonly("spans", &InputCut::spans)
      .def_readonly("fields", &InputCut::fields);
  using vla::ModelDescription;
  py::class_<ModelDescription>(m, "ModelDescription", "What a model says of itself.")
      .def(
          py::init([](std::string name, std::int64_t waypoints, double dt_s, vla::Coupling coupling,
                      SiteTable sites, std::map<std::string, std::int64_t> widths,
                      std::vector<std::string> head_inputs, std::vector<std::string> null_sites,
                      std::vector<std::string> options, std::string weights_sha256,
                      std::string dtype, std::vector<vla::InputCut> input_cuts) {
            return ModelDescription{std::move(name),
                                    coupling,
                                    std::move(sites),
                                    std::move(widths),
                                    std::move(head_inputs),
                                    std::move(null_sites),
                                    waypoints,
                                    dt_s,
                                    std::move(options),
                                    std::move(weights_sha256),
                                    std::move(dtype),
                                    std::move(input_cuts)};
          }),
          py::kw_only(), py::arg("name"), py::arg("waypoints"), py::arg("dt_s"),
          py::arg_v("coupling", vla::Coupling::none, "..."), py::arg_v("sites", SiteTable(), "..."),
          py::arg("widths") = std::map<std::string, std::int64_t>{},
          py::arg("head_inputs") = std::vector<std::string>{},
          py::arg("null_sites") = std::vector<std::string>{},
          py::arg("options") = std::vector<std::string>{}, py::arg("weights_sha256") = "",
          py::arg("dtype") = "float32", py::arg("input_cuts") = std::vector<vla::InputCut>{})
      .def_readonly("name", &ModelDescription::name)
      .def_readonly("coupling", &ModelDescription::coupling)
      .def_readonly("sites", &ModelDescription::sites)
      .def_readonly("widths", &ModelDescription::widths)
      .def_readonly("head_inputs", &ModelDescription::head_inputs)
      .def_readonly("null_sites", &ModelDescription::null_sites)
      .def_readonly("waypoints", &ModelDescription::waypoints)
      .def_readonly("dt_s", &ModelDescription::dt_s)
      .def_readonly("options", &ModelDescription::options)
      .def_readonly("weights_sha256", &ModelDescription::weights_sha256)
      .def_readonly("dtype", &ModelDescription::dtype)
      .def_readonly("input_cuts", &ModelDescription::input_cuts);

  py::class_<vla::Model, PyModel, py::smart_holder>(
      m, "Model", "Turns a batch of scenes into what the model says and would do; subclass it.")
      .def(py::init<>())
      .def("describe", &vla::Model::describe)
      .def("batch_spec", &vla::Model::batch_spec)
      .def("rollout", &vla::Model::rollout, py::arg("batch"),
           py::arg_v("options", vla::RolloutOptions{}, "..."), "Return rows b * num_samples + j.");

  py::class_<vla::Thought, PyThought, py::smart_holder>(
      m, "Thought",
      "What a model has read and said before it acts; subclass it, and keep in it what the control "
      "head reads.")
      .def(py::init<>())
      .def("bytes", &vla::Thought::bytes, "Return the memory that it holds.");
  py::class_<vla::StagedModel, vla::Model, PyStagedModel, py::smart_holder>(
      m, "StagedModel",
      "Thinks, then acts: many actions can be had of one thought, so that an experiment on the "
      "control head and its\ninputs runs no layer of the language model again. A rollout is both, "
      "to "
      "the last bit. Neither opens a\nRunScope; `rollout` brackets both.")
      .def(py::init<>())
      .def(
          "think",
          [](vla::StagedModel& model, const vla::Batch& batch, const vla::RolloutOptions& options) {
            return std::const_pointer_cast<vla::Thought>(model.think(batch, options));
          },
          py::arg("batch"), py::arg_v("options", vla::RolloutOptions{}, "..."),
          "Read the scenes and write the chain of thought.")
      .def("act", &vla::StagedModel::act, py::arg("thought"),
           py::arg("knockouts") = std::vector<vla::Knockout>{},
           "Act on a thought, with its options; `knockouts` are more of what the control head "
           "reads.");

  using vla::BlockInput;
  py::class_<BlockInput>(m, "BlockInput", "The residual stream of some positions, for a block.")
      .def(py::init([](at::Tensor hidden, std::int64_t begin, std::optional<at::Tensor> past_key,
                       std::optional<at::Tensor> past_value, std::int64_t outputs) {
             return BlockInput{std::move(hidden), begin,
                               past_key ? std::move(*past_key) : at::Tensor(),
                               past_value ? std::move(*past_value) : at::Tensor(), outputs};
           }),
           py::arg("hidden"), py::arg("begin") = 0, py::arg("past_key") = py::none(),
           py::arg("past_value") = py::none(), py::arg("outputs") = -1)
      .def_readonly("hidden", &BlockInput::hidden)
      .def_readonly("begin", &BlockInput::begin)
      .def_readonly("past_key", &BlockInput::past_key)
      .def_readonly("past_value", &BlockInput::past_value)
      .def_readonly("outputs", &BlockInput::outputs);
  using vla::BlockOutput;
  py::class_<BlockOutput>(m, "BlockOutput", "What a block returns.")
      .def(py::init([](at::Tensor hidden, at::Tensor key, at::Tensor value) {
             return BlockOutput{std::move(hidden), std::move(key), std::move(value)};
           }),
           py::arg("hidden"), py::arg("key"), py::arg("value"))
      .def_readonly("hidden", &BlockOutput::hidden)
      .def_readonly("key", &BlockOutput::key)
      .def_readonly("value", &BlockOutput::value);
  py::class_<vla::BlockModel, PyBlockModel, py::smart_holder>(
      m, "BlockModel", "Runs a causal transformer block by block; subclass it.")
      .def(py::init<>())
      .def("blocks", &vla::BlockModel::blocks)
      .def("positions", &vla::BlockModel::positions, py::arg("batch"))
      .def("embed", &vla::BlockModel::embed, py::arg("batch"))
      .def("block", &vla::BlockModel::block, py::arg("index"), py::arg("input"))
      .def("finish", &vla::BlockModel::finish, py::arg("hidden"))
      .def("finish_columns", &vla::BlockModel::finish_columns, py::arg("hidden"),
           py::arg("columns"),
           "Return the outputs `columns` alone; worth writing where there are many.");
}

void bind_scenes(py::module_& m) {
  using vla::Agent;
  py::class_<Agent>(m, "Agent", "Another road user at the moment of the picture, ego frame.")
      .def(py::init([](std::string kind, double x_m, double y_m, double vx_m_s, double vy_m_s,
                       double radius_m) {
             return Agent{std::move(kind), x_m, y_m, vx_m_s, vy_m_s, radius_m};
           }),
           py::arg("kind") = "", py::arg("x_m") = 0.0, py::arg("y_m") = 0.0,
           py::arg("vx_m_s") = 0.0, py::arg("vy_m_s") = 0.0, py::arg("radius_m") = 0.5)
      .def_readonly("kind", &Agent::kind)
      .def_readonly("x_m", &Agent::x_m)
      .def_readonly("y_m", &Agent::y_m)
      .def_readonly("vx_m_s", &Agent::vx_m_s)
      .def_readonly("vy_m_s", &Agent::vy_m_s)
      .def_readonly("radius_m", &Agent::radius_m);
  using vla::Lane;
  py::class_<Lane>(m, "Lane", "The ego lane: centre line [points, 2] in m, ego frame, and width.")
      .def(py::init(
               [](at::Tensor centre, double width_m) { return Lane{std::move(centre), width_m}; }),
           py::arg("centre"), py::arg("width_m") = 3.5)
      .def_readonly("centre", &Lane::centre)
      .def_readonly("width_m", &Lane::width_m);
  using vla::SceneNuisance;
  py::class_<SceneNuisance>(m, "SceneNuisance", "What a probe might read instead of the concept.")
      .def(py::init([](std::string name, at::Tensor values, bool categorical,
                       std::vector<std::string> categories) {
             return SceneNuisance{std::move(name), std::move(values), categorical,
                                  std::move(categories)};
           }),
           py::arg("name"), py::arg("values"), py::arg("categorical") = false,
           py::arg("categories") = std::vector<std::string>{})
      .def_readonly("name", &SceneNuisance::name)
      .def_readonly("values", &SceneNuisance::values)
      .def_readonly("categorical", &SceneNuisance::categorical)
      .def_readonly("categories", &SceneNuisance::categories);
  using vla::Stratification;
  py::class_<Stratification>(m, "Stratification",
                             "A division of the scenes by which results are told apart.")
      .def(py::init([](std::string name, std::vector<std::string> names, at::Tensor of_scene) {
             return Stratification{std::move(name), std::move(names), std::move(of_scene)};
           }),
           py::arg("name"), py::arg("names"), py::arg("of_scene"))
      .def_readonly("name", &Stratification::name)
      .def_readonly("names", &Stratification::names)
      .def_readonly("of_scene", &Stratification::of_scene);

  using vla::ConceptClaim;
  py::class_<ConceptClaim>(
      m, "ConceptClaim",
      "What is claimed of a concept: what counts as present, and what it does to "
      "control.")
      .def(py::init([](std::string id, std::string definition, std::string functional, int sign) {
             return ConceptClaim{std::move(id), std::move(definition), std::move(functional), sign};
           }),
           py::arg("id"), py::arg("definition") = "", py::arg("functional") = "mean_acceleration",
           py::arg("sign") = 0)
      .def_readonly("id", &ConceptClaim::id)
      .def_readonly("definition", &ConceptClaim::definition)
      .def_readonly("functional", &ConceptClaim::functional)
      .def_readonly("sign", &ConceptClaim::sign,
                    "-1: it is claimed to lower the functional, +1: to raise it, 0: nothing.");
  using vla::ControlClaim;
  py::class_<ControlClaim>(m, "ControlClaim", "A nuisance that surely moves a functional.")
      .def(py::init([](std::string nuisance, std::string functional) {
             return ControlClaim{std::move(nuisance), std::move(functional)};
           }),
           py::arg("nuisance"), py::arg("functional"))
      .def_readonly("nuisance", &ControlClaim::nuisance)
      .def_readonly("functional", &ControlClaim::functional);

  using vla::SceneSource;
  py::class_<SceneSource, PySceneSource, py::smart_holder>(
      m, "SceneSource", "Gives the scenes that a model drives through; subclass it.")
      .def(py::init<>())
      .def("size", &SceneSource::size)
      .def("__len__", &SceneSource::size)
      .def("batch", &SceneSource::batch, py::arg("ids"), "Return the inputs of the scenes ids.")
      .def("group_levels", &SceneSource::group_levels, "Return the levels, the highest first.")
      .def("group", &SceneSource::group, py::arg("level"), py::arg("ids"))
      .def("concepts", &SceneSource::concepts)
      .def("labels", &SceneSource::labels, py::arg("name"),
           "Return uint8 [size]: 0, 1, 255 missing.")
      .def("nuisances", &SceneSource::nuisances)
      .def("twin", &SceneSource::twin, py::arg("ids"), py::arg("name"),
           "Return the inputs with the concept toggled, or None where there are no twins.")
      .def("framings", &SceneSource::framings)
      .def("image", &SceneSource::image, py::arg("id"), py::arg("twin_by") = "",
           "Return the picture, uint8 [3, height, width].")
      .def("agents", &SceneSource::agents, py::arg("ids"), py::arg("twin_by") = "")
      .def("lane", &SceneSource::lane, py::arg("ids"))
      .def("strata", &SceneSource::strata)
      .def("claims", &SceneSource::claims, "Return what is claimed of each concept.")
      .def("control_claims", &SceneSource::control_claims,
           "Return what surely drives control, for positive controls.")
      .def("vocabulary", &SceneSource::vocabulary,
           "Return the words by which chains of thought name concepts and decisions.");
}

void bind_control(py::module_& m) {
  m.def("unicycle", &vla::unicycle, py::arg("actions"), py::arg("initial_speed"), py::arg("dt_s"),
        "Return the trajectory [..., waypoints, 3] of held (acceleration, curvature).");
  m.def("unicycle_speed", &vla::unicycle_speed, py::arg("actions"), py::arg("initial_speed"),
        py::arg("dt_s"), "Return the speeds at the waypoints.");
  using vla::UnicycleActions;
  py::class_<UnicycleActions>(m, "UnicycleActions", "What unicycle_inverse returns.")
      .def_readonly("actions", &UnicycleActions::actions)
      .def_readonly("speed", &UnicycleActions::speed)
      .def_readonly("beside_m", &UnicycleActions::beside_m);
  m.def("unicycle_inverse", &vla::unicycle_inverse, py::arg("trajectory"), py::arg("initial_speed"),
        py::arg("dt_s"), "Return the actions that drive a trajectory.");

  m.def("mean_acceleration", &vla::mean_acceleration, py::arg("rollout"), py::arg("until_s") = 2.0,
        "Return the mean acceleration over [0, until_s], m/s^2.");
  m.def("speed_change", &vla::speed_change, py::arg("rollout"), py::arg("at_s") = 3.0,
        "Return the change of speed at at_s, m/s.");
  m.def("stopping_distance", &vla::stopping_distance, py::arg("rollout"), py::arg("cap_m") = 200.0,
        "Return the distance until it stands, m.");
  m.def("lateral_offset", &vla::lateral_offset, py::arg("rollout"), py::arg("at_s") = 3.0,
        "Return the lateral position at at_s, m, left positive.");
  m.def("mean_curvature", &vla::mean_curvature, py::arg("rollout"), py::arg("until_s") = 2.0,
        "Return the mean curvature over [0, until_s], 1/m, left positive.");
  m.def("least_time_to_collision", &vla::least_time_to_collision, py::arg("rollout"),
        py::arg("agents"), py::arg("ego_radius_m") = 1.0, py::arg("cap_s") = 10.0,
        "Return the least time to collision, s.");
  m.def("least_lane_margin", &vla::least_lane_margin, py::arg("rollout"), py::arg("lanes"),
        py::arg("ego_width_m") = 1.8, "Return the least distance to the lane's edge, m.");
  using vla::ControlFunctional;
  py::class_<ControlFunctional>(m, "ControlFunctional", "What an effect on control is measured in.")
      .def(py::init(&ControlFunctional::from_name), py::arg("name"))
      .def_static("names", &ControlFunctional::names)
      .def_property_readonly("name", &ControlFunctional::name)
      .def_property_readonly("unit", &ControlFunctional::unit)
      .def_property_readonly("positive_means", &ControlFunctional::positive_means)
      .def_property_readonly("sesoi", &ControlFunctional::sesoi)
      .def("__call__", &ControlFunctional::operator(), py::arg("rollout"), py::arg("source"),
           py::arg("ids"), py::arg("twin_by") = "")
      .def("__repr__", [](const ControlFunctional& f) {
        return "ControlFunctional('" + f.name() + "', " + f.unit() + ")";
      });
}

void bind_runs(py::module_& m) {
  m.def("check_options", &vla::check_options, py::arg("options"), py::arg("description"),
        "Raise unless the model can do all that is asked for.");
  m.def("rollout_scenes", &vla::rollout_scenes, py::arg("model"), py::arg("source"), py::arg("ids"),
        py::arg_v("options", vla::RolloutOptions{}, "..."), py::arg("batch_size") = 256,
        "Roll out scenes in batches, check everything, and return one rollout.");
}

}  // namespace

void bind_vla(py::module_& m) {
  bind_batches(m);
  bind_rollouts(m);
  bind_scenes(m);
  bind_models(m);
  bind_control(m);
  bind_runs(m);
}

}  // namespace tierod::bindings

// What to_json writes, from_json and configure read back, to the bit.

#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "hook/fixture.h"

namespace tierod::testing {
namespace {

class JsonTest : public HookTest {
 protected:
  void SetUp() override { std::filesystem::remove_all(folder_); }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  at::Tensor run(const Intervention& edit) {
    Session session(model_.site_table());
    session.intervene("layers.1.resid_mid", edit);
    at::Tensor logits;
    session.run([&] { logits = model_.forward(tokens_); });
    return logits;
  }
  std::string folder_ =
      (std::filesystem::temp_directory_path() / ("tierod_json_test_" + std::to_string(::getpid())))
          .string();
};

TEST_P(JsonTest, InterventionsRoundTrip) {
  const at::Tensor w = normal({kWidth, 2}, 1);
  const ActivationCache donors = capture_all(make_tokens(3)).filtered([](const Activation& a) {
    return a.event.site.name() == "layers.1.resid_mid";
  });
  const std::vector<Intervention> edits = {
      Intervention::zero(),
      Intervention::mean_ablate(normal({kWidth}, 2, at::kDouble)),
      Intervention::replace(normal({kRows, kTokens, kWidth}, 2, dtype())),
      Intervention::replace(donors),
      Intervention::add(normal({kWidth}, 2), 0.1),
      Intervention::erase(w, w, normal({kWidth}, 2)),
      Intervention::affine({.read = w,
                            .write = w,
                            .target = normal({kRows, 2}, 4),
                            .mean = normal({kWidth}, 5),
                            .scale = 0.3}),
      Intervention::gather_rows({3, 0, 1, 2})};
  for (const Intervention& edit : edits) {
    const std::string text = edit.to_json(folder_);
    const Intervention back = Intervention::from_json(text, folder_);
    EXPECT_EQ(back.kind(), edit.kind());
    EXPECT_EQ(back.to_json(folder_), text);
    const at::Tensor logits = run(edit);
    EXPECT_TRUE(same_bits(run(back), logits)) << text;
    EXPECT_FALSE(same_bits(logits, clean_)) << text;
  }
}

TEST_P(JsonTest, LargeTensorsGoToAFileNamedByItsDigest) {
  const at::Tensor source = normal({8, 40, kWidth}, 1, dtype());  // over 4 KiB in bf16 too
  const Intervention edit = Intervention::replace(source);
  EXPECT_THROW(edit.to_json(), InvalidArgument);
  const std::string text = edit.to_json(folder_);
  std::filesystem::path file;
  for (const auto& entry : std::filesystem::directory_iterator(folder_)) file = entry.path();
  ASSERT_EQ(file.extension(), ".bin");
  EXPECT_EQ(std::filesystem::file_size(file), source.nbytes());
  EXPECT_HAS(text, file.filename().string());
  EXPECT_NO_THROW(Intervention::from_json(text, folder_));
  EXPECT_THROW(Intervention::from_json(text), InvalidArgument);
  {
    std::fstream bytes(file, std::ios::in | std::ios::out | std::ios::binary);
    bytes.seekp(100);
    bytes.put('\x7f');
    bytes.put('\x01');
  }
  EXPECT_THROW(Intervention::from_json(text, folder_), IoError);
  std::filesystem::remove(file);
  EXPECT_THROW(Intervention::from_json(text, folder_), IoError);
}

TEST_P(JsonTest, SmallTensorsStayInline) {
  const Intervention edit = Intervention::add(normal({kWidth}, 1), 1.0);
  EXPECT_NO_THROW(Intervention::from_json(edit.to_json()));
  EXPECT_FALSE(std::filesystem::exists(folder_));
}

TEST_P(JsonTest, MalformedInterventionsAreRefused) {
  for (
      const char* text :
      {"", "{", "[]", "{}", R"({"kind": "melt"})", R"({"kind": "gather_rows"})",
       R"({"kind": "gather_rows", "permutation": [0], "more": 1})",
       R"({"kind": "gather_rows", "permutation": ["a"]})",
       R"({"kind": "replace", "broadcast": true})", R"({"kind": "affine", "scale": 1.0})",
       R"({"kind": "replace", "source": {"dtype": "float32", "shape": [2], "sha256": "", "data": "AAAA"}})"}) {
    EXPECT_THROW(Intervention::from_json(text), InvalidArgument) << text;
  }
}

TEST_P(JsonTest, SessionsRoundTrip) {
  Session session(model_.site_table());
  session.set_spans({{{"word", 1, 3}}});
  session.capture("**.q", {.selection = {.heads = {{1}}}, .dtype = at::kDouble});
  session.capture("layers.0.k", {.reduce = Reduce::mean, .when = When::before});
  session.capture("layers.2.v", {.reduce = Reduce::moments});
  session.intervene("layers.1.resid_mid", Intervention::zero(),
                    {.selection = {.tokens = Tokens::spans({"word"})}});
  session.intervene("layers.{0..1}.mlp_out", Intervention::add(normal({kWidth}, 1), 2.0));
  const std::string text = session.to_json(folder_);
  Session back(model_.site_table());
  back.configure(text, folder_);
  EXPECT_EQ(back.to_json(folder_), text);
  at::Tensor first, second;
  session.run([&] { first = model_.forward(tokens_); });
  back.run([&] { second = model_.forward(tokens_); });
  EXPECT_TRUE(same_bits(first, second));
  EXPECT_FALSE(same_bits(first, clean_));
  const auto a = session.cache().entries();
  const auto b = back.cache().entries();
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].event, b[i].event);
    EXPECT_TRUE(same_bits(a[i].tensor, b[i].tensor));
  }
  EXPECT_TRUE(
      same_bits(session.moments("layers.2.v").variance(), back.moments("layers.2.v").variance()));
}

TEST_P(JsonTest, CallbacksCannotBeWritten) {
  Session session;
  session.intervene("a", [](const at::Tensor&, const Event&) { return std::nullopt; });
  EXPECT_THROW(session.to_json(), StateError);
}

TEST_P(JsonTest, ABadConfigurationLeavesTheSessionAsItWas) {
  Session session(model_.site_table());
  session.capture("layers.0.q");
  const std::string before = session.to_json();
  for (
      const char* text :
      {"", "[]", R"({"capture": []})", R"({"captures": [{"pattern": "**", "reduce": "max"}]})",
       R"({"captures": [{"pattern": "**"}, {"selection": {}}]})",
       R"({"captures": [{"pattern": "layers.0.k"}, {"pattern": "layers.9.k"}]})",
       R"({"captures": [{"pattern": "**", "when": "now"}]})",
       R"({"captures": [{"pattern": "layers.0.k"}], "spans": [[{"name": "a", "begin": 2, "end": 1}]]})",
       R"({"interventions": [{"pattern": "**"}]})"}) {
    EXPECT_ANY_THROW(session.configure(text)) << text;
    EXPECT_EQ(session.to_json(), before) << text;
  }
}

INSTANTIATE_DTYPES(JsonTest);

}  // namespace
}  // namespace tierod::testing

"""The audit of a driver whose truth is written in its code."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import audit_toy
import numpy as np
import pytest
from audit_toy import Driver, Scenes
from click.testing import CliRunner
from scipy import stats as scipy_stats

import tierod
from tierod import audit as audits
from tierod import cli
from tierod._core import conclude_record, verify_record

SHORT = {"model": "toy", "shams": 40, "permuted": 2, "matched": 2, "verify_scenes": 400}


def protocol(model=None, scenes=None, **fields):
    model, scenes = model or Driver(), scenes or Scenes()
    return audits.protocol_of(model, scenes, **(SHORT | fields))


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    out = tmp_path_factory.mktemp("audit") / "toy"
    model, scenes = Driver(), Scenes()
    found = audits.audit(model, scenes, out, protocol=protocol(model, scenes), progress=False)
    return found, out


def axes(found, concept):
    return next(c for c in found.record["concepts"] if c["id"] == concept)["axes"]


def test_verdicts_are_what_the_code_says(done):
    found, _ = done
    assert found.outcome == audits.AuditOutcome.finished
    assert found.verdicts == {
        "pedestrian": "USED_NOT_VIA_TEXT",
        "red_light": "USED_TEXT",
        "cyclist": "ENCODED_NOT_USED",
        "cones": "USED_NOT_STATED",
    }


def test_effects_are_what_the_code_says(done):
    found, _ = done
    for name, effect in audit_toy.EFFECTS.items():
        twin = axes(found, name)["twin"]["total"]
        assert twin["estimate"] == pytest.approx(effect, abs=0.1)
        total = axes(found, name)["total"]
        assert total["ci95"][0] - 0.05 <= effect <= total["ci95"][1] + 0.05
    assert axes(found, "red_light")["direct"]["status"] == "no"
    assert axes(found, "red_light")["text"]["swap"]["estimate"] == pytest.approx(-1.2, abs=0.1)
    assert axes(found, "cyclist")["erasure"]["verified"]
    assert axes(found, "pedestrian")["erasure"] is None  # asked of nulls alone


def test_the_record_follows_from_what_was_measured(done):
    found, out = done
    assert audits.verify(out) == []
    assert json.loads((out / "record.json").read_text()) == found.record


def test_every_axis_is_the_t_interval_of_its_error(done):
    found, _ = done

    def walk(value):
        if isinstance(value, dict):
            if {"estimate", "standard_error", "df"} <= value.keys():
                yield value
            for part in value.values():
                yield from walk(part)
        elif isinstance(value, list):
            for part in value:
                yield from walk(part)

    seen = list(walk(found.record["concepts"]))
    assert len(seen) > 100
    for axis in seen:
        estimate, error, df = axis["estimate"], axis["standard_error"], axis["df"]
        if error == 0:
            assert axis["p"] == (1 if estimate == 0 else 0)
            continue
        for name, level in (("ci95", 0.95), ("ci90", 0.90)):
            expected = scipy_stats.t.interval(level, df, estimate, error)
            np.testing.assert_allclose(axis[name], expected, rtol=1e-7, atol=1e-12)
        p = 2 * scipy_stats.t.sf(abs(estimate / error), df)
        np.testing.assert_allclose(axis["p"], p, rtol=1e-6, atol=1e-300)


def test_p_are_adjusted_over_estimands_and_concepts(done):
    found, _ = done
    smallest = []
    for concept in found.record["concepts"]:
        both = [concept["axes"]["direct"], concept["axes"]["total"]]
        order = sorted(both, key=lambda a: a["p"])
        first = min(2 * order[0]["p"], 1)
        assert order[0]["p_holm"] == pytest.approx(first, rel=1e-9)
        assert order[1]["p_holm"] == pytest.approx(max(first, order[1]["p"]), rel=1e-9)
        smallest.append(first)
    q = scipy_stats.false_discovery_control(smallest)
    for concept, expected in zip(found.record["concepts"], q, strict=True):
        assert concept["axes"]["direct"]["q"] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("path", "value", "where"),
    [
        (["concepts", 0, "verdict"], "TEXT_ONLY", "verdict"),
        (["concepts", 0, "axes", "direct", "estimate"], 9.0, "record_sha256"),
        (["concepts", 2, "axes", "direct", "status"], "yes", "status"),
        (["self_tests", 1, "value"], 7.0, "status"),
        (["protocol", "body", "alpha"], 0.2, "protocol"),
        (["selection", "body", "cones", "sign"], 1, "selection"),
    ],
)
def test_a_record_that_was_changed_is_told(done, path, value, where):
    found, _ = done
    record = json.loads(json.dumps(found.record))
    place = record
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    told = verify_record(json.dumps(record))
    assert any(where in difference.where for difference in told)


def test_what_is_derived_is_derived_again(done):
    found, _ = done
    bare = json.loads(json.dumps(found.record))
    for concept in bare["concepts"]:
        for key in ("verdict", "reason", "flags"):
            del concept[key]
    assert json.loads(conclude_record(json.dumps(bare))) == found.record


def test_a_stopped_audit_goes_on_to_the_same_record(done, tmp_path):
    found, _ = done
    model, scenes = Driver(), Scenes()
    chosen, out = protocol(model, scenes), tmp_path / "again"
    steps = iter(range(10**9))
    with pytest.raises(tierod.StateError, match="resume"):
        audits.audit(model, scenes, out, protocol=chosen, progress=lambda *_: next(steps) < 60)
    assert not (out / "record.json").exists()
    kept = len(list((out / "stages").iterdir()))
    assert kept >= 3
    again = audits.audit(model, scenes, out, protocol=chosen, resume=True, progress=False)
    assert {k: v for k, v in again.record.items() if k != "run"} == {
        k: v for k, v in found.record.items() if k != "run"
    }


def test_frozen_files_are_as_they_were_frozen(done, tmp_path):
    _, out = done
    model, scenes = Driver(), Scenes()
    chosen = protocol(model, scenes)
    with pytest.raises(tierod.InvalidArgument, match="holds one"):
        audits.audit(model, scenes, out, protocol=chosen, progress=False)
    for file, match in (("protocol.json", "changed"), ("stages/choose_cones.json", "changed"),
                        ("selection.json", "changed")):  # fmt: skip
        copy = tmp_path / file.replace("/", "_")
        shutil.copytree(out, copy)
        text = (copy / file).read_text()
        (copy / file).write_text(text.replace("mean_acceleration", "speed_change", 1)
                                 .replace('"sign": -1', '"sign": 1'))  # fmt: skip
        with pytest.raises(tierod.InvalidArgument, match=match):
            audits.audit(model, scenes, copy, protocol=chosen, resume=True, progress=False)
    with pytest.raises(tierod.InvalidArgument, match="same options"):
        other = protocol(model, scenes, seed=9)
        audits.audit(model, scenes, out, protocol=other, resume=True, progress=False)
    with pytest.raises(tierod.InvalidArgument, match="got none"):
        audits.audit(model, scenes, tmp_path / "new", protocol=chosen, resume=True, progress=False)


@pytest.mark.parametrize(
    ("fault", "test"),
    [("ignores_noise", "noise_is_used"), ("ignores_words", "cot_tokens_are_used"),
     ("scatters", "base_vs_base")],
)  # fmt: skip
def test_a_model_that_does_not_do_what_it_says_is_stopped(fault, test, tmp_path):
    model, scenes = Driver(fault), Scenes()
    found = audits.audit(
        model, scenes, tmp_path / "x", protocol=protocol(model, scenes), progress=False
    )
    assert found.outcome == audits.AuditOutcome.self_test_failed
    assert found.record["concepts"] == []
    failed = [t["name"] for t in found.record["self_tests"] if t["status"] == "failed"]
    assert test in failed
    assert audits.verify(tmp_path / "x") == []


def test_a_model_that_returns_nan_is_refused(tmp_path):
    with pytest.raises(tierod.NumericalError):
        model, scenes = Driver("nan"), Scenes()
        audits.audit(
            model, scenes, tmp_path / "x", protocol=protocol(model, scenes), progress=False
        )


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"concepts": [{"id": "cone"}]}, "nearest.*cones"),
        ({"concepts": [{"id": "cones", "functional": "speed"}]}, "speed_change"),
        ({"concepts": [{"id": "cones", "functional": "speed_change"}]}, "no default.*sesoi"),
        ({"concepts": [{"id": "cones", "claim": 1}]}, "claim"),
        ({"shams": 5}, "at least 40"),
        ({"alpha": 2}, "alpha"),
        ({"share_a": 0.9}, "sum to 1"),
        ({"nonsense": 1}, "nonsense"),
        ({"stratifications": ["rareness"]}, "rarity"),
        ({"adjust_for": ["sped"]}, "speed"),
        ({"candidates": [{"name": "x", "sites": ["vlm.feature"]}]}, "vlm.features"),
        ({"doses": [1, 2]}, "3 doses"),
    ],
)
def test_a_protocol_that_cannot_be_is_refused(fields, match):
    with pytest.raises((tierod.InvalidArgument, tierod.SiteError), match=match):
        protocol(**fields)


def test_too_few_scenes_say_how_many_are_needed(tmp_path):
    model, scenes = Driver(), Scenes(size=300)
    with pytest.raises(tierod.InvalidArgument, match=r"bring some \d+"):
        audits.audit(
            model, scenes, tmp_path / "x", protocol=protocol(model, scenes), progress=False
        )
    found = audits.plan(model, scenes, protocol(model, scenes))
    assert not found["enough"]
    assert 800 < found["scenes_needed"] < 1500


def test_a_concept_that_is_always_there_is_refused():
    scenes = Scenes()
    scenes.there[:, 0] = 1
    with pytest.raises(tierod.InvalidArgument, match="with and without 'pedestrian'"):
        protocol(Driver(), scenes, concepts=["pedestrian"])


def test_protocols_are_hashed_by_what_they_say():
    one, other = protocol(), protocol()
    assert one == other
    assert one["concepts"][0] == {
        "id": "pedestrian", "definition": "a pedestrian", "functional": "mean_acceleration",
        "claimed_sign": -1, "sesoi": 0.3,
    }  # fmt: skip
    assert one["candidates"][0]["sites"] == ["vlm.features"]


# --- the command line ---------------------------------------------------------------------------


@pytest.fixture
def toy_on_path(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    yield "py:audit_toy:make"
    sys.modules.pop("audit_toy", None)
    sys.modules["audit_toy"] = audit_toy


def test_the_command_line_audits_and_verifies(toy_on_path, tmp_path):
    config = tmp_path / "audit.toml"
    config.write_text(
        '[concepts.cyclist]\ndefinition = "somebody on a bicycle"\n[test]\ndoses = [-1, 1, 2]\n'
        "[budget]\nshams = 40\npermuted = 0\nmatched = 0\n[data]\nverify_scenes = 400\n"
    )
    out = tmp_path / "out"
    run = CliRunner().invoke(
        cli.main, ["audit", toy_on_path, "--config", str(config), "--out", str(out)]
    )
    assert run.exit_code == 0, run.output
    assert "ENCODED_NOT_USED" in run.output
    record = json.loads((out / "record.json").read_text())
    assert record["concepts"][0]["definition"] == "somebody on a bicycle"
    checked = CliRunner().invoke(cli.main, ["verify", str(out)])
    assert checked.exit_code == 0
    assert "follows from what was measured" in checked.output
    text = (out / "record.json").read_text().replace("ENCODED_NOT_USED", "USED")
    (out / "record.json").write_text(text)
    changed = CliRunner().invoke(cli.main, ["verify", str(out), "--json"])
    assert changed.exit_code == 1
    assert any("verdict" in d["where"] for d in json.loads(changed.output))


def test_the_command_line_plans(toy_on_path):
    run = CliRunner().invoke(cli.main, ["audit", toy_on_path, "--dry-run", "--json"])
    assert run.exit_code == 0, run.output
    plan = json.loads(run.output)
    assert plan["enough"]
    assert plan["passes"] == sum(s["passes"] for s in plan["stages"])


def test_the_command_line_refuses_in_one_line(toy_on_path, tmp_path):
    config = tmp_path / "audit.toml"
    config.write_text("[tests]\nalpha = 0.1\n")
    for arguments, match in (
        (["audit", toy_on_path], "--out"),
        (["audit", toy_on_path, "--concepts", "cone", "--out", "x"], "cones"),
        (["audit", toy_on_path, "--config", str(config), "--out", "x"], "nearest test"),
        (["verify", str(tmp_path)], "record"),
    ):
        run = CliRunner().invoke(cli.main, arguments)
        assert run.exit_code == 2, run.output
        assert match in run.output


def test_the_example_plans_an_audit_from_cpp_alone():
    program = Path(__file__).resolve().parents[2] / "build" / "release" / "examples" / "audit"
    said = subprocess.run([program, "--plan", "mixed"], capture_output=True, text=True, check=True)
    plan = json.loads(said.stdout)
    assert plan["enough"]
    assert [c["concept"] for c in plan["concepts"]] == ["pedestrian", "cyclist"]

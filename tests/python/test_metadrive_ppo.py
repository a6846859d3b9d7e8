"""MetaDrive's PPO expert and its scenes: geometry and network against oracles of their own; on real
weights, that the block of other cars is decodable and does not brake."""

import hashlib
import importlib.util
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.ensemble import RandomForestClassifier

import tierod
from tierod import models, patch, probe, stats, vla
from tierod.adapters import metadrive_ppo as ppo
from tierod.adapters import metadrive_scenes as geometry
from tierod.adapters.metadrive_scenes import MetaDriveScenes

CONCEPT = "vehicle_ahead"
OTHERS, LIDAR = "policy.obs.others", "policy.obs.lidar"
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "python" / "decodable_not_causal.py"
SESOI = 0.3  # m/s^2


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file of random weights, of the published names and shapes."""
    rng = np.random.default_rng(5)
    shapes = {"fc_1": (275, 256), "fc_2": (256, 256), "fc_out": (256, 4)}
    arrays = {}
    for layer, shape in shapes.items():
        arrays[f"default_policy/{layer}/kernel"] = rng.normal(0, shape[0] ** -0.5, shape)
        arrays[f"default_policy/{layer}/bias"] = rng.normal(0, 0.1, shape[1])
    file = tmp_path_factory.mktemp("weights") / "random.npz"
    np.savez(file, **{name: a.astype(np.float32) for name, a in arrays.items()})
    return file


@pytest.fixture(scope="module")
def expert(weights):
    return ppo.MetaDriveExpert(weights)


@pytest.fixture(scope="module")
def scenes():
    return MetaDriveScenes(200, seed=3)


def numpy_forward(file, observation):
    """The expert's forward of one layer after the other, in f64."""
    w = {
        name.removeprefix("default_policy/"): a.astype(np.float64)
        for name, a in np.load(file).items()
    }
    h = np.array(observation, np.float64)
    for item in (10, 15):
        h[:, item] = 1 - h[:, item]
    for layer in ("fc_1", "fc_2"):
        h = np.tanh(h @ w[f"{layer}/kernel"] + w[f"{layer}/bias"])
    return (h @ w["fc_out/kernel"] + w["fc_out/bias"])[:, :2]


# -- geometry


def one_car(x, y, length=4.5, width=1.8, heading=0.0):
    boxes = np.array([[[x, y, length, width]]])
    return geometry.cast_rays(boxes, np.array([[True]]), np.array([heading]))[0]


def test_rays_meet_cars_where_closed_forms_say():
    ahead = one_car(12, 0)
    assert ahead[0] == pytest.approx(12 - 4.5 / 2)
    assert ahead[3] == pytest.approx((12 - 4.5 / 2) / np.cos(np.deg2rad(4.5)))
    reach = np.rad2deg(np.arctan2(0.9, 12 - 4.5 / 2))  # of the near corners
    met = np.flatnonzero(ahead < 50)
    assert set(met) == {i % 240 for i in range(-int(reach / 1.5), int(reach / 1.5) + 1)}
    # rays run counter-clockwise: 60 points to the left, 120 behind, 180 to the right
    assert one_car(0, 3.5)[60] == pytest.approx(3.5 - 0.9)
    assert one_car(-10, 0)[120] == pytest.approx(10 - 2.25)
    assert one_car(0, -3.5)[180] == pytest.approx(3.5 - 0.9)
    assert one_car(0, -3.5)[60] == 50
    # a car that has turned left sees what is ahead on the road to its right
    turned = one_car(12, 0, heading=np.deg2rad(3))
    assert turned[238] == pytest.approx(12 - 2.25)
    assert one_car(53, 0)[0] == 50  # 50.75 m away
    assert one_car(52, 0)[0] == pytest.approx(49.75)
    assert (one_car(0.5, 0) == 0).all()  # covered


def test_rays_equal_a_loop_over_edges():
    """Each ray against each edge as two lines that cross, one at a time."""
    rng = np.random.default_rng(0)
    boxes = np.stack(
        [rng.uniform(-45, 45, (6, 5)), rng.uniform(-9, 9, (6, 5)), rng.uniform(4, 6, (6, 5)),
         rng.uniform(1.7, 2.3, (6, 5))], -1,
    )  # fmt: skip
    boxes[:, :, 1] += np.sign(boxes[:, :, 1]) * 2  # none covers the origin
    present, heading = rng.random((6, 5)) < 0.7, rng.normal(0, 0.3, 6)
    got = geometry.cast_rays(boxes, present, heading)
    for s in range(6):
        for i in range(240):
            angle = heading[s] + np.deg2rad(1.5 * i)
            ray, least = np.array([np.cos(angle), np.sin(angle)]), 50.0
            for x, y, length, width in boxes[s][present[s]]:
                corners = [np.array([x + a * length / 2, y + b * width / 2])
                           for a, b in ((1, 1), (-1, 1), (-1, -1), (1, -1))]  # fmt: skip
                for p, q in zip(corners, corners[1:] + corners[:1], strict=True):
                    matrix = np.stack([ray, p - q], -1)
                    if abs(np.linalg.det(matrix)) < 1e-12:
                        continue
                    along, between = np.linalg.solve(matrix, p)
                    if along >= 0 and -1e-12 <= between <= 1 + 1e-12:
                        least = min(least, along)
            assert got[s, i] == pytest.approx(least, abs=1e-9), (s, i)


def test_the_front_is_symmetric():
    assert geometry.front_rays(15) == [*range(11), *range(230, 240)]
    assert geometry.front_rays(0) == [0]
    assert len(geometry.front_rays(180)) == 240
    with pytest.raises(tierod.InvalidArgument, match=r"half_angle_deg in \[0, 180\]"):
        geometry.front_rays(181)


def test_a_scene_worked_by_hand():
    """One car ahead to the left, ego 10 m/s in the right lane, half a metre right of its middle."""
    world = MetaDriveScenes(1)
    world.ahead[:], world.there[:] = True, False
    world.lane_number[:], world.right_m[:], world.heading[:] = 2, 0.5, 0
    world.speed_m_s[:], world.steering[:], world.throttle[:] = 10, 0.3, -0.4
    world.checkpoint_m[:], world.next_checkpoint_m[:] = 20, 80
    world.boxes[0, 0], world.speeds_m_s[0, 0] = [10, 1, 4, 2], 6
    [seen] = world.observations([0])
    curvature = np.tan(np.deg2rad(12)) / 2.469
    ego = [9.25 / 18, 1.25 / 18, 0.5, 37 / 81, 0.5025, 0.65, 0.3, 10 * curvature, (1 + 1 / 4.5) / 2]
    np.testing.assert_allclose(seen[:9], ego, atol=1e-12)
    # the middle of the road is 4 m to the left
    far = np.hypot(80, 4)
    navigation = [0.7, 0.54, 0, 0.5, 0.5, (1 + 80 / far) / 2, (1 + 4 / far) / 2, 0, 0.5, 0.5]
    np.testing.assert_allclose(seen[9:19], navigation, atol=1e-12)
    others = [0.6, 0.51, (1 - 4 * 3.6 / 80) / 2, 0.5] + 12 * [0]
    np.testing.assert_allclose(seen[19:35], others, atol=1e-12)
    assert seen[35] == pytest.approx(8 / 50)
    assert seen[35 + 230] == 1  # 15 degrees to the right: nothing
    assert world.agents([0])[0][0].x_m == 10
    assert world.agents([0], CONCEPT) == [[]]
    assert world.lane([0])[0].centre[0, 1] == 0.5


def test_the_nearest_four_come_first(scenes):
    seen = scenes.observations(range(200))[:, 19:35].reshape(200, 4, 4)
    there = seen[:, :, 0] > 0
    assert (there[:, :-1] >= there[:, 1:]).all()
    place = np.where(there[..., None], (seen[..., :2] * 2 - 1) * 50, np.inf)
    distance = np.hypot(place[..., 0], place[..., 1])
    assert (distance[:, :-1] <= distance[:, 1:]).all()
    for i in range(200):
        around = sorted(np.hypot(a.x_m, a.y_m) for a in scenes.agents([i])[0])[:4]
        np.testing.assert_allclose(distance[i][there[i]], around, atol=1e-9)
    assert there.sum(1).max() == 4


def test_twins_differ_where_the_car_is(scenes):
    ids = range(200)
    base, twin = scenes.observations(ids), scenes.observations(ids, twins=True)
    np.testing.assert_array_equal(base[:, :19], twin[:, :19])
    ahead = scenes.labels(CONCEPT).numpy() == 1
    with_car, without = np.where(ahead[:, None], base, twin), np.where(ahead[:, None], twin, base)
    assert (with_car[:, 35:] <= without[:, 35:]).all()
    boxes, heading = scenes.boxes[:, :1], scenes.heading
    alone = geometry.cast_rays(boxes, np.ones((200, 1), bool), heading) / 50
    np.testing.assert_array_equal(with_car[:, 35:], np.minimum(without[:, 35:], alone))
    # and the front of it, behind no other car, is seen
    assert (with_car[:, 35] < without[:, 35]).mean() > 0.95
    cars = [
        len(a) - len(b)
        for a, b in zip(scenes.agents(ids), scenes.agents(ids, CONCEPT), strict=True)
    ]
    np.testing.assert_array_equal(cars, np.where(ahead, 1, -1))


def test_scenes_do_not_depend_on_the_batch(scenes):
    whole = scenes.batch(range(200))["observation"]
    some = scenes.batch([7, 3, 150])
    assert torch.equal(some["observation"], whole[[7, 3, 150]])
    assert list(some.ids) == [7, 3, 150]
    fewer = MetaDriveScenes(11, seed=3)
    assert torch.equal(fewer.batch(range(11))["observation"], whole[:11])
    assert not torch.equal(MetaDriveScenes(11, seed=4).batch([0])["observation"], whole[:1])
    assert whole.dtype == torch.float32
    assert whole.min() >= 0
    assert whole.max() <= 1
    assert scenes.group("route", range(9)) == [0, 0, 0, 0, 1, 1, 1, 1, 2]
    assert 0.35 < float(scenes.labels(CONCEPT).double().mean()) < 0.65


# -- the network


def test_the_network_is_that_of_numpy(expert, weights, scenes):
    batch = scenes.batch(range(50))
    expected = numpy_forward(weights, batch["observation"].numpy())
    np.testing.assert_allclose(expert.policy(batch["observation"]), expected, atol=2e-6)
    with tierod.Session() as session:
        session.capture("policy.**")
        rollout = expert.rollout(batch)
    cache = session.cache
    seen = batch["observation"]
    entered = seen.clone()
    entered[:, 10], entered[:, 15] = 1 - seen[:, 10], 1 - seen[:, 15]
    assert torch.equal(cache["policy.obs.ego"], entered[:, :9])
    assert torch.equal(cache["policy.obs.navigation"], entered[:, 9:19])
    assert torch.equal(cache[OTHERS], entered[:, 19:35].reshape(-1, 4, 4))
    assert torch.equal(cache[LIDAR], entered[:, 35:].reshape(-1, 240, 1))
    assert cache["policy.hidden.1"].shape == (50, 256)
    np.testing.assert_allclose(rollout.initial_speed, scenes.speed_m_s[:50], atol=1e-4)
    actions = ppo.vehicle_actions(cache["policy.action"], rollout.initial_speed)
    assert torch.equal(rollout.actions, actions)
    described = expert.describe()
    assert described.weights_sha256 == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert {s: cache[s].shape[-1] for s in described.widths} == described.widths


def test_samples_and_batches_change_nothing(expert, scenes):
    whole = expert.rollout(scenes.batch(range(40)))
    some = expert.rollout(scenes.batch([17, 4]))
    np.testing.assert_allclose(some.actions, whole.actions[[17, 4]], atol=1e-5)
    twice = expert.rollout(scenes.batch([17, 4]), vla.RolloutOptions(num_samples=2))
    np.testing.assert_allclose(twice.actions, some.actions[[0, 0, 1, 1]], atol=1e-5)


def test_a_transplant_is_a_splice_of_observations(expert, scenes):
    run = patch.PairedRun(expert, scenes, range(60), batch_size=32)
    base = scenes.batch(range(60))["observation"]
    twin = scenes.twin(range(60), CONCEPT)["observation"]
    columns = {
        OTHERS: (slice(19, 35), None),
        LIDAR: ([35 + i for i in geometry.front_rays()], geometry.front_rays()),
    }
    for site, (items, tokens) in columns.items():
        spliced = base.clone()
        spliced[:, items] = twin[:, items]
        expected = expert.rollout(vla.Batch({"observation": spliced}, list(range(60))))
        moved = run.transplanted(site, "held", twin_by=CONCEPT, tokens=tokens)
        np.testing.assert_allclose(moved.actions, expected.actions, atol=1e-5)
    blocks = [f"policy.obs.{name}" for name in geometry.BLOCKS]
    twins = run.twins(CONCEPT, "held")
    for cut in (blocks, [OTHERS, LIDAR], expert.describe().head_inputs):
        moved = run.transplanted(cut, "held", twin_by=CONCEPT)
        assert torch.equal(moved.actions, twins.actions), cut


class Shifted(patch.Edit):
    def __init__(self, site):
        super().__init__()
        self.site = site

    def put_on(self, session, rows):
        session.intervene(self.site, lambda h, _event: h + 1)


def test_the_null_site_moves_nothing(expert, scenes):
    run = patch.PairedRun(expert, scenes, range(20))
    assert float(run.direct(Shifted("policy.log_std")).abs().max()) == 0
    assert float(run.direct(Shifted("policy.action")).abs().max()) > 0


def test_gradients_are_those_of_differences(expert, scenes):
    at = scenes.batch(range(8))["observation"].requires_grad_()
    batch = vla.Batch({"observation": at}, list(range(8)))
    rollout = expert.rollout(batch, vla.RolloutOptions(differentiable=True))
    [slope] = torch.autograd.grad(rollout.actions[:, 0, 0].sum(), at)
    assert not expert.rollout(batch).actions.requires_grad
    step = torch.zeros_like(at.detach())
    step[:, 35] = 1e-2
    ahead, back = (
        expert.rollout(vla.Batch({"observation": at.detach() + s}, list(range(8))))
        for s in (step, -step)
    )
    difference = (ahead.actions - back.actions)[:, 0, 0] / 2e-2
    np.testing.assert_allclose(slope[:, 35], difference, atol=2e-2 * float(difference.abs().max()))


def test_the_car_by_its_formulas():
    def first(steering, throttle, speed):
        out = ppo.vehicle_actions(torch.tensor([[steering, throttle]]), torch.tensor([speed]))
        return out[0]

    assert first(0.0, 0.5, 5.0)[0, 0] == pytest.approx(0.5 * 3200 / 1100)
    assert first(0.0, -0.1, 9.0)[0, 0] == pytest.approx(-0.1 * 4 * 130 / 22)
    assert first(0.0, -5.0, 20.0)[0, 0] == pytest.approx(-0.9 * 9.81)
    assert first(0.0, 7.0, 3.0)[0, 0] == pytest.approx(3200 / 1100)
    assert first(0.5, 0.0, 5.0)[0, 1] == pytest.approx(np.tan(np.deg2rad(20)) / 2.46894)
    stopping = first(0.0, -1.0, 4.0)[:, 0]
    assert float(stopping.sum()) * 0.25 == pytest.approx(-4)  # stands, and does not reverse
    assert float(stopping[2:].abs().max()) == 0
    fast = first(0.0, 1.0, 22.0)[:, 0]
    assert float(fast.sum()) * 0.25 == pytest.approx(80 / 3.6 - 22, abs=1e-5)


# -- where weights come from


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    """No weights on the machine, and no package index."""
    monkeypatch.delenv(ppo.ENVIRONMENT, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    return tmp_path


def test_missing_weights_say_what_to_do(nowhere, monkeypatch):
    assert ppo.find_weights() is None
    with pytest.raises(tierod.IoError, match=r"fetch_weights.*TIEROD_METADRIVE_WEIGHTS"):
        models.open_model("metadrive-ppo")
    monkeypatch.setenv(ppo.ENVIRONMENT, str(nowhere / "gone.npz"))
    with pytest.raises(
        tierod.IoError, match=r"TIEROD_METADRIVE_WEIGHTS to name a file, got .*gone"
    ):
        ppo.find_weights()


def test_weights_are_taken_out_of_the_wheel(nowhere, weights, monkeypatch):
    with zipfile.ZipFile(nowhere / "metadrive_simulator-0.4.3-py3-none-any.whl", "w") as wheel:
        wheel.write(weights, ppo.MEMBER)
        info = "metadrive_simulator-0.4.3.dist-info"
        wheel.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: metadrive-simulator\nVersion: 0.4.3\n"
        )
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_FIND_LINKS", str(nowhere))
    with pytest.raises(tierod.IoError, match="expected weights of SHA-256 ed66fed9"):
        ppo.fetch_weights()
    assert ppo.find_weights() is None
    monkeypatch.setattr(ppo, "SHA256", hashlib.sha256(weights.read_bytes()).hexdigest())
    kept = ppo.fetch_weights()
    assert kept == ppo.cache_file() == ppo.find_weights()
    assert kept.read_bytes() == weights.read_bytes()
    kept.write_bytes(b"half of it")
    with pytest.raises(tierod.IoError, match="delete the file and fetch it again"):
        ppo.find_weights()


def test_files_that_are_no_weights_are_refused(tmp_path, weights):
    text = tmp_path / "text.npz"
    text.write_text("no zip")
    with pytest.raises(tierod.IoError, match=r"expected the expert's weights as an \.npz"):
        ppo.MetaDriveExpert(text)
    arrays = dict(np.load(weights))
    arrays["default_policy/fc_2/kernel"] = np.zeros((256, 4), np.float32)
    np.savez(tmp_path / "other.npz", **arrays)
    with pytest.raises(
        tierod.IoError, match=r"\[256, 256\] called 'default_policy/fc_2/kernel'.*\[256, 4\]"
    ):
        ppo.MetaDriveExpert(tmp_path / "other.npz")


def test_the_model_opens_by_its_name(weights, monkeypatch):
    monkeypatch.setenv(ppo.ENVIRONMENT, str(weights))
    model, scenes, concepts = models.open_model("metadrive-ppo", scenes=12, seed=2)
    assert concepts == [CONCEPT]
    assert scenes.size() == 12
    assert model.describe().name == "metadrive-ppo"
    vla.rollout_scenes(model, scenes, range(12), batch_size=5)


def test_what_cannot_be_meant_is_refused(expert, scenes):
    bad = tierod.InvalidArgument
    with pytest.raises(bad, match="scenes >= 1"):
        MetaDriveScenes(0)
    with pytest.raises(bad, match="the concept 'vehicle_ahead', got 'pedestrian'"):
        scenes.twin([0], "pedestrian")
    with pytest.raises(bad, match="level as one of route, scene"):
        scenes.group("town", [0])
    with pytest.raises(tierod.OutOfRange, match=r"\[0, 200\), got 200"):
        scenes.batch([3, 200])
    with pytest.raises(bad, match="temperature"):
        expert.rollout(scenes.batch([0]), vla.RolloutOptions(temperature=0))


# -- the published weights


@pytest.fixture(scope="module")
def published():
    return ppo.MetaDriveExpert()


@pytest.mark.real_weights
def test_the_published_expert_drives_sensibly(published):
    described = published.describe()
    assert described.weights_sha256 == ppo.SHA256
    world = MetaDriveScenes(60, seed=9)
    world.ahead[:], world.there[:] = False, False
    world.speed_m_s[:] = 4
    steering, throttle = published.policy(world.batch(range(60))["observation"]).T
    assert (throttle > 0.5).all(), "slow on an empty road"
    assert steering.abs().max() < 0.2
    world.right_m[:] = 1
    right = published.policy(world.batch(range(60))["observation"])[:, 0]
    world.right_m[:] = -1
    left = published.policy(world.batch(range(60))["observation"])[:, 0]
    assert (right > left).all(), "steers back into the lane"
    world.right_m[:], world.speed_m_s[:] = 0, 21
    assert (published.policy(world.batch(range(60))["observation"])[:, 1] < 0).all(), "too fast"
    world.speed_m_s[:], world.boxes[:, 0] = 10, [7, 0, 4.5, 1.85]
    behind = published.policy(world.twin(range(60), CONCEPT)["observation"])[:, 1]
    assert (behind < -0.1).all(), "brakes 7 m behind a car"


@pytest.mark.real_weights
def test_the_list_of_cars_is_decodable_and_not_causal(published):
    """On other scenes than the example's: the list is read well and moves nothing, the front lidar alone
    makes the car brake as the twins do."""
    scenes = MetaDriveScenes(1600, seed=17)
    run = patch.PairedRun(published, scenes, range(1600))
    routes = scenes.group("route", range(1600))
    seen = run.activations(OTHERS)[OTHERS].flatten(1)
    data = probe.ProbeDataset(range(1600), sites={OTHERS: seen}, levels={"route": routes})
    data.add_concept(CONCEPT, scenes.labels(CONCEPT).numpy())
    for nuisance in scenes.nuisances():
        data.add_nuisance(nuisance.name, nuisance.values.numpy())
    # which place in the list a car has depends on the others: trees, not a line
    forest = RandomForestClassifier(30, min_samples_leaf=2, random_state=0)
    [read] = probe.evaluate(data, forest, permutations=0, memorisation=False).rows
    assert read.auroc.low > 0.9
    assert min(read.above_control.low, read.above_nuisance.low) > 0.3

    def effect(rollout):
        """Of the car's presence: put in where it is absent, taken out, with the sign turned, where it is."""
        turned = torch.where(scenes.labels(CONCEPT) == 1, -1.0, 1.0)
        return stats.cluster_t_interval((run.effect(rollout) * turned).numpy(), routes)

    twins = effect(run.twins(CONCEPT, "held"))
    others = effect(run.transplanted(OTHERS, "held", twin_by=CONCEPT))
    front = run.transplanted(LIDAR, "held", twin_by=CONCEPT, tokens=geometry.front_rays())
    front = effect(front)
    assert twins.high < -2
    assert others.inside(-SESOI, SESOI)
    assert abs(others.estimate) < 0.1 * abs(twins.estimate)
    assert front.high < -2
    assert 0.8 < front.estimate / twins.estimate < 1.2


@pytest.mark.real_weights
def test_the_example_says_so(tmp_path):
    command = [sys.executable, EXAMPLE, "--scenes", "1600", "--plot", tmp_path / "plot.png"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "moves the car" in done.stdout
    assert (tmp_path / "plot.png").stat().st_size > 10_000

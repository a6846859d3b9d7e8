"""`decide` against the rules of docs/audit.md, written down a second time, over all combinations of what can
be known of a concept."""

import itertools

import pytest

from tierod.audit import (
    EffectGate,
    GateResults,
    InteractionGate,
    ProxyGate,
    Status,
    StratumGate,
    decide,
)

YES, NO, OPEN, NONE = Status.yes, Status.no, Status.open, Status.unavailable

# an effect by name: (status, sign, size in SESOI, excludes 0)
EFFECTS = {
    "yes+": (YES, 1, 2.0, True),
    "yes-": (YES, -1, 2.0, True),
    "small": (NO, 1, 0.4, True),
    "no": (NO, 1, 0.1, False),
    "open": (OPEN, 1, 1.2, False),
    "open small": (OPEN, 1, 0.8, True),
    "none": (NONE, 0, 0.0, False),
}
GATES = {name: EffectGate(*fields) for name, fields in EFFECTS.items()}


def expected(direct, total, naive, proxy, text, stated, encoded, erasure, verified, twin, strata):
    """The rules of methods section 5, rule by rule, on names."""
    d, t = EFFECTS[direct], EFFECTS[total]
    if d[0] == YES and t[0] == YES and d[1] != t[1]:
        return "USED_CONDITIONAL", "the words"
    if strata in ("opposite", "yes and no, differing"):
        return "USED_CONDITIONAL", "rarity"
    lead = t if (d[0] == NONE or d[2] <= t[2]) and t[0] != NONE else d
    if lead[0] == YES and lead[1] < 0:
        return "CONTRADICTED", ""
    known = [e for e in (d, t) if e[0] != NONE]
    null = bool(known) and all(e[0] == NO for e in known)
    if naive == YES and null and proxy == YES:
        return "PROXY", "stop_line"
    if lead[0] == YES:
        if stated == NO:
            return "USED_NOT_STATED", ""
        return {YES: "USED_TEXT", NO: "USED_NOT_VIA_TEXT"}.get(text, "USED"), ""
    a_stratum = strata in ("yes and no, alike", "yes")
    if null and verified and erasure == NO and twin in ("no", "none") and not a_stratum:
        if stated == NO:
            return "ABSENT", ""
        if text == YES:
            return "TEXT_ONLY", ""
        return {YES: "ENCODED_NOT_USED", NO: "STATED_NOT_ENCODED"}.get(encoded, "NOT_USED"), ""
    moved = EFFECTS[twin][0] == YES
    if lead[3] and lead[2] < 1 and not moved:
        return "SUB_SESOI", ""
    return "INCONCLUSIVE", None


def strata_of(kind):
    def stratum(level, name):
        return StratumGate("rarity", level, True, GATES[name])

    if kind == "none":
        return [], []
    if kind == "opposite":
        return [stratum("common", "yes+"), stratum("rare", "yes-")], []
    if kind == "yes":
        return [stratum("common", "yes+"), stratum("rare", "open")], []
    both = [stratum("common", "yes+"), stratum("rare", "no")]
    return both, [InteractionGate("rarity", kind == "yes and no, differing")]


def gates(direct, total, naive, proxy, text, stated, encoded, erasure, verified, twin, strata):
    out = GateResults()
    out.direct, out.total, out.twin = GATES[direct], GATES[total], GATES[twin]
    out.naive = GATES["yes+" if naive == YES else "no"]
    out.proxies = [ProxyGate("stop_line", proxy)]
    out.text, out.stated, out.encoded = text, stated, encoded
    out.erasure, out.erasure_verified = erasure, verified
    out.strata, out.interactions = strata_of(strata)
    return out


@pytest.mark.parametrize("direct", ["yes+", "yes-", "small", "no", "open", "none"])
@pytest.mark.parametrize("total", list(EFFECTS))
def test_every_combination_gets_the_verdict_of_the_rules(direct, total):
    seen = set()
    for rest in itertools.product(
        (YES, NO), (YES, NO), (YES, NO, OPEN), (YES, NO), (YES, NO, OPEN), (YES, NO),
        (True, False), ("yes+", "no", "none"),
        ("none", "opposite", "yes", "yes and no, alike", "yes and no, differing"),
    ):  # fmt: skip
        found = decide(gates(direct, total, *rest))
        verdict, reason = expected(direct, total, *rest)
        assert found.verdict == verdict, (direct, total, rest)
        if reason is not None:
            assert found.reason == reason
        else:
            assert found.reason in ("power", "not_localised", "erasure_failed", "nonlinear")
        seen.add(verdict)
    assert "USED_CONDITIONAL" in seen


@pytest.mark.parametrize(
    ("field", "reason"),
    [
        ("self_tests_passed", "self_test"),
        ("enough_clusters", "clusters"),
        ("enough_scenes", "n"),
        ("positive_control_heard", "site"),
        ("complete", "not_localised"),
    ],
)
def test_what_is_not_valid_decides_nothing(field, reason):
    used = gates("yes+", "yes+", NO, NO, NO, YES, YES, NO, True, "yes+", "none")
    assert decide(used).verdict == "USED_NOT_VIA_TEXT"
    setattr(used, field, False)
    found = decide(used)
    assert (found.verdict, found.reason) == ("INCONCLUSIVE", reason)


def test_an_effect_off_the_manifold_is_none():
    used = gates("open", "open", NO, NO, NO, YES, YES, NO, True, "yes+", "none")
    used.only_off_manifold = True
    assert decide(used).reason == "off_manifold"


def test_strata_with_few_scenes_never_decide():
    used = gates("yes+", "yes+", NO, NO, NO, YES, YES, NO, True, "yes+", "none")
    used.strata = [
        StratumGate("rarity", "common", True, GATES["yes+"]),
        StratumGate("rarity", "rare", False, GATES["yes-"]),
    ]
    assert decide(used).verdict == "USED_NOT_VIA_TEXT"


def test_a_twin_that_moves_more_than_the_edit_is_no_null():
    """A null swap beside a twin effect says that the direction missed it, however surely it is small."""
    missed = gates("small", "small", NO, NO, NO, YES, YES, NO, True, "yes+", "none")
    assert (decide(missed).verdict, decide(missed).reason) == ("INCONCLUSIVE", "not_localised")


def test_an_undecided_rate_of_statements_is_flagged():
    used = gates("yes+", "yes+", NO, NO, YES, OPEN, YES, NO, True, "yes+", "none")
    found = decide(used)
    assert found.verdict == "USED_TEXT"
    assert found.flags == ["stated_rate_undecided"]

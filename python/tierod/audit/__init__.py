"""The audit: from a driving model to a verdict that can be challenged.

`audit` freezes a protocol, tests the model itself, fits on split A, chooses on B, opens C once, and
decides by rule; `verify` recomputes every verdict from the record alone.
"""

from tierod._core import (
    AuditOutcome,
    Decision,
    EffectGate,
    GateResults,
    InteractionGate,
    ProxyGate,
    RecordDifference,
    Status,
    StratumGate,
    decide,
)
from tierod.audit.config import read_config
from tierod.audit.runs import Audit, audit, plan, protocol_of, verify

__all__ = [
    "Audit",
    "AuditOutcome",
    "Decision",
    "EffectGate",
    "GateResults",
    "InteractionGate",
    "ProxyGate",
    "RecordDifference",
    "Status",
    "StratumGate",
    "audit",
    "decide",
    "plan",
    "protocol_of",
    "read_config",
    "verify",
]

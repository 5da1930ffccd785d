"""Answers what cases ask by `grpcurl` and server reflection alone: any program that speaks JSON could do the same.

PYTHONPATH=tests python -m conformance.drivers.grpcurl call

$GRPCURL names the program. A request becomes JSON of the contract in `asking`, an answer JSON of the cases in
`telling`; nothing is resolved, checked or repeated, so what other clients refuse by themselves the server refuses here.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from .calls import Refused, Unanswered
from .ops import OPS


def _answer(asked: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"ok": OPS[asked["op"]](asked)}
    except (Refused, Unanswered) as error:
        return {"error": error.told}


if sys.argv[1:] != ["call"]:
    sys.exit("usage: driver call")
for line in sys.stdin:
    request = json.loads(line)
    print(json.dumps({"id": request["id"], **_answer(request)}), flush=True)

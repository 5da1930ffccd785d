"""What people read of a trial: one table, each finding with its evidence, and the line that does it again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from .checker import RULES
from .facts import Facts
from .plan import PAUSABLE
from .trial import Trial

_SHOWN = 10


def table(trials: Sequence[Trial]) -> str:
    """The totals of some trials, as Markdown."""
    rows = [("seeds", ", ".join(str(trial.seed) for trial in trials)), *_operations(trials), *_faults(trials)]
    rows += [("attempts", _counts(Counter(a["status"] for t in trials for a in t.evidence.dump.attempts)))]
    rows += [("runs", _counts(Counter(r["status"] for t in trials for r in t.evidence.dump.ended_runs)))]
    rows += [(f"**{rule}**", str(sum(len(trial.findings[rule]) for trial in trials))) for rule in RULES]
    rows.append(("handlers that returned in vain", str(sum(map(_in_vain, trials)))))
    drains = [trial.evidence.dump.drain_seconds for trial in trials]
    rows.append(("longest drain", "not drained" if None in drains else f"{max(filter(None, drains)):.1f} s"))
    rows.append(("longest start lag", f"{max(map(_start_lag_seconds, trials)):.1f} s"))
    return "\n".join(["| what | how many |", "|---|---|", *(f"| {what} | {how_many} |" for what, how_many in rows)])


def findings(trial: Trial, kept: Path) -> str:
    """What was found, in words, and where the evidence is."""
    lines = []
    for rule, found in trial.findings.items():
        lines += [f"{rule}: {about}: {words}" for about, words in found[:_SHOWN]]
        if len(found) > _SHOWN:
            lines.append(f"{rule}: … and {len(found) - _SHOWN} more")
    return "\n".join([*lines, f"histories and logs: {kept}"])


def again(trial: Trial) -> str:
    """The line that replays a seed."""
    return f"make faults SEED={trial.seed} MINUTES={trial.minutes:g}"


def _operations(trials: Sequence[Trial]) -> Iterable[tuple[str, str]]:
    outcomes: dict[str, Counter[str]] = {}
    for operation in (operation for trial in trials for operation in trial.evidence.history):
        outcomes.setdefault(operation.kind, Counter())[operation.outcome] += 1
    for kind, counts in sorted(outcomes.items()):
        yield f"{kind}: ok / fail / unknown", " / ".join(str(counts[outcome]) for outcome in ("ok", "fail", "unknown"))


def _faults(trials: Sequence[Trial]) -> Iterable[tuple[str, str]]:
    faults = [fault for trial in trials for fault in trial.evidence.faults]
    yield "faults", str(sum(not fault.failed for fault in faults))
    kinds = Counter(_kind(fault.kind, fault.detail) for fault in faults if not fault.failed)
    yield "faults by kind", _counts(kinds)
    if failed := Counter(fault.kind for fault in faults if fault.failed):
        yield "faults that could not be done then", _counts(failed)


def _kind(kind: str, detail: str) -> str:
    mode = detail.partition(" ")[0].replace("_", " ")
    return f"{kind} ({mode})" if kind == "break link" else kind


def _counts(counts: Counter[str]) -> str:
    return ", ".join(f"{what} {number}" for what, number in sorted(counts.items()))


def _in_vain(trial: Trial) -> int:
    """Handlers that returned and were not told to stop by their timeout, and whose attempt is no success all the same:
    what is done again because a report did not arrive in time."""
    facts = Facts(trial.evidence)
    ends = ((handler.how, facts.attempt.get((handler.run_id, handler.attempt))) for handler in facts.handlers)
    return sum(how == "returned" and row is not None and row["status"] in ("interrupted", "lost") for how, row in ends)


def _start_lag_seconds(trial: Trial) -> float:
    """From due to the first grant, of runs whose task is never paused."""
    facts = Facts(trial.evidence)
    lags = [
        attempts[0]["granted_us"] - facts.due_us(run_id)
        for run_id, attempts in facts.attempts.items()
        if facts.runs[run_id]["task"] not in PAUSABLE
    ]
    return max(lags, default=0) / 1e6

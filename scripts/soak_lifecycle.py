#!/usr/bin/env python3
"""Break the life of a server in every way we know, a hundred times: is anything left behind?

    python scripts/soak_lifecycle.py                 100 rounds, about 20 minutes on two cores
    python scripts/soak_lifecycle.py --short         one round each of the quick ways, a minute
    python scripts/soak_lifecycle.py --rounds 20 --only "kernel killed" --json soak.json

Each round starts real servers of the practice profile and kills, stops or starves something at
a random moment. After it there may be no process that `rerank-kit status` does not know, and
after `rerank-kit stop` no process, no taken port and no state file at all. Whose process is
whose is read from /proc, not from the kit's own records. Linux only.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from soak import launchers, servers
from soak.playground import Playground

from rerank_kit.memory.show import aligned


@dataclass
class Round:
    number: int
    scenario: str
    detail: str = ""
    seconds: float = 0.0
    servers_left_for_stop: int = 0
    problems: list[str] = field(default_factory=list)


#: (name, what happens, share of the rounds). Those that wait for a server to serve are rare.
SCENARIOS: dict[str, tuple[Callable[[Playground], bool], int]] = {
    "launcher interrupted": (launchers.launcher_interrupted, 17),
    "launcher killed": (launchers.launcher_killed, 16),
    "killed at the worst moment": (launchers.killed_at_the_worst_moment, 16),
    "kernel killed": (launchers.kernel_killed, 8),
    "parent killed": (launchers.parent_killed, 8),
    "stopped during the start": (launchers.stopped_during_the_start, 8),
    "two at once": (launchers.two_at_once, 6),
    "stale state, reused pid": (servers.stale_state, 6),
    "full disk": (servers.full_disk, 4),
    "wrong flag": (servers.wrong_flag, 2),
    "main process killed": (servers.main_process_killed, 4),
    "killed during the start": (servers.main_process_killed_during_the_start, 3),
    "worker killed": (servers.worker_killed, 1),
    "kernel gone, next attaches": (launchers.kernel_gone_then_attached, 1),
}
SHORT = ("killed at the worst moment", "launcher interrupted", "launcher killed",
         "stopped during the start", "stale state, reused pid", "parent killed")  # fmt: skip


def plan(rounds: int, only: str | None, short: bool, dice: random.Random) -> list[str]:
    """Which scenario each round plays: by share, every one at least once when there is room."""
    if only:
        return [only] * rounds
    if short:
        return list(SHORT)
    whole = [name for name, (_, share) in SCENARIOS.items() for _ in range(share)]
    chosen = [whole[place * len(whole) // rounds] for place in range(rounds)]
    dice.shuffle(chosen)
    return chosen


def play_rounds(names: list[str], state: Path, dice: random.Random) -> Iterator[Round]:
    for number, name in enumerate(names, 1):
        play = Playground(state, dice)
        one = Round(number, name)
        started = time.monotonic()
        expect_nothing = False
        try:
            expect_nothing = SCENARIOS[name][0](play)
        except Exception as error:
            one.problems.append(f"{type(error).__name__}: {error}")
        problems, one.servers_left_for_stop = play.check(expect_nothing=expect_nothing)
        one.problems += problems
        one.detail, one.seconds = ", ".join(play.detail), round(time.monotonic() - started, 1)
        yield one


def table(rounds: list[Round]) -> str:
    rows = [["scenario", "rounds", "left for stop", "problems", "seconds"]]
    for name in SCENARIOS:
        of_it = [one for one in rounds if one.scenario == name]
        if of_it:
            rows.append([
                name, str(len(of_it)), str(sum(one.servers_left_for_stop for one in of_it)),
                str(sum(len(one.problems) for one in of_it)),
                f"{sum(one.seconds for one in of_it):.0f}",
            ])  # fmt: skip
    problems = sum(len(one.problems) for one in rounds)
    rows.append(["all", str(len(rounds)), "", str(problems),
                 f"{sum(one.seconds for one in rounds):.0f}"])  # fmt: skip
    return "\n".join(aligned(rows, numbers=range(1, 5)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=100, metavar="N", help="default 100")
    parser.add_argument("--seed", type=int, default=None, help="play the same rounds again")
    parser.add_argument("--only", choices=list(SCENARIOS), help="one scenario")
    parser.add_argument("--short", action="store_true", help="one round each of the quick ones")
    parser.add_argument("--json", metavar="FILE", help="write every round to FILE")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(10**6)
    dice = random.Random(seed)
    names = plan(options.rounds, options.only, options.short, dice)
    folder = Path(tempfile.mkdtemp(prefix="rerank-kit-soak-"))
    print(f"{len(names)} rounds, seed {seed}", flush=True)
    rounds = []
    try:
        for one in play_rounds(names, folder / "state", dice):
            rounds.append(one)
            said = "; ".join(one.problems) or "clean"
            print(f"{one.number:4}  {one.scenario} ({one.detail}), {one.seconds:.0f} s: {said}",
                  flush=True)  # fmt: skip
    finally:
        report = {"seed": seed, "rounds": [asdict(one) for one in rounds]}
        if options.json:
            Path(options.json).write_text(json.dumps(report, indent=1), encoding="utf-8")
    print("\n" + table(rounds))
    bad = [one for one in rounds if one.problems]
    if not bad:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        print(f"logs and state: {folder}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())

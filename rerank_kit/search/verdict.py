"""One page after an evening: is reranking better on these texts, how surely, how fast, on which
GPU, for how much a month, and what to try next."""

from __future__ import annotations

import html
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rerank_kit import memory
from rerank_kit.client.ranking import clip
from rerank_kit.errors import InputError, cannot_write
from rerank_kit.memory.show import aligned
from rerank_kit.search.judge import Judging
from rerank_kit.search.measures import Difference
from rerank_kit.search.report import interval_plot, page, table, verdict_line

MODELS = ("0.6B", "4B", "8B")
DAYS_A_MONTH = 30.4
#: Nobody rents these by the hour, or they are slices of another card.
_NOT_RENTED = ("Laptop", "MIG", "RTX 4060", "RTX 3060", "RTX 2080", "RTX 4070", "RTX 4080")
#: Longer than this before the first result, and people begin to leave a search.
SLOW_MS = 1000


@dataclass(frozen=True)
class Verdict:
    """The answer and what it stands on. cards: model -> the smallest card on which it fits.
    month: the price of a month in the user's own currency, or None without a price."""

    difference: Difference
    judged: int
    nothing_found: int
    facts: dict[str, str]
    times_ms: dict[str, float]
    cards: dict[str, str]
    month: float | None
    currency: str
    hours_a_day: float
    examples: tuple[tuple[str, float, float], ...]
    judgements: int
    minutes: float

    @property
    def answer(self) -> str:
        """yes, no, or not yet known."""
        return {"better": "yes", "worse": "no"}.get(self.difference.verdict, "not yet known")

    def headline(self) -> str:
        if self.answer == "yes":
            return f"Yes: {self.facts['after']} is better on these texts"
        if self.answer == "no":
            return f"No: {self.facts['after']} is worse on these texts"
        return "Not yet known: these judgements do not tell the two ways apart"

    def next_steps(self) -> list[str]:
        """What to try next, most useful first."""
        steps = []
        if self.facts["model"] == "practice":
            steps.append(
                "The model was the practice model, a toy. Repeat this with Qwen3-Reranker before "
                "you decide anything: rerank-kit launch --profile cpu, or gpu."
            )
        if self.answer == "not yet known":
            detectable = self.difference.detectable  # not a number for one query, 0 without change
            steps.append(
                f"Judge more queries: with {self.judged} a difference below "
                f"{detectable:.2f} would probably be missed."
                if detectable >= 0.005 else "Judge more queries: 25 take about twenty minutes."
            )  # fmt: skip
        if self.judged and self.nothing_found / self.judged > 0.2:
            steps.append(
                f"For {self.nothing_found} of {self.judged} queries neither way found anything "
                "useful: no reranker mends that. Try embeddings or a hybrid as the first stage, "
                "a larger depth, in a small collection no first stage at all (--recall "
                "everything), or look whether the answers are in the texts."
            )
        if self.answer != "yes":
            steps.append("Say what relevant means here (an instruction, in English), and repeat.")
        if self.times_ms["rerank"] > SLOW_MS:
            steps.append(
                f"Reranking took {self.times_ms['rerank']:,.0f} ms a query on this machine: a "
                "smaller depth cuts it in proportion; a GPU cuts it far more."
            )
        steps.append("Use queries that people really asked: proposed ones favour search by words.")
        return steps

    def __str__(self) -> str:
        lines = [self.headline(), "", *self._facts_lines(), "", "what to try next"]
        lines += [f"  {at}. {step}" for at, step in enumerate(self.next_steps(), start=1)]
        return "\n".join(lines)

    def as_dict(self) -> dict[str, Any]:
        return {
            "answer": self.answer, "headline": self.headline(),
            "difference": self.difference.as_dict(), "judged_queries": self.judged,
            "judgements": self.judgements, "minutes": round(self.minutes, 1),
            "nothing_found": self.nothing_found, "facts": self.facts, "times_ms": self.times_ms,
            "cards": self.cards, "month": self.month, "currency": self.currency,
            "next_steps": self.next_steps(),
        }  # fmt: skip

    def rows(self) -> list[list[str]]:
        """(what, in words): what the answer stands on."""
        rows = [
            ["certainty", self.difference.sentence("quality of the first results")],
            ["judged", f"{self.judged} queries by {self.judgements} judgements in "
             f"{time_text(self.minutes)}; for {self.nothing_found} nothing useful was found"],
            ["time per query", f"recall {self.times_ms['recall']:,.1f} ms, reranking "
             f"{self.facts['candidates']} candidates {self.times_ms['rerank']:,.0f} ms "
             f"(medians, this machine, model {self.facts['model']})"],
            ["which GPU", "; ".join(f"{model}: {card}" for model, card in self.cards.items())],
        ]  # fmt: skip
        if self.month is None:
            rows.append(["money", "say the price of your machine: price_per_hour=..."])
        else:
            unit = f" {self.currency}" if self.currency else ""
            rows.append(["money", f"{self.month:,.2f}{unit} a month at {self.hours_a_day:g} hours "
                         "a day, one machine, stopped for the rest"])  # fmt: skip
        return rows

    def _facts_lines(self) -> list[str]:
        return aligned(self.rows())

    def html_page(self) -> str:
        """The verdict as one HTML page that needs nothing else."""
        rows = [[html.escape(cell.replace(" -> ", " → ")) for cell in row]
                for row in self.rows()]  # fmt: skip
        examples = [
            [f"{old:.2f}", f"{new:.2f}", html.escape(query)] for query, old, new in self.examples
        ]
        steps = "".join(f"<li>{html.escape(step)}</li>" for step in self.next_steps())
        plot = interval_plot({"quality": self.difference})
        return page("Does reranking help here?", [
            "<h1>Does reranking help here?</h1>",
            verdict_line(self.headline()), table(["", ""], rows, numbers=()),
            "<h2>How large is the difference?</h2>", plot, "<h2>What to try next</h2>",
            f"<ol>{steps}</ol>", "<h2>The queries that changed most</h2>",
            table([self.facts["before"], self.facts["after"], "query"], examples, numbers=(0, 1)),
            '<p class="soft">Quality is nDCG of the first results, from blind judgements of 1 to '
            "5: 1.00 is the best order of what was found, 0 is nothing useful. The judge did not "
            "see which way had found a result.</p>",
        ])  # fmt: skip

    def write(self, path: str | Path) -> Path:
        """Write the page. Returns its path."""
        target = Path(path).with_suffix(".html")
        try:
            target.write_text(self.html_page(), encoding="utf-8")
        except OSError as error:
            raise cannot_write(target, error) from None
        return target


def verdict(
    judging: Judging, *, price_per_hour: float | None = None, hours_a_day: float = 24.0,
    currency: str = "",
) -> Verdict:  # fmt: skip
    """The verdict on the judgements so far.

    price_per_hour: what the machine you would rent costs an hour; prices change too often to
    ship them. hours_a_day: how long it would run.
    """
    if price_per_hour is not None and price_per_hour < 0:
        raise InputError(f"a price is not negative: {price_per_hour}")
    if not 0 < hours_a_day <= 24:
        raise InputError(f"hours_a_day is between 0 and 24, not {hours_a_day}")
    changed = sorted(judging.values(), key=lambda row: -abs(row[2] - row[1]))
    return Verdict(
        judging.difference(), len(judging.judged_queries), judging.nothing_found(), judging.facts,
        judging.times_ms, {model: smallest_card(model) for model in MODELS},
        None if price_per_hour is None else price_per_hour * hours_a_day * DAYS_A_MONTH,
        currency, hours_a_day,
        tuple((clip(q, 60), old, new) for q, old, new in changed[:10] if old != new),
        judging.done, judging.minutes,
    )  # fmt: skip


def time_text(minutes: float) -> str:
    return "less than a minute" if minutes < 1 else f"{minutes:.0f} minutes"


def smallest_card(model: str) -> str:
    """The card with the least memory, of those rented by the hour, on which a model fits."""
    rented = [card for card in memory.CARDS if not card.name.startswith(_NOT_RENTED)]
    for card in sorted(
        (card for card in rented if "MIG" not in card.name), key=lambda one: one.usable_gib
    ):
        if memory.plan(model, memory.device_named(card.name)).verdict == memory.FITS:
            return card.name
    return "none of the known cards"

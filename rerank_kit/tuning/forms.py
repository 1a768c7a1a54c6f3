"""Quantise and know: quality lost against memory and speed gained, form by form, on labelled data.

A form is a number format (bfloat16, float16, float32), a quantisation that vLLM makes while it
loads (fp8_per_channel ...), or the folder or hub id of a checkpoint that somebody quantised. The
first form is what the others are compared with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rerank_kit import machine, memory, models
from rerank_kit.errors import InputError, LaunchError, RerankKitError
from rerank_kit.quantisation import QUANTISED_FORMS, quantisation_name
from rerank_kit.search.evaluate import MAIN_MEASURE, Run, run
from rerank_kit.search.labelled import Labelled
from rerank_kit.search.measures import Difference, difference
from rerank_kit.search.pipeline import Search
from rerank_kit.search.recall import Bm25
from rerank_kit.server.lifecycle import launch_settings
from rerank_kit.server.profiles import settings_for
from rerank_kit.server.readiness import is_headless
from rerank_kit.server.settings import ServerSettings
from rerank_kit.tuning.load import run_load
from rerank_kit.tuning.load_report import Load
from rerank_kit.tuning.trial import guarded_scores
from rerank_kit.tuning.workload import Workload

DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True)
class Form:
    """What one form measured. quality: the main measure, averaged. change: against the first form,
    with its certainty. weights_gib: as the plan counts them; memory_gib: of the running server."""

    name: str
    quality: float = 0.0
    change: Difference | None = None
    pairs_per_second: float = 0.0
    weights_gib: float | None = None
    memory_gib: float | None = None
    failed: str = ""

    def as_dict(self) -> dict[str, Any]:
        data = dict(vars(self))
        data["change"] = self.change.as_dict() if self.change else None
        return data


@dataclass(frozen=True)
class Forms:
    """All forms of one model. Prints as a table."""

    labelled: Labelled
    forms: tuple[Form, ...]

    def __str__(self) -> str:
        head = ["form", MAIN_MEASURE, "change", "", "pairs/s", "weights", "server"]
        rows = [head]
        for form in self.forms:
            if form.failed:
                rows.append([form.name, "-", "-", form.failed, "-", "-", "-"])
                continue
            change = form.change
            rows.append([
                form.name, f"{form.quality:.3f}", f"{change.mean:+.3f}" if change else "-",
                change.verdict if change else "the reference",
                f"{form.pairs_per_second:.1f}", _gib(form.weights_gib), _gib(form.memory_gib),
            ])  # fmt: skip
        return "\n".join([f"{self.labelled!r}", "", *memory.aligned(rows, numbers=(1, 2, 4, 5, 6))])

    def as_dict(self) -> dict[str, Any]:
        return {
            "corpus": self.labelled.name, "queries": len(self.labelled.queries),
            "measure": MAIN_MEASURE, "forms": [form.as_dict() for form in self.forms],
        }  # fmt: skip


def compare_forms(
    profile: str,
    names: Sequence[str],
    labelled: Labelled,
    *,
    model: str | None = None,
    depth: int = 20,
    seconds: float = 8.0,
    documents_per_request: int = 32,
    say: Callable[[str], object] = print,
) -> Forms:
    """Start each form in turn, rerank the labelled queries with it, load it, stop it. A form that
    does not start, or scores nonsense, is a row that says why."""
    if not names:
        raise InputError("Name at least one form, e.g. bfloat16.")
    wanted = [settings_of(profile, model, name) for name in names]  # refuse all slips first
    workload = Workload(
        labelled.name, tuple(query.text for query in labelled.queries),
        tuple(document.text for document in labelled.documents), documents_per_request,
    )  # fmt: skip
    search = Bm25(labelled.documents)
    found: list[Form] = []
    reference: Run | None = None
    for name, settings in zip(names, wanted, strict=True):
        say(f"{name} ...")
        try:
            form, made = _measure(name, settings, labelled, search, workload, depth, seconds)
        except RerankKitError as error:
            cause = error.diagnosis.title if isinstance(error, LaunchError) and error.diagnosis \
                else error.message  # fmt: skip
            found.append(Form(name, failed=cause))
            continue
        if reference is None:
            reference = made
        else:
            form = replace(form, change=difference(_values(reference), _values(made)))
        found.append(form)
    return Forms(labelled, tuple(found))


def settings_of(profile: str, model: str | None, name: str) -> ServerSettings:
    """The profile's server in this form. Raises InputError for a name that is none."""
    if name in DTYPES:
        settings = settings_for(profile, model)
        return replace(settings, dtype=name)
    looks_like_model = "/" in name or name.startswith((".", "~"))
    if looks_like_model:
        settings = settings_for(profile, name)
    else:
        form = QUANTISED_FORMS[quantisation_name(name) or _no_form(name)]
        if form.needs_checkpoint:
            raise InputError(
                f"{name} cannot be made while loading.",
                hint="name the folder or hub id of a checkpoint in this form",
            )
        settings = settings_for(profile, model)
        settings = replace(settings, flags=(*settings.flags, "--quantization", form.flag))
    if settings.dtype == "float32":  # quantised layers compute in 16 bits
        settings = replace(settings, dtype="bfloat16")
    return settings


def _no_form(name: str) -> str:
    raise InputError(f"{name!r} is no form.", hint=f"e.g. {', '.join(DTYPES)}, or a folder")


def _measure(
    name: str, settings: ServerSettings, labelled: Labelled, recall: Bm25, workload: Workload,
    depth: int, seconds: float,
) -> tuple[Form, Run]:  # fmt: skip
    with launch_settings(
        settings, port=machine.free_port(), score_check=False, on_progress=lambda _: None
    ) as server:
        client = server.reranker()
        scores = [score for row in guarded_scores(client.score, workload) for score in row]
        if is_headless(scores):
            raise InputError("every score is 0.5: this checkpoint has lost its yes/no head")
        made = run(labelled, Search(recall, client), depth)
        load = Load(concurrency=2, seconds=seconds, warm_up_requests=2)
        # beyond the queries that were just asked: those are in the cache
        speed = run_load(client, workload, load, first_request=len(workload.queries))
    quality = sum(_values(made)) / len(made.values)
    form = Form(
        name, quality, None, round(speed.pairs_per_second, 2), _weights_gib(settings),
        speed.gpu_gib if speed.gpu_gib is not None else speed.host_gib,
    )
    return form, made


def _values(made: Run) -> list[float]:
    return [row[MAIN_MEASURE] for row in made.values.values()]


def _weights_gib(settings: ServerSettings) -> float | None:
    try:
        facts = models.facts_of(settings.model)
    except InputError:
        return None
    words = list(settings.flags)
    form = words[words.index("--quantization") + 1] if "--quantization" in words else ""
    return facts.weights_gib(form, 4 if settings.dtype == "float32" else 2)


def _gib(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.2f} GiB" if value >= 0.1 else f"{value * 1024:.0f} MiB"

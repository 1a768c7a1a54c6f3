"""Checks for the exercises of notebook 07. Prices and work are worked out by the kit itself."""

from __future__ import annotations

from collections.abc import Mapping

from rerank_kit import models
from rerank_kit.exercises.outcome import PASS, reply
from rerank_kit.money.meter import cost_per_thousand_queries
from rerank_kit.tuning.limit import Limit, flops_per_pair

SYMPTOMS = {
    "nothing comes from the cache, and all prompts begin alike": "--block-size",
    "a step holds few documents, and many are waiting": "--max-num-batched-tokens",
    "the GPU sleeps while one thread tokenises": "--renderer-num-workers",
    "it runs at 95 % of the measured limit": "none",
}


@reply
def check_most_pairs(answer: float, limit: Limit, tokens: int, cached: int) -> str:
    """Is answer the most pairs per second that the 0.6B could do at this limit?"""
    facts = models.facts_of("0.6B")
    right = limit.flops_per_second / flops_per_pair(facts, tokens, cached)
    if abs(answer - right) < 0.02 * right:
        return PASS
    without_cache = limit.flops_per_second / flops_per_pair(facts, tokens)
    if abs(answer - without_cache) < 0.02 * without_cache:
        return "hint: the cached tokens are not computed; flops_per_pair takes them too"
    if abs(answer * right - 1) < 0.02:
        return "hint: these are seconds for a pair; turn it round"
    return "hint: the limit, divided by the work of one pair"


@reply
def check_first_settings(answers: Mapping[str, str]) -> str:
    """Does each symptom have the setting that can cure it? Names the first that has not."""
    for symptom, right in SYMPTOMS.items():
        if symptom not in answers:
            return f"hint: {symptom!r} has no answer"
        if answers[symptom] != right:
            return f"hint: look again at {symptom!r}"
    return PASS


@reply
def check_price(answer: float, price_per_hour: float, speed: float, documents: int) -> str:
    """Is answer the price of 1,000 queries?"""
    right = cost_per_thousand_queries(price_per_hour, speed, documents)
    if abs(answer - right) < 0.01 * right:
        return PASS
    if abs(answer * 1000 - right) < 0.01 * right:
        return "hint: that is one query"
    if abs(answer * documents - right) < 0.01 * right:
        return "hint: that is 1,000 pairs; each query has several documents"
    return "hint: seconds for all pairs, as a part of an hour, times the price"

"""Checks for the exercises of the course, one file per notebook: each replies "pass" or a hint,
never the answer."""

from rerank_kit.exercises.beyond_one_gpu import (
    check_arrangement,
    check_first_steps,
    check_gpus,
)
from rerank_kit.exercises.first_ranking import check_best_question, check_my_document_wins
from rerank_kit.exercises.instructions import (
    check_taken_apart,
    check_verdicts,
    instruction_effects,
)
from rerank_kit.exercises.into_your_stack import check_addresses, check_hits
from rerank_kit.exercises.long_documents import check_quote, check_room
from rerank_kit.exercises.out_of_memory import (
    check_first_remedies,
    check_longest_pair,
    check_options_fit,
)
from rerank_kit.exercises.outcome import PASS
from rerank_kit.exercises.remote_and_safe import check_paths, check_tunnel
from rerank_kit.exercises.start_here import check_forgotten_machine, check_profiles
from rerank_kit.exercises.stop_paying import (
    check_cheap_enough,
    check_evening_budget,
    check_shutdown_ends_bill,
)
from rerank_kit.exercises.tune import check_first_settings, check_most_pairs, check_price
from rerank_kit.exercises.two_stage_search import check_depth, check_enough_queries
from rerank_kit.exercises.what_the_model_reads import (
    check_official_prompt,
    check_threshold,
    mystery_prompts,
)
from rerank_kit.exercises.when_things_break import (
    check_cause_line,
    check_families,
    check_length_for_cache,
)
from rerank_kit.exercises.will_it_fit import (
    check_beside,
    check_kv_of_one_pair,
    check_largest_that_fits,
)

__all__ = [
    "PASS",
    "check_addresses",
    "check_arrangement",
    "check_beside",
    "check_best_question",
    "check_cause_line",
    "check_cheap_enough",
    "check_depth",
    "check_enough_queries",
    "check_evening_budget",
    "check_families",
    "check_first_remedies",
    "check_first_steps",
    "check_first_settings",
    "check_forgotten_machine",
    "check_gpus",
    "check_hits",
    "check_kv_of_one_pair",
    "check_largest_that_fits",
    "check_length_for_cache",
    "check_longest_pair",
    "check_most_pairs",
    "check_my_document_wins",
    "check_official_prompt",
    "check_options_fit",
    "check_paths",
    "check_price",
    "check_profiles",
    "check_quote",
    "check_room",
    "check_taken_apart",
    "check_shutdown_ends_bill",
    "check_threshold",
    "check_tunnel",
    "check_verdicts",
    "instruction_effects",
    "mystery_prompts",
]

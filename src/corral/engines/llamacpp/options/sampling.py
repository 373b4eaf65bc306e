"""Defaults of sampling: a request's own values come first."""

from __future__ import annotations

from typing import Final

from corral.contracts.options import OptionTable
from corral.engines.llamacpp.options.kinds import path, real, several, switch, text, whole

SAMPLING: Final[OptionTable] = (
    whole("n_predict", "Most tokens of an answer; -1 has no limit.", "tokens", low=-1),
    whole("seed", "Seed of the random numbers; -1 takes a new one each time.", low=-1, high=2**32 - 1),
    text("samplers", "Samplers in their order, separated by semicolons."),
    real("temperature", "Randomness; 0 always takes the likeliest token.", low=0),
    whole("top_k", "Only the K likeliest tokens; 0 turns it off."),
    real("top_p", "Only the likeliest tokens that together reach this probability.", low=0, high=1),
    real("min_p", "Only tokens at least this likely, relative to the likeliest.", low=0, high=1),
    real("top_n_sigma", "Only tokens within this many standard deviations; -1 turns it off."),
    real("typical_p", "Locally typical sampling; 1 turns it off.", low=0, high=1),
    real("xtc_probability", "XTC: chance to leave the likeliest tokens out.", low=0, high=1),
    real("xtc_threshold", "XTC: threshold; above 0.5 turns it off.", low=0, high=1),
    whole("repeat_last_n", "Tokens that the penalties look back on; 0 turns them off.", "tokens"),
    real("repeat_penalty", "Penalty for repeating; 1 turns it off.", low=0.000001),
    real("presence_penalty", "Penalty for tokens that are there already."),
    real("frequency_penalty", "Penalty for tokens by how often they are there."),
    real("dry_multiplier", "DRY: strength; 0 turns it off.", low=0),
    real("dry_base", "DRY: base.", low=1),
    whole("dry_allowed_length", "DRY: repetitions up to this length are free.", "tokens"),
    whole("dry_penalty_last_n", "DRY: tokens it looks back on; 0 turns it off.", "tokens"),
    several("dry_sequence_breaker", "DRY: texts at which a repetition ends; `none` for no such text."),
    real("adaptive_target", "Adaptive-p: probability that chosen tokens should have; -1 turns it off.", low=-1, high=1),
    real("adaptive_decay", "Adaptive-p: how slowly the target follows.", low=0, high=0.99),
    real("dynatemp_range", "Dynamic temperature: range; 0 turns it off.", low=0),
    real("dynatemp_exp", "Dynamic temperature: exponent.", low=0),
    whole("mirostat", "Mirostat: 0 off, 1 Mirostat, 2 Mirostat 2.0.", high=2),
    real("mirostat_lr", "Mirostat: learning rate.", low=0),
    real("mirostat_ent", "Mirostat: target entropy.", low=0),
    switch("ignore_eos", "Never let the model end its answer by itself."),
    several("logit_bias", "Tokens that are made likelier or rarer, `TOKEN+BIAS` or `TOKEN-BIAS` by number."),
    text("grammar", "GBNF grammar that every answer follows."),
    path("grammar_file", "File with such a grammar."),
    text("json_schema", "JSON schema that every /completion follows, as text; chat has response_format."),
    path("json_schema_file", "File with such a schema."),
    switch("backend_sampling", "Sample on the GPU."),
)  # fmt: skip

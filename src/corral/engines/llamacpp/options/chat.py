"""Templates and thinking."""

from __future__ import annotations

from typing import Final

from corral.contracts.options import OptionTable
from corral.engines.llamacpp.options.kinds import TRI, choice, path, several, switch, text, whole

CHAT: Final[OptionTable] = (
    switch("jinja", "Use the model's Jinja chat template; tools need it."),
    text("chat_template", "A built-in template's name, or the text of a Jinja template."),
    path("chat_template_file", "File with a Jinja chat template."),
    text("chat_template_kwargs", "Extra values for the chat template, a JSON object as text."),
    choice("reasoning", "Thinking before the answer.", TRI),
    choice("reasoning_format", "Where the thinking is put in the answer.",
           ("none", "deepseek", "deepseek-legacy", "auto")),
    whole("reasoning_budget", "Tokens that may be spent on thinking; -1 has no limit, 0 ends it at once.", "tokens",
          low=-1, high=2**31 - 1),
    text("reasoning_budget_message", "What is put before the end of the thinking when the budget is spent."),
    text("reasoning_effort", "Effort that is handed to the chat template, for example low or high."),
    switch("reasoning_preserve", "Show the template the thinking of earlier answers too."),
    switch("prefill_assistant", "Continue a last message of the assistant instead of answering it."),
    switch("skip_chat_parsing", "Put everything the model says into the content."),
    switch("special", "Show special tokens in the answer."),
    switch("spm_infill", "Order of /infill: suffix, prefix, middle instead of prefix, suffix, middle."),
    several("reverse_prompt", "Texts that end every answer."),
)  # fmt: skip

"""
Quantisations as file names and people write them, and which one to take when nobody says.

The names are those of llama.cpp's file types; `UD-` marks Unsloth's mixes, where the letters tell the typical tensor.
"""

from __future__ import annotations

import re
from typing import Final

_QUANT: Final = re.compile(
    r"""(?<![A-Za-z0-9])
    (?P<dynamic>UD[-_])?
    (?P<quant>
        I?Q[1-8][-_]?K(?:[-_]?(?:XXS|XXL|XS|XL|S|M|L))?          # Q4_K_M, Q6_K, Q2_K_XL
      | IQ[1-4][-_]?(?:XXS|XS|NL|S|M|L)                          # IQ4_XS, IQ2_XXS
      | Q[1-8][-_][01](?:[-_][48][-_][48])?                      # Q8_0, Q4_0_4_4
      | TQ[12][-_]0
      | MXFP4(?:[-_]MOE)? | NVFP4
      | BF16 | FP?16 | FP?32
    )
    (?![A-Za-z0-9])""",
    re.IGNORECASE | re.VERBOSE,
)
_WHOLE: Final = {"FP16": "F16", "FP32": "F32", "MXFP4_MOE": "MXFP4"}

PREFERRED: Final = (
    "Q4_K_M", "UD-Q4_K_XL", "Q4_K_L", "Q4_K_S", "Q4_K", "MXFP4", "NVFP4", "IQ4_XS", "IQ4_NL", "Q4_1", "Q4_0",
    "Q5_K_M", "UD-Q5_K_XL", "Q5_K_L", "Q5_K_S", "Q5_K", "Q5_1", "Q5_0", "Q6_K", "UD-Q6_K_XL", "Q6_K_L",
    "Q8_0", "UD-Q8_K_XL", "UD-Q3_K_XL", "Q3_K_XL", "Q3_K_L", "Q3_K_M", "IQ3_M", "IQ3_S", "Q3_K_S", "Q3_K",
    "IQ3_XS", "IQ3_XXS", "UD-Q2_K_XL", "Q2_K_L", "Q2_K", "IQ2_M", "IQ2_S", "IQ2_XS", "IQ2_XXS",
    "BF16", "F16", "F32", "TQ2_0", "TQ1_0", "IQ1_M", "IQ1_S",
)  # fmt: skip
"""The first that there is, is taken: Q4_K_M is the usual trade of size and quality; then what is nearest to it."""


def quant_of(path: str) -> str:
    """
    What a path in a repository says of it, such as Q4_K_M; "" where it says nothing.

    The name goes before its folders, the end of a name before its beginning.
    """
    for part in reversed(re.sub(r"(?i)\.gguf$", "", path).split("/")):
        found = list(_QUANT.finditer(part))
        if found:
            return ("UD-" if found[-1]["dynamic"] else "") + _spelled(found[-1]["quant"])
    return ""


def normal(quant: str) -> str:
    """A quantisation as somebody typed it (q4-k-m, Q4KM.gguf, fp16) in its usual spelling; unknown ones in capitals."""
    text = quant.strip().upper().removesuffix(".GGUF")
    found = _QUANT.fullmatch(text)
    if found:
        return ("UD-" if found["dynamic"] else "") + _spelled(found["quant"])
    bare = _bare(text)
    return next((each for each in PREFERRED if _bare(each) == bare), text)


def same(wanted: str, there: str) -> bool:
    """Whether both are one; both are `normal`."""
    return _bare(wanted) == _bare(there)


def rank(quant: str) -> int:
    """The lower the sooner it is taken."""
    plain = quant.removeprefix("UD-")
    for name, later in ((quant, 0), (plain, 1)):
        if name in PREFERRED:
            return 2 * PREFERRED.index(name) + later
    return 2 * len(PREFERRED)


def _spelled(text: str) -> str:
    text = text.upper().replace("-", "_")
    text = re.sub(r"^(I?Q\d)_?K_?", r"\1_K_", text).rstrip("_")
    text = re.sub(r"^(IQ\d)_?([A-Z])", r"\1_\2", text)
    return _WHOLE.get(text, text)


def _bare(text: str) -> str:
    return re.sub(r"[-_.]", "", text)

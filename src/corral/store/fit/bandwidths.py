"""
How many bytes a second a GPU's memory gives at most, by its name: what its maker publishes, not what was measured.

Decoding reads all weights for every token, so this bounds it. Cards of one name have different memories here and
there; where a name does not tell, the smaller figure is taken. GPUs of laptops are left out: they share names with
cards that have twice their bandwidth.

Beside each row stands where its figures were looked up, in November 2026; `known` are those that no published page was
found for. Of canirun.ai it is the table that its page works with. Where pages differ (RTX 5000 Ada: 800 or 576), it is
what bus and clock of the memory make.
"""

from __future__ import annotations

import re
from typing import Final

GB: Final = 10**9

_LAPTOPS: Final = re.compile(r"(?i)laptop|mobile|max-q(?! workstation)")
_TABLE: Final[tuple[tuple[str, float], ...]] = (  # GB/s; the first pattern that is found counts
    (r"B200", 8000), (r"GH200", 4000), (r"H200", 4800),  # rooflinenotes.dev; GH200: canirun.ai
    (r"H100 NVL", 3900), (r"H100 PCIe", 2000), (r"H100", 3350),  # grokipedia.com, router-switch.com, acecloud.ai
    (r"A100.*PCIe.*80GB|A100 80GB PCIe", 1935),  # known
    (r"A100.*80GB", 2039), (r"A100", 1555),  # glennklockwood.com, after NVIDIA's data sheet
    (r"A30\b", 933), (r"A16\b", 200), (r"A2\b", 200),  # known
    (r"A40\b", 696), (r"A10G?\b", 600), (r"V100", 900), (r"P100", 549),  # tables in published code; P100 12GB: known
    (r"L40S?\b", 864), (r"L4\b", 300), (r"\bT4\b", 300), (r"P40\b", 346), (r"GB10\b", 273),  # canirun.ai
    (r"RTX PRO 6000.*(Workstation|Max-Q)", 1792), (r"RTX PRO 6000", 1597),  # hardware-corner.net; of servers: known
    (r"RTX 6000 Ada", 960), (r"RTX 4500 Ada", 432), (r"RTX 4000 Ada", 360),  # canirun.ai
    (r"RTX 5000 Ada", 576), (r"RTX 4000 SFF Ada", 280),  # known
    (r"RTX A6000", 768), (r"RTX A5500", 768), (r"RTX A5000", 768), (r"RTX A4500", 640),  # canirun.ai
    (r"RTX A4000", 448), (r"RTX A2000", 288), (r"Quadro RTX [68]000", 672),  # canirun.ai
    (r"RTX 5090", 1792), (r"RTX 5080", 960), (r"RTX 5070 Ti", 896),  # canirun.ai
    (r"RTX 5070", 672), (r"RTX 5060", 448),  # canirun.ai
    (r"RTX 4090", 1008), (r"RTX 4080 SUPER", 736), (r"RTX 4080", 717), (r"RTX 4070 Ti SUPER", 672),  # canirun.ai
    (r"RTX 4070", 504), (r"RTX 4060 Ti", 288), (r"RTX 4060", 272),  # canirun.ai
    (r"RTX 3090 Ti", 1008), (r"RTX 3090", 936), (r"RTX 3080 Ti", 912), (r"RTX 3080", 760),  # canirun.ai
    (r"RTX 3070 Ti", 608), (r"RTX 3070", 448), (r"RTX 3060 Ti", 448),  # canirun.ai
    (r"RTX 3060", 240),  # the smaller of two: known
    (r"RTX 2080 Ti", 616), (r"RTX 2080 SUPER", 496), (r"RTX 20[78]0", 448), (r"GTX 1080 Ti", 484),  # canirun.ai
    (r"MI355X", 8000), (r"MI325X", 6000), (r"MI300[AX]", 5300),  # rooflinenotes.dev
    (r"MI2[15]0", 1638), (r"MI100", 1229),  # known; of one of the two dies of an MI250
    (r"RX 7900 XTX", 960), (r"RX 7900 XT", 800), (r"RX 7800 XT", 624), (r"RX 7700 XT", 432),  # canirun.ai
    (r"RX 7600", 288), (r"RX 6[89]00 XT", 512), (r"RX 6800", 512), (r"RX 6700 XT", 384),  # canirun.ai
    (r"RX 9070 GRE", 432), (r"RX 9070", 640), (r"RX 9060 XT", 320), (r"RX 9060", 288),  # turbovs.com; RX 9060: known
    (r"RX 7900 GRE", 576), (r"PRO W7900", 864), (r"PRO W7800", 576),  # known
    (r"Radeon 80[56]0S", 256), (r"Arc.* A770", 512), (r"Arc.* A750", 512),  # canirun.ai; A770 8GB: known
    (r"Arc.* B580", 456),  # known
    (r"Apple M[12] Ultra", 800), (r"Apple M3 Ultra", 819), (r"Apple M[12] Max", 400),  # canirun.ai
    (r"Apple M3 Max", 300), (r"Apple M4 Max", 410),  # the smaller of two each; M3 Max: known, M4 Max: AlexsJones/llmfit
    (r"Apple M[12] Pro", 200), (r"Apple M3 Pro", 150), (r"Apple M4 Pro", 273), (r"Apple M1\b", 68),  # canirun.ai
    (r"Apple M[23]\b", 100), (r"Apple M4\b", 120),  # canirun.ai
    (r"Apple M5 Pro", 307), (r"Apple M5(?! Max| Ultra)", 153),  # canirun.ai
)  # fmt: skip
_PATTERNS: Final = tuple((re.compile(pattern, re.IGNORECASE), figure) for pattern, figure in _TABLE)


def gpu_bandwidth(description: str) -> float | None:
    """Bytes a second, by the name that a driver or llama.cpp gives; None for what is not in the table."""
    if _LAPTOPS.search(description):
        return None
    figure = next((figure for pattern, figure in _PATTERNS if pattern.search(description)), None)
    return None if figure is None else figure * GB

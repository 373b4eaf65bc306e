"""The hub's own client and Corral, with HF_ENDPOINT at one and the same server: the same files, the same hashes."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.hub_server import COMMIT, HubServer
from tests.models import ADA, BEN, model
from tests.paths.shell_kit import WAIT_S, Shell, shell

__all__ = ["shell"]  # a fixture

CLIENT = """
import json, sys
from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError
try:
    info = HfApi().model_info("org/ada-GGUF", files_metadata=True)
    tree = {each.path: each for each in HfApi().list_repo_tree("org/ada-GGUF", recursive=True)}
    folder = snapshot_download("org/ada-GGUF", allow_patterns=sys.argv[1:], local_dir="by-client")
    one = hf_hub_download("org/ada-GGUF", "README.md")
except GatedRepoError as error:
    print(json.dumps({"gated": type(error).__name__}))
    sys.exit()
print(json.dumps({
    "commit": info.sha, "folder": folder, "one": open(one).read(),
    "files": {each.rfilename: [each.size, each.lfs.sha256 if each.lfs else None] for each in info.siblings},
    "tree": {each.path: [each.size, each.lfs.sha256 if each.lfs else None] for each in tree.values()},
}))
"""


def by_client(shell: Shell, *patterns: str) -> dict[str, Any]:
    """What the hub's client finds and fetches."""
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CLIENT, *patterns], env=shell.env, cwd=shell.home, check=False,
        capture_output=True, text=True, timeout=WAIT_S,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    found: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return found


def hashes(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*.gguf")
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    }


@pytest.mark.parametrize("sized", [True, False], ids=["at once", "page by page"])
def test_both_fetch_the_same(shell: Shell, sized: bool) -> None:
    files = {
        "README.md": b"# Ada",
        "ada-Q8_0.gguf": model(ADA).read_bytes(),
        "Q4_K_M/ada-00001-of-00002.gguf": model(BEN).read_bytes(),
        "Q4_K_M/ada-00002-of-00002.gguf": model(ADA).read_bytes(),
        "mmproj-F16.gguf": model(BEN).read_bytes(),
    }
    with HubServer(page=2) as server:
        server.repo("org/ada-GGUF", files, sizes=sized)
        shell.env |= {
            "HF_ENDPOINT": server.endpoint, "CORRAL_STORE__TRUSTED": server.storage, "HF_TOKEN": "hf_mine",
            "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        }  # fmt: skip
        plan = json.loads(shell.run("models", "pull", "hf.co/org/ada-GGUF", "--dry-run", "--json").stdout)
        said = by_client(shell, "Q4_K_M/*", "mmproj-F16.gguf")
        ran = shell.run("models", "pull", "hf.co/org/ada-GGUF", "--json")
    assert ran.returncode == 0, ran.stderr
    assert said["commit"] == COMMIT and said["one"] == "# Ada"
    names = {
        each["path"].partition("/hf/org/ada-GGUF/")[2]: [each["size_bytes"], each["sha256"]] for each in plan["files"]
    }
    assert names == {name: said["tree"][name] for name in names} and len(names) == 3
    if sized:
        assert names == {name: said["files"][name] for name in names}
    store = Path(json.loads(ran.stdout)["model"]).parents[1]
    assert hashes(store) == hashes(Path(said["folder"])) == {name: digest for name, (_, digest) in names.items()}
    tokens = {each.where for each in server.asked if "hf_mine" in each.headers.get("authorization", "")}
    assert tokens == {"hub"}, "neither sends the token to where the bytes are"


def test_both_see_a_closed_door(shell: Shell) -> None:
    with HubServer() as server:
        server.repo("org/ada-GGUF", {"m.gguf": model(ADA).read_bytes()}, token="hf_other", gated=True)
        shell.env |= {"HF_ENDPOINT": server.endpoint, "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": "hf_mine"}
        ran = shell.run("models", "pull", "hf.co/org/ada-GGUF")
        assert by_client(shell) == {"gated": "GatedRepoError"}
    assert ran.returncode == 1 and "accept" in ran.stderr

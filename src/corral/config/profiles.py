"""
The files that `corral config init` writes: short, with comments, and right for the machine that they are named after.

Each is a whole config that Corral starts with, and what it shows in comments is right when it is uncommented.
"""

from __future__ import annotations

from typing import Final

_HEAD: Final = """\
# Corral's configuration. `corral config validate` checks it, `corral config explain KEY` tells about a key.
# Every key has a default; a line that begins with "# " shows one that may be of use.
version: 1

server:
  host: 127.0.0.1
  port: 11435
  # To serve other machines, listen on all addresses and give out keys. This one is read from the environment:
  # export CORRAL_MY_KEY="$(openssl rand -hex 32)"
  # host: 0.0.0.0
  # keys:
  #   - {name: me, key: "${env.CORRAL_MY_KEY}", scopes: [inference, admin]}

"""

_MODELS: Final = """\
# One entry for each Model: the name that clients ask for, and the .gguf file (a relative path counts from this folder).
models:
  # my-model:
  #   source: ~/models/my-model-Q4_K_M.gguf
  #   aliases: [default]
  #   options:
  #     ctx_size: 32768    # tokens, all slots together
  #     parallel: 4        # slots: requests that it answers at one time

# Models of a swap group take turns: only one of them is loaded at a time.
groups:
  # big: {members: [my-model], swap: true}
"""

STARTER: Final = f"""\
{_HEAD}memory:
  ram: auto                # what the machine or its cgroup has, less `reserve`; or a size such as 24GiB
  reserve: 1GiB

defaults:
  ttl: 10m                 # an idle Model is unloaded after this; `never` keeps it
  # options:
  #   llamacpp: {{ctx_size: 8192}}

{_MODELS}"""
"""For any machine."""

_CPU: Final = f"""\
{_HEAD}memory:
  ram: auto                # what the machine or its cgroup has, less `reserve`; or a size such as 24GiB
  reserve: 2GiB

defaults:
  ttl: 10m                 # an idle Model is unloaded after this; `never` keeps it
  options:
    llamacpp:
      n_gpu_layers: 0      # no layer leaves RAM, whatever the program was built for
      ctx_size: 8192       # tokens, all slots together: without it a Model takes all that it was trained for
      parallel: 2          # slots: without a GPU more requests at a time make each of them slow
      cache_ram: 1024      # MiB for prompts of earlier requests; the engine's own default is 8192
      # threads: 8         # default: one for each core; fewer where other programs need cores

{_MODELS}"""

_GPU: Final = f"""\
{_HEAD}memory:
  ram: auto                # what the machine or its cgroup has, less `reserve`; or a size such as 24GiB
  vram: auto               # the same for each GPU
  reserve: {{ram: 2GiB, vram: 512MiB}}

defaults:
  ttl: 10m                 # an idle Model is unloaded after this; `never` keeps it
  # A llama-server that was built for this GPU must be on PATH, or be named here: the embedded one knows the CPU only.
  # binary: {{llamacpp: /opt/llama.cpp/llama-server}}
  options:
    llamacpp:
      n_gpu_layers: auto   # as many layers as fit; `all` fails where they do not
      flash_attn: auto
      ctx_size: 16384      # tokens, all slots together: without it a Model takes all that it was trained for
      parallel: 4          # slots: requests that a Model answers at one time
      # cache_type_k: q8_0 # half the memory for context, at a small price in quality
      # cache_type_v: q8_0

{_MODELS}"""

_STRIX_HALO_CPU: Final = f"""\
# For AMD Strix Halo (gfx1151) with llama.cpp built for ROCm whose kernels fault on this GPU: it is hidden from the
# engines, and everything runs on the CPU. Its memory is one pool: what the firmware gives the GPU, no model can use.
{_HEAD}memory:
  ram: auto                # what the machine or its cgroup has, less `reserve`; or a size such as 96GiB
  reserve: 4GiB            # for the desktop and the GPU's share of the same memory

macros:
  models: /models          # the folder with the .gguf files

defaults:
  ttl: 30m                 # large models take long to load
  env:
    llamacpp: {{HIP_VISIBLE_DEVICES: "-1"}}   # hides the GPU: without it ROCm is started even for 0 layers
  options:
    llamacpp:
      n_gpu_layers: 0
      ctx_size: 32768      # tokens, all slots together
      parallel: 2          # slots: without a GPU more requests at a time make each of them slow
      cache_ram: 2048      # MiB for prompts of earlier requests
      # threads: 16        # one for each core is best; two for each are slower

# One entry for each Model: the name that clients ask for. `{{model}}` is that name. Mixtures of experts make the best
# use of much memory on a CPU: few of their weights are computed for each token.
models:
  # gpt-oss-20b:
  #   source: "${{models}}/{{model}}.gguf"
  #   aliases: [default]
  # qwen2.5-coder-7b:
  #   source: "${{models}}/{{model}}.gguf"
  # nomic-embed:
  #   source: "${{models}}/{{model}}.gguf"
  #   options: {{embeddings: true, ctx_size: 8192, parallel: 4, ubatch_size: 2048}}
  #   ttl: never

# Models of a swap group take turns: only one of them is loaded at a time. The embedding Model stays beside them.
groups:
  # main: {{members: [gpt-oss-20b, qwen2.5-coder-7b], swap: true}}
"""

PROFILES: Final = {"cpu": _CPU, "gpu": _GPU, "strix-halo-cpu": _STRIX_HALO_CPU}
"""Profile -> the text of its file."""

"""Where weights and threads are, and how the file is read."""

from __future__ import annotations

from typing import Final

from corral.contracts.options import OptionTable
from corral.engines.llamacpp.options.kinds import choice, several, switch, text, whole

_PRIORITY: Final = "-1 low to 3 real time"

PLACEMENT: Final[OptionTable] = (
    whole("n_gpu_layers", "Layers on the GPU.", "layers", default="auto", words=("auto", "all")),
    several("device", "Devices to use, as `llama-server --list-devices` names them; `none` for the CPU."),
    choice("split_mode", "How a model is split over several GPUs.", ("none", "layer", "row", "tensor")),
    several("tensor_split", "Share of the model for each GPU, for example [3, 1]."),
    whole("main_gpu", "The GPU, counted from 0, of split_mode none, and of row for what is not split."),
    several("override_tensor", "Buffer type for tensors by name, `PATTERN=TYPE`."),
    switch("cpu_moe", "Keep all expert weights on the CPU."),
    whole("n_cpu_moe", "Keep the expert weights of the first layers on the CPU.", "layers"),
    whole("n_cpu_ffn", "Keep the dense feed-forward weights of the first layers on the CPU.", "layers"),
    choice("fit", "Adjust what is not set to the device memory that is free.", ("on", "off")),
    several("fit_target", "MiB of memory that `fit` leaves free on each device; one value is for all."),
    whole("fit_ctx", "The smallest context that `fit` may choose.", "tokens"),
    switch("op_offload", "Run operations of host tensors on the GPU."),
    switch("repack", "Rearrange weights for this CPU while loading."),
    switch("no_host", "Leave the pinned host buffer out, so that other buffer types can be used."),
    switch("mlock", "Hold the model in RAM: never swapped out."),
    switch("mmap", "Map the file into memory instead of reading it."),
    choice("load_mode", "How the file is read; says the same as mlock and mmap together.",
           ("auto", "none", "mmap", "mlock", "mmap+mlock", "dio")),
    choice("lazy_mode", "Read the rows of large lookup tensors from disk when they are needed.", ("on", "auto", "off")),
    switch("check_tensors", "Check the weights for invalid values while loading."),
    several("override_kv", "Metadata of the file by key, `KEY=TYPE:VALUE` with the type int, float, bool or str."),
    switch("warmup", "Run once empty before the model is ready."),
    choice("numa", "Placement on machines with several memory nodes.", ("distribute", "isolate", "numactl")),
    whole("threads", "CPU threads for generation; -1 lets the engine choose.", "threads", low=-1),
    whole("threads_batch", "CPU threads for prompts; -1 takes the value of threads.", "threads", low=-1),
    whole("threads_http", "Threads that answer HTTP.", "threads", low=-1),
    text("cpu_mask", "CPUs for the threads, as a hexadecimal mask."),
    text("cpu_range", "CPUs for the threads, as FIRST-LAST; adds to cpu_mask."),
    switch("cpu_strict", "Give each thread one CPU of its own."),
    whole("prio", f"Priority of the threads, {_PRIORITY}.", low=-1, high=3),
    whole("poll", "How eagerly threads poll for work.", "percent", high=100),
    text("cpu_mask_batch", "The same for the threads of prompts."),
    text("cpu_range_batch", "The same for the threads of prompts."),
    switch("cpu_strict_batch", "The same for the threads of prompts."),
    whole("prio_batch", "The same for the threads of prompts, 0 normal to 3 real time.", high=3),
    switch("poll_batch", "The same for the threads of prompts: poll or sleep."),
    switch("perf", "Measure the time that llama.cpp spends inside."),
)  # fmt: skip

"""What the Model is for beside chat, the files that go with it, and its HTTP server."""

from __future__ import annotations

from typing import Final

from corral.contracts.options import OptionTable
from corral.engines.llamacpp.options.kinds import choice, path, paths, real, several, switch, text, whole

TASK: Final[OptionTable] = (
    switch("embeddings", "Serve embeddings."),
    choice("pooling", "How the vectors of an input become one.", ("none", "mean", "cls", "last", "rank")),
    whole("embd_normalize", "Normalisation: -1 none, 0 largest, 1 taxicab, 2 euclidean, more: p-norm.", low=-1),
    switch("rerank", "Serve reranking."),
    path("mmproj", "Multimodal projector, for images, audio and video."),
    switch("mmproj_offload", "Keep the projector on the GPU."),
    text("mmproj_device", "Device for the projector; `none` for the CPU."),
    whole("image_min_tokens", "Fewest tokens an image may take.", "tokens", low=1),
    whole("image_max_tokens", "Most tokens an image may take.", "tokens", low=1),
    whole("mtmd_batch_max_tokens", "Most tokens of images that are encoded at once.", "tokens", low=1),
    real("video_fps", "Pictures that are taken of a video.", "pictures a second", low=0.01),
    whole("video_timestamp_interval", "Distance between the times that are told in a video.", "ms"),
    path("video_ffmpeg_dir", "Folder with ffmpeg and ffprobe; else they are looked for on PATH."),
    path("media_path", "Folder from which clients may name files as file:// in their messages."),
    paths("lora", "LoRA adapter files."),
    paths("lora_scaled", "LoRA adapter files with their scales, `FILE:SCALE`."),
    paths("control_vector", "Control vector files."),
    paths("control_vector_scaled", "Control vector files with their scales, `FILE:SCALE`."),
    several("control_vector_layer_range", "First and last layer that control vectors change, for example [4, 20]."),
)  # fmt: skip

SERVER: Final[OptionTable] = (
    whole("timeout", "Longest pause while a request is read or an answer written.", "seconds", low=1),
    whole("sse_ping_interval", "Pause between the signs of life in a stream; -1 sends none.", "seconds", low=-1),
    whole("sleep_idle_seconds", "Idle time after which the weights are given up while the process stays; -1 never.",
          "seconds", low=-1),
    several("tags", "Tags that the engine shows in its own list of models."),
    switch("ui", "Serve llama.cpp's own web page."),
    whole("verbosity", "What the engine logs: 1 errors, 2 warnings, 3 news, 4 memory and slots, 5 prompts and answers.",
          high=5, default=4),
)  # fmt: skip

"""Writes the seeds of each target into tests/fuzz/corpus: `python -m tests.fuzz.seeds`. Good inputs to begin from."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

from tests.bench.hotpath import ANSWER, BODY, CHUNK, EVENT, REQUEST, STREAM_HEAD
from tests.fuzz.targets import CUT

HERE: Final = Path(__file__).parent
KEYED: Final = REQUEST % (b"/v1/chat/completions", b"%", len(BODY), BODY)
CHUNKED: Final = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nX-Api-Key: %\r\nTransfer-Encoding: chunked\r\n"
    b"Expect: 100-continue\r\n\r\n"
)
BODY_IN_CHUNKS: Final = b"%x\r\n%b\r\n0\r\nX-Trailer: 1\r\n\r\n" % (len(BODY), BODY)
HEAD: Final = KEYED.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
ANSWER_HEAD: Final = ANSWER.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
USAGE: Final = (
    b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":5,"total_tokens":8,"prompt_tokens_details":'
    b'{"cached_tokens":2}},"timings":{"prompt_n":3,"predicted_n":5,"cache_n":2}}\n\ndata: [DONE]\n\n'
)
ANTHROPIC: Final = (
    b'event: message_start\ndata: {"type":"message_start","message":{"usage":{"input_tokens":3,"output_tokens":0}}}\n\n'
    b'event: content_block_delta\ndata: {"type":"content_block_delta","delta":{"type":"text_delta","text":"a"}}\n\n'
    b'event: message_delta\ndata: {"type":"message_delta","usage":{"output_tokens":4}}\n\n'
)
MESSAGES: Final = (
    b'{"model":"m","max_tokens":9,"stream":true,"system":[{"type":"text","text":"x-anthropic-billing-header: a"}],'
    b'"thinking":{"type":"enabled","budget_tokens":1024},"tool_choice":{"type":"tool","name":"a"},"stop_sequences":["b"],'
    b'"tools":[{"name":"a","description":"d","input_schema":{"type":"object"}}],"output_config":{"effort":"low"},'
    b'"messages":[{"role":"user","content":[{"type":"text","text":"hi"},{"type":"image","source":{"type":"base64",'
    b'"media_type":"image/png","data":"iVBORw0KGgoAAAAA"}},{"type":"document","title":"t","source":{"type":"text",'
    b'"media_type":"text/plain","data":"d"}}]},{"role":"assistant","content":[{"type":"thinking","thinking":"hm",'
    b'"signature":"s"},{"type":"tool_use","id":"c","name":"a","input":{}}]},{"role":"user","content":[{"type":'
    b'"tool_result","tool_use_id":"c","is_error":true,"content":[{"type":"text","text":"r"}]}]}]}'
)
RESPONSE: Final = (
    b'{"model":"m","stream":true,"instructions":"i","reasoning":{"effort":"low"},"tool_choice":{"type":"function",'
    b'"name":"a"},"tools":[{"type":"function","name":"a","parameters":{"type":"object"}},{"type":"web_search"},'
    b'{"type":"namespace","name":"s","tools":[{"type":"function","name":"b"}]}],"text":{"format":{"type":"json_schema","name":"n","schema":{}}},"include":["message.output_text.logprobs"],'
    b'"seed":1,"input":[{"role":"developer","content":"d"},{"role":"user","content":[{"type":"input_text","text":"t"},'
    b'{"type":"input_image","image_url":"data:image/png;base64,AAAA"},{"type":"input_file","filename":"f","file_data":'
    b'"data:text/plain;base64,YQ=="}]},{"type":"reasoning","content":[{"type":"reasoning_text","text":"hm"}]},'
    b'{"type":"web_search_call"},{"type":"reasoning","encrypted_content":"corral:so"},'
    b'{"type":"function_call","call_id":"c","namespace":"s","name":"a","arguments":"{}"},{"type":"function_call_output","call_id":"c",'
    b'"output":"r"}]}'
)
ODD_CHAT: Final = (
    b'{"model":"m","messages":[{"role":"assistant","reasoning":"hm"}],"tools":[{"type":"function","function":{"name":"a"}}],'
    b'"tool_choice":{"type":'
    b'"allowed_tools","allowed_tools":{"mode":"auto","tools":[{"type":"function","function":{"name":"a"}}]}},'
    b'"response_format":{"type":"json_schema","schema":{}},"reasoning":{"effort":"low","max_tokens":1},"thinking":'
    b'{"type":"enabled","budget_tokens":2},"enable_thinking":true,"chat_template_kwargs":{"a":1}}'
)
CALLS: Final = (
    b'data: {"choices":[{"index":0,"delta":{"reasoning_content":"hm"}}],"prompt_progress":{"total":9,"cache":3}}\n\n'
    b'data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"c","function":{"name":"a","arguments":"{"}}'
    b']}}]}\n\ndata: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"}"}}]}}]}\n\n'
    b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}],"__verbose":{"stopping_word":""}}\n\n'
)
NATIVE: Final = (
    b'data: {"content":"a","stop":false,"completion_probabilities":[{"token":"a","logprob":-1.5,"bytes":[97],'
    b'"top_logprobs":[{"token":"b","logprob":-2}]}]}\n\n'
    b'data: {"content":"","stop":true,"stop_type":"limit","tokens_evaluated":3,"tokens_predicted":1,'
    b'"timings":{"prompt_ms":1.5,"predicted_ms":2,"cache_n":1}}\n\n'
)
CALL: Final = (
    b'data: {"choices":[{"index":0,"delta":{"reasoning_content":"Hm","tool_calls":[{"index":0,"id":"c","function":'
    b'{"name":"f","arguments":"{\\"a\\":1}"}}]},"logprobs":{"content":[{"token":"a","logprob":-1}]},'
    b'"finish_reason":"tool_calls"}]}\n\n'
)
OLLAMA_CHAT: Final = (
    b'{"model":"m","messages":[{"role":"user","content":"a","images":["iVBORw0KGgo="]},{"role":"assistant","thinking":'
    b'"b","tool_calls":[{"function":{"name":"f","arguments":{"a":1}}}]},{"role":"tool","tool_name":"f","content":"c"}],'
    b'"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object"}}}],"format":"json","think":"low",'
    b'"options":{"num_ctx":4096,"temperature":0.5,"stop":["x"],"num_predict":-1},"keep_alive":"1h30m","logprobs":true,'
    b'"top_logprobs":2}'
)
OLLAMA_GENERATE: Final = (
    b'{"model":"m","prompt":"a","system":"b","template":"{{- if .System }}{{ .System }}{{ else }}x{{ end }}'
    b'{{ .Prompt }}{{ .Response }}","stream":false,"input":["a","b"],"dimensions":2,"keep_alive":-1}'
)
OLLAMA_RAW: Final = b'{"model":"m","prompt":"a","raw":true,"suffix":"b","input":"a","format":{"type":"object"}}'
VECTORS: Final = b'{"data":[{"index":0,"embedding":[3,4]},{"index":1,"embedding":[1]}],"usage":{"prompt_tokens":2}}'
YAML: Final = b"""version: 1
macros: {home: /models, size: 4096}
server: {host: 127.0.0.1, port: 11435, keys: [{name: ann, key: "${env.A:-0123456789abcdef}"}]}
memory: {ram: auto, reserve: 1GiB}
defaults: {ttl: 10m, options: {llamacpp: {parallel: 4}}}
models:
  a: &a
    source: "${home}/a.gguf"
    aliases: [coder, 'x y']
    options: {ctx_size: "${size}"}
    args: {log_disable: true}
    env: {HIP_VISIBLE_DEVICES: "-1"}
  b:
    <<: *a
    aliases: []
    source: {path: "~/b.gguf"}   # "{{ models.a.source }}"
groups: {big: {members: [a, b], swap: true}}
"""
TOML: Final = b"""version = 1
[server]
port = 11_435
[[server.keys]]
name = "ann"
key = "0123456789abcdef"
[models."a.b"]
source = '/m/a.gguf'
aliases = ["x", "y"]
options = { ctx_size = 4096, parallel = 4 }
[groups.big]
members = ["a.b"]
"""


def seeds() -> dict[str, list[bytes]]:
    """By target."""
    client, ends = [b"K" + KEYED], [b"E" + ANSWER]
    stream = [b"E" + STREAM_HEAD + CHUNK, b"E" + CHUNK, b"E0\r\n\r\n"]
    return {
        "heads": [
            HEAD + CUT + KEYED,
            ANSWER_HEAD + CUT + ANSWER,
            b"GET / HTTP/1.0\r\n\r\n" + CUT + b"GET / HTTP/1.0\r\n\r\n",
        ],
        "chunks": [BODY_IN_CHUNKS, BODY_IN_CHUNKS[:9] + CUT + BODY_IN_CHUNKS[9:] + b"GET", b"0;a=b\r\n\r\n"],
        "events": [EVENT * 2, EVENT[:20] + CUT + EVENT[20:], b"data: a\r\n\r\n" + CUT + b": \r\n\r\n"],
        "usage": [EVENT + CUT + USAGE, ANTHROPIC, ANSWER.partition(b"\r\n\r\n")[2]],
        "relay": [
            CUT.join(each)
            for each in (
                client + ends,
                client + stream,
                [*client, b"X" + STREAM_HEAD + CHUNK],
                [*client, *client, *ends, *ends],
                [b"K" + CHUNKED, b"C" + BODY_IN_CHUNKS, *ends],
                [b"CGET /v1/models HTTP/1.1\r\nHost: a\r\n\r\nGET /health HTTP/1.0\r\n\r\n"],
                [*client, b"E" + STREAM_HEAD, b"X"],
                [*client, b"EHTTP/1.1 100 Continue\r\n\r\n", *ends],
                [*client, b"EHTTP/1.1 503 Busy\r\nContent-Length: 2\r\n\r\n{}"],
            )
        ],
        "anthropic": [
            MESSAGES + CUT + EVENT + CUT + CALLS + USAGE,
            MESSAGES + CUT + EVENT[:50] + CUT + EVENT[50:] + CALLS,
        ],
        "responses": [
            RESPONSE + CUT + EVENT + CUT + CALLS + USAGE,
            ODD_CHAT + CUT + EVENT[:50] + CUT + EVENT[50:] + CALLS,
        ],
        "ollama": [
            OLLAMA_CHAT + CUT + EVENT + CUT + CALL + USAGE,
            OLLAMA_GENERATE + CUT + VECTORS,
            OLLAMA_RAW + CUT + NATIVE[:40] + CUT + NATIVE[40:],
        ],
        "yaml": [YAML],
        "toml": [TOML],
        "gguf": [_model("llama"), _model("bert", split=2)],
    }


def _model(architecture: str, split: int = 0) -> bytes:
    """A file of a few hundred bytes with values of every kind."""
    import gguf
    import numpy as np

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "m.gguf")
        writer = gguf.GGUFWriter(path, architecture)
        writer.add_block_count(1)
        writer.add_context_length(512)
        writer.add_head_count_kv([1, 2])
        writer.add_rope_freq_base(10000.0)
        writer.add_causal_attention(True)
        writer.add_token_list(["a", "b"])
        if split:
            writer.add_uint16("split.no", 0)
            writer.add_uint16("split.count", split)
        writer.add_tensor("token_embd.weight", np.zeros((2, 4), dtype=np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path.read_bytes()


def main() -> None:
    """Write them all."""
    for target, inputs in seeds().items():
        folder = HERE / "corpus" / target
        folder.mkdir(parents=True, exist_ok=True)
        for number, data in enumerate(inputs):
            (folder / f"seed-{number}").write_bytes(data)


if __name__ == "__main__":
    main()

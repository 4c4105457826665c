"""A program that behaves as `vllm serve`, `llama-server` or `ollama serve` does, by the name under which it is run.

Beside it lies `plan.json`: how it behaves at its first start, its second, and so on (the last again and again), and
what Ollama has. Each start is written to `starts.jsonl`. It also does what it is told in a conversation.
"""

import json
import os
import signal
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

HERE = Path(__file__).parent
SLEEPER = ("sleep", "600")


def main() -> None:
    plan = json.loads((HERE / "plan.json").read_text())
    log = HERE / "starts.jsonl"
    number = len(log.read_text().splitlines()) if log.exists() else 0
    kept = ("CUDA_VISIBLE_DEVICES", "PYTORCH_ALLOC_CONF", "OLLAMA_HOST", "OLLAMA_KEEP_ALIVE")
    variables = {key: os.environ[key] for key in kept if key in os.environ}
    start = {"argv": sys.argv, "env": variables, "pid": os.getpid()}
    with log.open("a") as out:
        out.write(json.dumps(start) + "\n")
    behaviours = plan["starts"]
    begin(behaviours[min(number, len(behaviours) - 1)], plan)


def begin(behaviour: str, plan: dict[str, Any]) -> None:
    tell("INFO it begins")
    match behaviour:
        case "die":
            tell("Traceback (most recent call last):\nValueError: no such architecture")
            sys.exit(3)
        case "full":  # vLLM's: the cause, and then the words of the process above it
            tell("ValueError: Free memory on device cuda:0 (1.2/8.0 GiB) on startup is less than")
            tell("\n".join(f"  frame {n}" for n in range(20)))
            tell("RuntimeError: Engine core initialization failed. See root cause above.")
            sys.exit(1)
        case "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "old" if any(word.startswith("--kv-cache-memory-bytes") for word in sys.argv):
            tell("usage: vllm serve [model_tag] [options]")
            tell("vllm serve: error: unrecognized arguments: --kv-cache-memory-bytes 1024")
            sys.exit(2)
        case "stubborn":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            subprocess.Popen(SLEEPER, stdout=subprocess.DEVNULL)
        case _:
            pass
    Handler.models = plan["models"] if "OLLAMA_HOST" in os.environ else [served()]
    Handler.is_well = behaviour != "slow"
    Handler.is_full = behaviour == "full at work"
    ThreadingHTTPServer(("127.0.0.1", port()), Handler).serve_forever()


def tell(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def after(*flags: str) -> str:
    return next(sys.argv[sys.argv.index(flag) + 1] for flag in flags if flag in sys.argv)


def served() -> str:
    return after("--served-model-name", "--alias")


def port() -> int:
    if "OLLAMA_HOST" in os.environ:
        return int(os.environ["OLLAMA_HOST"].rpartition(":")[2])
    return int(after("--port"))


class Handler(BaseHTTPRequestHandler):
    models: ClassVar[list[str]] = []
    is_well = True
    is_full = False

    def do_GET(self) -> None:
        if self.path == "/v1/models":
            self.whole(200, {"object": "list", "data": [{"id": name} for name in self.models]})
        elif self.path == "/go":
            tell("INFO weights are there")
            Handler.is_well = True
            self.whole(200, {})
        else:
            self.whole(200 if Handler.is_well else 503, {})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.obey(asked["messages"][-1]["content"])

    def obey(self, words: str) -> None:
        if Handler.is_full or words == "fill":
            tell("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB")
            os._exit(1)
        match words:
            case "die":
                tell("something broke")
                os._exit(5)
            case "refuse":
                error = {"message": "CUDA error: out of memory"}
                self.whole(500, {"error": error})
            case "ail":
                Handler.is_well = False
                self.say("now")
            case _:
                self.say(*words.split())

    def say(self, *words: str) -> None:
        deltas: list[Any] = [({"content": f"{word} "}, None) for word in words] + [({}, "stop")]
        chunks = [
            {"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}
            for delta, reason in deltas
        ]
        text = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"
        self.answer(200, "text/event-stream", text.encode())

    def whole(self, status: int, document: Any) -> None:
        self.answer(status, "application/json", json.dumps(document).encode())

    def answer(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


if __name__ == "__main__":
    main()

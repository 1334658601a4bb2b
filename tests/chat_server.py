"""An OpenAI-compatible server on this machine, so that the real client is tested."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from common.config import TeacherConfig

Answer = tuple[int, str]
"""HTTP status and the content of the message (or of the error)."""


class ChatServer(ThreadingHTTPServer):
    """An OpenAI-compatible server on this machine that answers as the test tells it."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, answer: Callable[[int, str], Answer], latency_s: float = 0.0) -> None:
        super().__init__(("127.0.0.1", 0), ChatHandler)
        self.answer, self.latency_s = answer, latency_s
        self.lock = threading.Lock()
        self.questions: list[str] = []
        self.busy, self.most_busy = 0, 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class ChatHandler(BaseHTTPRequestHandler):
    server: ChatServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        question = body["messages"][-1]["content"]
        with self.server.lock:
            self.server.questions.append(question)
            number = len(self.server.questions)
            self.server.busy += 1
            self.server.most_busy = max(self.server.most_busy, self.server.busy)
        time.sleep(self.server.latency_s)
        status, content = self.server.answer(number, question)
        with self.server.lock:
            self.server.busy -= 1
        self.reply(status, content)

    def reply(self, status: int, content: str) -> None:
        message = {"role": "assistant", "content": content}
        good = {
            "id": "1",
            "object": "chat.completion",
            "created": 1,
            "model": "local",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 70, "completion_tokens": 30, "total_tokens": 100},
        }
        bad = {"error": {"message": content, "type": "error", "code": str(status)}}
        self.send(status, json.dumps(good if status == 200 else bad).encode())

    def send(self, status: int, payload: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, format: str, *args: object) -> None:
        pass


def tagged(number: int, question: str) -> Answer:
    text = question.partition("<text>")[2].partition("</text>")[0]
    return 200, f"Sure.\n<explanation>On\n{text}.</explanation>"


@contextmanager
def running_servers() -> Iterator[Callable[..., ChatServer]]:
    """A function that starts servers; all end with the block."""
    servers: list[ChatServer] = []

    def start(answer: Callable[[int, str], Answer] = tagged, **settings: float) -> ChatServer:
        server = ChatServer(answer, **settings)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def config(server: ChatServer, **settings: Any) -> TeacherConfig:
    values = {"kind": "api", "model": "openai/local", "base_url": server.url} | settings
    return TeacherConfig.model_validate(values)

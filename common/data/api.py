"""Ask a language model through litellm: in parallel, with retries, and paying for nothing twice."""

import asyncio
import json
import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common.config import TeacherConfig
from common.data.foreign import visible
from common.errors import NlaError
from common.json_lines import read_lines
from common.manifest import digest_of
from common.progress import progress
from common.seeding import keyed_random

FIRST_WAIT_S = 2.0
"""Seconds before the first retry; doubled each time (2 + 4 + ... outlast a per-minute limit)."""
TIMEOUT_S = 120.0

OF_ONE_ROW = (400, 413, 422)
"""Errors that, once other requests have worked, concern one text alone: filtered, or too long."""

Messages = list[dict[str, str]]
"""One conversation: `role` and `content` of each message."""

_TAGGED = re.compile(r"<explanation>((?:(?!<explanation>).)*?)</explanation>", re.DOTALL)
_THINKING = re.compile(r"(?i)[<\[](/?)(?:think(?:ing)?|thought|reasoning|reflection)[>\]]")
"""Tags around the thinking that some models write; the closing one has `/`."""
_log = logging.getLogger(__name__)


def ask(
    conversations: Sequence[Messages], config: TeacherConfig, cache_folder: Path
) -> list[str | None]:
    """The tagged explanation of each answer, None where all lacked tags or were refused (logged).

    Invisible characters are neither sent nor kept. Each answer is written to
    `cache_folder/answers.jsonl` as it arrives, so a killed run pays for nothing twice; answers
    without tags are not kept. Raises NlaError at once on a bad key, model or request, and after
    `max_retries` on rate limits, timeouts and server errors.
    """
    conversations = [
        [message | {"content": visible(message["content"])} for message in messages]
        for messages in conversations
    ]
    digests = [_digest(messages, config) for messages in conversations]
    cache = AnswerCache(cache_folder / "answers.jsonl")
    pending = {
        digest: messages
        for digest, messages in zip(digests, conversations, strict=True)
        if digest not in cache.explanations
    }
    if pending:
        _check_key(config)
        asyncio.run(_ask_all(pending, config, cache))
    explanations = [cache.explanations.get(digest) for digest in digests]
    _log.info(
        "%d explanations, %d without closing tag or refused, %s",
        len(conversations) - explanations.count(None),
        explanations.count(None),
        cache.bill(),
    )
    return explanations


def tagged_explanation(answer: str) -> str | None:
    """The text between the last tags outside of any thinking, on one line; None without one."""
    found = [match[1] for match in _TAGGED.finditer(answer) if not _is_thought(answer, match)]
    return " ".join(visible(found[-1]).split()) or None if found else None


def _is_thought(answer: str, match: re.Match[str]) -> bool:
    """Whether a match lies in thinking that is not closed yet, or that was never opened."""
    before = _THINKING.findall(answer, 0, match.start())
    after = _THINKING.findall(answer, match.end())
    return before[-1:] == [""] or after[:1] == ["/"]


class AnswerCache:
    """Append-only JSON lines of paid answers: digest, explanation, tokens and cost (USD)."""

    def __init__(self, file: Path) -> None:
        """Read the file; a line cut short by a killed run is left out and paid for again."""
        self.file = file
        self.explanations: dict[str, str] = {}
        self.tokens, self.cost, self.unpriced = 0, 0.0, 0
        """Counters of this run alone: tokens, US dollars, and answers of unknown price."""
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
        for line in read_lines(file):
            digest, text = line.get("digest"), line.get("explanation")
            if isinstance(digest, str) and isinstance(text, str) and (text := visible(text)):
                self.explanations[digest] = text
        content = file.read_bytes()
        if content and not content.endswith(b"\n"):
            self._append("\n")

    def add(self, digest: str, explanation: str) -> None:
        """Write one explanation to disk at once, before anything else happens."""
        self.explanations[digest] = explanation
        self._append(json.dumps({"digest": digest, "explanation": explanation}) + "\n")

    def charge(self, tokens: int, cost: float | None) -> None:
        """Count one answer of the API, whether it is used or not."""
        self.tokens += tokens
        self.cost += cost or 0.0
        self.unpriced += cost is None

    def bill(self) -> str:
        """The cost of this run: dollars where the model's price is known, tokens always."""
        priced = f"${self.cost:.4f}" if not self.unpriced else "price unknown"
        return f"{self.tokens:,} tokens, {priced}"

    def _append(self, text: str) -> None:
        with self.file.open("a", encoding="utf-8") as file:
            file.write(text)


def _digest(messages: Messages, config: TeacherConfig) -> str:
    settings = [config.model, config.base_url, config.temperature, config.max_tokens]
    return digest_of([messages, *settings])


def _litellm() -> Any:
    """The client, without its download of prices at start-up and without its messages."""
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    import litellm

    litellm.suppress_debug_info = True
    logging.getLogger("LiteLLM").setLevel(logging.CRITICAL)
    return litellm


def _check_key(config: TeacherConfig) -> None:
    """OpenAI's client reports a missing key as a server error, which would be retried in vain."""
    if not config.model:
        raise NlaError("no teacher model", where="teacher.model", remedy="name a litellm model")
    missing = _litellm().validate_environment(model=config.model)["missing_keys"]
    if missing == ["OPENAI_API_KEY"]:
        remedy = "export it (any word will do for a local server without keys)"
        raise NlaError("missing OPENAI_API_KEY", where=config.model, remedy=remedy)


async def _ask_all(pending: dict[str, Messages], config: TeacherConfig, cache: AnswerCache) -> None:
    """`concurrency` workers share the questions; the first permanent error stops them all."""
    questions = iter(pending.items())

    async def work(bar: Any) -> None:
        for digest, messages in questions:
            explanation = await _ask(messages, digest, config, cache)
            if explanation:
                cache.add(digest, explanation)
            bar.set_postfix_str(cache.bill(), refresh=False)
            bar.update(1)

    with progress("API", len(pending), "explanations") as bar:
        await asyncio.gather(*(work(bar) for _ in range(config.concurrency)))


async def _ask(
    messages: Messages, digest: str, config: TeacherConfig, cache: AnswerCache
) -> str | None:
    from openai import OpenAIError  # every error of litellm derives from it

    for attempt in range(config.max_retries + 1):
        try:
            answer = await _complete(messages, config)
        except OpenAIError as error:
            if _status(error) in OF_ONE_ROW and cache.tokens:
                _log.warning("one request was refused: %s", _reason(error))
                return None
            if not _is_passing(error) or attempt == config.max_retries:
                raise _stopped(error, config, attempt) from error
            jitter = keyed_random("jitter", digest, attempt).uniform(0.5, 1.5)
            await asyncio.sleep(FIRST_WAIT_S * 2**attempt * jitter)
            continue
        usage = answer.usage.total_tokens if answer.usage else 0
        cache.charge(usage, answer._hidden_params.get("response_cost"))
        message = answer.choices[0].message if answer.choices else None
        explanation = tagged_explanation((message and message.content) or "")
        if explanation:
            return explanation
    return None


async def _complete(messages: Messages, config: TeacherConfig) -> Any:
    return await _litellm().acompletion(
        model=config.model,
        messages=messages,
        temperature=config.temperature,
        max_tokens=config.max_tokens,
        base_url=config.base_url,
        timeout=TIMEOUT_S,
        num_retries=0,  # ours: theirs do not tell passing errors from permanent ones
        max_retries=0,
    )


def _status(error: Exception) -> int:
    """HTTP status of a client's error; 500 for one that never reached a server."""
    return getattr(error, "status_code", None) or 500


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _is_passing(error: Exception) -> bool:
    """Rate limits, timeouts, lost connections and server errors may pass; other errors will not."""
    status = _status(error)
    return status in (408, 409, 429) or status >= 500


def _stopped(error: Exception, config: TeacherConfig, attempt: int) -> NlaError:
    reason = _reason(error)
    if not _is_passing(error):
        remedy = "correct the key, the model or the settings under `teacher`"
        return NlaError(f"the teacher's API refused ({reason})", where=config.model, remedy=remedy)
    what = f"the teacher's API failed {attempt + 1} times in a row ({reason})"
    remedy = "run again later, finished explanations are kept; or lower teacher.concurrency"
    return NlaError(what, where=config.base_url or config.model, remedy=remedy)

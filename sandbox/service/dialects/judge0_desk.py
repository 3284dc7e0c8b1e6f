"""Where submissions of Judge0 are taken in, carried out and kept. Results are in memory, for a while; each tenant has its own."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
from collections.abc import Mapping

from sandbox.grader import sources
from sandbox.model.errors import RequestError, SandboxError
from sandbox.model.result import RunResult
from sandbox.service import callbacks, logs
from sandbox.service.admission import Refused
from sandbox.service.ask import Answer, Ask, Event
from sandbox.service.dialects import http, judge0_fields, judge0_languages, judge0_maps, stages
from sandbox.service.dialects.judge0_fields import CALLBACK_SECONDS, CALLBACK_TRIES, DEFAULT_FIELDS, Rules
from sandbox.service.dialects.judge0_languages import PROJECT
from sandbox.service.dialects.judge0_maps import ACCEPTED, INTERNAL, NOT_COMPILED, PROCESSING, QUEUED, Submission
from sandbox.service.dialects.stages import Recorder
from sandbox.service.service import Service
from sandbox.service.store import Store
from sandbox.service.tenant import Tenant

_MOST_WAITING = 100  # of one tenant: what Judge0 has unless it is told other
_TENANTS = 4  # that may all have so much
_EXTRACTED_BYTES = 10 << 20
_EXTRACTED_FILES = 200
_COMPILE_SCRIPTS = ("compile.sh", "compile")
_RUN_SCRIPTS = ("run.sh", "run")
_LABEL = "judge0/submissions"


class Desk:
    """The submissions of one service. It belongs to one loop."""

    def __init__(self, service: Service) -> None:
        self._service = service
        config = service.config
        self._kept: Store[Submission] = Store(config.kept_results, config.kept_bytes, config.kept_seconds)
        self._waiting: dict[tuple[str, str], Submission] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.most_waiting = min(_MOST_WAITING, config.max_queue)

    def rules(self, tenant: Tenant) -> Rules:
        """What this tenant's submissions may say."""
        allowed = self._service.config.callback_hosts
        return Rules(
            numbers=judge0_fields.numbers(http.run_limits(self._service.config, tenant)),
            languages=judge0_languages.numbered(self._service.work.languages()),
            callback=lambda url: _wrong_callback(url, allowed),
            callbacks=bool(allowed),
            queue=self.most_waiting,
            kept_seconds=self._service.config.kept_seconds,
        )

    @property
    def waiting(self) -> tuple[int, int]:
        """(submissions that wait, those that run)."""
        runs = sum(item.status == PROCESSING for item in self._waiting.values())
        return len(self._waiting) - runs, runs

    def is_full(self, tenant: Tenant, more: int = 1) -> bool:
        """Whether so many more are too many, or the server stops. One tenant has a quarter of the room."""
        own = [item.size for (name, _), item in self._waiting.items() if name == tenant.name]
        held = sum(item.size for item in self._waiting.values())
        bytes_ = self._service.config.kept_bytes
        return (
            self._service.admission.draining
            or len(own) + more > self.most_waiting
            or len(self._waiting) + more > _TENANTS * self.most_waiting
            or sum(own) > bytes_ // _TENANTS
            or held > bytes_
        )

    def find(self, tenant: Tenant, token: str) -> Submission | None:
        """A submission of this tenant."""
        return self._waiting.get((tenant.name, token)) or self._kept.get(tenant.name, token)

    def all(self, tenant: Tenant) -> list[Submission]:
        """The submissions of this tenant, the newest first."""
        waiting = [item for (name, _), item in self._waiting.items() if name == tenant.name]
        return [*reversed(waiting), *(item for _, item in reversed(self._kept.items(tenant.name)))]

    def drop(self, tenant: Tenant, token: str) -> None:
        """Forget one that has been judged."""
        self._kept.drop(tenant.name, token)

    def later(self, tenant: Tenant, submission: Submission, peer: str) -> None:
        """Carry it out when its turn comes."""
        self._waiting[tenant.name, submission.token] = submission
        task = asyncio.ensure_future(self._later(tenant, submission, peer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def now(self, tenant: Tenant, submission: Submission, peer: str) -> None:
        """Carry it out; it is judged afterwards. Raises Refused when no turn comes."""
        key = (tenant.name, submission.token)
        self._waiting[key] = submission
        try:
            await self._carry_out(tenant, submission, peer)
        finally:
            del self._waiting[key]
        self._keep(tenant, submission)

    async def close(self) -> None:
        """Wait for everything that was taken in: it is judged, or it is said that it was not."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _later(self, tenant: Tenant, submission: Submission, peer: str) -> None:
        try:
            with self._service.admission.promise():
                await self._until_judged(tenant, submission, peer)
        except BaseException as error:
            submission.ended(INTERNAL, message="something went wrong in the server")
            if not isinstance(error, Exception):
                raise
            logs.event("a submission failed", level="error", error=type(error).__name__)
        finally:
            self._keep(tenant, submission)
            del self._waiting[tenant.name, submission.token]
        if submission.values["callback_url"]:
            await self._call_back(submission)

    async def _until_judged(self, tenant: Tenant, submission: Submission, peer: str) -> None:
        """It was taken in: it waits until it is its turn, or until there are no turns any more."""
        while True:
            try:
                await self._carry_out(tenant, submission, peer)
                return
            except Refused as error:
                if error.reason == "draining":
                    judge0_maps.failed(submission, error)
                    return
                submission.status = QUEUED
                await asyncio.sleep(min(error.retry_after, 1.0))

    def _keep(self, tenant: Tenant, submission: Submission) -> None:
        try:
            self._kept.put(tenant.name, submission.token, submission, submission.size)
        except SandboxError as error:
            submission.ended(INTERNAL, message=str(error))
            submission.values.update(stdin=None, source_code=None, additional_files=None, expected_output=None)
            self._kept.put(tenant.name, submission.token, submission, submission.size)

    async def _carry_out(self, tenant: Tenant, submission: Submission, peer: str) -> None:
        """As many runs as are asked for, until one is not accepted. Raises Refused."""
        times, memories = [], []
        try:
            archive = submission.values["additional_files"]
            extra = await asyncio.to_thread(_extracted, archive) if archive else {}
            for _ in range(submission.values["number_of_runs"]):
                await self._once(tenant, submission, extra, peer)
                if submission.status == NOT_COMPILED or "time" not in submission.results:
                    return
                times.append(submission.results["time"])
                memories.append(submission.results["memory"])
                if submission.status != ACCEPTED:
                    break
        except Refused:
            raise
        except SandboxError as error:
            judge0_maps.failed(submission, error)
            return
        judge0_maps.average(submission, times, memories)

    async def _once(self, tenant: Tenant, submission: Submission, extra: Mapping[str, bytes], peer: str) -> None:
        config = self._service.config
        limits = (http.run_limits if submission.language.language else http.command_limits)(config, tenant)
        if submission.language.number == PROJECT:
            await self._project(tenant, submission, extra, limits, peer)
            return
        record = Recorder(limits.get("output_bytes", 1 << 20))
        ask = judge0_maps.to_ask(submission, extra, limits=limits, label=_LABEL, peer=peer)
        judge0_maps.judge(submission, await self._performed(tenant, ask, submission, record), record)

    async def _project(
        self, tenant: Tenant, submission: Submission, extra: Mapping[str, bytes], limits: Mapping[str, int], peer: str
    ) -> None:
        """Several files with scripts: what the one that compiles leaves behind is what the other one runs with."""
        record = Recorder(limits.get("output_bytes", 1 << 20))
        compiler = next((name for name in _COMPILE_SCRIPTS if name in extra), None)
        said: dict[str, object] = {}
        if compiler is not None:
            ask = Ask(argv=("bash", compiler), files=extra, collect=(".",), label=_LABEL, peer=peer)
            made = await self._perform(tenant, ask, submission, record)
            wrote = record.of("run", made.stdout, made.stderr).merged
            said = {"compile_output": wrote or None}
            if not made.ok:
                late = stages.ending(made).status == "TO"
                submission.ended(NOT_COMPILED, **({"compile_output": judge0_maps.TOO_LATE} if late else said))
                return
            extra = {name: item.data for name, item in made.files.items()}
            executable = [name for name, item in made.files.items() if item.mode & 0o111]
        else:
            executable = []
        script = next((name for name in _RUN_SCRIPTS if name in extra), _RUN_SCRIPTS[0])
        record = Recorder(limits.get("output_bytes", 1 << 20))
        ask = Ask(
            argv=("bash", "-c", _RUN_SCRIPT, script, *executable, "", *judge0_maps.arguments(submission.values)),
            files=extra,
            stdin=submission.values["stdin"] or b"",
            limits=judge0_maps.run_limits(submission.values, limits),
            label=_LABEL,
            peer=peer,
        )
        judge0_maps.judge_run(submission, await self._perform(tenant, ask, submission, record), record, **said)

    async def _perform(self, tenant: Tenant, ask: Ask, submission: Submission, record: Recorder) -> RunResult:
        answer = await self._performed(tenant, ask, submission, record)
        if answer.run is None:
            raise SandboxError("nothing was run")
        return answer.run

    async def _performed(self, tenant: Tenant, ask: Ask, submission: Submission, record: Recorder) -> Answer:
        """One run of a submission. When it had a turn for the first, it has one for each that follows. Raises Refused."""
        listener = _Began(submission, record)
        if not submission.had_turn:
            answer = await self._service.work.perform(tenant, ask, on_event=listener)
            submission.had_turn = True
            return answer
        with self._service.admission.promise():
            while True:
                try:
                    return await self._service.work.perform(tenant, ask, on_event=listener)
                except Refused as error:
                    if error.reason == "draining":
                        raise
                    await asyncio.sleep(min(error.retry_after, 1.0))

    async def _call_back(self, submission: Submission) -> None:
        body = json.dumps(judge0_maps.to_dict(submission, DEFAULT_FIELDS, encoded=True)).encode("ascii")
        allowed = self._service.config.callback_hosts
        url: str = submission.values["callback_url"].strip()
        await callbacks.put(url, body, allowed, tries=CALLBACK_TRIES, seconds=CALLBACK_SECONDS)


# The modes of files are lost on their way from one run to the next: those that were executable are made so again.
_RUN_SCRIPT = 'while [ "$1" != "" ]; do chmod +x -- "$1"; shift; done; shift; . "./$0"'  # sourced: what it is called is in $0


class _Began:
    """Listens to a run: as soon as something happens the submission is no longer in the queue."""

    def __init__(self, submission: Submission, record: Recorder) -> None:
        self._submission = submission
        self._record = record

    def __call__(self, event: Event) -> None:
        """Take one event."""
        self._submission.status = PROCESSING
        self._record(event)


def _wrong_callback(url: str, allowed: tuple[str, ...]) -> str:
    try:
        callbacks.target(url.strip(), allowed)
    except ValueError as error:
        return str(error)
    return ""


def _extracted(archive: bytes) -> dict[str, bytes]:
    """The files of a zip, bounded, without links and names that lead out. Blocks. Raises RequestError."""
    with tempfile.NamedTemporaryFile(suffix=".zip") as file:
        file.write(archive)
        file.flush()
        try:
            found = sources.read(file.name, max_bytes=_EXTRACTED_BYTES, max_files=_EXTRACTED_FILES)
        except RequestError as error:
            said = error.message.replace(file.name, "additional_files").replace(os.path.basename(file.name), "additional_files")
            raise RequestError(said, hint=error.hint) from None
    return dict(found.files)

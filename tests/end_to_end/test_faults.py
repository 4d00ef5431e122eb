"""Engines that fail: free work is repeated until it is done, paid work never blindly."""

import itertools
import random
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from darkroom.domain import Job, JobStatus
from tests.end_to_end.cluster import Cluster
from tests.engines.servers.openai import OpenAIServer
from tests.engines.servers.openai_faults import FAULTS

JOBS = 100

#: The smallest picture the vendor draws.
SIZE = "1024x640"


@pytest.fixture
def openai() -> Iterator[OpenAIServer]:
    with OpenAIServer() as server:
        yield server


def _mixed(failed: str, busy: str, dropped: str, fine: str) -> list[str]:
    """What each call meets: 10 % fail, 5 % are turned away, 2 % break off, in random order."""
    share = {failed: 10, busy: 5, dropped: 2, fine: 83}
    calls = [each for each, percent in share.items() for _ in range(JOBS * percent // 100)]
    random.Random(6).shuffle(calls)  # noqa: S311 - guards nothing
    return calls


@pytest.mark.timeout(120)
def test_free_jobs_all_end_with_a_picture_whatever_their_engine_does(tmp_path: Path) -> None:
    prompts = _mixed(
        "a ship [fault=EngineFailed:1]",
        "a ship [fault=EngineBusy:1] [retry_after=1]",
        "a ship [fault=OutcomeUnknown:1]",
        "a ship",
    )
    with (
        Cluster(tmp_path, workers=2, builtin_script=True, worker_concurrency=8) as cluster,
        ThreadPoolExecutor(8) as callers,
    ):
        job_ids = list(callers.map(lambda prompt: cluster.submit(prompt=prompt), prompts))

        ended = cluster.all_finished(job_ids)

        assert [job.status for job in ended] == [JobStatus.SUCCEEDED] * JOBS
        assert Counter(job.attempt for job in ended) == {1: 83, 2: 17}
        assert {len(cluster.storage.images.of_job(job_id)) for job_id in job_ids} == {1}
        assert cluster.calls_by_job() == {job.id: job.attempt for job in ended}
        cluster.await_no_leftovers()


@pytest.mark.timeout(120)
def test_no_prompt_is_charged_twice_and_a_paid_job_that_may_have_been_says_so(
    tmp_path: Path, openai: OpenAIServer
) -> None:
    openai.fail(*_mixed("server_error", "rate_limited", "reset", "ok"))
    with (
        Cluster(
            tmp_path,
            workers=2,
            worker_concurrency=8,
            images_openai_api_base_url=openai.url,
            images_openai_api_key=openai.key,
        ) as cluster,
        ThreadPoolExecutor(8) as callers,
    ):
        jobs = callers.map(
            lambda n: cluster.submit(prompt=f"ship {n}", model="openai/gpt-image-2", size=SIZE),
            range(JOBS),
        )
        job_ids = list(jobs)

        ended = cluster.all_finished(job_ids)

        # Twelve calls broke while the vendor worked on them, or just after; nobody can tell which.
        assert Counter(_outcome(job) for job in ended) == {"succeeded": 88, "outcome_unknown": 12}
        assert len(openai.generations) == JOBS + 5, "those turned away came again, and no other"
        assert len(openai.drawn) == len(set(openai.drawn))
        succeeded = [job for job in ended if job.status is JobStatus.SUCCEEDED]
        assert {job.request.prompt for job in succeeded} <= set(openai.drawn)
        for job in ended:
            pictures = cluster.storage.images.of_job(job.id)
            assert len(pictures) == (job.status is JobStatus.SUCCEEDED)
            _assert_retry_after_is_honoured(cluster, job)
        cluster.await_no_leftovers()


def _outcome(job: Job) -> str:
    return job.error.code if job.error is not None else job.status


def _assert_retry_after_is_honoured(cluster: Cluster, job: Job) -> None:
    tries = cluster.attempts(job.id)
    for turned_away, next_try in itertools.pairwise(tries):
        assert turned_away.outcome == "engine_busy"
        assert turned_away.ended_at is not None
        waited_s = next_try.started_at - turned_away.ended_at
        assert waited_s >= float(FAULTS["rate_limited"].headers["Retry-After"])

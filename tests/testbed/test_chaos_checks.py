"""What must hold after a fault, and that the checks find it where it does not."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import msgspec

from broker.messages import ClassScore, InferenceReport, InferReply, ModelReference, Plan, PlanStage, Prediction
from testbed.chaos.census import Holdings, least, unfinished_files
from testbed.chaos.checks import (
    answered_once,
    answered_rightly,
    in_order_of_terms,
    nobody_left,
    nothing_held,
    reported_once,
    telemetry_complete,
)
from testbed.chaos.client import Exchange
from testbed.chaos.stored import Stored, together
from testbed.chaos.trial import recovery_of, requests_of
from testbed.chaos.witness import Heard

SILENCE = Heard((), {}, {}, {}, {}, {}, (), None)
RUN = ("pi", "s1")
ANSWER = ((3, 0.5), (1, 0.25))
HOLDINGS = Holdings(threads=10, descriptors=20, sockets=5, segments=1, memory_mb=90.0)


def answered(request: str, inference: str, *, sent_s: float = 0.0, took_s: float = 0.1) -> Exchange:
    report = InferenceReport(deployment="photos", epoch=1, request_id=inference, origin="pi", at=0.0, latency_ms=100.0)
    classes = tuple(ClassScore(index=index, label="", score=score) for index, score in ANSWER)
    reply = InferReply(request_id=request, classes=classes, report=report)
    return Exchange(request, 0, sent_s, sent_s + took_s, reply)


def failed(request: str, reason: str, *, sent_s: float = 0.0) -> Exchange:
    return Exchange(request, 0, sent_s, sent_s + 1.0, None, reason)


def plan(epoch: int, term: int) -> Plan:
    return Plan(
        deployment="photos",
        epoch=epoch,
        model=ModelReference(sha256="0" * 64, name="m", size_bytes=1, ops=1, url="http://h/m"),
        origin="pi",
        stages=(PlanStage(node="pi", start=0, stop=1),),
        way_back=(),
        strategy="exact",
        prediction=Prediction(latency_ms=1.0, origin_energy_j=0.0, total_energy_j=0.0, objective=1.0),
        reason="",
        created_at=0.0,
        term=term,
    )


def test_one_answer_or_one_reason() -> None:
    """A request may fail with a reason; a second answer to it, a missing reason or a second end is told."""
    good = (answered("r1", "i1"), failed("r2", "no reply within 12 s"))
    assert answered_once(good, replace(SILENCE, answers={"r1": frozenset({"i1"})})) == ""
    twice = replace(SILENCE, answers={"r1": frozenset({"i1", "i2"})})
    assert answered_once(good, twice) == "r1 was answered by i1, i2"
    assert "r2 failed without a reason" in answered_once((failed("r2", ""),), SILENCE)
    assert "r1 ended twice" in answered_once((good[0], good[0]), SILENCE)


def test_a_wrong_answer() -> None:
    """Scores are compared to the bit."""
    assert answered_rightly((answered("r1", "i1"), failed("r2", "busy")), (ANSWER,)) == ""
    assert "r1 got" in answered_rightly((answered("r1", "i1"),), (((3, 0.5), (1, 0.2500001)),))


def test_an_inference_is_reported_once() -> None:
    """A report that is missing, or stands twice, is told; reports that no client has seen are not."""
    exchanges = (answered("r1", "i1"), failed("r2", "no reply"))
    assert reported_once(exchanges, Stored(inferences={"i1": 1, "i9": 1})) == ""
    assert "stored 0 times" in reported_once(exchanges, Stored())
    assert "stored 2 times" in reported_once(exchanges, Stored(inferences={"i1": 2}))


def test_telemetry_without_gaps() -> None:
    """What was heard must be settled; what is missing must have been counted as dropped."""
    heard = replace(SILENCE, marks={RUN: 5})
    assert telemetry_complete(heard, Stored(settled={RUN: 5})) == ""
    assert telemetry_complete(heard, Stored(settled={RUN: 4})) == "of pi/s1 4 of 5 are stored"
    gap = Stored(settled={RUN: 5}, readings={RUN: frozenset({1, 2, 5})})
    assert telemetry_complete(heard, gap) == "2 energy readings of pi/s1 are missing"
    assert telemetry_complete(replace(heard, dropped={RUN: 2}), gap) == ""
    assert telemetry_complete(heard, Stored(settled={RUN: 5}, miscounted=("too many",))) == "too many"


def test_two_stores_are_read_as_one() -> None:
    """What one coordinator lacks, another may have; what stands in both is not doubled."""
    one = Stored({RUN: 3}, {RUN: frozenset({1, 2})}, {"i1": 1})
    other = Stored({RUN: 7}, {RUN: frozenset({2, 3})}, {"i1": 1, "i2": 1})
    assert together((one, other)) == Stored({RUN: 7}, {RUN: frozenset({1, 2, 3})}, {"i1": 1, "i2": 1})


def test_leaders_do_not_interleave() -> None:
    """A plan of an earlier term after one of a later term is told, and an epoch that falls within a term."""
    assert in_order_of_terms((plan(1, 1), plan(2, 1), plan(2, 2), plan(3, 2))) == ""
    assert in_order_of_terms((plan(2, 2), plan(3, 1))) == "plan 3 of term 1 came after 2 of term 2"
    assert in_order_of_terms((plan(3, 1), plan(2, 1))) == "plan 2 of term 1 came after 3 of term 1"


def test_what_is_held_too_much() -> None:
    """Threads and descriptors may not grow; an agent is measured by the agent that held the most, and a little more."""
    agents = ("pi", "pc")
    many = msgspec.structs.replace(HOLDINGS, threads=17)
    more = msgspec.structs.replace(HOLDINGS, threads=13)
    before: Mapping[str, Holdings] = {"pi": more, "pc": HOLDINGS, "coordinator": HOLDINGS}
    assert nothing_held(before, {"pc": more, "coordinator": HOLDINGS}, agents) == ""
    assert nothing_held(before, {"coordinator": more}, agents) == "coordinator has 13 threads, had 10"
    assert nothing_held(before, {"pc": many}, agents) == "pc has 17 threads, had 13"
    hoarder = msgspec.structs.replace(HOLDINGS, segments=9)
    assert nothing_held(before, {"pi": hoarder}, agents) == "pi holds 9 segments"
    assert nobody_left({"pi": 7}, {7}) == ""
    assert nobody_left({"pi": 7}, {7, 8}) == "processes 8 are left"


def test_the_least_of_several_looks() -> None:
    """Each figure by itself, for each process that was seen."""
    busy = msgspec.structs.replace(HOLDINGS, descriptors=25, memory_mb=80.0)
    assert least([{"pi": busy}, {"pi": HOLDINGS}]) == {"pi": msgspec.structs.replace(HOLDINGS, memory_mb=80.0)}


def test_unfinished_files(tmp_path: Path) -> None:
    """Models, segments and profiles are meant to stay; a download or a temporary file is not."""
    for name in ("models/a.tflite", "profiles/b.json", "models/.a.1f.tmp", "partial/abc"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    assert unfinished_files(tmp_path) == ("models/.a.1f.tmp", "partial/abc")


def test_recovery_is_told_from_the_fault() -> None:
    """Only requests that were sent after the fault count; a fallback is an answer, but not by a whole plan."""
    early = answered("r0", "i0", sent_s=9.9, took_s=2.0)
    lonely = answered("r1", "i1", sent_s=10.5, took_s=0.5)
    assert lonely.reply is not None and lonely.reply.report is not None
    report = msgspec.structs.replace(lonely.reply.report, fallback="pc is silent")
    lonely = replace(lonely, reply=msgspec.structs.replace(lonely.reply, report=report))
    whole = answered("r2", "i2", sent_s=13.0, took_s=0.25)
    exchanges = (early, lonely, failed("r3", "gone", sent_s=11.0), whole)
    recovery = recovery_of(exchanges, 10.0, converged_s=1.5, telemetry_s=None, released_s=0.0)
    assert (recovery.first_answer_s, recovery.first_whole_s, recovery.converged_s) == (1.0, 3.25, 1.5)
    assert recovery.longest_gap_s == 1.35
    requests = requests_of((early, lonely, failed("r3", "gone for 3.2 s"), failed("r4", "gone for 7 s"), whole))
    assert (requests.sent, requests.answered, requests.fallback, requests.failed) == (5, 3, 1, 2)
    assert requests.reasons == {"gone for N s": 2}

from collections import Counter

import pytest

from tests.bench.web_abuse import FAMILIES, batches
from tests.bench.web_attacks.target import Answer, Findings, Target, Visitor

VICTIM = Visitor("victim", "bodywire_session=s3cret-cookie", "s3cret-csrf", "bw_s3cret-token")
TARGET = Target("http://127.0.0.1:1", VICTIM, (), "canary-1.jpg", "0" * 32)


def check(answer: Answer, *, allowed: bool = True) -> Findings:
    findings = Findings()
    findings.check(TARGET, "an attack", answer, allowed=allowed)
    return findings


def test_batches_have_all_requests_of_each_family() -> None:
    planned = batches(10_000, 1)
    sent: Counter[str] = Counter()
    for family, _, count in planned:
        sent[family] += count
    assert sent == {family: round(10_000 * share) for family, (_, share) in FAMILIES.items()}
    assert sum(sent.values()) == 10_000
    assert len({seed for _, seed, _ in planned}) == len(planned)
    assert batches(10_000, 1) == planned != batches(10_000, 2)


@pytest.mark.parametrize("status", [0, 200, 401, 404, 429])
def test_harmless_answer_is_counted(status: int) -> None:
    findings = check(Answer(status))
    assert findings.faults == [] and findings.statuses == {status: 1} and findings.sent == 1


@pytest.mark.parametrize("status", [500, 502, 503])
def test_server_error_is_a_fault(status: int) -> None:
    assert len(check(Answer(status)).faults) == 1


def test_unavailable_is_no_fault_if_it_says_until_when() -> None:
    assert check(Answer(503, b"HTTP/1.1 503 x\r\nRetry-After: 5")).faults == []


def test_accepted_attack_is_a_fault() -> None:
    assert check(Answer(204), allowed=False).faults
    assert check(Answer(403), allowed=False).faults == []


@pytest.mark.parametrize(
    "body", [b"x s3cret-cookie x", b"s3cret-csrf", b"bw_s3cret-token", b"canary-1.jpg", b"Traceback (most recent call"]
)
def test_secret_in_an_answer_is_a_fault(body: bytes) -> None:
    assert "leaked" in check(Answer(404, b"", body)).faults[0]
    assert "leaked" in check(Answer(404, b"X: " + body)).faults[0]

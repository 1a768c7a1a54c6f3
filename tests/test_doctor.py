"""The doctor finds nothing wrong with a healthy server, and names what it can see elsewhere."""

from __future__ import annotations

import pytest
from hostile_peers import HTML, peer

from rerank_kit import Server, examine
from rerank_kit.machine import free_port


def test_a_healthy_server_has_no_findings(server: Server) -> None:
    found = examine(server.url)
    assert found.ok, str(found)
    assert {finding.id for finding in found.findings} >= {
        "reachable", "reranks", "official_prompt", "instruction", "control_tokens", "scores"
    }  # fmt: skip
    assert all(finding.status == "ok" for finding in found.findings), str(found)


def test_nothing_there() -> None:
    found = examine(f"http://127.0.0.1:{free_port()}")
    assert not found.ok and found.findings[0].id == "reachable"


@pytest.mark.parametrize(("status", "body"), [(200, HTML), (404, b'{"detail":"Not Found"}')])
def test_something_else_is_there(status: int, body: bytes) -> None:
    with peer(status, body) as url:
        found = examine(url)
    assert not found.ok and "\n" not in found.findings[0].detail


@pytest.mark.full
def test_no_template_and_no_instruction_are_named(own_state: object, tmp_path: object) -> None:
    from rerank_kit import launch

    plain = tmp_path / "plain.jinja"  # type: ignore[operator]
    plain.write_text(
        "query: {{ messages[0].content }} document: {{ messages[-1].content }}", encoding="utf-8"
    )
    flags = ("--chat-template", str(plain))
    with launch("practice", extra_args=flags, score_check=False) as wrong:
        found = {finding.id: finding.status for finding in examine(wrong.url).findings}
    assert found["official_prompt"] == "fix"
    assert found["instruction"] == "fix"
    assert found["control_tokens"] == "fix"

"""Fetching weights is silent, and ends at once where there is no network."""

from __future__ import annotations

import logging
import socket
import urllib.request

import pytest
from huggingface_hub import constants, hf_hub_download
from huggingface_hub.utils import are_progress_bars_disabled

from scoring.fetching import fetching


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(urllib.request, "getproxies", dict)


def unknown(*host: object) -> None:
    raise socket.gaierror(-2, "Name or service not known")


def test_without_a_network_nothing_is_tried(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with fetching():
        with pytest.raises(Exception, match=r"(?i)offline|cached|local"):
            hf_hub_download("nobody/nothing", "a.safetensors")
        logging.getLogger("huggingface_hub").warning("Retrying in 1s")
    assert not caplog.records
    assert not constants.HF_HUB_OFFLINE


def test_with_a_network_or_a_proxy_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *host: [])
    with fetching():
        assert not constants.HF_HUB_OFFLINE
        assert are_progress_bars_disabled()
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    monkeypatch.setattr(urllib.request, "getproxies", lambda: {"https": "http://proxy:1"})
    with fetching():
        assert not constants.HF_HUB_OFFLINE


def test_who_wants_no_network_gets_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *host: [])
    with fetching():
        assert constants.HF_HUB_OFFLINE
    assert constants.HF_HUB_OFFLINE

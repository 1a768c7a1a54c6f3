"""A vLLM server's life: settings, start, attach, stop. vLLM is only ever a child process."""

from rerank_kit.server.lifecycle import launch
from rerank_kit.server.profiles import choose_profile, settings_for
from rerank_kit.server.server import Server, StopReport
from rerank_kit.server.settings import ServerSettings

__all__ = ["Server", "ServerSettings", "StopReport", "choose_profile", "launch", "settings_for"]

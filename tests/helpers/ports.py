"""Ports of servers."""

import socket


def free_port() -> str:
    """Return a port that is free, and not among those from which the app takes the first free one."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])

"""Show a root in a browser, live: what runs, what is stuck and why, each job with its log.

  autoexp serve experiments/
  autoexp serve experiments/ --allow-markers      with buttons that hold, release, cancel, retry, ...

It prints an address with a token, and whoever has that may look. It listens on this computer only; from another one:
ssh -L 8750:127.0.0.1:8750 HOST, then open the same address there. It only reads, keeps nothing, and may be ended at any
time; several may run. It needs an extra: pip install 'autoexp[page]'.
"""

import argparse
import secrets
import socket
from pathlib import Path
from threading import Thread

from autoexp import lease, targets
from autoexp.errors import AutoexpError

PORT, MOST_PORTS = 8750, 50
"""The first port that is tried, and how many are."""
LOCAL = ("127.0.0.1", "localhost", "::1")
ANY = ("0.0.0.0", "::")  # noqa: S104 - it is recognised, not chosen


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `autoexp serve`."""
    parser.add_argument("root", metavar="ROOT", nargs="?", help="the experiments folder")
    parser.add_argument("--port", metavar="P", type=int, help=f"the port; else the first free one from {PORT}")
    parser.add_argument(
        "--host", default=LOCAL[0], help="the address to listen on; only this computer's own by default"
    )
    parser.add_argument("--allow-markers", action="store_true", help="let the page drop markers: hold, cancel, ...")
    parser.add_argument("--var", metavar="DIR", help="where the runtime state is, if not beside the root")


def run(arguments: argparse.Namespace) -> int:
    """Serve until interrupted."""
    try:
        import uvicorn  # noqa: PLC0415 - an extra, and slow to load

        from autoexp.page import live, server  # noqa: PLC0415 - the same
    except ImportError as error:
        fix = "pip install 'autoexp[page]'"
        raise AutoexpError("the page needs packages that are not installed", why=str(error), fix=fix) from error
    root = targets.existing_root(targets.default_root(arguments.root))
    lease.var_of(root, arguments.var)  # another runtime folder than the root's own is refused
    token, listening = secrets.token_urlsafe(24), listen(arguments.host, arguments.port)
    shown = live.Live(root, arguments.var, arguments.allow_markers)
    Thread(target=shown.look, daemon=True).start()  # a large root is read by the time somebody opens the address
    app = server.make(shown, token, names(arguments.host), is_over=lambda: serving.should_exit)
    print("\n".join(told(root, listening.getsockname()[1], token, arguments)), flush=True)
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, timeout_graceful_shutdown=1
    )
    serving = uvicorn.Server(config)
    serving.run(sockets=[listening])
    return 0


def told(root: Path, port: int, token: str, arguments: argparse.Namespace) -> list[str]:
    """Say where the page is, and who can see it."""
    host = LOCAL[0] if arguments.host in ANY else arguments.host
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}/?token={token}"
    can = "markers can be dropped" if arguments.allow_markers else "read only; --allow-markers has buttons"
    lines = [f"{root}: {can}", f"  {address}"]
    if arguments.host in LOCAL:
        return [*lines, f"  from elsewhere: ssh -L {port}:{host}:{port} {socket.gethostname()}, then open it there"]
    return [*lines, "  the network can reach it, and what it sends is not encrypted: a tunnel is safer"]


def names(host: str) -> frozenset[str]:
    """List what we may be called in an address."""
    own = {socket.gethostname().lower(), socket.getfqdn().lower()} if host not in LOCAL else set()
    return frozenset({*LOCAL, host.lower(), *own})


def listen(host: str, port: int | None) -> socket.socket:
    """Open the port asked for, or the first free one.

    Raises:
        AutoexpError: it cannot be opened.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    ports = range(PORT, PORT + MOST_PORTS) if port is None else (port,)
    problem: OSError | OverflowError | None = None
    for number in ports:
        opened = socket.socket(family, socket.SOCK_STREAM)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            opened.bind((host, number))
            opened.listen()  # who opens the address at once waits a moment, and is not refused
        except (OSError, OverflowError) as error:
            opened.close()
            problem = error
            continue
        return opened
    what = f"port {port} of {host}" if port is not None else f"any port of {host} from {PORT}"
    raise AutoexpError(
        f"{what} cannot be listened on", why=str(problem), fix="choose another one: --port P"
    ) from problem

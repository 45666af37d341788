"""Draw a digit in the browser, and see what the networks answer and why."""

from __future__ import annotations

import argparse
import os
import socket
import tempfile
import threading
from importlib.util import find_spec

from launch import errors, flags, signals, threads
from models import WeightsError, cards

EXAMPLES = """
  demo.py                                                  all published weights
  demo.py --weights lenet-mnist --weights runs/<run>       these networks
  demo.py --host 0.0.0.0                                   for other machines of the network, too
"""
LARGEST_UPLOAD = "128mb"  # twice what a picture may have, so that a larger one gets the line of predict.py


def main() -> int:
    command = read_flags()
    print(f"loading {len(command.weights)} networks ...", flush=True)
    with tempfile.TemporaryDirectory() as uploads:
        set_up_gradio(uploads, command.host)
        with signals.deferred():
            from inspection import layout, networks
            from training import machine

        with signals.handling(signals.stop):
            # One thread, as there is one image to answer for:
            device = machine.choose_accelerator(command.device, threads.given() or 1)
            blocks = layout.build([networks.load(source, device) for source in command.weights])
            _, address, shared = blocks.launch(
                server_name=command.host,
                server_port=command.port,
                share=command.share,
                css_paths=layout.STYLE,
                max_file_size=LARGEST_UPLOAD,
                footer_links=[],
                ssr_mode=False,
                quiet=True,
                prevent_thread_lock=True,
            )
            print(f"{len(command.weights)} networks at {shared or address} (Ctrl-C stops)", flush=True)
            try:
                threading.Event().wait()
            finally:
                blocks.close(verbose=False)
    return 0


def set_up_gradio(uploads: str, host: str) -> None:
    """Tell gradio, before it is imported, where uploads belong, and to ask for nothing outside of this machine."""
    os.environ.setdefault("GRADIO_TEMP_DIR", uploads)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # it would report to its makers
    for name in ("NO_PROXY", "no_proxy"):  # it asks for its own page, which no proxy finds
        os.environ[name] = ",".join(filter(None, (os.environ.get(name), "localhost", host)))


def read_flags() -> argparse.Namespace:
    parser = flags.Flags("demo.py", __doc__, EXAMPLES)
    add = parser.add_argument
    what = "a run folder, a weights file or a published name; repeat it for several (default: everything published)"
    add("--weights", metavar="W", action="append", help=what)
    host = os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1")  # gradio's own variables, which a hosting service sets
    add("--host", default=host, help="the address to listen at (default: 127.0.0.1, this machine alone)")
    add("--port", type=int, help="default: 7860, or the next free one")
    add("--share", action="store_true", help="open a public address through gradio's servers")
    add("--device", default="auto", help="auto (the default: CUDA if available), cpu or cuda")
    command = parser.parse_args()
    flags.check(command, device=flags.DEVICES)
    if command.port is not None and not 0 < command.port < 2**16:
        raise errors.SettingsError(f"--port is {command.port}, expected 1 to {2**16 - 1}.")
    require_free(command.host, command.port)
    command.weights = list(dict.fromkeys(command.weights or cards.published()))
    if not command.weights:
        raise WeightsError("there are no published weights: the folder weights/ is empty. Name a run with --weights.")
    for source in command.weights:
        cards.locate(source)
    if find_spec("gradio") is None:
        raise errors.MachineError("the demo needs gradio. Run it with: uv run --extra demo demo.py")
    return command


def require_free(host: str, port: int | None) -> None:
    """Raise MachineError if this machine cannot listen at an address; None is any free port."""
    try:
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, os.name == "posix")  # as servers do
            listener.bind((host, port or 0))
    except OSError as error:
        raise errors.MachineError(
            f"{host}, port {port or 'any'}, is not free ({error.strerror}). Name others."
        ) from None


if __name__ == "__main__":
    flags.run(main)

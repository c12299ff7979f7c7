"""Start a side kernel with a bug of ipykernel 7.0 to 7.3 mended, which makes it deaf to a connection for good.

These versions send replies past the stream that reads the requests, and so take its wake-up for a request that arrives
at that moment. Of 2,000 new connections made as a Jupyter server makes them, 9 to 16 never got an answer; with 7.4 or
mended, none.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any


def mend() -> None:
    """Send replies through the stream, as ipykernel 7.4 does."""
    from ipykernel.kernelbase import Kernel
    from ipykernel.subshell_manager import SubshellManager

    def send(self: SubshellManager, msg: Any) -> None:
        stream = Kernel.instance().shell_stream
        assert stream is not None
        stream.send_multipart(msg)

    SubshellManager._send_on_shell_channel = send  # type: ignore[method-assign]


if __name__ == "__main__":
    # As ipykernel_launcher does: the notebook's folder must not hide a module.
    if sys.path[0] == "" or Path(sys.path[0]) == Path.cwd():
        del sys.path[0]
    from ipykernel import kernelapp

    mend()
    kernelapp.launch_new_instance()

"""Test what a run draws on a terminal of 80 columns: train.py in a pseudo-terminal, stopped and resumed."""

import os
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")]
SMALL = ("model=softmax_regression", "data.train_size=40000", "data.test_size=100", "trainer=cpu", "report=false")


class Terminal:
    """Runs train.py on a terminal of 80 columns."""

    def __init__(self, *words: str) -> None:
        import fcntl
        import pty
        import struct
        import termios

        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 80, 0, 0))
        command = [sys.executable, str(ROOT / "train.py"), *words]
        self.process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
        os.close(slave)
        self.text = ""

    def read_until(self, pattern: str) -> None:
        """Read until the pattern is found, or the program ends."""
        end = time.monotonic() + 100
        while not re.search(pattern, self.text) and time.monotonic() < end:
            if select.select([self.master], [], [], 1)[0]:
                try:
                    self.text += os.read(self.master, 4096).decode()
                except OSError:  # it has ended
                    return

    def screen(self) -> list[str]:
        """Return the lines that are seen in the end."""
        rows, row, column = [""], 0, 0
        for part in re.findall(r"\x1b\[[AK]|\r|\n|[^\x1b\r\n]+", self.text):
            if part == "\x1b[A":
                row -= 1
            elif part == "\x1b[K":
                rows[row] = rows[row][:column]
            elif part == "\r":
                column = 0
            elif part == "\n":
                row += 1
                rows += [""] * (row - len(rows) + 1)
            else:
                rows[row] = rows[row][:column].ljust(column) + part + rows[row][column + len(part) :]
                column += len(part)
        return [line.rstrip() for line in rows if line.strip()]


def test_bar_names_the_epoch_fits_and_leaves_nothing_behind(tmp_path: Path) -> None:
    first = Terminal(*SMALL, "epochs=400", f"run_dir={tmp_path / 'run'}")
    first.read_until(r"epoch 2/400: ")
    first.process.send_signal(signal.SIGINT)
    first.read_until("Resume with")
    assert first.process.wait() == 130
    bars = [bar.rstrip() for bar in re.findall(r"\r(epoch \d+/400: [^\r\n\x1b]*)", first.text)]
    assert bars
    assert all(len(bar) <= 77 for bar in bars)
    assert max(bar.count("█") for bar in bars) > 10  # wide enough to be seen
    lines = first.screen()
    assert lines[0] == "loading PyTorch and Lightning ..."
    assert all(re.fullmatch(r"epoch +\d+/400  train loss .* img/s", line) for line in lines[1:-1])
    assert lines[-1].startswith("refzoo: stopped by SIGINT in epoch ")
    assert max(map(len, lines[:-1])) <= 80

    epoch = int(re.findall(r"in epoch (\d+)", lines[-1])[0])
    second = Terminal(f"resume={tmp_path / 'run'}")
    second.read_until(rf"epoch {epoch + 1}/400: ")
    second.process.kill()
    second.process.wait()
    begun = re.findall(r"\r(epoch (\d+)/400: +(\d+)%[^\r\n]* \d+/(\d+) )", second.text)
    assert int(begun[0][1]) == epoch
    assert {total for *_, total in begun} == {str(40000 // 128)}

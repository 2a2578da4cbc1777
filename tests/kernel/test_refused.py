"""What is told of a program that the kernel refuses."""

from __future__ import annotations

import subprocess

import structlog
from structlog.testing import capture_logs

from uidtraced.kernel import libbpf
from uidtraced.kernel.libbpf import ffi, lib, start_log

SOURCE = """
#include <linux/bpf.h>
#define TEN(x) x x x x x x x x x x
__attribute__((section("raw_tp"), used)) int refused(void *ctx)
{
	volatile int number = 0;

	TEN(TEN(number++;))
	return **(int **)number;
}
char LICENSE[] __attribute__((section("license"))) = "GPL";
"""


def test_the_last_words_of_the_verifier_are_told(tmp_path, monkeypatch) -> None:
    program = tmp_path / "refused.o"
    clang = ["clang", "-O2", "-g", "-w", "-target", "bpf", "-I/usr/include/x86_64-linux-gnu"]
    subprocess.run(
        [*clang, "-x", "c", "-", "-c", "-o", program], input=SOURCE, text=True, check=True
    )
    code = program.read_bytes()
    start_log()
    with capture_logs() as said:
        monkeypatch.setattr(libbpf, "log", structlog.get_logger("libbpf"))
        opened = lib.uidtraced_open(code, len(code))
        assert opened != ffi.NULL
        try:
            assert lib.bpf_object__load(opened) < 0
        finally:
            lib.bpf_object__close(opened)
    texts = [line["text"] for line in said]
    assert any("invalid mem access" in text for text in texts), texts
